"""What families of counts share: their support, logarithms that do not cancel, and quantiles by search over integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, polygamma

from moestat.experts.base import Array, Expert, first_bad
from moestat.experts.special import LARGE, LOG_ROOT_2PI, STIRLING
from moestat.kernels.functions import exp, log, log1p

SERIES = np.array(STIRLING)
POWERS = 2.0 * np.arange(len(STIRLING)) + 1.0
LARGEST = 300.0  # log means beyond it count as this
TABLE = 1024  # counts below it are looked up
RARE = 1e-3  # probability or mean from which a search starts where the data say zero
MOST = 1e300  # where a search for a quantile ends
FUZZ = 64 * np.finfo(float).eps  # a level that the distribution function misses by rounding is reached


@dataclass(frozen=True)
class CountExpert(Expert):
    """A family on 0, 1, 2, … with log mean η_1 before zeros are modified; a subclass gives the tails `below` and `above`."""

    support: ClassVar[str] = "non-negative integers"
    discrete: ClassVar[bool] = True

    def check(self, y: Array) -> None:
        """Refuse responses that are not counts.

        Raises
        ------
        ValueError
            With the number of columns, or the first such row and value.
        """
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} columns; {self.name} experts take one.")
        first_bad(y, ~is_count(y[:, 0]), self)

    def below(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= k)` for integers `k >= 0`."""
        raise NotImplementedError

    def above(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k)` for integers `k >= 0`, to full relative precision."""
        raise NotImplementedError

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`, `(K, B)`."""
        k = np.floor(y[0])
        return np.where(k < 0.0, 0.0, self.below(np.clip(k, 0.0, MOST), eta, extra))

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The smallest integer y with `P(Y <= y) >= q` to rounding, `(K, B)`."""
        guess = self.moments(eta, extra)[0]
        return smallest_count(lambda k: self.below(k, eta, extra) >= q * (1.0 - FUZZ), guess)

    def shortfall(self, eta: Array, extra: Array) -> tuple[Array, Array, Array]:
        """`ν` in `P(1) = -P(0) log P(0) exp(-ν)`, which is zero for Poisson counts, with derivatives as of `log f`."""
        return np.zeros_like(eta[0]), np.zeros_like(eta), np.zeros_like(eta)

    def starting_response(self, y: Array) -> Array:
        """`log(y + 1/2)`."""
        return np.log(y + 0.5)


def is_count(y: Array) -> NDArray[np.bool_]:
    """Where `y` is one of 0, 1, 2, …"""
    return np.asarray(np.isfinite(y) & (y >= 0.0) & (np.floor(y) == y))


def mean_of(eta: Array) -> Array:
    """The mean `exp η`, which is neither zero nor so large that its square is not a number."""
    return exp(np.clip(eta, -LARGEST, LARGEST))


def log_near(relative: Array, otherwise: Array) -> Array:
    """`log(1 + relative)` where that is not far from zero, `otherwise` elsewhere."""
    return np.where(np.abs(relative) < 0.5, log1p(np.clip(relative, -0.5, 0.5)), otherwise)


def log_excess(k: Array, eta: Array, mu: Array) -> Array:
    """`log(k/μ)` for k > 0; where k is near μ, of the rounded `μ = exp η`."""
    return -log_near((mu - k) / k, np.minimum(eta, LARGEST) - log(k))


def tabulated(k: Array, function: Callable[[Array], Array]) -> Array:
    """`function(k)`, elementwise in its last axis, computed once for each of the few values that counts `(B,)` take."""
    values, inverse = np.unique(k, return_inverse=True)
    return function(values)[..., inverse]


def remainder(z: Array) -> Array:
    """`δ(z) = lgamma(z) - (z - 1/2) log z + z - log √2π`, what Stirling's formula leaves."""
    large = z > LARGE
    a = np.where(large, 1.0, z)
    near = gammaln(a) - (a - 0.5) * np.log(a) + a - LOG_ROOT_2PI
    return np.where(large, _odd_powers(np.where(large, z, LARGE), SERIES), near)


def remainder_slopes(z: Array) -> tuple[Array, Array]:
    """First and second derivative of δ in log z."""
    large = z > LARGE
    x, a = np.where(large, z, LARGE), np.where(large, 1.0, z)
    gap = digamma(1.0 + a) - np.log(a)
    return (
        np.where(large, _odd_powers(x, -POWERS * SERIES), a * gap - 0.5),
        np.where(large, _odd_powers(x, POWERS**2 * SERIES), a * (gap - 1.0 + a * polygamma(1, 1.0 + a))),
    )


def _odd_powers(x: Array, coefficients: Array) -> Array:
    """`Σ c_j x^-(2j+1)`."""
    total, square = np.zeros(np.shape(x)), 1.0 / (x * x)
    for c in coefficients[::-1]:
        total = c + total * square
    return total / x


def log_peak(k: Array) -> Array:
    """`k log k - k - log k!`, the log-probability of k under the Poisson distribution with mean k."""
    if np.max(k, initial=0.0) < TABLE:
        return np.asarray(_log_peaks()[np.asarray(k).astype(np.intp)])
    return _log_peak(k)


@cache
def _log_peaks() -> Array:
    return _log_peak(np.arange(float(TABLE)))


def _log_peak(k: Array) -> Array:
    positive = np.maximum(k, 1.0)
    return np.where(k > 0.0, -0.5 * np.log(positive) - LOG_ROOT_2PI - remainder(positive), 0.0)


def log_multinomial(counts: Array, log_proba: Array) -> Array:
    """Multinomial log-probability of `counts (C, …)`, the coefficient included."""
    total = counts.sum(axis=0)
    observed = np.where(counts > 0.0, np.log(np.maximum(counts, 1.0)) - np.log(np.maximum(total, 1.0)), 0.0)
    coefficient = log_peak(counts).sum(axis=0) - log_peak(total)
    out = np.zeros(log_proba.shape[1:]) + coefficient
    for count, log_p, log_share in zip(counts, log_proba, observed, strict=True):
        out += count * (log_p - log_share)
    return np.asarray(out)


def smallest_count(reached: Callable[[Array], NDArray[np.bool_]], guess: Array) -> Array:
    """The smallest integer `k >= 0` where `reached(k)`, which is false and then true, elementwise: doubling, then bisection."""
    high = np.floor(np.maximum(guess, 0.0))
    low = np.full_like(high, -1.0)
    for _ in range(1000):
        done = reached(high)
        if done.all():
            break
        low, high = np.where(done, low, high), np.where(done, high, np.minimum(2.0 * high + 1.0, MOST))
    while True:
        middle = np.floor(0.5 * (low + high))
        between = (low < middle) & (middle < high)
        if not between.any():
            return high
        hit = reached(np.maximum(middle, 0.0))
        low, high = np.where(between & ~hit, middle, low), np.where(between & hit, middle, high)


def weighted_moments(y: Array, weight: Array) -> tuple[float, float]:
    """Mean and variance of `y (n,)` with weights, the mean of nothing but zeros being `RARE`."""
    total = weight.sum()
    mean = float(weight @ y / total)
    return mean or RARE, float(weight @ (y - mean) ** 2 / total)
