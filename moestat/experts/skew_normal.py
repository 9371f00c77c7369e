"""Skew-normal experts: regression with asymmetric errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, owens_t

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import (
    SCALE,
    LocationScaleExpert,
    Standard,
    positive_spread,
    robust_spread,
    weighted_quantiles,
)
from moestat.experts.special import LOG_ROOT_2PI, ROOT_HALF, ROOT_TWO_OVER_PI, log_decay, mills, patch
from moestat.linalg import solve_psd

SHAPE = Scalar(
    "expert_shape",
    "shape",
    link="identity",
    low=-1e3,
    high=1e3,
    at_low="its limit is the half-normal distribution below the location",
    at_high="its limit is the half-normal distribution above the location",
)
NEARLY_NORMAL, LEANING = 0.3, 1.5  # shapes from which, and to which, a search goes on
LOG_2 = 0.69314718055994530942


@dataclass(frozen=True)
class SkewNormalExpert(LocationScaleExpert):
    """Skew-normal expert with a polynomial location.

    `f(y | η, ω, α) = (2/ω) φ(z) Φ(α z)` with `z = (y - η)/ω` (Azzalini, Scandinavian Journal of Statistics 12 (1985), 171-178). The mean
    is `η + ω δ √(2/π)` with `δ = α/√(1 + α²)`: the location is neither the mean nor the mode unless α = 0, where the density is normal.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the location; 0 gives experts that do not depend on x.
    tied : bool, default False
        One scale and one shape for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (location), `expert_scale` (ω) and `expert_shape` (α, of any
    sign). At α = 0 the information matrix is singular, so that standard errors mean little near it, and the best normal fit is
    a stationary point; searches start away from it. In mixtures of experts: Chamroukhi, Neurocomputing 266 (2017), 390-408.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.skew_normal import SkewNormalExpert
    >>> mean, variance = SkewNormalExpert().moments(np.zeros((1, 1, 1)), np.array([0.0, 2.0])[:, None, None])
    >>> float(mean.item()), float(variance.item())
    (0.7136, 0.4907)
    """

    name: ClassVar[str] = "skew_normal"

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log scale and the shape."""
        return (SCALE, SHAPE)

    def standard_log_density(self, z: Array, shape: Array) -> Array:
        """`log 2 + log φ(z) + log Φ(αz)`."""
        return np.asarray(LOG_2 - LOG_ROOT_2PI - 0.5 * z * z + log_ndtr(shape[0] * z))

    def standard_derivatives(self, z: Array, shape: Array) -> Standard:
        """Derivatives of g, by `m = φ/Φ` and `t + m` at `t = αz`: `m' = -m (t + m)`."""
        alpha = shape[0]
        t = alpha * z
        m, rest = mills(t)
        falling = -m * rest
        mixed = m * (1.0 - t * rest)  # m + t m'
        return Standard(
            -z + alpha * m,
            -1.0 + alpha * alpha * falling,
            -2.0 * z + alpha * mixed,
            -1.0 + z * z - t * m,
            (z * m, mixed, z * z * falling),
        )

    def standard_log_sf(self, z: Array, shape: Array) -> Array:
        """`log P(Z > z)`, by Owen's T function in the bulk and by integration in the tails, where that cancels."""
        alpha = shape[0]
        bulk = np.where(z > 0.0, ndtr(-z) + 2.0 * owens_t(z, alpha), 0.0)
        below = np.where(z > 0.0, 0.0, ndtr(z) - 2.0 * owens_t(z, alpha))
        with np.errstate(divide="ignore"):
            out = np.where(z > 0.0, np.log(np.maximum(bulk, 0.0)), np.log1p(-np.clip(below, 0.0, 1.0)))
        return patch(out, z > np.where(alpha < 0.0, 0.0, 3.0), _log_tail, z, alpha)

    def reflect(self, shape: Array) -> Array:
        """-Z has the shape -α."""
        return -shape

    def standard_moments(self, shape: Array) -> tuple[Array, Array]:
        """Mean `δ √(2/π)` and variance `1 - 2δ²/π`."""
        mean = ROOT_TWO_OVER_PI * shape[0] / np.hypot(1.0, shape[0])
        return mean, 1.0 - mean * mean

    def standard_sample(self, shape: Array, size: int, rng: np.random.Generator) -> Array:
        """Draws of Z: `(α |N| + N')/√(1 + α²)`."""
        alpha = shape[0]
        first, second = rng.standard_normal(size), rng.standard_normal(size)
        return np.asarray((alpha * np.abs(first) + second) / np.hypot(1.0, alpha))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """By the median, the distance of the deciles and their asymmetry, never at α = 0.

        The third moment gives the sign: from the best normal fit the likelihood rises to that side only, and a search from the
        other side ends there.
        """
        low, middle, high = weighted_quantiles(y[:, 0], weight, (0.1, 0.5, 0.9))
        spread = robust_spread(y[:, 0], weight, 0.9, 2.5631)
        lean = (high + low - 2.0 * middle) / max(high - low, 1e-300)
        lean = float(np.copysign(lean, weight @ (y[:, 0] - np.average(y[:, 0], weights=weight)) ** 3))
        # the asymmetry grows as δ³ about, up to 0.277 for the half-normal
        delta = np.copysign(np.clip(np.cbrt(abs(lean) / 0.277), 0.4, 0.95), lean)
        mean = ROOT_TWO_OVER_PI * delta
        omega = positive_spread(spread / np.sqrt(1.0 - mean * mean), middle)
        alpha = delta / np.sqrt(1.0 - delta * delta)
        return np.array([middle - omega * mean]), np.array([np.log(omega), alpha])

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """The line of least squares and the origin of its residuals: y itself leans as x does."""
        weighted = phi * weight
        line = solve_psd(weighted @ phi.T, weighted @ y)[:, 0]
        eta, scale = self.origin(y - (line @ phi)[:, None], weight)
        line[0] += eta[0]
        return np.asarray(line[None]), scale

    def alternatives(self, coef: Array, scale: Array) -> list[tuple[Array, Array]]:
        """The experts near α = 0, one at a time, with as much asymmetry to either side, and the same mean and variance.

        At the best normal fit the likelihood is flat up to its third order in α: it rises to one side, and a search that comes from
        the other side ends there with all signs of a maximum.
        """
        groups = [np.arange(len(scale))] if self.tied else np.arange(len(scale))[:, None]
        omega, (mean, variance) = np.exp(scale[:, 0]), self.standard_moments(scale[None, :, 1])
        out = []
        for group in groups:
            for alpha in (LEANING, -LEANING) if np.abs(scale[group[0], 1]) < NEARLY_NORMAL else ():
                new_mean, new_variance = self.standard_moments(np.array([alpha]))
                moved, scalars = coef.copy(), scale.copy()
                scalars[group, 0] += 0.5 * np.log(variance[group] / new_variance)
                scalars[group, 1] = alpha
                moved[group, 0, 0] += omega[group] * mean[group] - np.exp(scalars[group, 0]) * new_mean
                out.append((moved, scalars))
        return out


def _log_tail(z: Array, alpha: Array) -> Array:
    """`log P(Z > z)` for z > 0, where the density falls: without cancellation if α < 0 or z is large."""
    negative = alpha < 0.0
    c = np.where(negative, 1.0 + alpha * alpha, 1.0)  # a large negative t adds -t²/2 to log Φ(t)

    def log_factor(t: Array) -> Array:
        return np.asarray(np.where(negative, np.log(0.5 * erfcx(-ROOT_HALF * t)), log_ndtr(t)))

    at_z = log_factor(alpha * z)
    decay = log_decay(lambda s: -c * s * (z + 0.5 * s) + log_factor(alpha * (z + s)) - at_z, c * z, c)
    return np.asarray(LOG_2 - LOG_ROOT_2PI - 0.5 * c * z * z + at_z + decay)
