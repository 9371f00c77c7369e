"""Figures of experiments over the number of experts: KL against m, at m(n), and at equal budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .look import COLOURS, new_axes, new_figure, style
from .rates import LABELS, end_labels, plot_rate, size_ticks, value_ticks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..simulate.rates import RateEstimate
    from ..simulate.scenario import Loss, Scenario
    from .rates import Colour

__all__ = ["approximation_panels", "plot_budget", "plot_u_curves"]


def _summary(frame: pd.DataFrame, loss: str, fit: str) -> pd.DataFrame:
    chosen = frame[(frame["loss"] == loss) & (frame["fit"] == fit)]
    if "mean" in chosen:  # a summary already
        return chosen
    chosen = chosen.dropna(subset=["value"])
    table = chosen.groupby(["n", "n_experts"])["value"].agg(["mean", "sem"]).reset_index()
    return table.fillna({"sem": 0.0})


def _shades(count: int) -> list[Colour]:
    import matplotlib as mpl

    return [tuple(mpl.colormaps["viridis"](0.85 * i / max(count - 1, 1))) for i in range(count)]  # type: ignore[misc]


def plot_u_curves(
    frame: pd.DataFrame, fit: str, ax: Axes | None = None, *, loss: str = "kl", rule: dict[int, int] | None = None,
    bias_slope: float | None = None, limits: tuple[float, float] | None = None,
) -> Axes:  # fmt: skip
    """Mean loss against the number of experts, one curve for each n; filled circles at the smallest mean.

    Parameters
    ----------
    frame : DataFrame
        Records, or means of them (columns fit, loss, n, n_experts, mean, sem).
    fit : str
        The family of fits.
    rule : dict of int to int, optional
        ``m(n)`` by n, drawn as open squares.
    bias_slope : float, optional
        Exponent of m in the bias, drawn as a dotted line through the smallest m.
    limits : (float, float), optional
        Of the loss's axis, for panels on a common scale.

    Returns
    -------
    Axes
    """
    table = _summary(frame, loss, fit)
    sizes = sorted(set(table["n"]))
    with style():
        ax = new_axes(ax)
        ends: list[tuple[float, str, Colour]] = []
        for n, color in zip(sizes, _shades(len(sizes)), strict=True):
            here = table[table["n"] == n].sort_values("n_experts")
            m, mean = here["n_experts"].to_numpy(), here["mean"].to_numpy()
            error = 1.96 * here["sem"].to_numpy()
            ax.errorbar(m, mean, yerr=[np.minimum(error, 0.95 * mean), error], color=color, lw=1.1, elinewidth=0.8)
            best = int(mean.argmin())
            ax.plot(m[best], mean[best], "o", color=color, ms=5)
            if rule is not None and rule.get(n) in m:
                at = int(np.flatnonzero(m == rule[n])[0])
                ax.plot(m[at], mean[at], "s", mfc="none", mec=color, ms=7.5)
            ends.append((float(mean[-1]), f"n = {n:,}".replace(",", "\N{THIN SPACE}"), color))
        ax.set(xscale="log", yscale="log", xlabel="number of experts m", ylabel="KL divergence")
        low, high = limits or (float((table["mean"]).min()) / 1.6, float((table["mean"]).max()) * 1.6)
        ax.set_ylim(low, high)
        value_ticks(ax, low, high)
        size_ticks(ax, table["n_experts"].to_numpy())
        if bias_slope is not None:
            m = np.array(sorted(set(table["n_experts"])), dtype=float)
            start = float(table[table["n_experts"] == m[0]]["mean"].mean())
            power = f"{bias_slope:g}".replace("-", "\N{MINUS SIGN}")
            ax.plot(m, start * (m / m[0]) ** bias_slope, ":", color="0.25", lw=1.1, label=f"bias $m^{{{power}}}$")
            ax.legend(loc="upper right", handlelength=1.6)
        end_labels(ax, ends, low, high)
    return ax


def plot_budget(
    frame: pd.DataFrame, degrees: dict[str, int], budget: int, ax: Axes | None = None, *, loss: str = "kl"
) -> Axes:
    """Mean loss against n at an equal budget ``m (k+1)`` of expert coefficients, one curve for each degree k.

    Parameters
    ----------
    degrees : dict of fit id to degree
    budget : int

    Returns
    -------
    Axes
    """
    with style():
        ax = new_axes(ax)
        ends: list[tuple[float, str, Colour]] = []
        low, high = np.inf, 0.0
        for i, (fit, degree) in enumerate(degrees.items()):
            table = _summary(frame, loss, fit)
            here = table[table["n_experts"] * (degree + 1) == budget].sort_values("n")
            if here.empty:
                continue
            mean, error = here["mean"].to_numpy(), 1.96 * here["sem"].to_numpy()
            color = COLOURS[i % len(COLOURS)]
            lower = np.minimum(error, 0.95 * mean)
            ax.errorbar(here["n"], mean, yerr=[lower, error], fmt="o-", color=color, elinewidth=0.8)
            ends.append((float(mean[-1]), f"k = {degree}, m = {budget // (degree + 1)}", color))
            low, high = min(low, float((mean - lower).min())), max(high, float((mean + error).max()))
        ax.set(xscale="log", yscale="log", xlabel="n", ylabel="KL divergence", title=f"Equal budget m (k+1) = {budget}")
        size_ticks(ax, frame["n"].to_numpy())
        if ends:
            ax.set_ylim(low / 1.2, high * 1.2)
            value_ticks(ax, low / 1.2, high * 1.2)
            end_labels(ax, ends, low / 1.2, high * 1.2)
    return ax


def _title(loss: Loss, degree: int) -> str:
    where = {"all": "", "rule": " at m(n)", "best": " at the best m"}[loss.at]
    return f"{LABELS[loss.name]}{where}, k = {degree}"


def approximation_panels(frame: pd.DataFrame, scenario: Scenario, rates: dict[str, RateEstimate]) -> Figure:
    """U-curves of each family, the slopes of the declared losses, and the equal-budget comparisons."""
    families = [fit for fit in scenario.fit if fit.id in set(frame["fit"])]
    degrees = {fit.id: fit.degree for fit in families}
    sizes = frame["fit"].map(degrees).add(1) * frame["n_experts"]
    budgets = [budget for budget in scenario.budgets if (sizes == budget).any()]
    declared = {loss.label: loss for loss in scenario.loss}
    panels = len(families) + len(rates) + len(budgets)
    rows = -(-panels // 3)
    with style():
        figure = new_figure(figsize=(9.6, 2.6 * rows + 0.3))
        axes = list(figure.subplots(rows, 3, squeeze=False).flat)
        for ax in axes[panels:]:
            ax.set_visible(False)
        for fit in families:
            rule = None if fit.rule is None else {int(n): fit.rule.n_experts(int(n)) for n in set(frame["n"])}
            smooth = getattr(scenario.truth, "alpha", None)
            slope = None if smooth is None else -2.0 * min(smooth, fit.degree + 1)
            ax = plot_u_curves(frame, fit.id, axes.pop(0), rule=rule, bias_slope=slope)
            ax.set_title(f"Degree k = {fit.degree}" + (" (squares: m(n))" if rule else ""))
        for i, rate in enumerate(rates.values()):
            ax = plot_rate(rate, axes.pop(0), color=COLOURS[i % len(COLOURS)])
            ax.set_title(_title(declared[rate.loss], degrees[rate.fit]) if rate.loss in declared else rate.loss)
        for budget in budgets:
            plot_budget(frame, degrees, budget, axes.pop(0))
        figure.suptitle(scenario.title, fontsize=9.5, x=0.01, ha="left")
    return figure
