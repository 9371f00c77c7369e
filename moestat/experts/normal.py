"""Normal experts by formulas: one response, for mixtures of several families and for censored responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import log_ndtr, ndtri

from moestat.experts.base import Array
from moestat.experts.continuous import LocationScaleExpert, Standard
from moestat.experts.special import LOG_ROOT_2PI


@dataclass(frozen=True)
class NormalExpert(LocationScaleExpert):
    """Normal expert with a polynomial mean: `y ~ N(η, σ²)`, one response.

    The density of `GaussianExpert`, which is faster, fits several responses and knows variances; this one is a family among the
    others, for `MixedExperts` and `CensoredExpert`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the mean.
    tied : bool, default False
        One standard deviation for all experts.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept (K,)`, `expert_coef (K, p)` and `expert_scale (K,)`, the standard deviation.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts import NormalExpert
    >>> NormalExpert().log_density(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1, 1))).round(4)
    array([[-0.9189]])
    """

    name: ClassVar[str] = "normal"

    def standard_log_density(self, z: Array, shape: Array) -> Array:
        """`log φ(z)`."""
        return -0.5 * z * z - LOG_ROOT_2PI

    def standard_derivatives(self, z: Array, shape: Array) -> Standard:
        """Derivatives of log φ."""
        return Standard(-z, -np.ones_like(z), -2.0 * z, (z - 1.0) * (z + 1.0))

    def standard_log_sf(self, z: Array, shape: Array) -> Array:
        """`log Φ(-z)`."""
        return np.asarray(log_ndtr(-z))

    def standard_quantile(self, q: float, shape: Array) -> Array:
        """`Φ⁻¹(q)`."""
        return np.asarray(ndtri(q))

    def standard_moments(self, shape: Array) -> tuple[Array, Array]:
        """Zero and one."""
        return np.zeros(1), np.ones(1)

    def standard_sample(self, shape: Array, size: int, rng: np.random.Generator) -> Array:
        """Standard normal draws."""
        return rng.standard_normal(size)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, the best constant fit."""
        mean = float(np.average(y[:, 0], weights=weight))
        spread = float(np.sqrt(np.average((y[:, 0] - mean) ** 2, weights=weight)))
        return np.array([mean]), np.array([np.log(spread if spread > 0.0 else 1.0)])
