"""A fitted mixture of experts with one feature: data by responsibility, experts faded by their gate, gates below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .look import COLOURS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["plot_fit"]


def plot_fit(
    estimator: Any, X: ArrayLike, y: ArrayLike, ax: Axes | None = None, *, gate_ax: Axes | None = None, grid: int = 400
) -> Axes:
    """Draw a fitted estimator over its data (one feature).

    Points take the colours of the experts in the mixture of their responsibilities; expert lines fade where their gate
    is small; the mean is dashed. The gates go into ``gate_ax``, into a panel below if a new figure is made, and are left
    out if only ``ax`` is given.

    Parameters
    ----------
    estimator : fitted estimator
        With ``model_`` (a `ConditionalMixture`), or a `ConditionalMixture` itself.
    X : array_like (n, 1)
    y : array_like (n,)

    Returns
    -------
    Axes
        Of the data panel.

    Raises
    ------
    ValueError
        If there is more than one feature or response.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    model = getattr(estimator, "model_", estimator)
    names = list(getattr(estimator, "feature_names_in_", ["x"]))
    points, response = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    points = points.reshape(len(points), -1)
    if points.shape[1] != 1 or response.ndim != 1:
        raise ValueError(f"plot_fit draws one feature and one response, got X {points.shape} and y {response.shape}")
    edge = 0.015 * float(np.ptp(points))
    x = np.linspace(points.min() - edge, points.max() + edge, grid)
    gate, means = np.asarray(model.gate_proba(x[:, None])), np.asarray(model.expert_mean(x[:, None]))
    colours = np.array([to_rgb(COLOURS[k % len(COLOURS)]) for k in range(gate.shape[1])])
    with style():
        if ax is None:
            figure = new_figure(figsize=(4.4, 3.9))
            ax, gate_ax = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        blend = np.asarray(model.responsibilities(points, response)) @ colours
        ax.scatter(points[:, 0], response, c=np.clip(blend, 0, 1), s=11, alpha=0.75, linewidths=0, zorder=2)
        low, high = response.min(), response.max()
        margin = 0.08 * (high - low)
        segments_x = np.stack([x[:-1], x[1:]], axis=1)
        for k, color in enumerate(colours):
            segments = np.stack([segments_x, np.stack([means[:-1, k], means[1:, k]], axis=1)], axis=2)
            alpha = np.clip(0.12 + 0.88 * (gate[:-1, k] + gate[1:, k]) / 2, 0, 1)
            rgba = np.column_stack([np.tile(color, (grid - 1, 1)), alpha])
            ax.add_collection(LineCollection(list(segments), colors=rgba, linewidths=1.8, zorder=3), autolim=False)
        ax.plot(x, np.asarray(model.mean(x[:, None])), "--", color="0.2", lw=1.1, zorder=4, label="mean")
        ax.set_ylim(low - margin, high + margin)
        ax.set_ylabel("y")
        ax.legend(loc="best")
        if gate_ax is not None:
            gate_ax.stackplot(x, gate.T, colors=[(*c, 0.75) for c in colours], linewidth=0)
            gate_ax.set(ylim=(0, 1), ylabel="gate", xlabel=names[0], xlim=(x[0], x[-1]))
            for k in range(gate.shape[1]):
                share = gate[:, k] ** 2
                middle = int(np.abs(x - (share @ x) / share.sum()).argmin())
                if gate[middle, k] > 0.2:
                    centre = float(gate[middle, :k].sum() + gate[middle, k] / 2)
                    gate_ax.text(x[middle], centre, str(k + 1), ha="center", va="center", fontsize=7.5)
        else:
            ax.set_xlabel(names[0])
    return ax
