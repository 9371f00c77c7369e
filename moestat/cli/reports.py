"""Commands that read runs and theorems: compare, exponents, atlas, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .app import Trouble
from .options import EXIT_FAILURES, EXIT_INTERRUPTED, RUN, duration

if TYPE_CHECKING:
    from ..simulate.atlas import AtlasEntry


@click.command("compare")
@click.argument("runs", type=RUN, nargs=-1, required=True)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--allow-uncertified", is_flag=True, help="Compare slopes even if fewer than 95 % of the cells are certified."
)
def compare_command(runs: tuple[Path, ...], as_csv: bool, allow_uncertified: bool) -> None:
    """Compare the slopes of the folders RUNS, or of the fits of one, loss by loss, with the first that has it."""
    from ..simulate import Run, ScenarioError
    from ..simulate.comparison import compare_runs
    from .tables import comparison_records, comparison_table, csv_text

    try:
        found = compare_runs([Run.open(run) for run in runs], allow_uncertified=allow_uncertified)
    except (FileNotFoundError, ScenarioError, ValueError) as error:
        raise Trouble(str(error)) from error
    if not found:
        raise Trouble("these runs have no loss in common, so there is nothing to compare")
    click.echo(csv_text(comparison_records(found)) if as_csv else comparison_table(found))


@click.command("exponents")
@click.argument("name")
@click.option(
    "--component", "components", multiple=True, help="gate, coef, intercept, scale, or a parameter; repeat for several."
)
@click.option(
    "--split", "splits", type=click.IntRange(min=1), multiple=True, help="The expert that is split; default: each."
)
@click.option(
    "--atoms", type=click.IntRange(min=1), help="How many atoms it becomes; default: as the scenario's fit allows."
)
def exponents_command(name: str, components: tuple[str, ...], splits: tuple[int, ...], atoms: int | None) -> None:
    """Population exponents of the scenario NAME beside the theorem's: how the distance closes with a split, without noise."""
    from ..simulate import ScenarioError, load_scenario
    from ..simulate.exponents import scenario_exponents

    widths = (18, 8, 10, 12, 12, 9)
    try:
        rows = scenario_exponents(
            load_scenario(name), components=components or None, splits=[k - 1 for k in splits] or None, atoms=atoms
        )
        _echo_row(("component", "expert", "exponent", "rate", "declared", "", "between neighbouring splits"), widths)
        for row in rows:
            found = row.found
            exponent = f"{found.exponent:.2f}" + ("" if found.steady else "?") if found.identified else "infinite"
            rate = f"n^({found.rate:.3f})" if found.identified else "0"
            declared = "" if row.declared is None else f"n^({row.declared:.3f})"
            verdict = {None: "", True: "agrees", False: "differs"}[row.agrees]
            local = (
                " ".join(f"{slope:.2f}" for slope in found.local)
                if found.identified
                else "not identified: the distance is 0"
            )
            _echo_row((row.component, str(row.split + 1), exponent, rate, declared, verdict, local), widths)
    except (FileNotFoundError, ScenarioError, ValueError) as error:
        raise Trouble(str(error)) from error


def _echo_row(cells: tuple[str, ...], widths: tuple[int, ...]) -> None:
    click.echo("".join(cell.ljust(width) for cell, width in zip(cells, (*widths, 0), strict=True)).rstrip())


@click.command("atlas")
@click.option("--preset", type=click.Choice(["smoke", "quick", "full"]), default="quick", show_default=True)
@click.option("--time-budget", callback=duration, help="Stop after so long, such as 15m or 1h30m.")
@click.option("--only", multiple=True, help="Only this scenario; repeat for several.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Worker processes; default: all cores.")
@click.option(
    "--executor",
    type=click.Choice(["serial", "processes", "dask", "batched"]),
    help="Where cells are computed; default: worker processes.",
)
@click.option("--out", type=RUN, default=Path("atlas"), show_default=True, help="Folder of the runs and of the page.")
@click.option("--report-only", is_flag=True, help="Compute nothing; make the page of the runs that are there.")
@click.option(
    "--exponents",
    is_flag=True,
    help="Also population exponents where components are declared (seconds to minutes each).",
)
@click.option("--results", type=RUN, help="Also write a small summary of each complete run into this folder.")
@click.option(
    "--summaries", type=RUN, is_flag=False, flag_value="simulations",
    help="Only write <folder>/README.md from <folder>/results/*.json (default folder: simulations).",
)  # fmt: skip
def atlas_command(
    preset: str, time_budget: float | None, only: tuple[str, ...], jobs: int | None, executor: str | None, out: Path, report_only: bool,
    exponents: bool, results: Path | None, summaries: Path | None,
) -> None:  # fmt: skip
    """Run all scenarios, one after the other, and write a page of theorems, measured rates and figures.

    An interrupted atlas, or one whose time was up, is taken up again by the same command.
    """
    from ..simulate import Interrupted, ScenarioError
    from ..simulate.atlas import open_atlas, run_atlas
    from ..simulate.exponents import stored_exponents
    from ..simulate.summaries import write_results_page
    from .progress import show_progress

    try:
        if summaries is not None:
            click.echo(write_results_page(summaries))
            return
        entries = open_atlas(out, only)
        if not report_only:
            found = run_atlas(
                out, preset, time_budget=time_budget, only=only, watch=show_progress, jobs=jobs, executor=executor
            )
            for entry in found:
                click.echo(
                    f"{entry.scenario.id}: {entry.state}"
                    + (f" ({entry.message.splitlines()[0]})" if entry.message else "")
                )
                entries = [entry if old.scenario.id == entry.scenario.id else old for old in entries]
        for entry in entries:
            if exponents and entry.run is not None:
                stored_exponents(entry.scenario, entry.run.path, compute=True)
        page = _write_atlas(out, entries, "" if report_only else preset, results)
    except Interrupted as stop:
        click.echo(f"Interrupted: {stop}. Run the same command to resume.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except (ScenarioError, FileNotFoundError, ValueError, OSError) as error:
        raise Trouble(str(error)) from error
    click.echo(page)
    failed = [entry.scenario.id for entry in entries if entry.run is not None and entry.failed]
    if failed:
        click.echo(
            f"Some cells failed in {', '.join(failed)}; moestat failures {out}/{failed[0]} lists them.", err=True
        )
        raise click.exceptions.Exit(EXIT_FAILURES)


def _write_atlas(out: Path, entries: Sequence[AtlasEntry], preset: str, results: Path | None) -> Path:
    from ..simulate.files import write_text
    from ..simulate.results import write_results
    from .atlas_page import atlas_page, measured

    found = measured(entries)
    for entry, rates in found:
        if results is not None and entry.run is not None and entry.state == "complete":
            click.echo(write_results(entry.run, results, rates))
    page = out / "index.html"
    write_text(page, atlas_page(found, preset))
    return page
