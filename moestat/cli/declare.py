"""Commands for scenarios of one's own: new, check, schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .app import Trouble
from .options import EXIT_FAILURES, duration


@click.command("new")
@click.argument("file", type=click.Path(path_type=Path))
def new_command(file: Path) -> None:
    """Write a commented scenario to FILE.toml, valid as it stands."""
    from ..simulate.declaring import template
    from ..simulate.files import write_text

    if file.suffix != ".toml":
        raise Trouble(f"a scenario is a .toml file, got {file.name!r}")
    if file.exists():
        raise Trouble(f"{file} exists; it is left as it is")
    try:
        write_text(file, template(file.stem))
    except (OSError, ValueError) as error:
        raise Trouble(str(error)) from error
    click.echo(f"{file}: change it, then\n  moestat check {file}\n  moestat simulate {file}")


@click.command("check")
@click.argument("name")
@click.option(
    "--budget",
    metavar="TIME",
    callback=duration,
    default="30s",
    show_default=True,
    help="Time for trying larger sizes.",
)
def check_command(name: str, budget: float) -> None:
    """Check the scenario NAME or FILE.toml: all errors, one replicate of every fit, and what the presets will take."""
    from ..simulate import ScenarioError, load_scenario
    from ..simulate.declaring import dry_run
    from .progress import duration as in_words
    from .tables import text_table

    try:
        scenario = load_scenario(name)
    except (ScenarioError, FileNotFoundError) as error:
        raise Trouble(str(error)) from error
    tried = dry_run(scenario, budget)
    rows = [
        [cell.fit, str(cell.n_experts), str(cell.n), f"{seconds:.3g}", str(first[0]["status"]),
         "yes" if all(row["certified"] for row in first) else "no"]
        for cell, seconds, first in tried.tried
    ]  # fmt: skip
    click.echo(f"{scenario.id} is valid; one replicate each\n")
    click.echo(text_table(["fit", "experts", "n", "seconds", "status", "certified"], rows))
    click.echo("\nexpected")
    plans = [
        [plan.preset, str(plan.cells), in_words(plan.seconds), f"{plan.bytes / 1e6:.1f} MB"] for plan in tried.forecasts
    ]
    click.echo(text_table(["preset", "cells", "time of one core", "disk"], plans))
    for row in tried.failures:
        click.echo(
            f"\n{row['fit']}, n = {row['n']}, loss {row['loss']}: {row['message']}\n{row['traceback']}", err=True
        )
    if tried.failures:
        raise click.exceptions.Exit(EXIT_FAILURES)


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from ..simulate.declaring import scenario_schema

    click.echo(json.dumps(scenario_schema(), indent=1))
