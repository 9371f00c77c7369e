"""Kullback-Leibler, Hellinger, total variation and L2 between conditional densities, averaged over x, with errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moestat.distributions import Empirical, Law
from moestat.divergences.densities import (
    Components,
    ConditionalDensity,
    FittedEstimator,
    density_of,
    gate_transitions,
)
from moestat.divergences.expectation import MOST_SOBOL_FEATURES, Expectation, expect, monte_carlo
from moestat.divergences.rules import by_hermite, by_panels, hellinger_integrand, kl_integrand, total_variation_at

Array = NDArray[np.float64]

# The quick rule is kept when its own error is below this share of the value.
_QUICK = 3e-4
_X_TOLERANCE = 1e-4
# Values below this are rounding: no relative error is asked of them.
_ZERO = 1e-28


@dataclass(frozen=True)
class Divergence:
    """A divergence with its error and the rule that found it; ``float(result)`` is the value."""

    value: float
    error: float
    method: str

    def __float__(self) -> float:
        return self.value


def kl(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law,
    *,
    rng: np.random.Generator | None = None,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Kullback-Leibler divergence ``E_x ∫ p log(p/q) dy`` from the truth p to the estimate q, in nats.

    It is found as ``E_p[r - 1 - log r]``, ``r = q/p``, whose integrand is non-negative and quadratic in ``r - 1``.

    Parameters
    ----------
    truth, estimate : ConditionalMixture, RegressionTruth or alike, or a fitted estimator (its ``model_`` is taken)
    x : Uniform, Normal or Empirical
        The law of x. One feature: adaptive Gauss-Kronrod; two to four: scrambled Sobol points; more (or several responses, or other
        than Gaussian experts): Monte Carlo. In y: Gauss-Hermite about the components, or panels over those of both densities.
    rng : numpy.random.Generator, optional
        Source of random rules; a fixed one by default.
    max_relative_error : float
        Largest accepted ``error / value``.

    Returns
    -------
    Divergence
        ``value``, ``error`` (difference of two rules; of random rules twice the standard error) and ``method``.

    Raises
    ------
    ValueError
        If the error is above ``max_relative_error`` of the value.
    TypeError
        If ``truth`` or ``estimate`` is an estimator that is not fitted.

    Examples
    --------
    >>> from moestat.distributions import Uniform
    >>> from moestat.divergences import RegressionTruth
    >>> p, q = RegressionTruth(lambda X: X[:, 0], 0.5), RegressionTruth(lambda X: X[:, 0] + 0.1, 0.5)
    >>> round(kl(p, q, Uniform(0.0, 1.0)).value, 12)
    0.02
    """
    truth, estimate = density_of(truth), density_of(estimate)
    return _checked(_average(truth, estimate, x, kl_integrand, rng), "kl", max_relative_error)


