"""Other rules in y: Gauss-Hermite about Gaussian components that resemble each other, and sums over counts and classes."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.divergences.densities import Components
from moestat.divergences.families import FamilyComponents
from moestat.divergences.integrands import Integrand, check_finite
from moestat.divergences.panels import missed

Array = NDArray[np.float64]

_FINE, _COARSE = 40, 20
_MOST_NUMBERS = 300_000
# Sums with more terms at one x are left to Monte Carlo.
_MOST_TERMS = 200_000
_SMALLEST_LEVEL = 2.0**-53


class TooManyTerms(ValueError):
    """The sum over the responses is too long."""


@lru_cache(maxsize=8)
def _hermite(n: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def by_hermite(p: Components, q: Components, integrand: Integrand) -> Array:
    """Gauss-Hermite rule about each component of p: columns value, and two errors (q,3).

    The errors are the difference to the rule of half the nodes, and the mass of those components of q that no component of p
    resembles (within 3 standard deviations, ratio of standard deviations within 1/3 and 3): there the rule has no nodes.
    """
    fine, coarse = _hermite(_FINE), _hermite(_COARSE)
    nodes = np.concatenate([fine[0], coarse[0]])
    y = p.mean[:, :, None] + p.std[:, :, None] * nodes
    flat = y.reshape(y.shape[0], -1)
    d = q.log_density(flat) - p.log_density(flat)
    values = integrand(d).reshape(y.shape)
    gate = np.exp(p.log_gate)
    value = (gate * (values[:, :, :_FINE] @ fine[1])).sum(axis=1)
    rough = (gate * (values[:, :, _FINE:] @ coarse[1])).sum(axis=1)
    return np.stack([value, np.abs(value - rough), _uncovered(p, q)], axis=1)


def _uncovered(p: Components, q: Components) -> Array:
    scale = p.std[:, None, :]
    quotient = q.std[:, :, None] / scale
    alike = (np.abs(q.mean[:, :, None] - p.mean[:, None, :]) <= 3.0 * scale) & (quotient < 3.0) & (quotient > 1.0 / 3.0)
    alike &= p.log_gate[:, None, :] > q.log_gate[:, :, None] + np.log(1e-2)
    mass: Array = np.where(alike.any(axis=2), 0.0, np.exp(q.log_gate)).sum(axis=1)
    return mass


def by_counts(
    p: FamilyComponents, q: FamilyComponents, integrand: Integrand, marginals: tuple[Array, Array] | None = None
) -> Array:
    """Sum over the counts beyond which both densities have a mass below 1e-16: columns value, and mass that is missed (q,2).

    Raises
    ------
    TooManyTerms
        If there are more than 200 000 at one x.
    """
    first = np.minimum(*(parts.quantile(_SMALLEST_LEVEL).min(axis=1) for parts in (p, q)))
    middle = np.minimum(*(parts.quantile(0.5).min(axis=1) for parts in (p, q)))
    last = np.maximum(*(parts.quantile(1.0 - _SMALLEST_LEVEL).max(axis=1) for parts in (p, q)))
    # Quantiles are those of the level to 64 roundings; a tail that falls by 13 decades falls by 16 on a way a quarter longer.
    last += np.ceil(0.3 * (last - middle)) + 10.0
    terms = last - first + 1.0
    if not terms.max() <= _MOST_TERMS:
        raise TooManyTerms(f"a sum over counts has {terms.max():.3g} terms.")
    out = np.empty((first.size, 2))
    # Rows of about the same number of terms together.
    order = np.argsort(terms)
    k = p.log_gate.shape[1] + q.log_gate.shape[1]
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and (stop + 1 - start) * terms[order[stop]] * k <= _MOST_NUMBERS:
            stop += 1
        rows = order[start:stop]
        y = first[rows][:, None] + np.arange(terms[rows].max())
        out[rows] = _sums(p.take(rows), q.take(rows), y, integrand, _at(marginals, rows))
        start = stop
    return out


def by_outcomes(
    p: FamilyComponents,
    q: FamilyComponents,
    integrand: Integrand,
    outcomes: Array,
    marginals: tuple[Array, Array] | None = None,
) -> Array:
    """Sum over all outcomes (C,M): columns value, and mass that is missed (q,2)."""
    k = p.log_gate.shape[1] + q.log_gate.shape[1]
    step = max(1, _MOST_NUMBERS // (outcomes.shape[1] * k))
    parts = []
    for start in range(0, p.log_gate.shape[0], step):
        rows = np.arange(start, min(start + step, p.log_gate.shape[0]))
        y = np.broadcast_to(outcomes[:, None, :], (outcomes.shape[0], rows.size, outcomes.shape[1]))
        parts.append(_sums(p.take(rows), q.take(rows), y, integrand, _at(marginals, rows)))
    return np.concatenate(parts)


def outcomes_of(expert: Any, n_classes: int, trials: int) -> Array:
    """All outcomes (C,M) of a number of draws from the classes; successes and trials of a binomial expert.

    Raises
    ------
    ValueError
        If there are more than 200 000.
    """
    if not hasattr(expert, "class_proba"):
        return np.stack([np.arange(trials + 1.0), np.full(trials + 1, float(trials))])
    c = n_classes
    if trials == 1:
        return np.arange(float(c))[None]
    places = trials + c - 1
    count = 1.0
    for j in range(1, c):
        count *= (trials + j) / j
    if count > _MOST_TERMS:
        raise ValueError(
            f"{trials} draws of {c} classes have {count:.3g} outcomes; at most {_MOST_TERMS} can be summed."
        )
    bars = np.array(list(combinations(range(places), c - 1)), dtype=np.float64).reshape(-1, c - 1)
    ends = np.concatenate([np.full((len(bars), 1), -1.0), bars, np.full((len(bars), 1), float(places))], axis=1)
    return np.asarray((np.diff(ends, axis=1) - 1.0).T)


def _at(marginals: tuple[Array, Array] | None, rows: NDArray[np.int64]) -> tuple[Array, Array] | None:
    return None if marginals is None else (marginals[0][rows], marginals[1][rows])


def _sums(
    p: FamilyComponents, q: FamilyComponents, y: Array, integrand: Integrand, marginals: tuple[Array, Array] | None
) -> Array:
    log_p, log_q = p.log_density(y), q.log_density(y)
    if marginals is not None:
        log_p, log_q = (log + m[:, None] for log, m in zip((log_p, log_q), marginals, strict=True))
    value, mass, gain, _ = integrand.weighted(log_p, log_q)
    total, own, rise, spread = (part.sum(axis=1) for part in (value, mass, gain, np.abs(gain)))
    return np.stack([total, missed(integrand, check_finite(total), own, rise, spread, marginals)], axis=1)
