"""Functions of one variable without cancellation, and integrals of decaying densities: what the continuous experts are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, erfcx, gammaln, polygamma

from moestat.kernels.functions import log1p

Array = NDArray[np.float64]

LOG_ROOT_2PI = 0.9189385332046727418
ROOT_HALF = 0.70710678118654752440
ROOT_TWO_OVER_PI = 0.79788456080286535588

UNDERFLOW = 1e-280  # probabilities below it are computed as logarithms

# lgamma(a) = (a - 1/2) log a - a + log √2π + Σ c_j a^-(2j+1) and lgamma(x + 1/2) - lgamma(x) = 1/2 log x + Σ c_j x^-(2j+1)
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
HALF_STEP = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224, -5461 / 425984, 929569 / 15728640)
LARGE = 12.0  # from here the first neglected terms are below 1e-15 of the sums, also after two derivatives

Triple = tuple[Array, Array, Array]


def expm1_excess(x: Array) -> Array:
    """`exp(x) - 1 - x`."""
    small = np.clip(x, -1.0, 1.0)
    series = np.ones_like(small)
    for k in range(18, 2, -1):
        series = 1.0 + small / k * series
    return np.where(small == x, 0.5 * x * x * series, np.expm1(x) - x)


def log1p_excess(x: Array) -> Array:
    """`x - log(1 + x)`, for x > -1."""
    small = np.clip(x, -0.4, 0.5)
    r = small / (2.0 + small)  # log(1 + x) = 2 artanh r
    square, series = r * r, np.zeros_like(r)
    for k in range(25, 1, -2):
        series = 1.0 / k + square * series
    return np.where(small == x, r * (small - 2.0 * square * series), x - log1p(x))


def _odd_series(x: Array, coefficients: tuple[float, ...]) -> Triple:
    """`Σ c_j x^-(2j+1)` and its first two derivatives in log x."""
    power, square = 1.0 / x, 1.0 / (x * x)
    value, first, second = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for j, c in enumerate(coefficients):
        term, p = c * power, 2 * j + 1
        value, first, second = value + term, first - p * term, second + p * p * term
        power = power * square
    return value, first, second


def _choose(large: NDArray[np.bool_], one: Triple, other: Triple) -> Triple:
    value, first, second = (np.where(large, a, b) for a, b in zip(one, other))
    return value, first, second


def stirling(log_a: Array) -> Triple:
    """`C = a log a - a - lgamma(a)` and its first two derivatives in log a, for any a: `C ~ 1/2 log a` and `C ~ log a` at the ends."""
    large = log_a > np.log(LARGE)
    value, first, second = _odd_series(np.exp(np.where(large, log_a, np.log(LARGE))), STIRLING)
    asymptotic = 0.5 * log_a - LOG_ROOT_2PI - value, 0.5 - first, -second
    a = np.exp(np.where(large, 0.0, log_a))
    gap = log_a - digamma(1.0 + a)
    near = (
        (a + 1.0) * log_a - a - gammaln(1.0 + a),
        1.0 + a * gap,
        a * (gap + 1.0 - a * polygamma(1, 1.0 + a)),
    )
    return _choose(large, asymptotic, near)


def half_step(x: Array) -> Triple:
    """`lgamma(x + 1/2) - lgamma(x) - 1/2 log x` and its first two derivatives in log x."""
    large = x > LARGE
    asymptotic = _odd_series(np.where(large, x, LARGE), HALF_STEP)
    a = np.where(large, 1.0, x)
    first = a * (digamma(a + 0.5) - digamma(a))
    near = (
        gammaln(a + 0.5) - gammaln(a) - 0.5 * np.log(a),
        first - 0.5,
        first + a * a * (polygamma(1, a + 0.5) - polygamma(1, a)),
    )
    return _choose(large, asymptotic, near)


def mills(t: Array) -> tuple[Array, Array]:
    """`m = φ(t)/Φ(t)`, the derivative of log Φ, and `t + m`, which is about -1/t far out on the left."""
    ratio = np.asarray(ROOT_TWO_OVER_PI / erfcx(-ROOT_HALF * t))
    u = np.maximum(-t, 5.0)
    tail = u
    for k in range(60, 1, -1):  # the continued fraction of Laplace, m = u + 1/(u + 2/(u + 3/(u + …)))
        tail = u + k / tail
    return ratio, np.where(t < -5.0, 1.0 / tail, t + ratio)


@cache
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(48)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def integral(f: Callable[[Array], Array], reach: Array) -> Array:
    """`∫_0^reach f(s) ds`, elementwise, by the Gauss-Legendre rule with 48 nodes; f takes an axis of nodes in front."""
    nodes, weights = _legendre()
    total = np.zeros_like(reach)
    group = max(1, 2**16 // max(reach.size, 1))  # nodes at a time, for arrays of moderate size
    for i in range(0, len(nodes), group):
        total += np.tensordot(weights[i : i + group], f(np.multiply.outer(nodes[i : i + group], reach)), axes=1)
    return total * reach


def log_decay(delta: Callable[[Array], Array], rate: Array, curve: Array) -> Array:
    """`log ∫_0^∞ exp(delta(s)) ds` for a concave `delta(s)` of about `-rate s - curve s²/2`, or less.

    Where h is the logarithm of a log-concave density, `h(w)` and the `log_decay` of `h(w + s) - h(w)` add up to the logarithm of the
    tail beyond w, which neither underflows nor cancels. Slopes from 0 (a normal density from its mode) to steep ones are
    accurate to about 1e-15 where delta is close to the parabola, steep ones always.
    """
    reach = 120.0 / (rate + np.sqrt(rate * rate + 120.0 * curve))  # where the parabola is at -60
    return np.asarray(np.log(integral(lambda s: np.exp(delta(s)), reach)))


def log_tail_of(away: Array, same_side: NDArray[np.bool_]) -> Array:
    """The logarithm of a tail from `away`, that of the one which does not contain the centre: the same one, or the rest."""
    return np.where(same_side, away, np.log1p(-np.exp(np.where(same_side, -1.0, away))))


def patch(out: Array, where: NDArray[np.bool_], formula: Callable[..., Array], *arguments: Array) -> Array:
    """`out` with the entries `where` replaced by `formula` of the same entries of the arguments."""
    if where.any():
        out = np.array(out)
        out[where] = formula(*(np.broadcast_to(a, out.shape)[where] for a in arguments))
    return out


def log_gamma_variates(log_shape: Array, rng: np.random.Generator) -> Array:
    """Logarithms of standard gamma variates, also of shapes so small that the variates underflow."""
    shape = np.exp(np.maximum(log_shape, -600.0))
    size = np.shape(shape)
    return np.log(rng.standard_gamma(shape + 1.0, size)) - rng.standard_exponential(size) / shape
