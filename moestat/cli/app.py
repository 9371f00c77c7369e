"""The command group, its lazily imported commands, and one-line errors."""

from __future__ import annotations

import importlib
import sys

import click

__all__ = ["Trouble", "main"]

# command -> (module, short help); the module has a click command of the same name
COMMANDS = {
    "list": ("studies", "Scenarios, the theorem each one tests, exponents, cost."),
    "simulate": ("studies", "Run a scenario, or take it up where it stopped; ends with the rate table."),
    "status": ("runs", "How far a run is: cells by fit and n, failures, the slowest, time left."),
    "failures": ("runs", "Failed cells by their message, with the command that computes one again."),
    "rates": ("studies", "Slope, confidence interval, the theorem's exponent and a verdict for each loss."),
    "compare": ("reports", "Slopes of two or more runs side by side, with their differences."),
    "exponents": ("reports", "Rates that follow from the density alone, without noise, beside the theorem's."),
    "atlas": ("reports", "All scenarios within a time budget, and a page of theorems, rates and figures."),
    "figures": ("figures", "Rebuild the figures of papers from summaries of runs."),
    "plot": ("studies", "The figure of a run."),
    "replay": ("studies", "One replicate again, compared bit for bit with its records."),
    "collect": ("runs", "Merge runs, such as the shards of a job array, into a table or a new run."),
    "slurm": ("runs", "Print the script of a SLURM job array; nothing is submitted."),
    "new": ("declare", "Write a commented scenario file."),
    "check": ("declare", "All errors of a scenario, one replicate of every fit, predicted hours and disk."),
    "schema": ("declare", "The JSON Schema of scenario files, for editors."),
    "fit": ("models", "Fit a mixture of experts to a CSV file, with standard errors."),
    "predict": ("models", "Predict with a fitted model."),
    "summary": ("models", "Show a fitted model."),
}


class Trouble(click.ClickException):
    """An error of the input: one line, exit code 2."""

    exit_code = 2


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import moestat

        click.echo(f"moestat {moestat.__version__}")
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def _app() -> None:
    """Fit mixtures of experts, get standard errors, and check how fast they converge.

    Exit codes: 0 done, 1 a replay differs, 2 usage or input, 3 finished with failed replicates, 130 interrupted (the same command resumes).
    """


def main(args: list[str] | None = None) -> None:
    """Entry point of ``moestat``."""
    try:
        code = _app.main(args=args, prog_name="moestat", standalone_mode=False)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
