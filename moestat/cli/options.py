"""Options that several commands share: sample sizes, durations, shards, folders of runs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .app import Trouble

if TYPE_CHECKING:
    import pandas as pd

    from ..simulate import Run

__all__ = ["EXIT_FAILURES", "EXIT_INTERRUPTED", "RUN", "duration", "open_run", "seconds_of", "shard", "sizes"]

EXIT_FAILURES = 3
EXIT_INTERRUPTED = 130
RUN = click.Path(path_type=Path)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds_of(text: str) -> float:
    """Seconds of a duration: ``3h50m``, ``90s``, ``1d``, ``03:50:00``, or a number of seconds.

    Raises
    ------
    ValueError
        If it is none of these, or not positive.

    Examples
    --------
    >>> seconds_of("3h50m"), seconds_of("1:30:00"), seconds_of("45")
    (13800.0, 5400.0, 45.0)
    """
    text = text.strip().lower().replace("min", "m")
    total = 0.0
    if re.fullmatch(r"\d+(:\d\d){1,2}", text):
        for part in text.split(":"):
            total = total * 60 + int(part)
        total *= 60 if text.count(":") == 1 else 1  # hours and minutes
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        total = float(text)
    elif re.fullmatch(r"(\d+(\.\d+)?[dhms]\s*)+", text):
        total = sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([dhms])", text))
    if total <= 0:
        raise ValueError(f"a duration is written 3h50m, 90s or 03:50:00, got {text!r}")
    return total


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A duration as `seconds_of` understands it."""
    try:
        return None if value is None else seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Comma-separated sample sizes; ``1e4`` and ``10_000`` are understood."""
    if value is None:
        return None
    found = set()
    for part in value.replace(" ", ",").split(","):
        if not part:
            continue
        try:
            number = float(part)
        except ValueError:
            raise click.BadParameter(f"{part!r} is not a number") from None
        if not math.isfinite(number) or number != int(number) or number < 2:
            raise click.BadParameter(f"a sample size is an integer of at least 2, got {part!r}")
        found.add(int(number))
    if not found:
        raise click.BadParameter("give at least one sample size, such as 100,1000,10000")
    return sorted(found)


def shard(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """A shard ``i/N``."""
    if value is None:
        return None
    from ..simulate.plan import parse_shard

    try:
        return parse_shard(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def open_run(run: Path) -> tuple[Run, pd.DataFrame]:
    """A run and its records; an error in one line if it is none or empty."""
    from ..simulate import Run, ScenarioError

    try:
        opened = Run.open(run)
        frame = opened.frame()
    except (FileNotFoundError, ScenarioError, ValueError) as error:
        raise Trouble(str(error)) from error
    if frame.empty:
        raise Trouble(f"{run} has no records yet")
    return opened, frame
