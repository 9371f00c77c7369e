"""Censored, interval-valued and truncated responses of any continuous family of one response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.experts.base import Array, Expert, first_bad
from moestat.experts.continuous import ContinuousExpert
from moestat.experts.dictionary import Read
from moestat.experts.gaussian import GaussianExpert
from moestat.experts.named import family_named
from moestat.experts.normal import NormalExpert
from moestat.experts.scalar import Scalar

STEP = 5e-3  # of the differences, in units in which the predictors are of order one


@dataclass(frozen=True, init=False)
class CensoredExpert(Expert):
    """A continuous family whose responses are known to lie in intervals: `y = (lower, upper)`, two columns.

    Equal ends are an exact response with density f; otherwise the contribution is `P(lower < Y <= upper)`: right-censored with
    `upper = inf`, left-censored with `lower = -inf`. With truncation limits only responses in `(low, high)` are ever seen, and everything
    is divided by `P(low < Y <= high)`.

    Parameters
    ----------
    family : str or expert, default "normal"
        A continuous family of one response; `"gaussian"` stands for `NormalExpert`.
    low, high : float, default -inf, inf
        Truncation limits.
    degree : int, default 1
        Degree of a family that is given by name.

    Raises
    ------
    ValueError
        If the family is not continuous, or the limits leave nothing.

    Notes
    -----
    Parameters, and predictions (`mean`, `quantile`, `sample`), are those of the response before censoring and truncation. Derivatives of interval
    probabilities are central differences of fourth order of `log_cdf` and `log_sf`, which are accurate in the tails: about ten digits. The
    model of Miljkovic & Fernández (2018) and of the LRMoE package for insurance losses, with covariates in the experts.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts import CensoredExpert
    >>> expert = CensoredExpert("normal")
    >>> y = np.array([[0.0, 0.0, -np.inf], [0.0, np.inf, 1.0]])
    >>> np.exp(expert.log_density(y, np.zeros((1, 1, 3)), np.zeros((1, 1, 1)))).round(4)
    array([[0.3989, 0.5   , 0.8413]])
    """

    name: ClassVar[str] = "censored"
    intervals: ClassVar[bool] = True

    family: ContinuousExpert = field(default_factory=NormalExpert)
    low: float = -np.inf
    high: float = np.inf

    def __init__(
        self, family: Any = "normal", low: float = -np.inf, high: float = np.inf, degree: int = 1, tied: bool = False
    ) -> None:
        if isinstance(family, str):
            family = family_named(family, degree)
        if isinstance(family, GaussianExpert) and family.known_scale is None:
            family = NormalExpert(family.degree, family.tied)
        if not isinstance(family, ContinuousExpert) or family.raw_features:
            raise ValueError(f"family={family!r} cannot be censored; give a continuous family of one response.")
        if not float(low) < float(high):
            raise ValueError(f"low={low!r} must be below high={high!r}.")
        for name, value in (("family", family), ("low", float(low)), ("high", float(high))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "degree", family.degree)
        object.__setattr__(self, "tied", family.tied)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Family and limits."""
        return {"family": self.family, "low": self.low, "high": self.high}

    @property
    def support(self) -> str:  # type: ignore[override]
        """Intervals of the family's."""
        limits = "" if np.isinf([self.low, self.high]).all() else f" within ({self.low:g}, {self.high:g})"
        return f"two columns lower <= upper{limits} that meet {self.family.support}"

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The family's."""
        return self.family.scalars

    def canonical(self, coef: Array, scale: Array) -> tuple[Array, Array]:
        """The family's."""
        return self.family.canonical(coef, scale)

    def alternatives(self, coef: Array, scale: Array) -> list[tuple[Array, Array]]:
        """The family's."""
        return self.family.alternatives(coef, scale)

    def for_information(self, n: float) -> CensoredExpert:
        """Of the family's."""
        return CensoredExpert(self.family.for_information(n), self.low, self.high)

    # -- the data -----------------------------------------------------------------------------------------------------

    def check(self, y: Array) -> None:
        """Refuse anything but two ordered columns that meet the support and the limits.

        Raises
        ------
        ValueError
            With the number of columns, or the first offending row and value.
        """
        if y.shape[1] != 2:
            raise ValueError(
                f"y has {y.shape[1]} columns; censored responses need two, lower and upper (equal where exact)."
            )
        lower, upper = y.T
        bad = np.isnan(y).any(axis=1) | (lower > upper) | (upper <= self.low) | (lower > self.high)
        bad |= np.isinf(lower) & (lower == upper)
        exact = (lower == upper) & ~bad
        zero = np.zeros((1, 1, len(y)))
        extra = np.zeros((len(self.scalars), 1, 1))
        with np.errstate(all="ignore"):
            inside = np.isfinite(self.family.log_density(np.where(exact, lower, 0.5)[None], zero, extra)[0])
        first_bad(y, np.asarray(bad | (exact & ~inside)), self)

    def _middle(self, y: Array) -> Array:
        """A number in each interval `(n, 2)`, in the support, for starts: `(n,)`."""
        lower, upper = np.maximum(y[:, 0], self.family.ends[0]), np.minimum(y[:, 1], self.family.ends[1])
        low, high = np.where(np.isfinite(lower), lower, upper), np.where(np.isfinite(upper), upper, lower)
        middle = 0.5 * low + 0.5 * high
        known = np.isfinite(middle)
        center = float(middle[known].mean()) if known.any() else 0.5
        return np.where(known, middle, center)

    def starting_response(self, y: Array) -> Array:
        """The family's, of the middles."""
        return self.family.starting_response(self._interior(y))

    def _interior(self, y: Array) -> Array:
        """Middles `(n, 1)`, moved into the open support."""
        out = self._middle(y)
        left, right = self.family.ends
        positive = out[out > left]
        if np.isfinite(left):
            out = np.maximum(out, left + 0.5 * (float(positive.min()) - left if positive.size else 1.0))
        return np.minimum(out, right - 1e-6)[:, None] if np.isfinite(right) else out[:, None]

    def floor_unit(self, y: Array, weight: Array | None) -> Array:
        """The family's, or the middles' standard deviation."""
        middle = self._interior(y)
        if not self.family.location_scale:
            return self.family.floor_unit(middle, weight)
        return np.array([float(middle.std()) or 1.0])

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The family's, for the middles."""
        return self.family.origin(self._interior(y), weight)

    # -- formulas -----------------------------------------------------------------------------------------------------

    def _log_interval(self, lower: Array, upper: Array, eta: Array, extra: Array) -> Array:
        """`log P(lower < Y <= upper)` by the tail in which the interval lies, `(K, B)`."""
        left, right = self.family.ends
        low, high = np.maximum(lower, left), np.minimum(upper, right)
        shape = eta.shape[1:]
        no_low, no_high = np.broadcast_to(low <= left, shape), np.broadcast_to(high >= right, shape)
        inner_low = np.where(low <= left, _inside(left, right), low)
        inner_high = np.where(high >= right, _inside(left, right), high)
        sf_low, cdf_high = (
            self.family.log_sf(inner_low[None], eta, extra),
            self.family.log_cdf(inner_high[None], eta, extra),
        )
        cdf_low, sf_high = (
            self.family.log_cdf(inner_low[None], eta, extra),
            self.family.log_sf(inner_high[None], eta, extra),
        )
        upper_tail = sf_low < cdf_high
        big, small = np.where(upper_tail, sf_low, cdf_high), np.where(upper_tail, sf_high, cdf_low)
        with np.errstate(divide="ignore", invalid="ignore"):
            between = big + np.log(-np.expm1(np.minimum(small - big, 0.0)))
        out = np.where(no_low, cdf_high, np.where(no_high, sf_low, between))
        return np.where(no_low & no_high, 0.0, out)

    def _truncated(self, eta: Array, extra: Array) -> Array:
        """`log P(low < Y <= high)`."""
        low, high = np.full(eta.shape[-1], self.low), np.full(eta.shape[-1], self.high)
        return self._log_interval(low, high, eta, extra)

    @property
    def _limited(self) -> bool:
        return bool(np.isfinite([self.low, self.high]).any())

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f` of exact responses, log probabilities of intervals, less that of not being truncated."""
        lower, upper = y[0], y[1]
        exact = lower == upper
        out = np.empty(np.broadcast_shapes(eta.shape[1:], extra.shape[1:], lower.shape))
        if exact.any():
            out[:, exact] = self.family.log_density(lower[None, exact], eta[..., exact], extra)
        if not exact.all():
            low, high = np.maximum(lower[~exact], self.low), np.minimum(upper[~exact], self.high)
            out[:, ~exact] = self._log_interval(low, high, eta[..., ~exact], extra)
        return out - self._truncated(eta, extra) if self._limited else out

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """The family's formulas for exact responses, differences of log probabilities for the rest."""
        lower, upper = y[0], y[1]
        exact = lower == upper
        m = 1 + len(extra)
        shape = eta.shape[1:]
        first, second = np.zeros((m, *shape)), np.zeros((m * (m + 1) // 2, *shape))
        if exact.any():
            first[..., exact], second[..., exact] = self.family.derivatives(lower[None, exact], eta[..., exact], extra)
        if not exact.all():
            low, high = np.maximum(lower[~exact], self.low), np.minimum(upper[~exact], self.high)
            parts = self._differences(lambda e, v: self._log_interval(low, high, e, v), eta[..., ~exact], extra)
            first[..., ~exact], second[..., ~exact] = parts
        if self._limited:
            slope, bend = self._differences(self._truncated, eta, extra)
            first, second = first - slope, second - bend
        return first, second

    def _differences(self, function: Callable[[Array, Array], Array], eta: Array, extra: Array) -> tuple[Array, Array]:
        """First and second derivatives in (η, v) by central differences of fourth order; mixed ones along the diagonal of two steps."""
        unit = STEP * np.exp(extra[0]) if self.family.location_scale else STEP * np.ones((1, 1))
        steps = [unit, *(STEP * np.ones_like(v) for v in extra)]
        center = function(eta, extra)

        def line(*directions: int) -> tuple[Array, Array]:
            """First and second differences along the sum of some unit steps."""
            at = {}
            for count in (-2, -1, 1, 2):
                moved = np.stack([v + count * steps[j + 1] * (j + 1 in directions) for j, v in enumerate(extra)])
                at[count] = function(eta + count * unit * (0 in directions), moved)
            first = (8.0 * (at[1] - at[-1]) - (at[2] - at[-2])) / 12.0
            return first, (16.0 * (at[1] + at[-1]) - (at[2] + at[-2]) - 30.0 * center) / 12.0

        lines = [line(i) for i in range(len(steps))]
        first = [slope / step for (slope, _), step in zip(lines, steps, strict=True)]
        second = []
        for i in range(len(steps)):
            for j in range(i):
                second.append(0.5 * (line(i, j)[1] - lines[i][1] - lines[j][1]) / (steps[i] * steps[j]))
            second.append(lines[i][1] / steps[i] ** 2)
        shape = np.broadcast_shapes(eta.shape[1:], center.shape)
        return np.stack([np.broadcast_to(a, shape) for a in first]), np.stack(
            [np.broadcast_to(a, shape) for a in second]
        )

    # -- predictions: of the response before censoring and truncation ---------------------------------------------------

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """The family's."""
        return self.family.moments(eta, extra)

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """The family's."""
        return self.family.cdf(y[:1], eta, extra)

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The family's."""
        return self.family.quantile(q, eta, extra)

    def sample_rows(self, eta: Array, scale: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Exact responses, both columns equal."""
        return np.repeat(self.family.sample_rows(eta, scale, labels, rng), 2, axis=0)

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`."""
        return super().read(params, n_raw)._replace(n_responses=2)


def _inside(left: float, right: float) -> float:
    """A point of the open support."""
    if np.isfinite(left) and np.isfinite(right):
        return 0.5 * (left + right)
    return left + 1.0 if np.isfinite(left) else 0.0
