"""The stopping-rule figure: measured slopes against the tolerance that ends EM, and how far below the maximum it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .look import COLOURS, new_axes, new_figure, style
from .papers import WIDTH, letter
from .rates import label_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..simulate.rates import RateEstimate

__all__ = ["plot_slopes_by_rule", "stopping_figure"]


def plot_slopes_by_rule(rates: Mapping[str, RateEstimate], ax: Axes | None = None) -> Axes:
    """Slopes with their intervals, one for each rule in the given order; the theorem's exponent dotted.

    The last rule, the certified fit, is drawn in a colour of its own, with its interval across the panel.
    """
    with style():
        ax = new_axes(ax)
        names = list(rates)
        places = [*range(len(names) - 1), len(names) - 0.5]  # the certified fit stands apart
        for place, name in zip(places, names, strict=True):
            rate, color = rates[name], COLOURS[2] if name == names[-1] else COLOURS[0]
            error = np.abs(np.array(rate.ci) - rate.slope)[:, None]
            ax.errorbar([place], [rate.slope], yerr=error, fmt="o", color=color, elinewidth=0.9)
        last = list(rates.values())[-1]
        ax.axhspan(*last.ci, color=COLOURS[2], alpha=0.10, lw=0)
        theory = next((rate.theory for rate in rates.values() if isinstance(rate.theory, float)), None)
        if theory is not None:
            ax.axhline(theory, color="0.25", lw=1.1, ls=":", zorder=1)
            ax.text(-0.45, theory, " theory", va="bottom", fontsize=6.5, color="0.25")
        ax.set_xticks(places, [_power(name) for name in names])
        ax.set(xlim=(-0.5, len(names)), ylabel="measured slope", xlabel="EM stops at a relative change of")
    return ax


def _power(rule: str) -> str:
    """``1e-06`` as a power of ten, other rules as they are."""
    try:
        exponent = round(float(np.log10(float(rule))))
    except ValueError:
        return rule
    return f"$10^{{{exponent}}}$"


def _plot_below(frame: pd.DataFrame, ax: Axes) -> None:
    sizes = sorted(set(frame["n"]))
    rules = list(dict.fromkeys(frame["rule"]))[:-1]
    for n, color in zip((sizes[0], sizes[-1]), (COLOURS[1], COLOURS[3]), strict=True):
        table = frame[frame["n"] == n].groupby("rule")["below"].agg(["mean", "sem"]).loc[rules]
        label = f"n = {n:,}".replace(",", "\N{THIN SPACE}")
        ax.errorbar(range(len(rules)), table["mean"], yerr=1.96 * table["sem"].fillna(0.0), fmt="o-", color=color, elinewidth=0.9,
                    label=label)  # fmt: skip
    ax.axhline(0.5, color="0.25", lw=1.1, ls=":", zorder=1)
    ax.text(len(rules) - 0.55, 0.5, "a parameter's worth", va="top", ha="right", fontsize=6.5, color="0.25")
    ax.set_xticks(range(len(rules)), [_power(name) for name in rules])
    ax.set(ylabel="nats below the certified fit", xlabel="EM stops at a relative change of")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    ax.legend(loc="upper right")


def stopping_figure(frame: pd.DataFrame, rates: Mapping[str, Mapping[str, RateEstimate]]) -> Figure:
    """A panel of slopes for each loss, and one of the distance to the maximum.

    Parameters
    ----------
    frame : DataFrame
        Of `moestat.simulate.stopping.stopping_study`.
    rates : mapping of loss to mapping of rule to RateEstimate
        Rules from the loosest tolerance to the certified fit.

    Returns
    -------
    Figure
    """
    with style():
        figure = new_figure(figsize=(WIDTH, 2.5))
        axes = figure.subplots(1, len(rates) + 1)
        for i, (loss, by_rule) in enumerate(rates.items()):
            plot_slopes_by_rule(by_rule, axes[i])
            axes[i].set_title(f"{letter(i)}  {label_of(loss)}")
        first = next(iter(rates))
        _plot_below(frame[frame["loss"] == first], axes[-1])
        axes[-1].set_title(f"{letter(len(rates))}  Log-likelihood left")
        for ax in axes:
            ax.tick_params(axis="x", labelsize=6.3)
    return figure