def hellinger(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law,
    *,
    rng: np.random.Generator | None = None,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Hellinger distance ``h``, the root of ``E_x ½ ∫ (√p - √q)² dy`` (for close densities ``h² ≈ KL/4``).

    Parameters, result and errors as `kl`.
    """
    truth, estimate = density_of(truth), density_of(estimate)
    return _checked(_root(_average(truth, estimate, x, hellinger_integrand, rng)), "hellinger", max_relative_error)


def total_variation(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law,
    *,
    rng: np.random.Generator | None = None,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Total variation distance ``E_x ½ ∫ |p - q| dy``.

    In y it is exact up to the roots of p - q: between them it is a difference of distribution functions. Parameters, result
    and errors as `kl`.
    """
    truth, estimate = density_of(truth), density_of(estimate)
    if _is_random(truth, estimate, x):
        # E_p (1 - r)_+ is bounded, ½ E_p |1 - r| is not.
        found = _sampled(truth, estimate, x, lambda d: np.maximum(-np.expm1(np.minimum(d, 0.0)), 0.0), rng)
    else:
        found = _over_x(truth, estimate, x, total_variation_at, rng, "distribution functions")
    return _checked(found, "total_variation", max_relative_error)


def l2(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law,
    *,
    rng: np.random.Generator | None = None,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""L2 distance of the regression functions, the root of ``E_x (E_p[Y|x] - E_q[Y|x])²``.

    Parameters, result and errors as `kl`.
    """

    p, q = density_of(truth), density_of(estimate)

    def squares(rows: Array) -> Array:
        gap = (np.asarray(p.mean(rows)) - np.asarray(q.mean(rows))).reshape(rows.shape[0], -1)
        squared: Array = (gap**2).sum(axis=1, keepdims=True)
        return squared

    found = expect(squares, x, breaks=_breaks(p, q, x), rtol=_X_TOLERANCE, rng=rng)
    return _checked(
        _root(Divergence(float(found.value[0]), float(found.error[0]), found.method)), "l2", max_relative_error
    )


def _average(
    truth: ConditionalDensity,
    estimate: ConditionalDensity,
    x: Law,
    integrand: Callable[[Array], Array],
    rng: np.random.Generator | None,
) -> Divergence:
    """The quick rule where its error allows, else the panels."""
    if _is_random(truth, estimate, x):
        return _sampled(truth, estimate, x, integrand, rng)
    # Both rules see the same points x.
    seed = None if rng is None else int(rng.integers(2**63))

    def run(rule: Callable[..., Array], name: str) -> tuple[Divergence, float]:
        source = None if seed is None else np.random.default_rng(seed)
        return _split_error(_raw(truth, estimate, x, lambda p, q: rule(p, q, integrand), source), f"{name} in y")

    quick, in_y = run(by_hermite, "Gauss-Hermite")
    if in_y <= _QUICK * quick.value or quick.value <= _ZERO:
        return quick
    return run(by_panels, "Gauss-Kronrod panels")[0]


def _over_x(
    truth: ConditionalDensity,
    estimate: ConditionalDensity,
    x: Law,
    rule: Callable[[Components, Components], Array],
    rng: np.random.Generator | None,
    name: str,
) -> Divergence:
    return _split_error(_raw(truth, estimate, x, rule, rng), f"{name} in y")[0]


def _raw(
    truth: ConditionalDensity,
    estimate: ConditionalDensity,
    x: Law,
    rule: Callable[[Components, Components], Array],
    rng: np.random.Generator | None,
) -> Expectation:
    def at(rows: Array) -> Array:
        return rule(Components.of(truth, rows), Components.of(estimate, rows))

    return expect(at, x, breaks=_breaks(truth, estimate, x), rtol=_X_TOLERANCE, rng=rng)


def _split_error(found: Expectation, name: str) -> tuple[Divergence, float]:
    """The first column is the value, the others are errors made in y."""
    in_y = float(np.sum(found.value[1:]))
    value = float(found.value[0])
    return Divergence(value, float(found.error[0]) + in_y, f"{found.method}, {name}"), in_y


def _sampled(
    truth: ConditionalDensity,
    estimate: ConditionalDensity,
    x: Law,
    integrand: Callable[[Array], Array],
    rng: np.random.Generator | None,
) -> Divergence:
    source = np.random.default_rng(0) if rng is None else rng

    def at(rows: Array) -> Array:
        y = truth.sample(rows, source)
        return integrand(estimate.log_density(rows, y) - truth.log_density(rows, y))[:, None]

    found = monte_carlo(at, x, source)
    return Divergence(float(found.value[0]), float(found.error[0]), found.method)


def _is_random(truth: ConditionalDensity, estimate: ConditionalDensity, x: Law) -> bool:
    """True if there is no quadrature rule: many features, several responses, or experts that are not Gaussian."""
    for density in (truth, estimate):
        family = getattr(getattr(density, "expert", None), "name", "gaussian")
        if int(getattr(density, "n_responses", 1)) > 1 or family != "gaussian":
            return True
    return x.n_features > MOST_SOBOL_FEATURES and not isinstance(x, Empirical)


def _breaks(truth: ConditionalDensity, estimate: ConditionalDensity, x: Law) -> Array | None:
    return gate_transitions(truth, estimate) if x.n_features == 1 else None


def _root(squared: Divergence) -> Divergence:
    value = float(np.sqrt(squared.value))
    return Divergence(value, float(np.sqrt(squared.value + squared.error)) - value, squared.method)


def _checked(found: Divergence, name: str, max_relative_error: float) -> Divergence:
    if found.error > max_relative_error * found.value and found.value > _ZERO:
        raise ValueError(
            f"{name} = {found.value:.6g} has an error of {found.error:.2g} ({found.method}), more than the accepted "
            f"{max_relative_error:g} of the value; raise max_relative_error to accept it."
        )
    return found
