"""Commands around scenarios: list, simulate, rates, plot, replay."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import Trouble

if TYPE_CHECKING:
    from ..simulate import RateEstimate, Run

EXIT_FAILURES = 3
EXIT_INTERRUPTED = 130
_RUN = click.Path(path_type=Path)


def _sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Comma-separated sample sizes; ``1e4`` and ``10_000`` are understood."""
    if value is None:
        return None
    sizes = set()
    for part in value.replace(" ", ",").split(","):
        if not part:
            continue
        try:
            number = float(part)
        except ValueError:
            raise click.BadParameter(f"{part!r} is not a number") from None
        if not math.isfinite(number) or number != int(number) or number < 2:
            raise click.BadParameter(f"a sample size is an integer of at least 2, got {part!r}")
        sizes.add(int(number))
    if not sizes:
        raise click.BadParameter("give at least one sample size, such as 100,1000,10000")
    return sorted(sizes)


@click.command("list")
def list_command() -> None:
    """Show the scenarios that come with moestat."""
    from ..simulate import list_scenarios

    for scenario in list_scenarios():
        quick, full = scenario.presets.quick, scenario.presets.full
        exponents = ", ".join(
            f"{loss.label} {'<= ' if loss.bound == 'at-most' else ''}{loss.exponent:.3g}"
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
@click.option("--n-grid", metavar="N1,N2,...", callback=_sizes, help="Sample sizes, in place of the preset's.")
@click.option("--reps", type=click.IntRange(min=1), help="Replicates, in place of the preset's.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Worker processes; default: all cores.")
@click.option("--out", type=_RUN, help="Folder of the run; default: moestat-runs/<scenario>-<preset>.")
def simulate_command(
    name: str, preset: str, n_grid: list[int] | None, reps: int | None, jobs: int | None, out: Path | None
) -> None:
    """Run the scenario NAME (or a TOML file of your own) and measure its rates.

    An interrupted run is taken up again by the same command; more replicates or sizes extend it.
    """
    from ..simulate import ChangedScenarioError, Interrupted, ScenarioError, load_scenario, run
    from .progress import show_progress

    try:
        scenario = load_scenario(name)
        with show_progress(scenario.id) as progress:
            finished = run(scenario, preset, n_grid=n_grid, reps=reps, jobs=jobs, out=out, progress=progress)
    except Interrupted as stop:
        click.echo(f"Interrupted: {stop}. Run the same command to resume.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except (ScenarioError, ChangedScenarioError, FileNotFoundError, ValueError) as error:
        raise Trouble(str(error)) from error
    _report(finished)


def _report(finished: Run) -> None:
    from ..simulate import estimate_rates
    from .tables import rate_table

    frame = finished.frame()
    rates = estimate_rates(frame, finished.scenario)
    click.echo(f"{finished.scenario.title}\n{finished.scenario.claim}\n")
    click.echo(rate_table(rates))
    figure = _draw(finished, frame, rates, finished.path / f"{finished.scenario.id}.pdf", also=".png")
    click.echo(f"\nfigure   {figure} and .png\nrecords  {finished.path / 'parts'} ({len(frame)} rows)")
    failed = frame[frame["status"].isin(["failed", "crashed"])]
    if not failed.empty:
        first = failed.iloc[0]
        cells = failed[["fit", "n_experts", "n", "rep"]].drop_duplicates()
        click.echo(
            f"{len(cells)} cells failed; the first: {first['message']}\n"
            f"  moestat replay {finished.path} --n {first['n']} --rep {first['rep']}",
            err=True,
        )
        raise click.exceptions.Exit(EXIT_FAILURES)


def _open(run: Path) -> tuple[Run, Any]:
    from ..simulate import Run, ScenarioError

    try:
        opened = Run.open(run)
        frame = opened.frame()
    except (FileNotFoundError, ScenarioError, ValueError) as error:
        raise Trouble(str(error)) from error
    if frame.empty:
        raise Trouble(f"{run} has no records yet")
    return opened, frame


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
@click.argument("run", type=_RUN)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (stable, documented).")
@click.option(
    "--allow-uncertified", is_flag=True, help="Give slopes even if fewer than 95 % of the cells are certified."
)
@click.option("--statistic", type=click.Choice(["mean", "median", "trimmed"]), default="mean", show_default=True)
def rates_command(run: Path, as_json: bool, allow_uncertified: bool, statistic: Any) -> None:
    """Measure the rates of the records in the folder RUN."""
    from ..simulate import estimate_rates
    from .tables import rate_table

    opened, frame = _open(run)
    done, planned = opened.coverage(frame)
    rates = estimate_rates(
        frame, opened.scenario, statistic=statistic, allow_uncertified=allow_uncertified, constants=not as_json
    )
    if as_json:
        losses = {label: rate.to_json() for label, rate in rates.items()}
        content = {
            "scenario": opened.scenario.id,
            "complete": done == planned,
            "cells_done": done,
            "cells_planned": planned,
            "losses": losses,
        }
        click.echo(json.dumps(content, indent=1))
    else:
        click.echo(rate_table(rates, (done, planned)))


@click.command("plot")
@click.argument("run", type=_RUN)
@click.option(
    "-o",
    "--out",
    type=_RUN,
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
    opened, frame = _open(run)
    rates = estimate_rates(frame, opened.scenario, allow_uncertified=allow_uncertified)
    click.echo(_draw(opened, frame, rates, out or opened.path / f"{opened.scenario.id}.pdf"))


@click.command("replay")
@click.argument("run", type=_RUN)
@click.option("--n", "n", type=int, required=True, help="Sample size.")
@click.option("--rep", type=int, required=True, help="Replicate.")
@click.option("--fit", help="Only this fit of the scenario.")
@click.option("--experts", type=int, help="Only this number of experts.")
def replay_command(run: Path, n: int, rep: int, fit: str | None, experts: int | None) -> None:
    """Compute one replicate of the run in the folder RUN again and compare it bit for bit with its records."""
    from ..simulate import replay
    from .tables import text_table

    _open(run)
    try:
        found = replay(run, n, rep, fit, experts)
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
