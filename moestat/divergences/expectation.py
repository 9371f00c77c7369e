"""Expectations over x with an error: adaptive Gauss-Kronrod, scrambled Sobol points, or the sample itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from moestat.distributions import ContinuousLaw, Empirical, Law

Array = NDArray[np.float64]
# Rows (q,d) -> values (q,M).
Integrand = Callable[[Array], Array]

# Gauss-Kronrod 7-15 pair (QUADPACK): nodes, Kronrod weights, and Gauss weights at every second node.
_HALF_NODES = [
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851, 0.864864423359769072789712788640926,
    0.741531185599394439863864773280788, 0.586087235467691130294144838258730, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
]  # fmt: skip
_HALF_KRONROD = [
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
]  # fmt: skip
_HALF_GAUSS = [
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
]
NODES = np.array([*(-x for x in _HALF_NODES), 0.0, *_HALF_NODES[::-1]])
KRONROD = np.array([*_HALF_KRONROD, 0.209482141084727828012999174891714, *_HALF_KRONROD[::-1]])
GAUSS = np.zeros(15)
GAUSS[1::2] = [*_HALF_GAUSS, 0.417959183673469387755102040816327, *_HALF_GAUSS[::-1]]

_MOST_SOBOL_FEATURES = 4
_FIRST_PANELS = 4
_MOST_PANELS = 4000
_ROUNDS = 40
_STALLED = 4
_RANDOMISATIONS = 8
_FIRST_SOBOL, _LAST_SOBOL = 8, 14
_MONTE_CARLO = (14, 19)
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Expectation:
    """``E f(X)`` (M,), its error (M,) and the rule that found it."""

    value: Array
    error: Array
    method: str


def expect(
    f: Integrand,
    law: Law,
    *,
    breaks: Array | Callable[[float, float], Array] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    judged: int | None = None,
    rng: np.random.Generator | None = None,
) -> Expectation:
    """Expectation of ``f(X)`` under a law of x.

    Empirical laws are summed. One feature: adaptive Gauss-Kronrod, the error is the difference of the two rules. Up to four
    features: scrambled Sobol points in 8 randomisations, doubled until twice the standard error is below
    ``max(rtol, 1e-3)`` of the value; more features, or a law of which only draws are known: `monte_carlo`. Errors of random rules are
    twice the standard error.

    Parameters
    ----------
    f : callable
        Rows (q,d) to values (q,M).
    law : Law
    breaks : ndarray or callable, optional
        For d = 1, points at which the panels are split from the outset, or a function of the interval ``(low, high)`` that gives them;
        a method `breaks()` of the law adds more.
    rtol, atol : float
        Accuracy relative to the largest value, and, for d = 1, absolute.
    judged : int, optional
        Number of columns, the first ones, of which this accuracy is asked; by default all.
    rng : numpy.random.Generator, optional
        For d > 1; a fixed source by default, so that equal arguments give equal values.
    """
    if isinstance(law, Empirical):
        total = sum(f(rows).sum(axis=0) for rows in _blocks(law.X))
        value = np.asarray(total, dtype=np.float64) / law.X.shape[0]
        return Expectation(value, np.zeros_like(value), "sum over the sample")
    if law.n_features == 1:
        if not all(hasattr(law, name) for name in ("interval", "density")):
            raise ValueError(
                "x must be a law with interval and density (moestat.distributions.Uniform, Normal) or Empirical, "
                f"got {law!r}."
            )
        return _gauss_kronrod(f, law, breaks, rtol, atol, judged)  # type: ignore[arg-type]
    if has_quadrature(law):
        return _sobol(f, law, max(rtol, 1e-3), judged, rng)  # type: ignore[arg-type]
    return monte_carlo(f, law, rng, judged)


def has_quadrature(law: Law) -> bool:
    """Whether expectations under a law of x are sums over few points: one feature, up to four in a cube, or a sample."""
    few = law.n_features <= _MOST_SOBOL_FEATURES and hasattr(law, "quantiles")
    return isinstance(law, Empirical) or law.n_features == 1 or few


def _blocks(rows: Array, size: int = _ROWS_AT_ONCE) -> list[Array]:
    return [rows[start : start + size] for start in range(0, rows.shape[0], size)]


def _gauss_kronrod(
    f: Integrand,
    law: ContinuousLaw,
    breaks: Array | Callable[[float, float], Array] | None,
    rtol: float,
    atol: float,
    judged: int | None,
) -> Expectation:
    low, high = law.interval()
    given = breaks(low, high) if callable(breaks) else np.zeros(0) if breaks is None else breaks
    own = getattr(law, "breaks", lambda: np.zeros(0))()
    edges = np.concatenate([np.linspace(low, high, _FIRST_PANELS + 1), given, own])
    edges = np.unique(edges[(edges >= low) & (edges <= high)])
    left, right = edges[:-1], edges[1:]
    values, errors = _panel_integrals(f, law, left, right)
    last, stalled = np.inf, 0
    for _ in range(_ROUNDS):
        allowed = max(rtol * np.abs(values.sum(axis=0))[:judged].max(), atol)
        worst = errors[:, :judged].max(axis=1)
        # Half a panel has at most half the error, even where f jumps; an error that stays is rounding.
        stalled, last = (stalled + 1 if worst.sum() > 0.7 * last else 0), worst.sum()
        if worst.sum() <= allowed or left.size > _MOST_PANELS or stalled == _STALLED:
            break
        # Halve the panels that carry the error; the rest together may keep a quarter of what is allowed.
        order = np.argsort(worst)
        split = np.zeros(left.size, dtype=bool)
        split[order[np.cumsum(worst[order]) > 0.25 * allowed]] = True
        middle = 0.5 * (left[split] + right[split])
        new_left, new_right = np.append(left[split], middle), np.append(middle, right[split])
        new_values, new_errors = _panel_integrals(f, law, new_left, new_right)
        left, right = np.append(left[~split], new_left), np.append(right[~split], new_right)
        values = np.concatenate([values[~split], new_values])
        errors = np.concatenate([errors[~split], new_errors])
    return Expectation(values.sum(axis=0), errors.sum(axis=0), "Gauss-Kronrod in x")


def _panel_integrals(f: Integrand, law: ContinuousLaw, left: Array, right: Array) -> tuple[Array, Array]:
    half = 0.5 * (right - left)
    x = (0.5 * (right + left))[:, None] + half[:, None] * NODES
    rows = x.reshape(-1, 1)
    values = np.concatenate([f(block) for block in _blocks(rows)]) * law.density(x.ravel())[:, None]
    values = values.reshape(left.size, NODES.size, -1)
    kronrod = half[:, None] * np.einsum("j,pjm->pm", KRONROD, values)
    gauss = half[:, None] * np.einsum("j,pjm->pm", GAUSS, values)
    return kronrod, np.abs(kronrod - gauss)


def _sobol(
    f: Integrand, law: ContinuousLaw, rtol: float, judged: int | None, rng: np.random.Generator | None
) -> Expectation:
    sums: Array | None = None
    count = 0
    seed = 0 if rng is None else int(rng.integers(2**31))
    for level in range(_FIRST_SOBOL, _LAST_SOBOL + 1):
        points = _sobol_points(law.n_features, level, seed)
        fresh = points[:, count:]
        rows = law.quantiles(fresh.reshape(-1, law.n_features))
        values = np.concatenate([f(block) for block in _blocks(rows)])
        added = values.reshape(_RANDOMISATIONS, fresh.shape[1], -1).sum(axis=1)
        sums = added if sums is None else sums + added
        count = points.shape[1]
        means = sums / count
        value = means.mean(axis=0)
        error = 2.0 * means.std(axis=0, ddof=1) / np.sqrt(_RANDOMISATIONS)
        if error[:judged].max() <= rtol * np.abs(value[:judged]).max():
            break
    return Expectation(value, error, f"Sobol in x ({_RANDOMISATIONS} x {count} points)")


@lru_cache(maxsize=4)
def _sobol_points(d: int, level: int, seed: int) -> Array:
    """Points (8, 2^level, d); those of a lower level come first."""
    from scipy.stats import qmc

    sources = np.random.SeedSequence(seed).spawn(_RANDOMISATIONS)
    # SciPy 1.15 renamed the argument.
    name = "rng" if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15) else "seed"
    engines = [qmc.Sobol(d, scramble=True, **{name: np.random.default_rng(source)}) for source in sources]
    return np.stack([engine.random_base2(level) for engine in engines])


def monte_carlo(f: Integrand, law: Law, rng: np.random.Generator | None, judged: int | None = None) -> Expectation:
    """Plain Monte Carlo, the draws doubled until twice the standard error is below 0.5 % (2^19 draws at most)."""
    source = np.random.default_rng(0) if rng is None else rng
    first, last = _MONTE_CARLO
    total: Array | float = 0.0
    squares: Array | float = 0.0
    count = 0
    for level in (first, *range(first, last)):
        rows = law.sample(2**level, source)
        values = np.concatenate([f(block) for block in _blocks(rows, 2**14)])
        total, squares = total + values.sum(axis=0), squares + (values**2).sum(axis=0)
        count += rows.shape[0]
        value = np.asarray(total) / count
        error = 2.0 * np.sqrt(np.maximum(np.asarray(squares) / count - value**2, 0.0) / count)
        if error[:judged].max() <= 5e-3 * np.abs(value[:judged]).max():
            break
    return Expectation(value, error, f"Monte Carlo ({count} draws)")
