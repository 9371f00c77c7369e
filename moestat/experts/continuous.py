"""What the continuous families of one response share: supports, location-scale derivatives, tails, and quantiles by inversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import log_ndtr

from moestat.experts.base import Array, Expert, Scalar, first_bad

# derivatives take larger standardised residuals for this one: their products must stay finite, however remote a row
LARGEST = 1e70

SCALE = Scalar("expert_scale", "log_scale", spike="low")


@dataclass(frozen=True)
class ContinuousExpert(Expert):
    """A density of one response on an interval; a subclass gives its formulas inside the support, `y (B,)`, `eta` and results `(K, B)`.

    Censored responses need `log_cdf` and `log_sf`, `log P(Y <= y)` and `log P(Y > y)`; both are accurate far out in the tails.
    """

    ends: ClassVar[tuple[float, float]] = (-np.inf, np.inf)

    def check(self, y: Array) -> None:
        """Refuse several columns, and responses outside the support.

        Raises
        ------
        ValueError
            With the number of columns, or the first offending row and value.
        """
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} columns; {self.name} experts take one response.")
        first_bad(y, np.logical_not(self._inside(y[:, 0])), self)

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f`, `(K, B)`; `-inf` outside the support."""
        inside = self._inside(y[0])
        with np.errstate(over="ignore"):  # far from the bulk the density is zero
            if inside.all():
                return self.inner_log_density(y[0], eta[0], extra)
            return np.where(inside, self.inner_log_density(np.where(inside, y[0], 0.5), eta[0], extra), -np.inf)

    def log_cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log P(Y <= y)`, `(K, B)`, with a small relative error of the probability and of its logarithm."""
        return self._log_tail(y[0], eta[0], extra, False)

    def log_sf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log P(Y > y)`, `(K, B)`, with a small relative error of the probability and of its logarithm."""
        return self._log_tail(y[0], eta[0], extra, True)

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`, `(K, B)`."""
        return np.exp(self.log_cdf(y, eta, extra))

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The y with `P(Y <= y) = q`, `(K, B)`."""
        if 0.0 < q < 1.0:
            return self.inner_quantile(float(q), eta[0], extra)
        return np.full_like(eta[0], self.ends[int(q >= 1.0)])

    def starting_response(self, y: Array) -> Array:
        """y, its logarithm or its logit: the support becomes the real line."""
        if self.ends == (0.0, np.inf):
            return np.log(y)
        return np.log(y) - np.log1p(-y) if self.ends == (0.0, 1.0) else y

    def _inside(self, y: Array) -> Array:
        return np.asarray((y > self.ends[0]) & (y < self.ends[1]))

    def _log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        inside = self._inside(y)
        with np.errstate(over="ignore", divide="ignore"):
            out = self.inner_log_tail(np.where(inside, y, 0.5), eta, extra, upper)
        nothing = y <= self.ends[0] if not upper else y >= self.ends[1]
        return np.where(inside, out, np.where(nothing, -np.inf, 0.0))

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f` inside the support."""
        raise NotImplementedError

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """`log P(Y > y)` if `upper`, else `log P(Y <= y)`, inside the support."""
        raise NotImplementedError

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The quantile for a probability strictly between 0 and 1."""
        raise NotImplementedError


class Standard(NamedTuple):
    """Derivatives of a standardised log-density `g(z; w)` with at most one shape w.

    Attributes
    ----------
    slope, bend : Array
        `g'` and `g''`.
    twist : Array
        `g' + z g''`, the derivative of `z g'`.
    score : Array
        `-1 - z g'`, the derivative in the log scale.
    shape : tuple of Array
        Nothing, or `∂g/∂w`, `∂g'/∂w` and `∂²g/∂w²`.
    """

    slope: Array
    bend: Array
    twist: Array
    score: Array
    shape: tuple[Array, ...] = ()


@dataclass(frozen=True)
class LocationScaleExpert(ContinuousExpert):
    """`log f = g(z; w) - v_1` with `z = (y - η_1) exp(-v_1)`: a subclass gives g and its derivatives, tail, quantile and moments.

    Standardised formulas take `z (K, B)` and the shapes `(c - 1, K, 1)`, the scalars after the log scale.
    """

    location_scale: ClassVar[bool] = True

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log scale."""
        return (SCALE,)

    def standard_log_density(self, z: Array, shape: Array) -> Array:
        """`g(z; w)`."""
        raise NotImplementedError

    def standard_derivatives(self, z: Array, shape: Array) -> Standard:
        """Derivatives of g."""
        raise NotImplementedError

    def standard_log_sf(self, z: Array, shape: Array) -> Array:
        """`log P(Z > z)`."""
        raise NotImplementedError

    def standard_quantile(self, q: float, shape: Array) -> Array:
        """Quantile of Z, `(K, 1)` or a number; by inversion where there is no closed form."""

        def log_tail(z: Array, upper: bool) -> Array:
            return self.standard_log_sf(z, shape) if upper else self.standard_log_sf(-z, self.reflect(shape))

        return invert(log_tail, lambda z: self.standard_log_density(z, shape), q, np.zeros(shape.shape[1:]))

    def standard_moments(self, shape: Array) -> tuple[Array, Array]:
        """Mean and variance of Z, `(K, 1)` or numbers."""
        raise NotImplementedError

    def standard_sample(self, shape: Array, size: int, rng: np.random.Generator) -> Array:
        """Draws of Z `(B,)` for shapes `(c - 1, B)`."""
        raise NotImplementedError

    def reflect(self, shape: Array) -> Array:
        """The shapes of `-Z`."""
        return shape

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`g(z) - log σ`."""
        return np.asarray(self.standard_log_density(_standardised(y, eta, extra[0], 1e200), extra[1:]) - extra[0])

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in the location, the log scale, and the shape if there is one."""
        z, inverse = _standardised(y[0], eta[0], extra[0], LARGEST), np.exp(-extra[0])
        g = self.standard_derivatives(z, extra[1:])
        first = [-g.slope * inverse, g.score]
        second = [g.bend * inverse * inverse, g.twist * inverse, z * g.twist]
        if g.shape:
            in_shape, mixed, twice = g.shape
            first.append(in_shape)
            second += [-mixed * inverse, -z * mixed, twice]
        return _stacked(first, z.shape), _stacked(second, z.shape)

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean and variance."""
        sd = np.exp(extra[0])
        mean, variance = self.standard_moments(extra[1:])
        return eta[0] + sd * mean, np.broadcast_to(sd * sd * variance, eta[0].shape)

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """`log P(±Z > ±z)`."""
        z, shape = _standardised(y, eta, extra[0], 1e150), extra[1:]
        return self.standard_log_sf(z, shape) if upper else self.standard_log_sf(-z, self.reflect(shape))

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """`η_1 + σ z_q`."""
        return np.asarray(eta + np.exp(extra[0]) * self.standard_quantile(q, extra[1:]))

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`."""
        return eta + np.exp(extra[:1]) * self.standard_sample(extra[1:], eta.shape[1], rng)


