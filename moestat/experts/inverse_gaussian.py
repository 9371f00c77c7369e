"""Inverse Gaussian experts: positive responses with a long right tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import ContinuousExpert, invert
from moestat.experts.special import LOG_ROOT_2PI, ROOT_HALF, integral, mills, patch

SHAPE = Scalar(
    "expert_shape",
    "log_shape",
    at_low="its limit has no mean",
    at_high="its limit is a point mass",
    spike="high",
)
# derivatives take larger log(y/μ), and larger log(λ/y) + 2 log(y/μ), for these: their products must stay finite
LARGEST_RATIO, LARGEST_LEVEL = 100.0, 340.0


@dataclass(frozen=True)
class InverseGaussianExpert(ContinuousExpert):
    """Inverse Gaussian expert with a polynomial log-mean.

    `f(y | η, λ) = √(λ/(2π y³)) exp(-λ (y - μ)² / (2 μ² y))`, y > 0, with mean `μ = exp η` and variance `μ³/λ`.

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
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log-mean), `expert_shape` (λ, in units of y; the dispersion of a
    generalised linear model is `1/λ`). Tweedie, Annals of Mathematical Statistics 28 (1957), 362-377; distribution function
    Shuster, JASA 63 (1968), 1514-1516; sampler Michael, Schucany & Haas, American Statistician 30 (1976), 88-90.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.inverse_gaussian import InverseGaussianExpert
    >>> expert = InverseGaussianExpert()
    >>> float(expert.cdf(np.array([[1.0]]), np.zeros((1, 1, 1)), np.zeros((1, 1, 1))).item())
    0.66810
    """

    name: ClassVar[str] = "inverse_gaussian"
    support: ClassVar[str] = "positive responses"
    ends: ClassVar[tuple[float, float]] = (0.0, np.inf)

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log shape."""
        return (SHAPE,)

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`1/2 (log λ/y - log 2π) - log y - λ (y/μ - 1)²/(2y)`."""
        log_y = np.log(y)
        level = extra[0] - log_y
        return _log_density_of_log(log_y - eta, level) - log_y

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in the log-mean and the log shape."""
        log_y = np.log(y[0])
        rho = np.minimum(log_y - eta[0], LARGEST_RATIO)
        level = np.exp(np.minimum(extra[0] - log_y, LARGEST_LEVEL - 2.0 * np.maximum(rho, 0.0)))
        ratio, excess = np.exp(rho), np.expm1(rho)
        slope, half = level * ratio * excess, 0.5 * level * excess * excess
        return np.stack([slope, 0.5 - half]), np.stack([-level * ratio * (2.0 * ratio - 1.0), slope, -half])

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean `exp η` and variance `exp(3η)/λ`."""
        with np.errstate(over="ignore"):
            return np.exp(eta[0]), np.exp(3.0 * eta[0] - extra[0])

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """`P(Y <= y) = Φ(a) + exp(2λ/μ) Φ(-b)` with `a = √(λ/y) (y/μ - 1)` and `b = √(λ/y) (y/μ + 1)`."""
        log_y = np.log(y)
        return _log_tail(log_y - eta, extra[0] - log_y, upper)

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """By inversion in log y."""
        log_kappa = extra[0] - eta

        def log_tail(rho: Array, upper: bool) -> Array:
            return _log_tail(rho, log_kappa - rho, upper)

        with np.errstate(over="ignore", divide="ignore"):
            return np.exp(
                eta + invert(log_tail, lambda rho: _log_density_of_log(rho, log_kappa - rho), q, _start(q, log_kappa))
            )

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`: `y/μ` is one of the two roots, whose product is 1, of a quadratic."""
        half = 0.5 * np.square(rng.standard_normal(eta.shape)) * np.exp(eta - extra[:1])
        log_large = np.log1p(half + np.sqrt(half) * np.sqrt(2.0 + half))
        small = rng.random(eta.shape) * (1.0 + np.exp(-log_large)) < 1.0
        return np.asarray(np.exp(eta + np.where(small, -log_large, log_large)))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The log of the mean, and the shape of the best constant fit: `1/λ` is the average of `1/y - 1/μ`."""
        mean = float(np.average(y[:, 0], weights=weight))
        inverse = float(np.average(mean / y[:, 0], weights=weight)) - 1.0  # μ/λ
        return np.array([np.log(mean)]), np.array([np.log(mean) - np.log(max(inverse, 1e-12))])


def _start(q: float, log_kappa: Array) -> Array:
    """About the log of the quantile of `Y/μ`: lognormal for a large `κ = λ/μ`, Lévy's law `λ/χ²` of the lower tail for a small one."""
    normal, levy = ndtri(q) * np.exp(-0.5 * log_kappa), log_kappa - 2.0 * np.log(-ndtri(0.5 * q))
    return np.asarray(np.where(log_kappa > 0.0, normal, np.minimum(levy, 0.0)))


def _log_density_of_log(rho: Array, level: Array) -> Array:
    """Log-density of `ρ = log(y/μ)`; `level` is `log(λ/y)`."""
    return np.asarray(0.5 * level - LOG_ROOT_2PI - 0.5 * np.exp(level) * np.square(np.expm1(rho)))


def _log_tail(rho: Array, level: Array, upper: bool) -> Array:
    """Logarithm of the upper or the lower tail at `ρ = log(y/μ)`; `level` is `log(λ/y)`."""
    root = np.exp(0.5 * level)
    a = np.minimum(root * np.expm1(rho), 1e150)
    # b = a + 2 root; exp(2λ/μ) Φ(-b) = exp(-a²/2) erfcx(b/√2)/2
    scaled = 0.5 * erfcx(ROOT_HALF * (root * (np.exp(rho) + 1.0)))
    if not upper:
        return np.asarray(np.logaddexp(log_ndtr(a), np.log(scaled) - 0.5 * a * a))
    right = np.maximum(a, -1.0)
    out = np.log(np.maximum(0.5 * erfcx(ROOT_HALF * right) - scaled, 0.0)) - 0.5 * right * right
    left = np.minimum(a, -1.0)
    out = np.where(a > -1.0, out, np.log1p(-(ndtr(left) + np.exp(-0.5 * left * left) * np.minimum(scaled, 0.27))))
    return patch(out, (a > -1.0) & (2.0 * root < np.maximum(a, 2.0)), _near_log_tail, a, 2.0 * root)


def _near_log_tail(a: Array, width: Array) -> Array:
    """`exp(-a²/2) (erfcx(a/√2) - erfcx(b/√2))/2` where the two are close: the integral of the derivative."""

    def slope(s: Array) -> Array:
        ratio, rest = mills(-(a + s))
        return rest / ratio  # 1 - t R(t) for Mills' ratio R = 1/ratio

    return np.asarray(np.log(integral(slope, width)) - 0.5 * a * a - LOG_ROOT_2PI)
