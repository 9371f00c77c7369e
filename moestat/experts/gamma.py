"""Gamma experts: positive responses with constant coefficient of variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv, ndtri

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import ContinuousExpert, invert
from moestat.experts.special import (
    UNDERFLOW,
    expm1_excess,
    log_decay,
    log_gamma_variates,
    log_tail_of,
    patch,
    stirling,
)

SHAPE = Scalar(
    "expert_shape",
    "log_shape",
    low=-12.0,
    high=36.0,
    at_low="its mass gathers at zero",
    at_high="its limit is a point mass",
    spike="high",
)
LARGE = 100.0  # SciPy's incomplete gamma function loses digits in the tails of large shapes, all of them from 10⁸
# derivatives take larger log(y/μ) for this one: their products must stay finite, however remote a row
LARGEST_RATIO = 300.0


@dataclass(frozen=True)
class GammaExpert(ContinuousExpert):
    """Gamma expert with a polynomial log-mean.

    `f(y | η, a) = (a/μ)^a y^(a-1) exp(-a y/μ) / Γ(a)`, y > 0, with mean `μ = exp η` and variance `μ²/a`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the log-mean; 0 gives experts that do not depend on x.
    tied : bool, default False
        One shape for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log-mean), `expert_shape` (a; the dispersion of a generalised linear
    model is `1/a`). McCullagh & Nelder, Generalized Linear Models (1989), chapter 8; mixtures of experts of exponential families:
    Jordan & Jacobs, Neural Computation 6 (1994), 181-214.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.gamma import GammaExpert
    >>> expert = GammaExpert()
    >>> float(expert.cdf(np.array([[1.0]]), np.zeros((1, 1, 1)), np.zeros((1, 1, 1))).item())  # shape 1: exponential
    0.63212
    """

    name: ClassVar[str] = "gamma"
    support: ClassVar[str] = "positive responses"
    ends: ClassVar[tuple[float, float]] = (0.0, np.inf)

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log shape."""
        return (SHAPE,)

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`-a (y/μ - 1 - log y/μ) + a log a - a - lgamma(a) - log y`."""
        log_y = np.log(y)
        return _log_density_of_log(log_y - eta, extra[0]) - log_y

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in the log-mean and the log shape."""
        rho, a = np.minimum(np.log(y[0]) - eta[0], LARGEST_RATIO), np.exp(extra[0])
        _, first, second = stirling(extra[0])
        slope, deviance = a * np.expm1(rho), a * expm1_excess(rho)
        return np.stack([slope, first - deviance]), np.stack([-a * np.exp(rho), slope, second - deviance])

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean `exp η` and variance `exp(2η)/a`."""
        with np.errstate(over="ignore"):
            return np.exp(eta[0]), np.exp(2.0 * eta[0] - extra[0])

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """By the incomplete gamma function."""
        rho, a = np.minimum(np.log(y) - eta, 650.0 - extra[0]), np.exp(extra[0])  # so that x does not overflow
        x = a * np.exp(rho)
        lower_tail, upper_tail = gammainc(a, x), gammaincc(a, x)
        tail, rest = (upper_tail, lower_tail) if upper else (lower_tail, upper_tail)
        far = (tail < UNDERFLOW) | (a > LARGE)
        out = np.where(tail < 0.5, np.log(np.where(far, 1.0, tail)), np.log1p(-np.where(far, 0.0, rest)))
        return patch(out, far, lambda r, v: _log_tail(r, v, upper), rho, extra[0])

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """By the inverse of the incomplete gamma function."""
        a = np.exp(extra[0])
        ratio = (gammaincinv(a, q) if q <= 0.5 else gammainccinv(a, 1.0 - q)) / a
        with np.errstate(over="ignore"):
            return np.exp(eta) * patch(ratio, a > LARGE, lambda v: _large_quantile(q, v), extra[0])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`."""
        draw = np.exp(eta + log_gamma_variates(np.broadcast_to(extra[:1], eta.shape), rng) - extra[:1])
        return np.maximum(draw, np.finfo(float).tiny)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The log of the mean, and the shape by Minka's approximation to its maximum likelihood estimate."""
        log_y = np.log(y[:, 0])
        top = log_y.max()
        log_mean = top + np.log(np.average(np.exp(log_y - top), weights=weight))
        gap = max(float(log_mean - np.average(log_y, weights=weight)), 1e-12)
        log_a = np.log((3.0 - gap + np.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap))
        return np.array([log_mean]), np.clip([log_a], SHAPE.low, SHAPE.high)


def _log_density_of_log(rho: Array, log_a: Array) -> Array:
    """Log-density of `ρ = log(y/μ)`: log-concave for every shape."""
    return stirling(log_a)[0] - np.exp(log_a) * expm1_excess(rho)


def _log_tail(rho: Array, log_a: Array, upper: bool) -> Array:
    """Logarithm of a tail of `log(Y/μ)` by integration: for large shapes, and far out for all of them."""
    rate, curve, sign = np.exp(log_a) * np.abs(np.expm1(rho)), np.exp(log_a + rho), np.where(rho > 0.0, 1.0, -1.0)
    decay = log_decay(lambda s: -rate * s - curve * expm1_excess(sign * s), rate, curve)
    return log_tail_of(_log_density_of_log(rho, log_a) + decay, (rho > 0.0) == upper)


def _large_quantile(q: float, log_a: Array) -> Array:
    """Quantile of `Y/μ`, by inversion from that of the normal approximation."""
    unit = np.exp(-0.5 * log_a)
    rho = unit * invert(
        lambda z, upper: _log_tail(unit * z, log_a, upper),
        lambda z: _log_density_of_log(unit * z, log_a) - 0.5 * log_a,
        q,
        np.full_like(log_a, ndtri(q)),
    )
    return np.exp(rho)
