r"""Quadrature in y: divergences at points x between two Gaussian mixtures, each with an estimate of its error.

With ``r = q/p`` and ``d = log r`` the integrands are ``r - 1 - log r`` (Kullback-Leibler) and ``(√r - 1)²/2`` (squared Hellinger
distance): non-negative and quadratic in ``r - 1``, so that their relative error does not grow when the divergence is small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from moestat.divergences.densities import Components
from moestat.divergences.expectation import GAUSS, KRONROD, NODES

Array = NDArray[np.float64]
# d = log q - log p -> the integrand over p.
Integrand = Callable[[Array], Array]

_FINE, _COARSE = 40, 20
_REACH = np.linspace(-9.0, 9.0, 13)
_NEGLIGIBLE = np.log(1e-14)
_LARGE = 30.0
_MOST_NUMBERS = 150_000
_SECANT_STEPS = 6


def kl_integrand(d: Array) -> Array:
    """``r - 1 - log r = expm1(d) - d``; a series where the difference would cancel."""
    series = 0.5 * d**2 * (1.0 + d / 3.0 + d**2 / 12.0)
    bounded = np.minimum(d, 700.0)
    return np.where(np.abs(d) < 1e-3, series, np.expm1(bounded) - bounded)


def hellinger_integrand(d: Array) -> Array:
    """``(√r - 1)² / 2``."""
    root: Array = 0.5 * np.expm1(0.5 * np.minimum(d, 700.0)) ** 2
    return root


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
    mass: Array = np.where(_resembled(p, q, 3.0, 3.0), 0.0, np.exp(q.log_gate)).sum(axis=1)
    return mass


def _resembled(p: Components, q: Components, shift: float, ratio: float) -> NDArray[np.bool_]:
    """Components of q (q,Kq) that have a like in p, not much less probable."""
    scale = p.std[:, None, :]
    quotient = q.std[:, :, None] / scale
    alike = (np.abs(q.mean[:, :, None] - p.mean[:, None, :]) <= shift * scale) & (quotient < ratio)
    alike &= (quotient > 1.0 / ratio) & (p.log_gate[:, None, :] > q.log_gate[:, :, None] + np.log(1e-2))
    return np.asarray(alike.any(axis=2))


def by_panels(p: Components, q: Components, integrand: Integrand) -> Array:
    """Composite Gauss-Kronrod rule over the components of p and q: columns value, error, mass of p that is missed (q,3)."""
    parts = []
    edges = _edges(p, q, _REACH)
    size = max(1, _MOST_NUMBERS // (edges.shape[1] * NODES.size * (p.mean.shape[1] + q.mean.shape[1])))
    for start in range(0, edges.shape[0], size):
        rows = np.arange(start, min(start + size, edges.shape[0]))
        parts.append(_panel_rule(p.take(rows), q.take(rows), edges[rows], integrand))
    return np.concatenate(parts)


def _panel_rule(p: Components, q: Components, edges: Array, integrand: Integrand) -> Array:
    half = 0.5 * np.diff(edges, axis=1)
    y = (0.5 * (edges[:, 1:] + edges[:, :-1]))[:, :, None] + half[:, :, None] * NODES
    flat = y.reshape(y.shape[0], -1)
    log_p, log_q = p.log_density(flat), q.log_density(flat)
    d = log_q - log_p
    density = np.exp(log_p)
    values = density * integrand(np.minimum(d, _LARGE))
    # Where q is far above p the integrand over q avoids 0 * inf: p f(d) is q - p - p d, or the Hellinger one by symmetry.
    far = d > _LARGE
    if far.any():
        above = np.exp(log_q[far])
        if integrand is kl_integrand:
            values[far] = above - density[far] * (1.0 + d[far])
        else:
            values[far] = above * integrand(-d[far])
    shaped = values.reshape(y.shape)
    kronrod, gauss = half * (shaped @ KRONROD), half * (shaped @ GAUSS)
    missed = np.abs((half * (density.reshape(y.shape) @ KRONROD)).sum(axis=1) - 1.0)
    value = kronrod.sum(axis=1)
    return np.stack([value, np.abs(kronrod - gauss).sum(axis=1), missed * value], axis=1)


def _edges(p: Components, q: Components, reach: Array) -> Array:
    """Panel ends (q,P): ``mean + std * reach`` of all components that have probability, sorted.

    Components of q that are nearly the same as one of p need no panels of their own.
    """
    log_gate = np.concatenate([p.log_gate, q.log_gate], axis=1)
    mean, std = np.concatenate([p.mean, q.mean], axis=1), np.concatenate([p.std, q.std], axis=1)
    active = log_gate > _NEGLIGIBLE
    active[:, p.mean.shape[1] :] &= ~_resembled(p, q, 0.5, 1.25)
    order = np.argsort(~active, axis=1, kind="stable")
    order = order[:, : int(active.sum(axis=1).max())]
    # The others repeat the first active one: their panels have no width.
    chosen = np.where(np.take_along_axis(active, order, axis=1), order, order[:, :1])
    mean, std = np.take_along_axis(mean, chosen, axis=1), np.take_along_axis(std, chosen, axis=1)
    ends = (mean[:, :, None] + std[:, :, None] * reach).reshape(mean.shape[0], -1)
    ends.sort(axis=1)
    return ends


def total_variation_at(p: Components, q: Components) -> Array:
    """``½ ∫ |p - q|`` from distribution functions between the roots of p - q: columns value, error (q,2).

    Between two roots the integral of ``|p - q|`` is a difference of distribution functions, exactly; an error of a root enters
    squared. The error is the effect of refining the roots from their linear interpolation.
    """
    ends = _edges(p, q, np.linspace(-9.0, 9.0, 37))
    sign = q.log_density(ends) - p.log_density(ends)
    rise = q.cdf(ends) - p.cdf(ends)
    pieces = np.abs(np.diff(rise, axis=1))
    crosses = (sign[:, 1:] * sign[:, :-1] < 0.0) & (ends[:, 1:] > ends[:, :-1])
    rows, panels = np.nonzero(crosses)
    value = 0.5 * pieces.sum(axis=1)
    if rows.size == 0:
        return np.stack([value, np.zeros_like(value)], axis=1)
    at_p, at_q = p.take(rows), q.take(rows)
    low, high = ends[rows, panels], ends[rows, panels + 1]
    at_low, at_high = sign[rows, panels], sign[rows, panels + 1]
    first: Array | None = None
    for _ in range(_SECANT_STEPS):
        root = (low * at_high - high * at_low) / (at_high - at_low)
        first = root if first is None else first
        at_root = (at_q.log_density(root[:, None]) - at_p.log_density(root[:, None]))[:, 0]
        same = at_root * at_low > 0.0
        # Illinois: the end that stays counts half.
        at_low, at_high = np.where(same, at_root, 0.5 * at_low), np.where(same, 0.5 * at_high, at_root)
        low, high = np.where(same, root, low), np.where(same, high, root)
        at_low, at_high = _apart(at_low, at_high)
    assert first is not None
    gains = []
    for point in (root, first):
        level = (at_q.cdf(point[:, None]) - at_p.cdf(point[:, None]))[:, 0]
        split = np.abs(level - rise[rows, panels]) + np.abs(rise[rows, panels + 1] - level)
        gains.append(np.bincount(rows, split - pieces[rows, panels], minlength=value.size))
    return np.stack([value + 0.5 * gains[0], 0.5 * np.abs(gains[0] - gains[1])], axis=1)


def _apart(at_low: Array, at_high: Array) -> tuple[Array, Array]:
    """Keep the two values of different sign apart where a root was hit exactly."""
    hit = at_low == at_high
    return np.where(hit, -1.0, at_low), np.where(hit, 1.0, at_high)
