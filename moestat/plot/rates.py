"""Log-log figures of losses against n: error bars, fitted slope on its line, the theorem's slope dotted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .look import COLOURS, new_axes, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import NDArray

    from ..simulate.rates import RateEstimate

    Array = NDArray[np.float64]
    Colour = str | tuple[float, float, float, float]

__all__ = ["LABELS", "end_labels", "label_of", "plot_rate", "plot_rates", "rate_panels", "size_ticks", "value_ticks"]

LABELS = {
    "D1": "Voronoi loss $D_1$", "D2": "Voronoi loss $D_2$", "D2sharp": "Sharp Voronoi loss $D_2^\\sharp$",
    "merged": "Merged moments", "kl": "KL divergence", "hellinger": "Hellinger distance", "tv": "Total variation",
    "l2": "L2 distance of the means", "gap:gate_coef": "Gap of $\\beta_1$", "gap:expert_coef": "Gap of $a$",
    "gap:expert_intercept": "Gap of $b$", "gap:variance": "Gap of $\\sigma^2$",
}  # fmt: skip


def label_of(loss: str) -> str:
    """What a panel calls a loss: by its label, or by what stands before a colon, such as the name of a fit behind it."""
    if loss in LABELS:
        return LABELS[loss]
    what, _, rest = loss.partition(":")
    if what == "spread" and f"gap:{rest}" in LABELS:
        return LABELS[f"gap:{rest}"].replace("Gap", "Spread")
    return f"{LABELS[what]}, {rest}" if what in LABELS and rest else loss


def _minus(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _exponent(value: float) -> str:
    from fractions import Fraction

    share = Fraction(value).limit_denominator(16)
    text = str(share) if abs(share - value) < 1e-9 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def value_ticks(ax: Axes, low: float, high: float) -> None:
    """Ticks of y at 1-2-5 steps while few decades are shown, at decades otherwise."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(high / low)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1.7 else (1.0,), numticks=20))
    if decades < 1.7:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def plot_rate(rate: RateEstimate, ax: Axes | None = None, *, color: str = COLOURS[0], theory: bool = True) -> Axes:
    """One loss against n, both on the log scale.

    Means with 1.96 Monte-Carlo standard errors; the weighted regression line with its slope and interval written on
    it; the theorem's slope dotted; sizes that were dropped from the regression as open circles; failed and uncertified cells below.

    Parameters
    ----------
    rate : RateEstimate
    ax : Axes, optional
        Drawn into; a new figure by default.
    theory : bool
        Draw the theorem's line.

    Returns
    -------
    Axes
    """
    with style():
        ax = new_axes(ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
        points = [point for point in rate.points if point.mean > 0]
        n = np.array([point.n for point in points], dtype=float)
        centre = np.array([getattr(point, rate.statistic) for point in points])
        error = 1.96 * np.nan_to_num([getattr(point, f"{rate.statistic}_se") for point in points])
        used = np.isin(n, rate.n_used) if rate.n_used else np.ones(n.size, dtype=bool)
        lower = np.minimum(error, 0.95 * centre)  # a bar that would reach zero has no place on a log scale
        for mask, face in ((used, color), (~used, "white")):
            if mask.any():
                ax.errorbar(n[mask], centre[mask], yerr=np.stack([lower, error])[:, mask], fmt="o", color=color, mfc=face,
                            elinewidth=0.9, zorder=3)  # fmt: skip
        ax.set_xlabel("n")
        ax.set_title(label_of(rate.loss))
        if n.size:
            _frame(ax, n, centre, lower, error)
        elif rate.points:
            size_ticks(ax, np.array([point.n for point in rate.points], dtype=float))
            ax.set_yticks([])
            ax.text(0.5, 0.5, "zero at every n", transform=ax.transAxes, ha="center", color="0.35")
        if theory and rate.theory is not None and n.size:
            _theory_line(ax, rate, n, centre)
        if math.isfinite(rate.slope):
            _fitted_line(ax, rate, color)
        lost = sum(point.uncertified for point in rate.points)
        if lost:
            ax.text(0.02, 0.02, f"{lost} of {rate.n_cells} cells uncertified, {rate.failures} of them failed",
                    transform=ax.transAxes, fontsize=6.5, color="0.35")  # fmt: skip
    return ax


def _frame(ax: Axes, n: Array, centre: Array, lower: Array, error: Array) -> None:
    low, high = float((centre - lower).min()), float((centre + error).max())
    ax.set_autoscale_on(False)  # it cannot make limits of a single size
    size_ticks(ax, n)
    ax.set_ylim(low / 1.9, high * 1.9)
    value_ticks(ax, low / 1.9, high * 1.9)


def end_labels(
    ax: Axes, ends: Sequence[tuple[float, str, Colour]], low: float, high: float, at: float = 1.01
) -> list[Text]:
    """Names at the right end of curves (at ``at`` of the axis), moved apart where the curves meet."""
    gap = min(0.075, 1 / max(len(ends), 1))
    ordered = sorted(ends, key=lambda end: end[0])
    heights = [math.log(value / low) / math.log(high / low) for value, _, _ in ordered]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    top = 1.0
    for i in reversed(range(len(heights))):  # those that were pushed over the top come down again
        heights[i] = min(heights[i], top)
        top = heights[i] - gap
    return [
        ax.text(at, height, text, transform=ax.transAxes, va="center", color=color, fontsize=7)
        for height, (_, text, color) in zip(heights, ordered, strict=True)
    ]


def size_ticks(ax: Axes, values: Array, room: float = 1.0) -> None:
    """Ticks of a logarithmic x axis at the values that were run, as many as fit into ``room``, a share of the axis."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = np.unique(values).astype(float)
    ax.set_xlim(values[0] / 1.35, values[-1] * 1.35)
    span = math.log10(values[-1] / values[0]) / room if values.size > 1 else 1.0
    keep = [values[0]]
    for value in values[1:]:
        if math.log10(value / keep[-1]) >= span / 5.5:
            keep.append(value)
    ax.xaxis.set_major_locator(FixedLocator(keep))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}".replace(",", "\N{THIN SPACE}")))


def _grid(rate: RateEstimate, low: float, high: float) -> Array:
    """Sizes to draw a line at: its ends, or more where it is a curve."""
    return np.geomspace(low, high, 60 if rate.theory == "log" else 2)


def _theory_line(ax: Axes, rate: RateEstimate, n: Array, centre: Array) -> None:
    assert rate.theory is not None
    if rate.predicted_constant is not None:
        level, what = rate.predicted_constant, "predicted"
    else:
        anchor = rate.n_used[-1] if rate.n_used else int(n[-1])
        where = int(np.flatnonzero(n == anchor)[0])
        level, what = float(centre[where] / rate.law(anchor)), "theory"
    sign = "\N{LESS-THAN OR EQUAL TO}" if rate.bound == "at-most" else ""
    shape = "1 / log n" if rate.theory == "log" else f"slope {sign} {_exponent(rate.theory)}".replace("  ", " ")
    x = _grid(rate, n.min() / 1.2, n.max() * 1.2)
    ax.plot(x, level * rate.law(x), ":", color="0.25", lw=1.1, zorder=2, label=f"{what}: {shape}")
    ax.legend(loc="upper right", handlelength=1.6)


def _fitted_line(ax: Axes, rate: RateEstimate, color: str) -> None:
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import ScaledTranslation

    x = _grid(rate, rate.n_used[0] / 1.1, rate.n_used[-1] * 1.1)
    ax.plot(x, rate.line(x), "-", color=color, zorder=2.5)
    # the text lies along the line, just below it; matplotlib turns an angle of data space into one of the page
    middle = math.exp(0.58 * math.log(x[0]) + 0.42 * math.log(x[-1]))
    height, above = float(rate.line(middle)), float(rate.line(1.001 * middle))
    low, high = rate.ci
    figure = ax.get_figure(root=True)
    assert figure is not None
    points = figure.dpi_scale_trans
    what = "power of log n" if rate.theory == "log" else "slope"
    ax.text(
        middle, height, f"{what} {_minus(rate.slope)}" + ("" if rate.vague else f"  [{_minus(low)}, {_minus(high)}]"),
        transform=ax.transData + ScaledTranslation(-3 / 72, -5 / 72, points),
        ha="center", va="top", rotation_mode="anchor", rotation=math.degrees(math.atan((above - height) / (0.001 * middle))),
        transform_rotates_text=True, color="0.1", fontsize=7, zorder=3.5,
        path_effects=[withStroke(linewidth=2.4, foreground="white")],
    )  # fmt: skip


def plot_rates(
    rates: Mapping[str, RateEstimate] | Sequence[RateEstimate],
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Axes:
    """Several losses in one panel, each named, with its fitted slope, at the right end of its line.

    Parameters
    ----------
    rates : mapping or sequence of RateEstimate
    ax : Axes, optional
    names : sequence of str, optional
        In place of the names of the losses.

    Returns
    -------
    Axes
    """
    chosen = list(rates.values()) if isinstance(rates, Mapping) else list(rates)
    with style():
        ax = new_axes(ax, figsize=(4.6, 3.2))
        ends: list[tuple[float, str, Colour]] = []
        sizes, reach = [], []
        for i, rate in enumerate(chosen):
            color = COLOURS[i % len(COLOURS)]
            points = [p for p in rate.points if p.mean > 0]
            if not points:
                continue
            n = np.array([p.n for p in points], dtype=float)
            mean = np.array([getattr(p, rate.statistic) for p in points])
            se = 1.96 * np.nan_to_num([getattr(p, f"{rate.statistic}_se") for p in points])
            lower = np.minimum(se, 0.95 * mean)
            ax.errorbar(n, mean, yerr=[lower, se], fmt="o", color=color, elinewidth=0.9)
            if math.isfinite(rate.slope):
                x = _grid(rate, rate.n_used[0], rate.n_used[-1])
                ax.plot(x, rate.line(x), color=color)
            slope = f": {_minus(rate.slope, 2)}" if math.isfinite(rate.slope) else ""
            name = names[i] if names is not None else label_of(rate.loss)
            ends.append((float(mean[-1]), name + slope, color))
            sizes.append(n)
            reach += [float((mean - lower).min()), float((mean + se).max())]
        ax.set(xscale="log", yscale="log", xlabel="n", ylabel="mean over replicates")
        if ends:
            _inner_labels(ax, ends, np.concatenate(sizes), min(reach) / 1.5, max(reach) * 1.5)
    return ax


def _inner_labels(ax: Axes, ends: list[tuple[float, str, Colour]], n: Array, low: float, high: float) -> None:
    """Names beside the curves, inside the axis: no layout of the figure can cut them there."""
    ax.set_ylim(low, high)
    value_ticks(ax, low, high)
    texts = end_labels(ax, ends, low, high)
    width = max(text.get_window_extent().width for text in texts) / ax.get_window_extent().width
    room = max(0.95 - width, 0.3)
    size_ticks(ax, n, room)
    left, right = ax.get_xlim()
    ax.set_xlim(left, left * (right / left) ** (1 / room))
    for text in texts:
        text.set_x(room + 0.01)


def rate_panels(rates: Mapping[str, RateEstimate], title: str = "") -> Figure:
    """A figure with one `plot_rate` panel a loss."""
    columns = min(3, len(rates))
    rows = -(-len(rates) // columns)
    with style():
        figure = new_figure(figsize=(3.1 * columns, 2.55 * rows + 0.3))
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[len(rates) :]:
            ax.set_visible(False)
        for i, (ax, rate) in enumerate(zip(axes.flat, rates.values(), strict=False)):
            plot_rate(rate, ax, color=COLOURS[i % len(COLOURS)])
        if title:
            figure.suptitle(title, fontsize=9.5, x=0.01, ha="left")
    return figure
