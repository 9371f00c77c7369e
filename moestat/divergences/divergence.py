"""Kullback-Leibler, Hellinger, total variation and L2 between conditional (or joint) densities, averaged over x, with errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.distributions import Law
from moestat.divergences.densities import (
    ConditionalDensity,
    FittedEstimator,
    density_of,
    gate_transitions,
)
from moestat.divergences.expectation import expect, has_quadrature, monte_carlo
from moestat.divergences.families import Support, check_comparable, components_of, family_of, support_of
from moestat.divergences.integrands import (
    Integrand,
    check_finite,
    hellinger_integrand,
    kl_integrand,
    total_variation_integrand,
)
from moestat.divergences.joint import Everywhere, FeatureLaw, has_law_of_x, law_of_x
from moestat.divergences.panels import by_panels
from moestat.divergences.rules import TooManyTerms, by_counts, by_hermite, by_outcomes, outcomes_of

Array = NDArray[np.float64]
# Components of p and q, and the log-densities of x in joint models -> value and errors made in y (q,M).
Rule = Callable[[Any, Any, tuple[Array, Array] | None], Array]

# The quick rule is kept when its own error is below this share of the value.
_QUICK = 3e-4
# And this share of a lot of points tells that it will not be.
_HOPELESS = 0.03
# A squared distance of means below this is rounding.
_ZERO = 1e-28
_ONE_NUMBER = ("interval", "counts", "classes")


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
    x: Law | None = None,
    *,
    trials: int = 1,
    rng: np.random.Generator | None = None,
    rtol: float = 1e-4,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Kullback-Leibler divergence ``E_x ∫ p log(p/q) dy`` from the truth p to the estimate q, in nats.

    It is found as ``E_p[r - 1 - log r]``, ``r = q/p``, whose integrand is non-negative and quadratic in ``r - 1``.

    Parameters
    ----------
    truth, estimate : ConditionalMixture, RegressionTruth or alike, or a fitted estimator (its ``model_`` is taken)
        Of any families on the same responses.
    x : Uniform, Normal or Empirical, optional
        The law of x. One feature: adaptive Gauss-Kronrod on panels that start where gates switch; two to four: scrambled Sobol points; more:
        Monte Carlo. Without it both must be joint models (`GaussianGate`), and their densities of (x, y) are compared; `law_of_x` gives the
        law of x in such a model, for the divergence of its conditional density.
    trials : int
        For classes and successes: draws behind one row, all from the same expert. The divergence is that of the rows of counts.
    rng : numpy.random.Generator, optional
        Source of random rules; a fixed one by default, so that estimates are compared on common random numbers.
    rtol : float
        Relative accuracy asked of the average over x; points in several features are doubled until it, or 1e-3, is reached.
    max_relative_error : float
        Largest accepted ``error / value``.

    Returns
    -------
    Divergence
        ``value``, ``error`` (difference of two rules; of random rules twice the standard error) and ``method``.

    Raises
    ------
    ValueError
        If the error is above ``max_relative_error`` of the value, the divergence is infinite, the densities live on different responses, or x
        is missing and there is no joint density.
    TypeError
        If ``truth`` or ``estimate`` is an estimator that is not fitted.

    Notes
    -----
    In y: Gauss-Hermite about Gaussian components; of any continuous families adaptive Gauss-Kronrod between quantiles of the components; sums
    over classes and counts; Monte Carlo for several responses.

    Examples
    --------
    >>> from moestat.distributions import Uniform
    >>> from moestat.divergences import RegressionTruth
    >>> p, q = RegressionTruth(lambda X: X[:, 0], 0.5), RegressionTruth(lambda X: X[:, 0] + 0.1, 0.5)
    >>> round(kl(p, q, Uniform(0.0, 1.0)).value, 12)
    0.02
    """
    found = _average(density_of(truth), density_of(estimate), x, kl_integrand, trials, rng, rtol)
    return _checked(found, "kl", max_relative_error, kl_integrand.noise)


