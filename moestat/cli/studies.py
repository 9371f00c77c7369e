"""Commands around scenarios: list, simulate, rates, plot, replay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import Trouble
from .options import EXIT_FAILURES, EXIT_INTERRUPTED, RUN, duration, open_run, shard, sizes

if TYPE_CHECKING:
    from ..simulate import RateEstimate, Run


def _number(exponent: float | str) -> str:
    return exponent if isinstance(exponent, str) else f"{exponent:.3g}"


@click.command("list")
def list_command() -> None:
    """Show the scenarios that come with moestat."""
    from ..simulate import list_scenarios

    for scenario in list_scenarios():
        quick, full = scenario.presets.quick, scenario.presets.full
        exponents = ", ".join(
            f"{loss.label} {'<= ' if loss.bound == 'at-most' else ''}{_number(loss.exponent)}"
            for loss in scenario.loss
            if loss.exponent is not None
        )
        sizes = "; ".join(
            f"{name}: {len(scenario.cells(p.n, p.reps, p.max_experts))} fits, n = {p.n[0]}..{p.n[-1]}"
            for name, p in (("quick", quick), ("full", full))
        )
        click.echo(f"{scenario.id}\n  {scenario.title}\n  tests      {scenario.claim}\n  source     {scenario.source}")
        click.echo(f"  exponents  {exponents}\n  cost       {sizes}\n")


@click.command("simulate")
@click.argument("name")
@click.option("--preset", type=click.Choice(["smoke", "quick", "full"]), default="quick", show_default=True)
@click.option("--n-grid", metavar="N1,N2,...", callback=sizes, help="Sample sizes, in place of the preset's.")
@click.option("--reps", type=click.IntRange(min=1), help="Replicates, in place of the preset's.")
@click.option(
    "--target-se",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Add replicates until the standard error of each log mean loss is below X, or --reps is reached.",
)
@click.option("--out", type=RUN, help="Folder of the run; default: moestat-runs/<scenario>-<preset>.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Workers; default: all cores.")
@click.option(
    "--executor",
    type=click.Choice(["serial", "processes", "dask", "batched"]),
    help="Where fits are computed; default: processes, or serial with --jobs 1.",
)
@click.option("--scheduler", "address", metavar="ADDRESS", help="Dask scheduler; default: a cluster on this machine.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Of batched.")
@click.option(
    "--cell-timeout", metavar="TIME", callback=duration, help="Time that one fit may take, such as 10m; default: any."
)
@click.option(
    "--max-time",
    metavar="TIME",
    callback=duration,
    help="Stop after this time, such as 3h50m; default: three minutes before the end of a SLURM job.",
)
@click.option("--shard", metavar="i/N", callback=shard, help="Only the i-th of N equal parts of the fits.")
@click.option("--retry", is_flag=True, help="Compute cells again that failed, crashed or timed out.")
def simulate_command(name: str, preset: str, max_time: float | None, **options: Any) -> None:
    """Run the scenario NAME (or a TOML file of your own) and measure its rates.

    An interrupted run is taken up again by the same command; more replicates or sizes extend it.
    """
    from ..simulate import ChangedScenarioError, Interrupted, ScenarioError, WriteError, load_scenario, run
    from ..simulate.slurm import seconds_until_the_end
    from .progress import show_progress

    if max_time is None:
        max_time = seconds_until_the_end(time.time())
    try:
        scenario = load_scenario(name)
        with show_progress(scenario.id) as progress:
            finished = run(scenario, preset, max_time=max_time, progress=progress, **options)
    except Interrupted as stop:
        click.echo(f"{stop}. Run the same command to resume.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except WriteError as failure:
        click.echo(f"Stopped: {failure} Make room and run the same command to resume.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except (ScenarioError, ChangedScenarioError, FileNotFoundError, ValueError) as error:
        raise Trouble(str(error)) from error
    _report(finished, options["shard"], options["target_se"])


def _report(finished: Run, shard: tuple[int, int] | None, target: float | None) -> None:
    from ..simulate import estimate_rates
    from ..simulate.plan import log_mean_errors
    from .tables import rate_table

    frame = finished.frame()
    if shard is None:
        rates = estimate_rates(frame, finished.scenario)
        click.echo(f"{finished.scenario.title}\n{finished.scenario.claim}\n")
        click.echo(rate_table(rates))
        figure = _draw(finished, frame, rates, finished.path / f"{finished.scenario.id}.pdf", also=".png")
        click.echo(f"\nfigure   {figure} and .png\nrecords  {finished.path / 'parts'} ({len(frame)} rows)")
    else:
        done, planned = finished.coverage(frame)
        click.echo(
            f"shard {shard[0]}/{shard[1]} is done: {finished.computed} cells computed; "
            f"{finished.path} holds {done} of {planned} cells of all shards"
        )
        frame = finished.of_shard(frame, shard)
    if target is not None:
        errors = log_mean_errors(frame, finished.scenario)
        far = ", ".join(f"{error:.3g} at n = {n}" for n, error in errors[errors > target].items())
        if far:
            click.echo(f"standard errors of log means still above {target:g}: {far}; a larger --reps allows more")
    _report_failures(finished, frame)


def _report_failures(finished: Run, frame: Any) -> None:
    """What failed, the command that shows it, and exit code 3."""
    from ..simulate.inspecting import failure_groups, replay_line

    groups = failure_groups(frame)
    if groups:
        click.echo(
            f"{sum(group.count for group in groups)} cells failed (moestat failures {finished.path}); "
            f"most often: {groups[0].message}\n  {replay_line(finished.path, groups[0].first)}",
            err=True,
        )
        raise click.exceptions.Exit(EXIT_FAILURES)


def _draw(finished: Run, frame: Any, rates: dict[str, RateEstimate], path: Path, also: str = "") -> Path:
    from ..plot import run_figure, save_figure

    figure = run_figure(frame, finished.scenario, rates)
    try:
        if also:
            save_figure(figure, path.with_suffix(also))
        return save_figure(figure, path)
    except (ValueError, OSError) as error:
        raise Trouble(str(error)) from error


@click.command("rates")
@click.argument("run", type=RUN)
@click.option("--json", "form", flag_value="json", help="Print JSON (stable, documented).")
@click.option("--csv", "form", flag_value="csv", help="Print every number as CSV.")
@click.option("--latex", "form", flag_value="latex", help="Print a LaTeX tabular.")
@click.option(
    "--points", is_flag=True, help="Every loss at every n instead, with the cell patterns (as a table or CSV)."
)
@click.option(
    "--allow-uncertified", is_flag=True, help="Give slopes even if fewer than 95 % of the cells are certified."
)
@click.option("--statistic", type=click.Choice(["mean", "median", "trimmed"]), default="mean", show_default=True)
def rates_command(run: Path, form: str | None, points: bool, allow_uncertified: bool, statistic: Any) -> None:
    """Measure the rates of the records in the folder RUN."""
    from ..simulate import estimate_rates
    from .tables import show_rates

    opened, frame = open_run(run)
    coverage = opened.coverage(frame)
    rates = estimate_rates(
        frame, opened.scenario, statistic=statistic, allow_uncertified=allow_uncertified, constants=form != "json"
    )
    click.echo(show_rates(opened.scenario.id, rates, coverage, form, points))


@click.command("plot")
@click.argument("run", type=RUN)
@click.option(
    "-o",
    "--out",
    type=RUN,
    help="File (pdf, svg or png), its folder is made if it is missing; default: <RUN>/<scenario>.pdf.",
)
@click.option(
    "--allow-uncertified", is_flag=True, help="Draw slopes even if fewer than 95 % of the cells are certified."
)
def plot_command(run: Path, out: Path | None, allow_uncertified: bool) -> None:
    """Draw the figure of the run in the folder RUN."""
    from ..simulate import estimate_rates

    if out is not None and out.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise Trouble(f"a figure is written as pdf, svg or png, got {out.name!r}")
    opened, frame = open_run(run)
    rates = estimate_rates(frame, opened.scenario, allow_uncertified=allow_uncertified)
    click.echo(_draw(opened, frame, rates, out or opened.path / f"{opened.scenario.id}.pdf"))


def _debug(failure: Exception) -> None:
    import pdb

    click.echo(f"{type(failure).__name__}: {failure}")
    pdb.post_mortem(failure.__traceback__)


@click.command("replay")
@click.argument("run", type=RUN)
@click.option("--n", "n", type=int, required=True, help="Sample size.")
@click.option("--rep", type=int, required=True, help="Replicate.")
@click.option("--fit", help="Only this fit of the scenario.")
@click.option("--experts", type=int, help="Only this number of experts.")
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where a fit raises.")
def replay_command(run: Path, n: int, rep: int, fit: str | None, experts: int | None, debug: bool) -> None:
    """Compute one replicate of the run in the folder RUN again and compare it bit for bit with its records."""
    from ..simulate import replay
    from .tables import text_table

    open_run(run)
    try:
        found = replay(run, n, rep, fit, experts, on_error=_debug if debug else None)
    except KeyError as error:
        raise Trouble(str(error.args[0])) from error
    rows = [
        [row["fit"], str(row["n_experts"]), row["loss"], f"{row['value']:.9g}", row["status"]] for row in found.rows
    ]
    click.echo(text_table(["fit", "experts", "loss", "value", "status"], rows, left=1))
    traces = {row["traceback"] for row in found.rows if row["traceback"]}
    for trace in sorted(traces):
        click.echo(trace)
    click.echo(found.message)
    for line in found.differences[:20]:
        click.echo(f"  {line}")
    if not found.identical:
        raise click.exceptions.Exit(1)
