"""Fixed quadrature nodes of a truth in x and y: distances to nearby densities become sums of squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Nodes", "nodes_of"]

# Differences of root densities are smooth, and a distance is needed to a few digits: few nodes are enough.
_PER_COLUMN = {1: 24, 2: 10, 3: 6}
_REACH, _PANEL, _RULE = 8.0, 4.0, 8  # standard deviations beyond the means, per panel, and nodes on a panel
_RELEVANT = 1e-9  # nodes where sqrt(w p / 2) is smaller are left out
_GRADED = np.array([sign * 0.8 * 0.5**k for k in range(8) for sign in (-1, 1)] + [0.0])


@dataclass(frozen=True)
class Nodes:
    r"""Rows at which a truth is compared with models near it.

    With weights w and the truth's density p, the squared Hellinger distance to q is the sum of the squares of
    :math:`\sqrt{w p / 2}\,(\sqrt{q / p} - 1)`. Of a regression function f the residuals are :math:`\sqrt w (f_q - f_p)`, and the
    distance is that in L2.

    Attributes
    ----------
    X : ndarray (N, d)
    y : ndarray (N,) or (N, C)
    reference : ndarray (N,)
        Log-density of the truth, or its regression function.
    root : ndarray (N,)
        ``sqrt(w p / 2)``, or ``sqrt(w)``.
    noise : float or None
        Standard deviation of a regression truth.
    """

    X: Array
    y: Array
    reference: Array
    root: Array
    noise: float | None = None

    def residuals(self, model: Any) -> Array:
        """Residuals (N,) whose sum of squares is the squared distance to ``model``."""
        if self.noise is not None:
            return self.root * (np.asarray(model.mean(self.X)) - self.reference)
        return np.asarray(self.root * np.expm1(0.5 * (model.log_density(self.X, self.y) - self.reference)))

    def jacobian(self, model: Any) -> Array:
        """Derivatives (N, P) of `residuals` in the free vector of the model."""
        if self.noise is not None:  # the score of a normal response s^2 above its mean is the gradient of the mean
            slopes = model.scores(self.X, np.asarray(model.mean(self.X)) + self.noise**2)
            return np.asarray(self.root[:, None] * slopes)
        ratio = np.exp(0.5 * (model.log_density(self.X, self.y) - self.reference))
        return np.asarray((0.5 * self.root * ratio)[:, None] * model.scores(self.X, self.y))


def nodes_of(truth: Any, law: Any, trials: int = 1) -> Nodes:
    """Nodes of a truth with one continuous response, of classes (or of counts in ``trials`` draws), or of a regression function.

    Parameters
    ----------
    truth : ConditionalMixture or RegressionFunction
    law : law of x
        `moestat.distributions.Uniform` and alike; of a joint model its `law_of_x`.

    Raises
    ------
    ValueError
        If there is no rule for such responses, or x has more than three columns.
    """
    from ..divergences.families import family_of, support_of
    from ..divergences.joint import has_law_of_x

    X, weight = _joint_x(law) if has_law_of_x(truth) else _x_nodes(truth, law)
    noise = getattr(truth, "noise_std", None)
    if noise is not None:
        mean = np.asarray(truth.mean(X))
        return Nodes(X, mean, mean, np.sqrt(weight), float(noise))
    support = support_of(truth)
    if support.kind == "interval":
        X, y, weight = _panels(truth, X, weight)
    elif support.kind == "classes":
        from ..divergences.rules import outcomes_of

        outcomes = outcomes_of(family_of(truth), support.size[0], trials).T
        y = np.tile(outcomes if trials > 1 else outcomes[:, 0], (len(X), 1) if trials > 1 else len(X))
        X, weight = (np.repeat(array, len(outcomes), axis=0) for array in (X, weight))
    else:
        raise ValueError(f"there are no nodes for {support.label}; one continuous response or classes are needed")
    reference = np.asarray(truth.log_density(X, y))
    root = np.sqrt(weight / 2.0) * np.exp(0.5 * reference)
    keep = root > _RELEVANT
    return Nodes(X[keep], y[keep], reference[keep], root[keep])


def _gauss(n: int) -> tuple[Array, Array]:
    """Gauss-Legendre on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def _x_nodes(truth: Any, law: Any) -> tuple[Array, Array]:
    """Nodes of x and their probabilities; finer and finer towards the kinks of a gate, for which a split is one of kinks."""
    if law.n_features not in _PER_COLUMN:
        raise ValueError(f"x may have up to {max(_PER_COLUMN)} columns here, got {law.n_features}")
    kinks = np.ravel(truth.params.get("gate_location", []))
    if law.n_features == 1 and kinks.size:
        low, high = law.interval()
        X, width = _composite([low, high, *(kinks[:, None] + _GRADED).ravel()], low, high, _RULE // 2)
        return X, width * law.density(X[:, 0])
    nodes, weights = _gauss(_PER_COLUMN[law.n_features])
    grid = np.array(list(product(nodes, repeat=law.n_features)))
    weight = np.array([np.prod(w) for w in product(weights, repeat=law.n_features)])
    return np.asarray(law.quantiles(grid)), weight


def _composite(edges: Sequence[float], low: float, high: float, n: int) -> tuple[Array, Array]:
    """Gauss-Legendre with n nodes on each panel: points (N, 1) and weights."""
    ends = np.unique(np.clip(edges, low, high))
    nodes, weights = _gauss(n)
    width = np.diff(ends)[:, None]
    return (ends[:-1, None] + width * nodes).reshape(-1, 1), (width * weights).ravel()


def _joint_x(law: Any) -> tuple[Array, Array]:
    """Lebesgue weights on the range of x: the density of a joint model is that of (x, y)."""
    if law.n_features != 1:
        raise ValueError(f"a joint model may have one feature here, got {law.n_features}")
    low, high = law.interval()
    return _composite([low, *law.breaks(), high], low, high, _RULE // 2)


def _panels(truth: Any, X: Array, weight: Array) -> tuple[Array, Array, Array]:
    mean, std = np.asarray(truth.expert_mean(X)), np.asarray(truth.expert_std(X))
    low, high = (mean - _REACH * std).min(axis=1), (mean + _REACH * std).max(axis=1)
    width = high - low
    count = int(np.ceil(width.max() / (_PANEL * std.min())))
    nodes, weights = _gauss(_RULE)
    grid = ((np.arange(count)[:, None] + nodes) / count).ravel()
    y = low[:, None] + width[:, None] * grid
    total = weight[:, None] * width[:, None] * np.tile(weights / count, count)
    return np.repeat(X, grid.size, axis=0), y.ravel(), total.ravel()
