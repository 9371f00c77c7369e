"""Adaptive quadrature in y at many points x at once, for two densities of any continuous families on one interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from moestat.divergences.expectation import GAUSS, KRONROD, NODES
from moestat.divergences.families import AnyComponents
from moestat.divergences.integrands import Integrand, check_finite

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# A component with less probability gets no panels of its own.
_NEGLIGIBLE = np.log(1e-14)
# The rule in y is refined until the panels' errors are below this share of the value at x.
_TOLERANCE = 1e-5
_ROUNDS = 25
# Panels at one x on average: more are split in vain, where responses are so close to an end of the support that rounding makes stairs.
_MOST_PANELS = 150
_MOST_NUMBERS = 150_000
# A difference of the masses of p and q below this is rounding, and so is this share of ∫|q - p| in a divergence.
_ROUNDING = 1e-14
# A mass above this is missed for good, not by the rule.
_FOR_GOOD = 1e-6
# Beyond the bulk a unit of the line is a factor e in y: heavy tails end at this many units.
_END_OF_TAIL = 300.0
_TAIL_PANELS = np.array([0.004, 0.02, 0.08, 0.3, 1.0])
_LARGEST = 1e140


def by_panels(
    p: AnyComponents, q: AnyComponents, integrand: Integrand, marginals: tuple[Array, Array] | None = None
) -> Array:
    """Value of the divergence at each of the q points, error of the rule, and what mass it misses, (q,3).

    Gauss-Kronrod rules on panels between quantiles of the components of p and q, halved (where p - q changes sign, split there)
    until the difference of the two rules is small everywhere. Positive responses are integrated over ``log y``, those of the unit interval over their
    logit; beyond the bulk of the densities the line is stretched exponentially, so that power tails are short. What the outermost panels
    carry counts as error, and no error is said to be below 2e-5 of the value.

    Parameters
    ----------
    p, q : Components or FamilyComponents
    integrand : Integrand
    marginals : (log p(x), log q(x)), optional
        Log-densities of the points x, (q,) each: the densities of (x, y) are then compared.
    """
    n = p.log_gate.shape[0]
    line, rows, left, right = _first_panels(p, q)
    extent = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(extent[0], rows, left)
    np.maximum.at(extent[1], rows, right)
    found = _integrals(p, q, integrand, marginals, line, rows, left, right)
    for _ in range(_ROUNDS):
        total, spread = _totals(rows, found.value, n), _totals(rows, found.spread, n)
        allowed = np.maximum(_TOLERANCE * total, integrand.noise + _ROUNDING * spread) / np.bincount(rows, minlength=n)
        split = found.error > allowed[rows]
        if not split.any() or rows.size > _MOST_PANELS * n:
            break
        at, cut = rows[split], found.cut[split]
        new_left, new_right = np.concatenate([left[split], cut]), np.concatenate([cut, right[split]])
        at = np.concatenate([at, at])
        new = _integrals(p, q, integrand, marginals, line, at, new_left, new_right)
        rows = np.concatenate([rows[~split], at])
        left, right = np.concatenate([left[~split], new_left]), np.concatenate([right[~split], new_right])
        found = _Found(*(np.concatenate([old[~split], more]) for old, more in zip(found, new, strict=True)))
    value, error, mass, gain, spread = (_totals(rows, part, n) for part in found[:5])
    if line.stretched:
        outermost = (left == extent[0][rows]) | (right == extent[1][rows])
        error += 2.0 * _totals(rows, np.where(outermost, found.value, 0.0), n)
    error = np.maximum(error, 2.0 * _TOLERANCE * value)
    return np.stack([value, error, missed(integrand, value, mass, gain, spread, marginals)], axis=1)


def _totals(rows: Rows, part: Array, n: int) -> Array:
    """Sums (n,) over the panels of each row."""
    return np.asarray(np.bincount(rows, part, minlength=n), dtype=np.float64)


def missed(
    integrand: Integrand,
    value: Array,
    mass: Array,
    gain: Array,
    spread: Array,
    marginals: tuple[Array, Array] | None,
) -> Array:
    """Error (q,) that masses reveal: ``∫p`` should be 1 and ``∫(q - p)`` 0, or as the marginals say.

    The second is compared with ``spread = ∫|q - p|``, as what is missed is of about the same kind as what is seen; masses that are missed for good,
    where responses are closer to an end of the support than floating point numbers are, count as one more response.
    """
    log_p, log_q = marginals if marginals is not None else (np.zeros(1), np.zeros(1))
    own, other = np.exp(log_p), np.exp(log_q)
    gap = np.maximum(np.abs(gain - (other - own)) - _ROUNDING, 0.0)
    lost: Array = value * (np.abs(mass - own) / np.maximum(own, 1e-300) + gap / np.maximum(spread, 1e-300))
    shares = mass / np.maximum(own, 1e-300), (mass + gain) / np.maximum(other, 1e-300)
    rest = [np.log(np.maximum(np.abs(1.0 - part) - _FOR_GOOD, 1e-12)) for part in shares]
    return lost + integrand.weighted(rest[0] + log_p, rest[1] + log_q)[0]


class _Found(NamedTuple):
    """Of every panel: the integral, its error, ``∫p``, ``∫(q - p)``, ``∫|q - p|``, and where to split the panel."""

    value: Array
    error: Array
    mass: Array
    gain: Array
    spread: Array
    cut: Array


@dataclass(frozen=True, eq=False)
class _Line:
    """The line t on which panels lie: y, its logarithm or its logit, stretched outside ``[low, high]`` of each row."""

    ends: tuple[float, float]
    stretched: bool
    low: Array
    high: Array
    size: Array

    def place(self, rows: Rows, t: Array) -> tuple[Array, Array | float]:
        """Responses y (m,N) at points t (m,N), and ``log dy/dt``, which is ``-inf`` where y is no number any more."""
        if not self.stretched:
            return t, 0.0
        low, high, size = (part[rows][:, None] for part in (self.low, self.high, self.size))
        over, under = np.maximum(t - high, 0.0) / size, np.maximum(low - t, 0.0) / size
        u = np.clip(t, low, high) + size * (np.expm1(over) - np.expm1(under))
        y, slope, inside = _response(u, self.ends)
        return y, np.where(inside, slope + over + under, -np.inf)

    def back(self, u: Array) -> Array:
        """Points t (q,N) of points u (q,N) of the line that is not stretched."""
        if not self.stretched:
            return u
        low, high, size = (part[:, None] for part in (self.low, self.high, self.size))
        over, under = np.maximum(u - high, 0.0) / size, np.maximum(low - u, 0.0) / size
        return np.asarray(np.clip(u, low, high) + size * (np.log1p(over) - np.log1p(under)))


def _response(u: Array, ends: tuple[float, float]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """y, ``log dy/du``, and whether u is a place where y is a number inside the support."""
    if not np.isfinite(ends[0]):
        return np.clip(u, -_LARGEST, _LARGEST), np.zeros_like(u), np.abs(u) < _LARGEST
    v = np.clip(u, -700.0, 700.0)
    if not np.isfinite(ends[1]):
        return ends[0] + np.exp(v), v, v == u
    width = ends[1] - ends[0]
    y = ends[0] + width * expit(v)
    return y, np.log(width) - np.abs(v) - 2.0 * np.log1p(np.exp(-np.abs(v))), (v == u) & (y > ends[0]) & (y < ends[1])


def _unstretched(y: Array, ends: tuple[float, float]) -> Array:
    """The inverse of `_response`."""
    if not np.isfinite(ends[0]):
        return np.clip(y, -1e120, 1e120)
    with np.errstate(divide="ignore"):
        log_low = np.log(y - ends[0])
        u = log_low if not np.isfinite(ends[1]) else log_low - np.log(ends[1] - y)
    return np.clip(u, -650.0, 650.0 if not np.isfinite(ends[1]) else 36.0)


def _first_panels(p: AnyComponents, q: AnyComponents) -> tuple[_Line, Rows, Array, Array]:
    """The line, and panels on it: rows, left and right ends (M,) each.

    Their ends are quantiles of all components that have probability. Components of q that are nearly the same as one of p need no
    panels of their own.
    """
    mine, theirs = (_unstretched(parts.quantiles(), p.ends) for parts in (p, q))
    log_gate = np.concatenate([p.log_gate, q.log_gate], axis=1)
    shown = log_gate > _NEGLIGIBLE
    shown[:, mine.shape[1] :] &= ~_resembled(mine, theirs, p.log_gate, q.log_gate)
    low, high = (np.concatenate([_bulk(parts)[side] for parts in (mine, theirs)], axis=1) for side in (0, 1))
    low, high = np.where(shown, low, np.inf).min(axis=1), np.where(shown, high, -np.inf).max(axis=1)
    size = np.maximum(high - low, 1e-12 * np.maximum(np.abs(low), np.abs(high)) + 1e-280)
    line = _Line(p.ends, p.heavy or q.heavy, low, high, size)
    parted = np.split(shown, [mine.shape[1]], axis=1)
    ends = [np.where(own[:, :, None], parts, np.nan) for own, parts in zip(parted, (mine, theirs), strict=True)]
    points = line.back(np.concatenate([part.reshape(len(part), -1) for part in ends], axis=1))
    if line.stretched:
        points = np.concatenate([points, *_tails(line, points)], axis=1)
    points.sort(axis=1)
    rows, places = np.nonzero(points[:, 1:] > points[:, :-1])
    return line, rows, points[rows, places], points[rows, places + 1]


def _bulk(points: Array) -> tuple[Array, Array]:
    """Ends (q,K) of the bulk of components, the points beside the median."""
    half = points.shape[2] // 2
    return points[:, :, half - 1], points[:, :, half + 1]


def _tails(line: _Line, points: Array) -> tuple[Array, Array]:
    """Ends of panels on both sides of the outermost points (q,N)."""
    high = np.maximum((np.nanmax(points, axis=1) - line.high) / line.size, 0.0)
    low = np.maximum((line.low - np.nanmin(points, axis=1)) / line.size, 0.0)
    above, under = (v[:, None] + np.maximum(_END_OF_TAIL - v, 1.0)[:, None] * _TAIL_PANELS for v in (high, low))
    return line.high[:, None] + line.size[:, None] * above, line.low[:, None] - line.size[:, None] * under


def _resembled(mine: Array, theirs: Array, log_p: Array, log_q: Array) -> NDArray[np.bool_]:
    """Components of q (q,Kq) that have a like in p, not much less probable, from points (q,K,L) of the components."""
    alike = np.zeros(log_q.shape, dtype=bool)
    if mine.shape[2] != theirs.shape[2]:
        return alike
    with np.errstate(invalid="ignore"):
        gaps = np.diff(mine, axis=2)
        gaps = 0.4 * np.minimum(gaps[:, :, 1:], gaps[:, :, :-1])
        for j in range(mine.shape[1]):
            near = (np.abs(theirs - mine[:, j : j + 1])[:, :, 1:-1] <= gaps[:, j : j + 1]).all(axis=2)
            alike |= near & (log_p[:, j : j + 1] > log_q + np.log(1e-2))
    return alike


def _integrals(
    p: AnyComponents,
    q: AnyComponents,
    integrand: Integrand,
    marginals: tuple[Array, Array] | None,
    line: _Line,
    rows: Rows,
    left: Array,
    right: Array,
) -> _Found:
    """Gauss-Kronrod rules on panels, as many at once as fit into the cache."""
    step = max(1, _MOST_NUMBERS // (NODES.size * (p.log_gate.shape[1] + q.log_gate.shape[1])))
    parts = []
    for start in range(0, max(rows.size, 1), step):
        at, a, b = rows[start : start + step], left[start : start + step], right[start : start + step]
        half, centre = 0.5 * (b - a), 0.5 * (b + a)
        y, slope = line.place(at, centre[:, None] + half[:, None] * NODES)
        log_p, log_q = p.take(at).log_density(y), q.take(at).log_density(y)
        if marginals is not None:
            log_p, log_q = (log + m[at][:, None] for log, m in zip((log_p, log_q), marginals, strict=True))
        value, mass, gain, d = integrand.weighted(log_p, log_q, slope)
        total = check_finite(half * (value @ KRONROD))
        own, rise, spread = (half * (part @ KRONROD) for part in (mass, gain, np.abs(gain)))
        error = np.abs(total - half * (value @ GAUSS))
        cut = centre + half * _root(d) if integrand.kinked else centre
        parts.append((total, error, own, rise, spread, cut))
    return _Found(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _root(d: Array) -> Array:
    """Where ``d`` (m,15), known at the nodes, first changes sign, by linear interpolation, in (-1, 1); 0 where it does not."""
    low, high = d[:, :-1], d[:, 1:]
    changes = ((low < 0.0) != (high < 0.0)) & np.isfinite(low) & np.isfinite(high)
    at = changes.argmax(axis=1)[:, None]
    below, above = (np.take_along_axis(part, at, axis=1)[:, 0] for part in (low, high))
    start, width = NODES[at[:, 0]], np.diff(NODES)[at[:, 0]]
    with np.errstate(invalid="ignore", divide="ignore"):
        place = start + width * below / (below - above)
    return np.where(changes.any(axis=1), place, 0.0)