def _stacked(rows: list[Array], shape: tuple[int, ...]) -> Array:
    """One array of rows that broadcast to `shape`."""
    out = np.empty((len(rows), *shape))
    for place, row in zip(out, rows, strict=True):
        place[...] = row
    return out


def _standardised(y: Array, location: Array, log_scale: Array, largest: float) -> Array:
    with np.errstate(over="ignore"):
        return np.clip((y - location) / np.exp(log_scale), -largest, largest)


def normal_log_tail(z: Array, upper: bool) -> Array:
    """`log P(Z > z)` if `upper`, else `log P(Z <= z)`, of a standard normal Z."""
    return np.asarray(log_ndtr(-z if upper else z))


def gaussian_log_cdf(y: Array, eta: Array, extra: Array) -> Array:
    """`log P(Y <= y)`, `(K, B)`, of normal responses `y (1, B)` with means `eta (1, K, B)` and log standard deviations `extra (1, K, 1)`."""
    return normal_log_tail((y[0] - eta[0]) / np.exp(extra[0]), False)


def gaussian_log_sf(y: Array, eta: Array, extra: Array) -> Array:
    """`log P(Y > y)`; see `gaussian_log_cdf`."""
    return normal_log_tail((y[0] - eta[0]) / np.exp(extra[0]), True)


def symmetric_log_sf(z: Array, log_tail: Callable[[Array], Array]) -> Array:
    """`log P(Z > z)` of a symmetric density from its values at `|z|`."""
    out = log_tail(np.abs(z))
    return np.where(z > 0.0, out, np.log1p(-np.exp(out)))


def invert(
    log_tail: Callable[[Array, bool], Array], log_density: Callable[[Array], Array], q: float, start: Array
) -> Array:
    """The x with `P(X <= x) = q`, elementwise, by safeguarded Newton steps on the logarithm of the smaller tail.

    `start` is of about the size of the answers, on the scale of which the density is spread over about a unit.
    """
    upper = q > 0.5
    target, sign = (np.log1p(-q), -1.0) if upper else (np.log(q), 1.0)
    x, width = np.array(start, dtype=float), 1.0
    low, high = np.full_like(x, -np.inf), np.full_like(x, np.inf)
    for _ in range(200):
        tail = log_tail(x, upper)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            excess = sign * (tail - target)
            newton = x - excess / np.exp(log_density(x) - tail)
            low, high = np.where(excess < 0.0, x, low), np.where(excess > 0.0, x, high)
            bracketed = np.isfinite(low) & np.isfinite(high)
            safe = np.where(bracketed, 0.5 * (low + high), x - np.sign(excess) * width)
            # a step below rounding may end on the bracket
            settled = np.abs(newton - x) <= 4e-16 * np.maximum(np.abs(x), 1e-2)
            new = np.where(settled | ((newton > low) & (newton < high)), newton, safe)
        new = np.where(excess == 0.0, x, new)
        done = settled | (np.abs(excess) <= 4e-16 * (1.0 + np.abs(target)))  # the logarithm is not known better
        x, width = new, 2.0 * width
        if done.all():
            break
    return x


def weighted_quantiles(y: Array, weight: Array, levels: tuple[float, ...]) -> list[float]:
    """Quantiles of a weighted sample: the first value at which the share of the weight reaches the level."""
    order = np.argsort(y, kind="stable")
    share = np.cumsum(weight[order])
    at = np.searchsorted(share, np.asarray(levels) * share[-1])
    return [float(y[order[min(i, len(order) - 1)]]) for i in at]


def positive_spread(spread: float, centre: float) -> float:
    """The spread, or a very small one where the sample is constant."""
    return max(float(spread), 1e-10 * abs(centre), 1e-100)


def robust_spread(y: Array, weight: Array, level: float, unit: float) -> float:
    """Distance of the quantiles at `1 - level` and `level` over `unit`; where they tie, the standard deviation; always positive."""
    low, middle, high = weighted_quantiles(y, weight, (1.0 - level, 0.5, level))
    spread = (high - low) / unit
    if spread <= 0.0:
        spread = float(np.sqrt(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)))
    return positive_spread(spread, middle)
