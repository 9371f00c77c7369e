"""Experts as formulas on arrays `(B, K, d, n)`: log-density and its derivatives in predictors and scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

__all__ = ["Family", "Gaussian", "Multinomial", "Poisson"]

Array = Any

LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


class Derivatives(NamedTuple):
    """Derivatives of log f: `slope (B, K, d, n)` and `bend (B, K, d, d, n)` in the predictors; the others in log σ, or None.

    `scale_slope (B, K, n)`, `scale_mean (B, K, d, n)` (mixed) and `scale_bend (B, K, n)`.
    """

    slope: Array
    bend: Array
    scale_slope: Array = None
    scale_mean: Array = None
    scale_bend: Array = None


class Family(Protocol):
    """What an expert answers for responses `y (B, C, n)`, predictors `eta (B, K, d, n)` and `log_sd (B, K)`."""

    @property
    def has_scale(self) -> bool:
        """Whether there is a log σ."""

    def log_density(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Array:
        """log f without what depends on y alone, `(B, K, n)`."""

    def derivatives(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Derivatives:
        """First and second derivatives."""


@dataclass(frozen=True)
class Gaussian:
    """`N(y; η, σ²)`."""

    has_scale: bool = True

    def log_density(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Array:
        """`-log σ - ½ ((y - η)/σ)² - ½ log 2π`."""
        z = (y - eta[:, :, 0, :]) * xp.exp(-log_sd)[:, :, None]
        return (-LOG_ROOT_2PI - log_sd)[:, :, None] - 0.5 * z * z

    def derivatives(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Derivatives:
        """With `z = (y - η)/σ`: `z/σ`, `-1/σ²`; `z² - 1`, `-2z/σ`, `-2z²`."""
        inverse = xp.exp(-log_sd)[:, :, None]
        z = (y - eta[:, :, 0, :]) * inverse
        slope, square = (z * inverse)[:, :, None, :], z * z
        bend = xp.broadcast_to(-(inverse**2)[:, :, None, None, :], (*slope.shape[:2], 1, 1, slope.shape[-1]))
        return Derivatives(slope, bend, square - 1.0, -2.0 * slope, -2.0 * square)


@dataclass(frozen=True)
class Poisson:
    """Counts with mean `exp η`."""

    has_scale: bool = False

    def log_density(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Array:
        """`y η - exp η`."""
        eta = eta[:, :, 0, :]
        return y * eta - xp.exp(eta)

    def derivatives(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Derivatives:
        """`y - exp η` and `-exp η`."""
        mean = xp.exp(eta)
        return Derivatives(y[:, :, None, :] - mean, -mean[:, :, :, None, :])


@dataclass(frozen=True)
class Multinomial:
    """Counts of C classes with log odds η against the last; `y (B, C, n)` are counts, or indicators of classes."""

    has_scale: bool = False

    def log_density(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Array:
        """`Σ_s y_s log p_s`."""
        return xp.sum(y[:, None, :, :] * self._classes(xp, eta)[0], axis=2)

    def derivatives(self, xp: Any, y: Array, eta: Array, log_sd: Array) -> Derivatives:
        """`y_s - N p_s` and `-N (p_s 1[s = t] - p_s p_t)`."""
        p = self._classes(xp, eta)[1][:, :, :-1, :]
        total = xp.sum(y, axis=1, keepdims=True)[:, None, :, :]
        slope = y[:, None, :-1, :] - total * p
        eye = xp.eye(p.shape[2], device=p.device, dtype=p.dtype)[:, :, None]
        bend = total[:, :, None, :, :] * (p[:, :, :, None, :] * p[:, :, None, :, :] - eye * p[:, :, :, None, :])
        return Derivatives(slope, bend)

    @staticmethod
    def _classes(xp: Any, eta: Array) -> tuple[Array, Array]:
        """`log p` and `p` of all classes, `(B, K, C, n)`."""
        z = xp.concat([eta, xp.zeros_like(eta[:, :, :1, :])], axis=2)
        z = z - xp.max(z, axis=2, keepdims=True)
        weight = xp.exp(z)
        total = xp.sum(weight, axis=2, keepdims=True)
        return z - xp.log(total), weight / total
