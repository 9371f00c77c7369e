"""Progress of a run: a live display on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..simulate.runner import Progress

__all__ = ["duration", "show_progress"]

PLAIN_EVERY = 10.0  # seconds between lines in a log


def duration(seconds: float) -> str:
    """Seconds as people read them.

    Examples
    --------
    >>> duration(42.3), duration(8000), duration(float("nan"))
    ('42 s', '2 h 13 min', 'unknown')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def _line(state: Progress) -> str:
    return (
        f"{state.done}/{state.total} cells, {state.rate:.1f} cells/s, time left {duration(state.time_left)}, "
        f"{state.failures} failed, {state.uncertified} uncertified"
    )


@contextlib.contextmanager
def show_progress(title: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback for `moestat.simulate.run`; the display is taken away at the end."""
    if not sys.stderr.isatty():
        yield _plain(title)
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True)

    def draw(state: Progress) -> Group:
        table = Table.grid(padding=(0, 1))
        for n, (done, total) in state.by_n.items():
            if total:
                table.add_row(f"n = {n:,}".replace(",", " "), ProgressBar(total, done, width=30), f"{done}/{total}")
        kept = f" ({state.recorded} cells were recorded before)" if state.recorded else ""
        return Group(Text(f"{title}{kept}"), table, Text(_line(state)))

    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def show(state: Progress) -> None:
            live.update(draw(state))

        yield show


def _plain(title: str) -> Callable[[Progress], None]:
    last = 0.0

    def show(state: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if state.done == 0 or state.done == state.total or now - last >= PLAIN_EVERY:
            last = now
            kept = f", {state.recorded} recorded before" if state.recorded and not state.done else ""
            click.echo(f"{title}: {_line(state)}{kept}", err=True)

    return show
