"""Commands around the folders of runs: status, failures, collect, slurm."""

from __future__ import annotations

from pathlib import Path

import click

from .app import Trouble
from .options import EXIT_FAILURES, RUN, open_run


@click.command("status")
@click.argument("run", type=RUN)
@click.option(
    "--slowest", type=click.IntRange(min=0), default=5, show_default=True, help="How many slow cells to list."
)
def status_command(run: Path, slowest: int) -> None:
    """Show how far the run in the folder RUN is, also while it is running."""
    from ..simulate import ScenarioError
    from ..simulate.inspecting import run_status
    from .progress import duration
    from .tables import text_table

    try:
        status = run_status(run, slowest)
    except (FileNotFoundError, ScenarioError, ValueError) as error:
        raise Trouble(str(error)) from error
    click.echo(f"{status.scenario.id}: {status.done} of {status.planned} cells done")
    rows = [
        [size.fit, str(size.n), f"{size.done}/{size.planned}", str(size.failed), str(size.uncertified),
         "" if size.seconds != size.seconds else f"{size.seconds:.3g}"]
        for size in status.sizes
    ]  # fmt: skip
    click.echo(text_table(["fit", "n", "done", "failed", "uncertified", "seconds a cell"], rows))
    if status.slowest:
        click.echo("\nslowest cells")
        slow = [
            [cell.fit, str(cell.n_experts), str(cell.n), str(cell.rep), f"{seconds:.3g}", what]
            for cell, seconds, what in status.slowest
        ]
        click.echo(text_table(["fit", "experts", "n", "rep", "seconds", "status"], slow))
    if status.done < status.planned:
        click.echo(f"\nleft: about {duration(status.seconds_left)} of one core")
    if status.damaged:
        click.echo(f"{len(status.damaged)} parts cannot be read; moestat simulate computes their cells again")


@click.command("failures")
@click.argument("run", type=RUN)
@click.option("--traceback", is_flag=True, help="Show where the first of each group failed.")
def failures_command(run: Path, traceback: bool) -> None:
    """Show the failed cells of the run in the folder RUN by their message, with the command that computes one again."""
    from ..simulate.inspecting import failure_groups, replay_line

    _, frame = open_run(run)
    groups = failure_groups(frame)
    if not groups:
        click.echo("no cell failed")
    for group in groups:
        sizes = ", ".join(map(str, group.sizes))
        click.echo(f"{group.count} {group.status}, n = {sizes}: {group.message}\n  {replay_line(run, group.first)}")
        if traceback and group.traceback:
            click.echo("".join(f"    {line}\n" for line in group.traceback.splitlines()), nl=False)


@click.command("collect")
@click.argument("runs", type=RUN, nargs=-1, required=True)
@click.option("--table", "-t", type=RUN, help="File for all records, .parquet or .csv.")
@click.option("--out", type=RUN, help="New folder for the merged run, which rates, plot and replay read.")
def collect_command(runs: tuple[Path, ...], table: Path | None, out: Path | None) -> None:
    """Merge the runs in the folders RUNS, such as the shards of a job array, into a table or a new run."""
    from ..simulate import ScenarioError, WriteError
    from ..simulate.collecting import collect

    if table is None and out is None:
        raise click.UsageError("say where to: --table records.parquet, --out FOLDER, or both")
    try:
        found = collect(runs, table=table, out=out)
    except (FileNotFoundError, ScenarioError, WriteError, ValueError) as error:
        raise Trouble(str(error)) from error
    cells = len(found.frame[["fit", "n_experts", "n", "rep"]].drop_duplicates())
    click.echo(f"{len(found.frame)} rows of {cells} cells: {', '.join(str(path) for path in (table, out) if path)}")
    if found.differing:
        click.echo(
            f"{found.differing} cells differ between the folders; those of the first folder were taken", err=True
        )
    if found.damaged:
        click.echo(f"{len(found.damaged)} parts could not be read, the first: {found.damaged[0]}", err=True)
        raise click.exceptions.Exit(EXIT_FAILURES)


@click.command("slurm", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.option("-N", "--shards", type=click.IntRange(min=1), required=True, help="Tasks of the job array.")
@click.option("--out", type=RUN, required=True, help="Folder of the run, one for all tasks.")
@click.option("--time", default="04:00:00", show_default=True, help="Time limit of a task.")
@click.option("--mem", default="2G", show_default=True, help="Memory a core.")
@click.option("--cores", type=click.IntRange(min=1), default=1, show_default=True, help="Cores of a task.")
@click.argument("simulate_options", nargs=-1, type=click.UNPROCESSED)
def slurm_command(
    name: str, shards: int, out: Path, time: str, mem: str, cores: int, simulate_options: tuple[str, ...]
) -> None:
    """Print the script of a SLURM job array that runs the scenario NAME in shards; nothing is submitted.

    Further options are those of moestat simulate, such as --preset full --cell-timeout 1h.
    """
    from ..simulate import ScenarioError, load_scenario
    from ..simulate.slurm import array_script
    from .studies import simulate_command

    arguments = [name, *simulate_options, "--out", str(out)]
    used = simulate_command.make_context("moestat simulate", list(arguments)).params
    if used["shard"] or used["jobs"] or used["target_se"]:
        raise click.UsageError("the script sets --shard and --jobs itself, and shards have no --target-se")
    try:
        scenario = load_scenario(name)
    except (ScenarioError, FileNotFoundError) as error:
        raise Trouble(str(error)) from error
    click.echo(array_script(arguments, shards, name=scenario.id, time=time, memory=mem, cores=cores), nl=False)
