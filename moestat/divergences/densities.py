"""Conditional densities as the divergences see them, and their Gaussian components at points x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.divergences.transitions import gate_transitions
from moestat.kernels.functions import mixture_log_density

__all__ = ["Components", "ConditionalDensity", "FittedEstimator", "RegressionTruth", "density_of", "gate_transitions"]

Array = NDArray[np.float64]

# Panels in y have their ends at these standard deviations from the mean of each component.
_REACH = np.array([-9.0, -3.5, 0.0, 3.5, 9.0])


class ConditionalDensity(Protocol):
    """A conditional density of y given x; `ConditionalMixture` and `RegressionTruth` are ones.

    A density without an attribute `expert` has Gaussian components, those of gate, mean and standard deviation. Monte Carlo uses
    `log_density` and `sample`.
    """

    def log_gate(self, X: ArrayLike) -> Array:
        """Log-probabilities of the components (n,K)."""

    def expert_mean(self, X: ArrayLike) -> Array:
        """Means of the components (n,K)."""

    def expert_std(self, X: ArrayLike) -> Array:
        """Standard deviations of the components (n,K)."""

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Log-density (n,)."""

    def mean(self, X: ArrayLike) -> Array:
        """Regression function (n,)."""

    def sample(self, X: ArrayLike, rng: np.random.Generator) -> Any:
        """One response for each row (n,)."""


class FittedEstimator(Protocol):
    """An estimator whose fitted density is ``model_``."""

    @property
    def model_(self) -> Any:
        """The density."""


def density_of(given: ConditionalDensity | FittedEstimator) -> ConditionalDensity:
    """The density itself, or that of a fitted estimator; of a `RegressionFunction` the normal one around its values.

    Raises
    ------
    TypeError
        If it is an estimator that is not fitted.
    """
    density: Any = getattr(given, "model_", given)
    if hasattr(density, "fit"):
        raise TypeError(f"{type(given).__name__} is not fitted; call fit first, or give a ConditionalMixture.")
    noise: float | None = getattr(density, "noise_std", None)
    checked: ConditionalDensity = density if noise is None else RegressionTruth(density.mean, noise, density.n_features)
    return checked


@dataclass(frozen=True)
class RegressionTruth:
    """The law ``Y = h(x) + scale(x) * N(0,1)`` with any function h: a truth that need not be a mixture of experts.

    Parameters
    ----------
    mean_function : callable
        Rows (n,d) to means (n,).
    scale : float or callable
        Standard deviation, or a function of rows (n,d).
    n_features : int

    Examples
    --------
    >>> truth = RegressionTruth(lambda X: np.sin(X[:, 0]), 0.3)
    >>> truth.mean([[0.0]])
    array([0.])
    """

    mean_function: Callable[[Array], ArrayLike]
    scale: float | Callable[[Array], ArrayLike]
    n_features: int = 1

    @property
    def n_experts(self) -> int:
        """One component."""
        return 1

    def mean(self, X: ArrayLike) -> Array:
        """Regression function (n,)."""
        rows = self._rows(X)
        return np.broadcast_to(np.asarray(self.mean_function(rows), dtype=np.float64), rows.shape[:1])

    def std(self, X: ArrayLike) -> Array:
        """Standard deviation (n,)."""
        rows = self._rows(X)
        scale = self.scale(rows) if callable(self.scale) else self.scale
        return np.broadcast_to(np.asarray(scale, dtype=np.float64), rows.shape[:1])

    def gate_proba(self, X: ArrayLike) -> Array:
        """Ones (n,1)."""
        return np.ones((self._rows(X).shape[0], 1))

    def log_gate(self, X: ArrayLike) -> Array:
        """Zeros (n,1)."""
        return np.zeros((self._rows(X).shape[0], 1))

    def expert_mean(self, X: ArrayLike) -> Array:
        """Regression function (n,1)."""
        return self.mean(X)[:, None]

    def expert_std(self, X: ArrayLike) -> Array:
        """Standard deviation (n,1)."""
        return self.std(X)[:, None]

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Log-density (n,)."""
        scale = self.std(X)
        z = (np.asarray(y, dtype=np.float64) - self.mean(X)) / scale
        density: Array = -0.5 * z**2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)
        return density

    def sample(self, X: ArrayLike, rng: np.random.Generator) -> Array:
        """One response for each row (n,)."""
        mean = self.mean(X)
        drawn: Array = mean + self.std(X) * rng.standard_normal(mean.shape)
        return drawn

    def _rows(self, X: ArrayLike) -> Array:
        rows = np.asarray(X, dtype=np.float64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"X must have shape (n,{self.n_features}), got {np.shape(X)}.")
        return rows


@dataclass(frozen=True, eq=False)
class Components:
    """Gaussian components at q points x: log-probabilities, means and standard deviations, each (q,K)."""

    ends: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    heavy: ClassVar[bool] = False

    log_gate: Array
    mean: Array
    std: Array

    @classmethod
    def of(cls, density: ConditionalDensity, X: Array) -> Components:
        """The components of a conditional density at rows (q,d)."""
        mean = np.asarray(density.expert_mean(X), dtype=np.float64)
        std = np.broadcast_to(np.asarray(density.expert_std(X), dtype=np.float64), mean.shape)
        return cls(np.asarray(density.log_gate(X), dtype=np.float64), mean, std)

    def log_density(self, y: Array) -> Array:
        """Log-densities (q,N) at responses (q,N)."""
        level = self.log_gate - np.log(self.std) - 0.5 * np.log(2.0 * np.pi)
        return mixture_log_density(level, self.mean, 1.0 / self.std, y)

    def quantiles(self) -> Array:
        """Points (q,K,L), of each component in ascending order, between which panels in y are laid."""
        points: Array = self.mean[:, :, None] + self.std[:, :, None] * _REACH
        return points

    def take(self, rows: NDArray[np.int64]) -> Components:
        """Components at some of the points."""
        return Components(self.log_gate[rows], self.mean[rows], self.std[rows])
