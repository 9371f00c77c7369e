"""Negative binomial experts: counts that vary more than Poisson ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, betaincc

from moestat.experts.base import Array, Scalar
from moestat.experts.counts import (
    CountExpert,
    is_count,
    log_excess,
    log_near,
    log_peak,
    mean_of,
    remainder,
    remainder_slopes,
    tabulated,
    weighted_moments,
)
from moestat.experts.poisson import draw
from moestat.experts.special import log1p_excess, patch

DISPERSION = Scalar(
    "expert_dispersion",
    "log_dispersion",
    low=float(np.log(1e-8)),
    high=float(np.log(1e8)),
    at_low="its limit is the Poisson distribution",
    at_high="almost all its counts are zero, the others of any size",
)

FAR = 600.0  # exp(FAR) is a number


@dataclass(frozen=True)
class NegativeBinomialExpert(CountExpert):
    """Negative binomial expert (NB2) with a polynomial log mean.

    `f(y | η, α) = Γ(y + r) / (Γ(r) y!) · (r/(r + μ))^r (μ/(r + μ))^y`, `μ = exp η`, `r = 1/α`: mean μ, variance `μ + α μ²`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the log mean; 0 gives experts that do not depend on x.
    tied : bool, default False
        One dispersion for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log mean), and `expert_dispersion` (α), between 10⁻⁸ and
    10⁸; α → 0 is the Poisson distribution. Everything is written in `r` and differences from it that vanish with α (as in
    Loader, Fast and accurate computation of binomial probabilities, 2000), so that no digit is lost on the way to the limit.
    The family: Cameron & Trivedi, Regression Analysis of Count Data (2013), section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.negative_binomial import NegativeBinomialExpert
    >>> eta, log_dispersion = np.full((1, 1, 1), np.log(2.0)), np.zeros((1, 1, 1))
    >>> mean, variance = NegativeBinomialExpert().moments(eta, log_dispersion)
    >>> float(mean.item()), float(variance.item())
    (2.0, 6.0)
    """

    name: ClassVar[str] = "negative_binomial"

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log dispersion."""
        return (DISPERSION,)

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f`, as the Poisson peak less half the deviance, and a correction that vanishes with α."""
        valid = is_count(y[0])
        k, mu, r = np.where(valid, y[0], 0.0), mean_of(eta[0]), np.exp(-extra[0])
        n = np.maximum(k, 1.0)
        excess = log_excess(n, eta[0], mu)
        rest = log_near((mu - k) / (r + k), np.log((r + mu) / (r + k)))  # log((r + μ) / (r + k))
        tilt = log_near(r / (r + n) * np.expm1(np.minimum(excess, FAR)), excess + rest)  # log(k/μ) + that
        deviance = k * tilt + r * rest
        peak = tabulated(k, lambda n: log_peak(n) + remainder(n + r) - remainder(r) - 0.5 * np.log1p(n / r))
        return np.where(valid, peak - deviance, -np.inf)

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in η and log α."""
        mu, (p, q, r) = mean_of(eta[0]), proportions(eta, extra)
        one = np.where(y[0] == 1.0, 1.0, 0.0)
        k = y[0] - one  # f(1) = f(0) q r, whose derivative in α is tiny with μ
        z, ratio = (mu - k) / (r + mu), (r + k) / (r + mu)
        h = stretch(z, -np.log(ratio))
        slope, curvature = tabulated(k, lambda n: gamma_slopes(n, r))
        first = np.stack([one * p - r * z, r * h - slope - one * q])
        second = np.stack([-r * q * ratio, r * q * z, r * (r / (r + k) * z * z - h) + curvature])
        return first, second - one * p * q

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`μ` and `μ + α μ²`."""
        mu = mean_of(eta[0])
        return mu, mu * (1.0 + np.exp(extra[0]) * mu)

    def below(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= k)`, an incomplete beta function."""
        p, q, r = proportions(eta, extra)
        out = patch(np.zeros(np.broadcast_shapes(k.shape, q.shape)), q < 0.5, betaincc, k + 1.0, r, q)
        return patch(out, q >= 0.5, betainc, r, k + 1.0, p)

    def above(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k)`, an incomplete beta function."""
        p, q, r = proportions(eta, extra)
        out = patch(np.zeros(np.broadcast_shapes(k.shape, q.shape)), q < 0.5, betainc, k + 1.0, r, q)
        return patch(out, q >= 0.5, betaincc, r, k + 1.0, p)

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One count for each column of `eta (1, B)`, `extra (1, B)`: Poisson with a gamma-distributed mean, `(1, B)`."""
        r = np.exp(-extra)
        return draw(mean_of(eta) * rng.gamma(r) / r, rng)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Log mean and dispersion by moments; at least a variance of 1.1 means."""
        mean, variance = weighted_moments(y[:, 0], weight)
        return np.log([mean]), np.log([np.clip((variance - mean) / mean**2, 0.1 / mean, 1e3)])

    def shortfall(self, eta: Array, extra: Array) -> tuple[Array, Array, Array]:
        """See `CountExpert.shortfall`; with `u = αμ` it is `log((1 + u) log(1 + u) / u)`, and depends on log u only."""
        u = mean_of(eta[0] + extra[0])
        log, z = np.log1p(u), u / (1.0 + u)
        slope = z - stretch(z, log) / log
        return log + np.log(log / u), np.stack([slope] * 2), np.stack([z / (1.0 + u) - z / log * slope] * 3)


def proportions(eta: Array, extra: Array) -> tuple[Array, Array, Array]:
    """`r/(r + μ)`, `μ/(r + μ)` and `r`."""
    mu, r = mean_of(eta[0]), np.exp(-extra[0])
    return r / (r + mu), mu / (r + mu), r


def stretch(z: Array, log: Array) -> Array:
    """`-log(1 - z) - z` of z and `log = -log(1 - z)`, the second for z far from zero."""
    near = np.abs(z) < 0.3
    return np.where(near, log1p_excess(np.where(near, -z, 0.0)), log - z)


def gamma_slopes(k: Array, r: Array) -> Array:
    """First and second derivative in log r, `(2, …)`, of `δ(k + r) - δ(r) - 1/2 log(1 + k/r)`."""
    first, second = remainder_slopes(r)
    first_k, second_k = remainder_slopes(k + r)
    rho, rest = r / (k + r), k / (k + r)
    return np.stack([0.5 * rest + rho * first_k - first, rho * (rest * (first_k - 0.5) + rho * second_k) - second])
