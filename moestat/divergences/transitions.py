"""Where conditional densities of one feature change quickly: points at which quadrature over x starts its panels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CELLS = 64
_ROUNDS = 45
# A jump is enclosed in a cell of this share of the interval.
_NARROWEST = 1e-7
# Log-odds of a gate are followed between ±6: beyond them its weight is below 1/400 or above 399/400.
_ODDS = 6.0
_UNSEEN = np.log(2.5e-3)
_NOTHING = -1e12
# A third, so that a step in the middle of a cell does not look like a straight line.
_CUT = 0.38


def gate_transitions(*densities: Any) -> Callable[[float, float], Array]:
    """Points where gates switch or experts bend, as a function of the interval `(low, high)` of the one feature.

    Any gate and any expert: a grid is refined by bisection where the log-odds of a weight move by more than 3 in a cell, where an expert's mean
    bends by more than two of its standard deviations, and where the weights beside a cell say that an expert may be active inside it
    only. A smooth transition of weights gives its two ends and its middle, a jump (a hard mask) two points that enclose it.
    """

    def points(low: float, high: float) -> Array:
        x = np.linspace(low, high, _CELLS + 1)
        seen = _features(densities, x)
        for _ in range(_ROUNDS):
            change, hidden = _changes(x, *seen)
            open_cells = ((change > 0.5) | hidden) & (np.diff(x) > _NARROWEST * (high - low))
            if not open_cells.any():
                break
            left, right = x[:-1][open_cells], x[1:][open_cells]
            new = left + _CUT * (right - left)
            order = np.argsort(np.append(x, new), kind="stable")
            x = np.append(x, new)[order]
            seen = tuple(
                np.concatenate([old, more])[order] for old, more in zip(seen, _features(densities, new), strict=True)
            )
        return _equal_shares(x, _changes(x, *seen)[0], low, high)

    return points


def _features(densities: tuple[Any, ...], x: Array) -> tuple[Array, ...]:
    """Log-weights and means in standard deviations of all experts, (q,M) each."""
    rows = x[:, None]
    logs, means = [], []
    for density in densities:
        logs.append(np.maximum(density.log_gate(rows), _NOTHING))
        mean, std = (np.asarray(f(rows), dtype=np.float64) for f in (density.expert_mean, density.expert_std))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scaled = (mean / np.broadcast_to(std, mean.shape)).reshape(x.size, -1)
        means.append(np.where(np.isfinite(scaled), scaled, 0.0))
    return np.concatenate(logs, axis=1), np.concatenate(means, axis=1)


def _changes(x: Array, log_gate: Array, mean: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Of every cell: how much happens in it, 1 for half a transition; and whether an expert may hide in it."""
    width = np.diff(x)[:, None]
    with np.errstate(divide="ignore"):
        odds = np.clip(log_gate - np.log(-np.expm1(np.minimum(log_gate, -1e-300))), -_ODDS, _ODDS)
    moved = np.abs(np.diff(odds, axis=0)).max(axis=1, initial=0.0) / _ODDS
    slope = np.diff(mean, axis=0) / width
    turn = np.abs(np.diff(slope, axis=0))
    turn = np.concatenate([turn[:1], np.maximum(turn[1:], turn[:-1]), turn[-1:]])
    bent = np.minimum(0.25 * (turn * width).max(axis=1, initial=0.0), 1.0)
    # Neighbouring cells continued as straight lines meet above the weights at both ends of a cell.
    slope = np.diff(log_gate, axis=0) / width
    rise, fall = slope[:-2], slope[2:]
    gap, step = width[1:-1], np.diff(log_gate, axis=0)[1:-1]
    tent = (rise > 0.0) & (fall < 0.0) & (step < rise * gap) & (-step < -fall * gap)
    place = np.where(tent, step - fall * gap, 0.0) / np.where(tent, rise - fall, 1.0)
    top = log_gate[1:-2] + rise * place
    hidden = tent & (top > _UNSEEN) & (np.maximum(log_gate[1:-2], log_gate[2:-1]) < _UNSEEN)
    return np.maximum(moved, bent), np.concatenate([[False], hidden.any(axis=1), [False]])


def _equal_shares(x: Array, change: Array, low: float, high: float) -> Array:
    """Points that cut the total change into equal shares of at most 1, at both ends of stretches where nothing happens."""
    level = np.concatenate([[0.0], np.cumsum(change)])
    marks = np.arange(np.floor(level[-1] + 0.02) + 1.0)
    first = np.searchsorted(level, marks - 0.02)
    last = np.searchsorted(level, marks + 0.02, side="right") - 1
    found = np.unique(x[np.clip(np.concatenate([first, last]), 0, x.size - 1)])
    return np.asarray(found[(found > low) & (found < high)])