def hellinger(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law | None = None,
    *,
    trials: int = 1,
    rng: np.random.Generator | None = None,
    rtol: float = 1e-4,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Hellinger distance ``h``, the root of ``E_x ½ ∫ (√p - √q)² dy`` (for close densities ``h² ≈ KL/4``).

    Parameters, result and errors as `kl`.
    """
    found = _average(density_of(truth), density_of(estimate), x, hellinger_integrand, trials, rng, rtol)
    return _checked(_root(found), "hellinger", max_relative_error, hellinger_integrand.noise**0.5)


def total_variation(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law | None = None,
    *,
    trials: int = 1,
    rng: np.random.Generator | None = None,
    rtol: float = 1e-4,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""Total variation distance ``E_x ½ ∫ |p - q| dy``.

    Parameters, result and errors as `kl`.
    """
    found = _average(density_of(truth), density_of(estimate), x, total_variation_integrand, trials, rng, rtol)
    return _checked(found, "total_variation", max_relative_error, total_variation_integrand.noise)


def l2(
    truth: ConditionalDensity | FittedEstimator,
    estimate: ConditionalDensity | FittedEstimator,
    x: Law | None = None,
    *,
    rng: np.random.Generator | None = None,
    rtol: float = 1e-4,
    max_relative_error: float = 0.01,
) -> Divergence:
    r"""L2 distance of the regression functions, the root of ``E_x |E_p[Y|x] - E_q[Y|x]|²``; of classes, of their probabilities.

    Without x the law is that of x in the truth, a joint model. Parameters, result and errors as `kl`.
    """
    p, q = density_of(truth), density_of(estimate)
    law = law_of_x(p) if x is None else x

    def squares(rows: Array) -> Array:
        mine, theirs = (np.asarray(density.mean(rows)).reshape(rows.shape[0], -1) for density in (p, q))
        if mine.shape != theirs.shape:
            raise ValueError(f"the truth has {mine.shape[1]} means at each x, the estimate {theirs.shape[1]}.")
        squared: Array = ((mine - theirs) ** 2).sum(axis=1, keepdims=True)
        return squared

    found = expect(squares, law, breaks=gate_transitions(p, q), rtol=rtol, atol=_ZERO, rng=rng)
    squared = Divergence(float(found.value[0]), float(found.error[0]), found.method)
    return _checked(_root(squared), "l2", max_relative_error, _ZERO**0.5)


def _average(
    truth: Any,
    estimate: Any,
    x: Law | None,
    integrand: Integrand,
    trials: int,
    rng: np.random.Generator | None,
    rtol: float,
) -> Divergence:
    """The quick rule where its error allows, else the rule for the kind of response, else Monte Carlo."""
    support = check_comparable(truth, estimate)
    outcomes = _outcomes(truth, support, trials)
    laws = (law_of_x(truth), law_of_x(estimate)) if x is None else None
    exact_in_x = truth.n_features == 1 if x is None else has_quadrature(x)
    if support.kind not in _ONE_NUMBER or not (exact_in_x or outcomes is not None):
        return _sampled(truth, estimate, x, laws, integrand, rng)
    # Every rule sees the same points x.
    seed = None if rng is None else int(rng.integers(2**63))

    def run(rule: Rule, name: str) -> tuple[Divergence, float]:
        source = None if seed is None else np.random.default_rng(seed)
        return _over_x(truth, estimate, x, laws, rule, rtol, integrand.noise, source, name)

    if outcomes is not None:
        return run(lambda p, q, m: by_outcomes(p, q, integrand, outcomes, m), "sum over y")[0]
    if support.kind == "counts":
        try:
            return run(lambda p, q, m: by_counts(p, q, integrand, m), "sum over y")[0]
        except TooManyTerms:
            return _sampled(truth, estimate, x, laws, integrand, rng)
    if laws is None and not integrand.kinked and _gaussian(truth) and _gaussian(estimate):
        with suppress(_Rough):
            quick, in_y = run(partial(_hermite, integrand, truth.n_features > 1), "Gauss-Hermite in y")
            if in_y <= _QUICK * quick.value or quick.value <= integrand.noise:
                return quick
    return run(lambda p, q, m: by_panels(p, q, integrand, m), "Gauss-Kronrod panels in y")[0]


class _Rough(Exception):
    """The quick rule is far from the accuracy that it must have."""


def _hermite(integrand: Integrand, give_up: bool, p: Any, q: Any, marginals: tuple[Array, Array] | None) -> Array:
    """The quick rule; where points x are drawn, and each lot of them is like the others, the first lot tells whether it will do."""
    found = by_hermite(p, q, integrand)
    if give_up and found[:, 1:].sum() > _HOPELESS * found[:, 0].sum():
        raise _Rough
    return found


def _over_x(
    truth: Any,
    estimate: Any,
    x: Law | None,
    laws: tuple[FeatureLaw, FeatureLaw] | None,
    rule: Rule,
    rtol: float,
    noise: float,
    rng: np.random.Generator | None,
    name: str,
) -> tuple[Divergence, float]:
    """A rule in y averaged over x, and the part of the error that is made in y."""

    def at(rows: Array) -> Array:
        marginals = None if laws is None else (laws[0].log_density(rows), laws[1].log_density(rows))
        return rule(components_of(truth, rows), components_of(estimate, rows), marginals)

    law: Any = Everywhere(*laws) if laws is not None else x
    # The first column is the value, the others are errors made in y.
    breaks = gate_transitions(truth, estimate)
    found = expect(at, law, breaks=breaks, rtol=rtol, atol=noise, judged=1, rng=rng)
    value, in_y = float(found.value[0]), float(np.sum(found.value[1:]))
    return Divergence(value, float(found.error[0]) + in_y, f"{found.method}, {name}{_what(laws)}"), in_y


def _sampled(
    truth: Any,
    estimate: Any,
    x: Law | None,
    laws: tuple[FeatureLaw, FeatureLaw] | None,
    integrand: Integrand,
    rng: np.random.Generator | None,
) -> Divergence:
    """Draws of x and y, the same for every estimate."""
    source = np.random.default_rng(0) if rng is None else rng

    def at(rows: Array) -> Array:
        y = np.asarray(truth.sample(rows, source))
        d = _log_density(estimate, rows, y) - _log_density(truth, rows, y)
        if laws is not None:
            d += laws[1].log_density(rows) - laws[0].log_density(rows)
        bounded = np.minimum(d, 700.0)
        return check_finite(integrand.sampled(bounded, np.expm1(bounded)))[:, None]

    law: Any = laws[0] if laws is not None else x
    found = monte_carlo(at, law, source)
    return Divergence(float(found.value[0]), float(found.error[0]), f"{found.method}{_what(laws)}")


def _log_density(density: Any, rows: Array, y: Array) -> Array:
    """``log p(y|x)`` (n,), of a joint model too."""
    if support_of(density).kind in _ONE_NUMBER:
        return components_of(density, rows).log_density(y.reshape(-1, 1))[:, 0]
    value = np.asarray(density.log_density(rows, y), dtype=np.float64)
    return value - law_of_x(density).log_density(rows) if has_law_of_x(density) else value


def _what(laws: tuple[FeatureLaw, FeatureLaw] | None) -> str:
    return "" if laws is None else ", joint density of x and y"


def _outcomes(truth: Any, support: Support, trials: int) -> Array | None:
    """All responses, where they are classes or successes in given trials; None for other kinds.

    Raises
    ------
    ValueError
        If trials make no sense.
    """
    if isinstance(trials, bool) or int(trials) != trials or trials < 1:
        raise ValueError(f"trials={trials!r} must be a positive integer.")
    expert = family_of(truth)
    if support.kind == "classes":
        return outcomes_of(expert, support.size[0], int(trials))
    if trials == 1:
        return None
    if getattr(expert, "trials", None) != 1:
        raise ValueError(f"trials={trials}, but {expert!r} has no rows of several draws; leave trials at 1.")
    return outcomes_of(expert, 2, int(trials))


def _gaussian(density: Any) -> bool:
    return getattr(family_of(density), "name", "gaussian") == "gaussian"


def _root(squared: Divergence) -> Divergence:
    value = float(np.sqrt(squared.value))
    return Divergence(value, float(np.sqrt(squared.value + squared.error)) - value, squared.method)


def _checked(found: Divergence, name: str, max_relative_error: float, noise: float) -> Divergence:
    # Also where the value is no number.
    if not (found.error <= max_relative_error * found.value or found.value <= noise):
        raise ValueError(
            f"{name} = {found.value:.6g} has an error of {found.error:.2g} ({found.method}), more than the accepted "
            f"{max_relative_error:g} of the value; raise max_relative_error to accept it."
        )
    return found
