"""Laplace experts: regression by (smoothed) absolute deviations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import k0e, k1e

from moestat.experts.base import Array
from moestat.experts.continuous import (
    LocationScaleExpert,
    Standard,
    positive_spread,
    symmetric_log_sf,
    weighted_quantiles,
)
from moestat.experts.special import expm1_excess, integral


@dataclass(frozen=True)
class LaplaceExpert(LocationScaleExpert):
    """Laplace expert with a polynomial location, its kink rounded off.

    `f(y | η, b) = exp(-√(δ² + z²)) / (2 b δ K₁(δ))` with `z = (y - η)/b`, the symmetric hyperbolic density
    (Barndorff-Nielsen, Proc. R. Soc. A 353 (1977), 401-419); `K₁` is the modified Bessel function. It is proper for every δ > 0
    and tends to Laplace's `exp(-|z|)/(2b)`: the two log-densities differ by less than δ everywhere, and far from the kink by about
    `½ δ² log(1/δ)`. Laplace's own density has no second derivative, so that neither Newton steps nor a certificate apply.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the location; 0 gives experts that do not depend on x.
    tied : bool, default False
        One scale for all experts.
    smoothing : float, default 0.001
        δ. Large values approach the normal density with variance `δ b²`.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (location), `expert_scale` (b; the standard deviation
    is about `√2 b`). Mixtures of Laplace regressions: Song, Yao & Xing, Computational Statistics and Data Analysis 71 (2014), 128-137.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.laplace import LaplaceExpert
    >>> expert = LaplaceExpert()
    >>> float(np.exp(expert.log_density(np.array([[1.0]]), np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))).item())  # exp(-1)/2
    0.18394
    """

    name: ClassVar[str] = "laplace"

    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        value: Any = self.smoothing
        if isinstance(value, bool) or not isinstance(value, Real) or not 1e-12 <= float(value) <= 1e6:
            raise ValueError(f"smoothing={self.smoothing!r} must be a number between 1e-12 and 1e6.")

    def for_information(self, n: float) -> LaplaceExpert:
        """The kink rounded over `1.4 n^(-1/3)` scales at least.

        `-g''(z) = δ²/(δ² + z²)^(3/2)` is twice a kernel, and its mean estimates twice the density at the kink: 1 for Laplace's, with a bias of
        about `-δ` and a variance of about `0.6/(n δ)`. Their balance asks for `n^(-1/3)`. Estimates feel the density within `n^(-1/2)` scales of
        the kink, which is lower, hence the factor: with it standard errors of locations have the right size at n = 100, too.
        """
        return replace(self, smoothing=max(self.smoothing, 1.4 * max(n, 1.0) ** (-1.0 / 3.0)))

    def standard_log_density(self, z: Array, shape: Array) -> Array:
        """`-√(δ² + z²) - log(2 δ K₁(δ))`."""
        delta = self.smoothing
        # √(δ² + z²) - δ without cancellation; k1e(δ) = exp(δ) K₁(δ)
        return np.asarray(-np.abs(z) * (np.abs(z) / (delta + np.hypot(delta, z))) - np.log(2.0 * delta * k1e(delta)))

    def standard_derivatives(self, z: Array, shape: Array) -> Standard:
        """Derivatives of g."""
        delta = self.smoothing
        r = np.hypot(delta, z)
        cosine, sine = z / r, delta / r
        return Standard(-cosine, -sine * sine / r, -cosine * (1.0 + sine * sine), z * cosine - 1.0)

    def standard_log_sf(self, z: Array, shape: Array) -> Array:
        """`log P(Z > z)`."""
        return symmetric_log_sf(z, self._upper)

    def _upper(self, z: Array) -> Array:
        """For z >= 0, with `√(δ² + z²) = δ cosh θ` and `t = exp(-θ)`: `P(Z > z) 2 δ K₁(δ) = exp(-√(δ² + z²)) (1 + δ t ∫ …)`.

        The integral `∫_0^∞ exp(-x - A (eˣ - 1) + B (1 - e⁻ˣ)) dx` with `A = δ/2t`, `B = δt/2` is between 0 and 1.
        """
        delta = self.smoothing
        t = delta / (z + np.hypot(delta, z))
        a, b = 0.5 * delta / t, 0.5 * delta * t

        def integrand(x: Array) -> Array:
            # -A expm1(x) - B expm1(-x) = -(A - B) x - …, where A - B = z
            return np.exp(-(1.0 + z) * x - a * expm1_excess(x) - b * expm1_excess(-x))

        total = integral(integrand, np.minimum(40.0 / (1.0 + z), np.log1p(40.0 / a)))
        return self.standard_log_density(z, np.empty(0)) + np.log1p(delta * t * total)

    def standard_moments(self, shape: Array) -> tuple[Array, Array]:
        """Mean 0 and variance `δ K₂(δ)/K₁(δ)`."""
        delta = self.smoothing
        return np.zeros(()), np.asarray(2.0 + delta * k0e(delta) / k1e(delta))

    def standard_sample(self, shape: Array, size: int, rng: np.random.Generator) -> Array:
        """Draws of Z by rejection, exact for every δ; at least two proposals in three are kept.

        `e = √(δ² + z²) - δ` has a density proportional to `exp(-e) √(1 + δ²/(e (2δ + e)))`, which lies between 1 and √(8/9)/√2 times
        the sum of an exponential and `√(δ/2e) exp(-e)`, a gamma density of shape 1/2.
        """
        delta = self.smoothing
        half = np.sqrt(0.5 * np.pi * delta)  # mass of the second part; that of the first is 1
        e = np.empty(size)
        todo = np.arange(size)
        while todo.size:
            shapes = np.where(rng.random(todo.size) * (1.0 + half) < half, 0.5, 1.0)
            proposal = rng.standard_gamma(shapes)
            ratio = (delta + proposal) / np.sqrt(2.0 * delta + proposal) / (np.sqrt(proposal) + np.sqrt(0.5 * delta))
            keep = rng.random(todo.size) < ratio
            e[todo[keep]] = proposal[keep]
            todo = todo[~keep]
        return np.asarray(np.sqrt(e * (2.0 * delta + e)) * rng.choice([-1.0, 1.0], size))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The median, and the scale that has the mean absolute deviation."""
        delta = self.smoothing
        (middle,) = weighted_quantiles(y[:, 0], weight, (0.5,))
        deviation = float(np.average(np.abs(y[:, 0] - middle), weights=weight))
        spread = positive_spread(deviation * delta * float(k1e(delta)) / (1.0 + delta), middle)
        return np.array([middle]), np.array([np.log(spread)])
