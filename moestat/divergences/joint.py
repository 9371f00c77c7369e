"""The law of x in a model that has one: Gaussian gates with a joint likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from moestat.divergences.densities import density_of

Array = NDArray[np.float64]

# Components of x are integrated over this many standard deviations on both sides.
_REACH = 9.0


@dataclass(frozen=True, eq=False)
class FeatureLaw:
    """A Gaussian mixture as law of x; `law_of_x` makes it from a joint model.

    Attributes
    ----------
    weight : ndarray (K,)
    location : ndarray (K,d)
    covariance : ndarray (K,d,d)
    """

    weight: Array
    location: Array
    covariance: Array

    @property
    def n_features(self) -> int:
        """Number d of features."""
        return int(self.location.shape[1])

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` independent draws (n,d)."""
        labels = rng.choice(self.weight.size, size=n, p=self.weight / self.weight.sum())
        noise = rng.standard_normal((n, self.n_features))
        drawn: Array = self.location[labels] + np.einsum(
            "nij,nj->ni", np.linalg.cholesky(self.covariance)[labels], noise
        )
        return drawn

    def log_density(self, X: ArrayLike) -> Array:
        """Log-density of rows (n,d)."""
        factor = np.linalg.cholesky(self.covariance)
        gap = np.asarray(X, dtype=np.float64)[:, None] - self.location
        white = np.einsum("kij,nkj->nki", np.linalg.inv(factor), gap)
        level = np.log(self.weight) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        level -= 0.5 * self.n_features * np.log(2.0 * np.pi)
        return np.asarray(logsumexp(level - 0.5 * (white**2).sum(axis=2), axis=1))

    def density(self, x: ArrayLike) -> Array:
        """For d = 1, the density at points (n,)."""
        return np.exp(self.log_density(np.asarray(x, dtype=np.float64)[:, None]))

    def _std(self) -> Array:
        return np.sqrt(self.covariance[:, 0, 0])

    def interval(self) -> tuple[float, float]:
        """For d = 1, an interval that carries all but a negligible part of the mass."""
        low, high = (self.location[:, 0] + sign * _REACH * self._std() for sign in (-1.0, 1.0))
        return float(low.min()), float(high.max())

    def breaks(self) -> Array:
        """For d = 1, points between which the density is smooth."""
        return np.asarray((self.location[:, 0] + np.array([[-3.0], [0.0], [3.0]]) * self._std()).ravel())


def has_law_of_x(density: Any) -> bool:
    """Whether a density is one of (x, y)."""
    return bool(getattr(getattr(density, "gate", None), "joint", False))


def law_of_x(mixture: Any) -> FeatureLaw:
    """The law of x in a joint model, a mixture with `GaussianGate(likelihood="joint")` or a fitted estimator of one.

    Raises
    ------
    ValueError
        If the mixture is no joint model, or its gate does not see all columns of X.

    Examples
    --------
    >>> import moestat as ms
    >>> from moestat.gates import GaussianGate
    >>> m = ms.ConditionalMixture(gate=GaussianGate(), params={
    ...     "gate_weight": [0.6, 0.4], "gate_location": [[-0.5], [0.8]], "gate_covariance": [[[0.2]], [[0.1]]],
    ...     "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]})
    >>> law_of_x(m).density([0.0, 1.0]).round(4)
    array([0.3071, 0.4151])
    """
    model: Any = density_of(mixture)
    if not has_law_of_x(model):
        raise ValueError(
            f"x is missing: give a law x=, as moestat.distributions.Uniform. Only GaussianGate(likelihood='joint') has one; this is {model!r}."
        )
    params = model.params
    law = FeatureLaw(params["gate_weight"], params["gate_location"], params["gate_covariance"])
    if tuple(model.gate_map.columns) != tuple(range(model.n_features)):
        raise ValueError(
            f"the gate sees the columns {list(model.gate_map.columns)} of {model.n_features}: there is no law of the others. Give a law x=."
        )
    return law


@dataclass(frozen=True)
class Everywhere:
    """Lebesgue measure on the range of two laws of one feature, in the place of a law of x."""

    first: FeatureLaw
    second: FeatureLaw
    n_features: int = 1

    def interval(self) -> tuple[float, float]:
        """The range."""
        low, high = zip(self.first.interval(), self.second.interval(), strict=True)
        return min(low), max(high)

    def density(self, x: ArrayLike) -> Array:
        """Ones."""
        return np.ones(np.shape(x))

    def breaks(self) -> Array:
        """Those of both."""
        return np.concatenate([self.first.breaks(), self.second.breaks()])
