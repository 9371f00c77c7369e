"""Distances beyond the smallest one, where a larger model does not hold the truth: how well its best density is determined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .nodes import Nodes
    from .splits import Split

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["beyond_nearest"]

_UNIT = 1e-2  # residuals are of this order
_HELD = 1e-6  # a distance below it is that of a model which holds the truth: steps in a flat valley are slow
_FIRST, _STEPS = 40, 400  # steps from every start, and from the best of their ends


def beyond_nearest(
    model: Split, nodes: Nodes, target: int, sizes: Array, n_starts: int, rng: np.random.Generator, box: float
) -> tuple[float, Array]:
    r"""The smallest distance h of any density in a box, and how far beyond it a density is whose parameter is off by each size.

    Parameters
    ----------
    model : Split
        Its equal copies are the middle of the box.
    target : int
        The row of the parameter in ``model.names``; the copy is taken for which the distance is smallest.
    sizes : ndarray
        Descending, at most ``box``.
    box : float
        Half-width of the box in every parameter.

    Returns
    -------
    tuple
        h, and :math:`\sqrt{\min h_\varepsilon^2 - h^2}` for each size.

    Raises
    ------
    ValueError
        If a size is larger than the box.
    """
    if sizes[0] > box:
        raise ValueError(f"sizes must be at most the box's half-width, box={box}, got {sizes[0]}")
    middle = model.vector(np.zeros(model.n_params), target, 0.0)
    low, high = middle - box, middle + box
    free = np.zeros(middle.size, dtype=bool)
    free[np.concatenate([model.others, model.rows.ravel(), model.weights])] = True
    starts = [start for _ in range(8 * n_starts) for start in _starts(model, middle, box, rng)]
    ends = sorted((_nearest(model, nodes, start, low, high, free, _FIRST) for start in starts), key=lambda end: end[0])
    floor, best = min((_nearest(model, nodes, end, low, high, free) for _, end in ends[:4]), key=lambda end: end[0])
    beyond = np.full(sizes.size, np.inf)
    for place in model.rows[target]:
        others = np.setdiff1d(model.rows[target], place)
        sign = (
            1.0 if best[place] >= best[others].mean() else -1.0
        )  # away from the others: exchanging copies changes nothing
        if not low[place] <= best[place] + sign * sizes[0] <= high[place]:
            sign = -sign
        rest = free.copy()
        rest[place] = False
        at = best
        for i in reversed(range(sizes.size)):
            at = at.copy()
            at[place] = best[place] + sign * sizes[i]
            square, at = _nearest(model, nodes, at, low, high, rest)
            beyond[i] = min(beyond[i], square - floor)
    if floor < _HELD**2:
        return 0.0, np.sqrt(np.where(beyond < _HELD**2, 0.0, beyond))
    return math.sqrt(floor), np.sqrt(np.maximum(beyond, 0.0))


def _starts(model: Split, middle: Array, box: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Anywhere in the box; and with one copy that is the atom, while the others hardly weigh and stand in corners of the box."""
    corner, copies = middle.copy(), model.rows[:, :-1].ravel()
    corner[copies] += 0.9 * box * rng.choice([-1.0, 1.0], copies.size)
    corner[model.weights[:-1]] -= 0.9 * box
    corner[model.weights[-1]] = model.theta[model.weights[-1]]
    return middle + box * rng.uniform(-0.9, 0.9, middle.size), corner


def _nearest(
    model: Split, nodes: Nodes, start: Array, low: Array, high: Array, free: Mask, steps: int = _STEPS
) -> tuple[float, Array]:
    """The squared distance of the nearest density whose parameters ``free`` are inside the bounds, and its free vector."""
    from scipy.optimize import least_squares

    theta = start.copy()

    def at(values: Array) -> object:
        theta[free] = values
        return model.copies.model.with_free_vector(theta)

    inside = 1e-9 * (high - low)[free]
    end = least_squares(
        lambda values: nodes.residuals(at(values)) / _UNIT,
        np.clip(start[free], low[free] + inside, high[free] - inside),
        jac=lambda values: nodes.jacobian(at(values))[:, free] / _UNIT,
        bounds=(low[free], high[free]), ftol=1e-14, xtol=1e-12, gtol=1e-14, max_nfev=steps,
    )  # fmt: skip
    theta[free] = end.x
    return 2.0 * float(end.cost) * _UNIT**2, theta
