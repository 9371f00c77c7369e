"""Figures of papers: panels of one loss, or of several losses, each with a letter and a title."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .look import COLOURS, new_figure, style
from .rates import plot_rate, plot_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..simulate.rates import RateEstimate

    Content = RateEstimate | Mapping[str, RateEstimate]

__all__ = ["fit_narrow", "letter", "paper_figure"]

WIDTH = 6.9  # inches, two columns of a page


def paper_figure(panels: Sequence[tuple[str, Content]], columns: int = 3, height: float = 2.35) -> Figure:
    """Panels for a page of two columns.

    Parameters
    ----------
    panels : sequence of (title, content)
        A content is a rate, drawn by `plot_rate`, or a mapping of names to rates, drawn together by `plot_rates`.
    columns : int
    height : float
        Of a row, in inches.

    Raises
    ------
    ValueError
        If there are no panels.
    """
    if not panels:
        raise ValueError("a figure needs a panel at least")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = new_figure(figsize=(WIDTH, height * rows))
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax in axes[len(panels) :]:
            ax.remove()
        for i, (ax, (title, content)) in enumerate(zip(axes, panels, strict=False)):
            if isinstance(content, Mapping):
                plot_rates(content, ax, names=list(content))
            else:
                plot_rate(content, ax, color=COLOURS[0])
            ax.set_title(f"{letter(i)}  {title}")
            fit_narrow(ax)
    return figure


def fit_narrow(ax: Axes) -> None:
    """Fewer ticks of n, and smaller texts inside: for panels of two inches."""
    from matplotlib.ticker import FixedLocator

    low, high = (math.log10(limit) for limit in ax.get_xlim())
    ticks = [float(tick) for tick in ax.get_xticks() if low <= math.log10(tick) <= high]
    kept = ticks[:1]
    for tick in ticks[1:]:
        if math.log10(tick / kept[-1]) >= 0.22 * (high - low):
            kept.append(tick)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    for text in ax.texts:
        text.set_fontsize(min(float(text.get_fontsize()), 6.3))


def letter(i: int) -> str:
    """``a``, ``b``, … in bold, for the i-th panel."""
    return rf"$\mathbf{{{'abcdefghijklmnopqrstuvwxyz'[i]}}}$"
