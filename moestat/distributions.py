"""Laws of the features x: sampling, and what expectations over x need of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

# A normal law is integrated over this many standard deviations on both sides: beyond them lies 2e-19 of its mass.
_NORMAL_RANGE = 9.0


class Law(Protocol):
    """A law of x."""

    @property
    def n_features(self) -> int:
        """Number d of features."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` independent draws (n,d)."""


class ContinuousLaw(Law, Protocol):
    """A law with a density, for which expectations are integrals."""

    def quantiles(self, u: ArrayLike) -> Array:
        """The map of the unit cube onto the features that gives them this law: points (n,d) of points (n,d)."""

    def interval(self) -> tuple[float, float]:
        """For d = 1, an interval that carries all but a negligible part of the mass."""

    def density(self, x: ArrayLike) -> Array:
        """For d = 1, the density at points (n,)."""


@dataclass(frozen=True, eq=False)
class Uniform:
    """Uniform law on the box ``[low, high]``.

    Parameters
    ----------
    low, high : array_like (d,)

    Raises
    ------
    ValueError
        If the bounds have different lengths, are not finite, or ``low >= high`` somewhere.

    Examples
    --------
    >>> Uniform([0.0], [1.0]).n_features
    1
    """

    low: Array
    high: Array

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        lower, upper = np.array(low, dtype=np.float64, ndmin=1), np.array(high, dtype=np.float64, ndmin=1)
        if lower.ndim != 1 or lower.shape != upper.shape:
            raise ValueError(f"low and high must be vectors (d,), got shapes {lower.shape} and {upper.shape}.")
        if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper)) and np.all(lower < upper)):
            raise ValueError(f"low must be below high and both finite, got {lower.tolist()} and {upper.tolist()}.")
        object.__setattr__(self, "low", lower)
        object.__setattr__(self, "high", upper)

    @property
    def n_features(self) -> int:
        """Number d of features."""
        return int(self.low.size)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` independent draws (n,d)."""
        return self.quantiles(rng.random((n, self.n_features)))

    def quantiles(self, u: ArrayLike) -> Array:
        """See `ContinuousLaw.quantiles`."""
        return self.low + (self.high - self.low) * np.asarray(u, dtype=np.float64)

    def interval(self) -> tuple[float, float]:
        """See `ContinuousLaw.interval`."""
        return float(self.low[0]), float(self.high[0])

    def density(self, x: ArrayLike) -> Array:
        """See `ContinuousLaw.density`."""
        inside = (np.asarray(x) >= self.low[0]) & (np.asarray(x) <= self.high[0])
        return np.where(inside, 1.0 / (self.high[0] - self.low[0]), 0.0)


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal law.

    Parameters
    ----------
    mean : array_like (d,)
    cov : array_like (d,d), (d,) or scalar
        Covariance matrix, or the variances of independent features.

    Raises
    ------
    ValueError
        If shapes do not match or the covariance is not positive definite.
    """

    mean: Array
    cov: Array
    _root: Array

    def __init__(self, mean: ArrayLike, cov: ArrayLike = 1.0) -> None:
        centre = np.array(mean, dtype=np.float64, ndmin=1)
        matrix = np.asarray(cov, dtype=np.float64)
        if matrix.ndim < 2:
            matrix = np.diag(np.broadcast_to(matrix, centre.shape))
        if centre.ndim != 1 or matrix.shape != (centre.size, centre.size):
            raise ValueError(f"mean must be (d,) and cov (d,d), got shapes {centre.shape} and {matrix.shape}.")
        try:
            root = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            raise ValueError(f"cov must be positive definite, got {matrix.tolist()}.") from None
        object.__setattr__(self, "mean", centre)
        object.__setattr__(self, "cov", matrix)
        object.__setattr__(self, "_root", root)

    @property
    def n_features(self) -> int:
        """Number d of features."""
        return int(self.mean.size)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` independent draws (n,d)."""
        drawn: Array = self.mean + rng.standard_normal((n, self.n_features)) @ self._root.T
        return drawn

    def quantiles(self, u: ArrayLike) -> Array:
        """See `ContinuousLaw.quantiles`."""
        inner = np.clip(np.asarray(u, dtype=np.float64), 1e-300, 1.0 - 1e-16)
        points: Array = self.mean + ndtri(inner) @ self._root.T
        return points

    def interval(self) -> tuple[float, float]:
        """See `ContinuousLaw.interval`."""
        reach = _NORMAL_RANGE * float(self._root[0, 0])
        return float(self.mean[0]) - reach, float(self.mean[0]) + reach

    def density(self, x: ArrayLike) -> Array:
        """See `ContinuousLaw.density`."""
        scale = float(self._root[0, 0])
        z = (np.asarray(x, dtype=np.float64) - self.mean[0]) / scale
        density: Array = np.exp(-0.5 * z**2) / (scale * np.sqrt(2.0 * np.pi))
        return density


@dataclass(frozen=True, eq=False)
class Empirical:
    """Law of a row drawn at random from a sample.

    Parameters
    ----------
    X : array_like (n,d) or (n,)

    Raises
    ------
    ValueError
        If ``X`` is empty or not finite.
    """

    X: Array

    def __init__(self, X: ArrayLike) -> None:
        rows = np.array(X, dtype=np.float64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.size == 0 or not np.all(np.isfinite(rows)):
            raise ValueError(f"X must be a finite, non-empty array (n,d), got shape {np.shape(X)}.")
        object.__setattr__(self, "X", rows)

    @property
    def n_features(self) -> int:
        """Number d of features."""
        return int(self.X.shape[1])

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` independent draws (n,d), with replacement."""
        drawn: Array = self.X[rng.integers(self.X.shape[0], size=n)]
        return drawn
