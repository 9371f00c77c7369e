"""One expert is a regression of statsmodels: estimates, log-likelihood and standard errors agree to eight digits.

Where their standard errors come from the exact observed information they are taken as they are (`exact`). Where theirs are
expected information, or differences of low order, the information is that of their log-likelihood by differences of eighth
order, and their estimate is the root of its score by Newton steps (`by_differences`). The comments at the cases say what else
is needed: statsmodels has no likelihood of a gamma shape, say. Families that it lacks are SciPy's densities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize, special, stats
from statsmodels.discrete import count_model, truncated_model
from statsmodels.miscmodels.tmodel import TLinearModel
from statsmodels.othermod.betareg import BetaModel

from moestat import MoEClassifier, MoERegressor, experts
from moestat.experts.base import BaseExpert

Array = np.ndarray[Any, Any]
DIGITS = 1e-8
N = 240
TIGHT = {"method": "newton", "tol": 1e-13, "maxiter": 200, "disp": 0}

rng = np.random.default_rng(20261124)
X = np.round(rng.uniform(-1.0, 1.0, (N, 2)), 3)
ETA = 0.6 + 0.7 * X[:, 0] - 0.5 * X[:, 1]
MEAN = np.exp(ETA)
WEIGHT = rng.integers(0, 4, N).astype(float)
EXPOSURE = np.round(rng.uniform(0.3, 3.0, N), 2)
TRIALS = rng.integers(1, 12, N).astype(float)
COUNTS = rng.poisson(MEAN).astype(float)
WIDE = rng.poisson(MEAN * rng.gamma(2.0, 0.5, N)).astype(float)
KEPT = rng.random(N) > 0.3
SUCCESSES = rng.binomial(TRIALS.astype(int), special.expit(ETA)).astype(float)
GAMMA = MEAN * rng.gamma(2.5, 1.0 / 2.5, N)
WALD = rng.wald(MEAN, 3.0)
SHARE = rng.beta(7.0 * special.expit(ETA), 7.0 * special.expit(-ETA))
HEAVY = ETA + 0.5 * rng.standard_t(4.0, N)
LEANING = ETA + 0.6 * stats.skewnorm.rvs(4.0, size=N, random_state=rng)
CLASSES = np.argmax(np.outer(ETA, [1.0, -0.5, 0.0]) + rng.gumbel(size=(N, 3)), axis=1)
WAVE = 2.0 * np.tanh(2.0 * ETA - 1.0) + 0.3 * rng.normal(size=N)
INTERVALS = np.column_stack(
    [np.where(HEAVY < 0.0, -np.inf, np.minimum(HEAVY, 1.0)), np.where(HEAVY > 1.0, np.inf, np.maximum(HEAVY, 0.0))]
)
DESIGN = sm.add_constant(X)
QUADRATIC = np.column_stack([DESIGN, X[:, 0] ** 2, X[:, 0] * X[:, 1], X[:, 1] ** 2])


class Reference(NamedTuple):
    """What statsmodels says, in the order of moestat's free parameters."""

    theta: Array
    errors: Array
    loglik: float


@dataclass(frozen=True)
class Case:
    """An expert and its data; `reference(start, step)` knows about where the maximum is."""

    expert: BaseExpert
    y: Array
    reference: Callable[[Array, Array], Reference]
    weight: Array | None = None
    offset: Array | None = None


# -- exact ------------------------------------------------------------------------------------------------------------


def exact(results: Any, scalars: Callable[[Array], tuple[Array, Array]] | None = None) -> Reference:
    """Their estimates and standard errors; `scalars` gives the free values of their last parameters and the slopes."""
    theta, errors = np.array(results.params).ravel("F"), np.array(results.bse).ravel("F")
    if scalars is not None:
        theta, slope = scalars(theta)
        errors = errors * slope
    return Reference(theta, errors, float(results.llf))


def last_log(theta: Array) -> tuple[Array, Array]:
    """The last parameter by its logarithm."""
    return np.append(theta[:-1], np.log(theta[-1])), np.append(np.ones(len(theta) - 1), 1.0 / theta[-1])


def glm(y: Array, family: Any, design: Array = DESIGN, **options: Any) -> Any:
    """Generalised linear model with a canonical or log link, iterated to rounding."""
    return sm.GLM(y, design, family=family, **options).fit(tol=1e-15, tol_criterion="params", maxiter=100)


def positive_glm(y: Array, weight: Array, family: Any, log_shape: float, error: float) -> Reference:
    """Mean by the generalised linear model, with observed information at the maximum likelihood shape, and that shape.

    The shape is orthogonal to the mean's coefficients: the mixed derivative is their score equation. Rows of weight zero are left
    out, as statsmodels divides by weights here.
    """
    y, weight, design = y[weight > 0.0], weight[weight > 0.0], DESIGN[weight > 0.0]
    results = glm(y, family, design, freq_weights=weight)
    scale = np.exp(-log_shape)
    information = -results.model.hessian(results.params, scale=scale, observed=True)
    errors = np.append(np.sqrt(np.diag(np.linalg.inv(information))), error)
    loglik = family.loglike(y, results.fittedvalues, freq_weights=weight, scale=scale)
    return Reference(np.append(results.params, log_shape), errors, float(loglik))


def gamma(y: Array, weight: Array) -> Reference:
    """The shape is the root of `log a - ψ(a) = mean of y/μ - 1 - log y/μ`, since statsmodels takes Pearson's estimate."""
    ratio = y / glm(y, sm.families.Gamma(sm.families.links.Log()), freq_weights=weight).fittedvalues
    n = weight.sum()
    gap = float(weight @ (ratio - 1.0 - np.log(ratio))) / n
    a = optimize.brentq(lambda a: np.log(a) - special.digamma(a) - gap, 1e-3, 1e3, xtol=1e-15, rtol=1e-15)
    error = 1.0 / np.sqrt(n * a * (a * special.polygamma(1, a) - 1.0))
    return positive_glm(y, weight, sm.families.Gamma(sm.families.links.Log()), np.log(a), float(error))


def inverse_gaussian(y: Array, weight: Array) -> Reference:
    """The shape has a closed form, `1/λ` the mean of `(y/μ - 1)²/y`, and its logarithm the error `√(2/n)`."""
    family = sm.families.InverseGaussian(sm.families.links.Log())
    mu = glm(y, family, freq_weights=weight).fittedvalues
    n = weight.sum()
    log_shape = -np.log(float(weight @ ((y / mu - 1.0) ** 2 / y)) / n)
    return positive_glm(y, weight, family, log_shape, float(np.sqrt(2.0 / n)))


def least_squares(y: Array) -> Reference:
    """The maximum likelihood variance divides by n."""
    results = sm.OLS(y, DESIGN).fit()
    shrink = np.sqrt(results.df_resid / N)
    sigma = np.sqrt(results.ssr / N)
    return Reference(
        np.append(results.params, np.log(sigma)), np.append(results.bse * shrink, np.sqrt(0.5 / N)), float(results.llf)
    )


def lognormal(y: Array) -> Reference:
    """Least squares for log y, whose density is that of y times y."""
    reference = least_squares(np.log(y))
    return reference._replace(loglik=reference.loglik - float(np.log(y).sum()))


# -- by differences -----------------------------------------------------------------------------------------------------

FIRST = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
SECOND = {1: 8 / 5, 2: -1 / 5, 3: 8 / 315, 4: -1 / 560}


def by_differences(loglike: Callable[[Array], float], start: Array, step: Array) -> Reference:
    """The maximiser of a log-likelihood by Newton steps from `start`, and its observed information.

    All derivatives are differences of eighth order with steps of a tenth of a standard error (`step`): rounding and truncation
    are then both below 1e-10 of the information.
    """
    size = len(start)

    def along(theta: Array, direction: Array) -> tuple[float, float]:
        at = {i: loglike(theta + i * direction) for i in range(-4, 5)}
        slope = sum(w * (at[i] - at[-i]) for i, w in FIRST.items())
        curve = sum(w * (at[i] - 2.0 * at[0] + at[-i]) for i, w in SECOND.items())
        return slope, curve

    theta, unit = start.copy(), np.diag(0.1 * step)
    for _ in range(4):
        alone = [along(theta, u) for u in unit]
        hessian = np.diag([c for _, c in alone])
        for i in range(size):
            for j in range(i):
                both = along(theta, unit[i] + unit[j])[1] - along(theta, unit[i] - unit[j])[1]
                hessian[i, j] = hessian[j, i] = 0.25 * both
        theta = theta - np.linalg.solve(hessian, [s for s, _ in alone]) @ unit
    errors = 0.1 * step * np.sqrt(np.diag(np.linalg.inv(-hessian)))
    return Reference(theta, errors, float(loglike(theta)))


def zero_inflated_negative_binomial(start: Array, step: Array) -> Reference:
    """Ours: mean, log dispersion, logit; theirs: logit, mean, dispersion. Their standard errors are by differences of low order."""
    y = np.where(KEPT, WIDE, 0.0)
    model = count_model.ZeroInflatedNegativeBinomialP(y, DESIGN, p=2)
    return by_differences(lambda t: model.loglike(np.r_[t[4], t[:3], np.exp(t[3])]), start, step)


def zero_inflated_poisson(start: Array, step: Array) -> Reference:
    """Theirs has the logit first. Their Hessian is not that of their log-likelihood: its errors are 10 % off here."""
    model = count_model.ZeroInflatedPoisson(np.where(KEPT, COUNTS, 0.0), DESIGN)
    return by_differences(lambda t: model.loglike(np.r_[t[3], t[:3]]), start, step)


def hurdle(y: Array, loglike: Callable[[Array, Array, Array], float]) -> Callable[[Array, Array], Reference]:
    """Two models: the truncated one on the positive counts, and the share of zeros with its closed form.

    `HurdleCountModel` lets the zeros depend on x through a censored count, which is another model.
    """

    def reference(start: Array, step: Array) -> Reference:
        positive = y > 0
        truncated = by_differences(lambda t: loglike(t, y[positive], DESIGN[positive]), start[:-1], step[:-1])
        share = 1.0 - positive.mean()
        zero = N * (special.xlogy(share, share) + special.xlogy(1.0 - share, 1.0 - share))
        return Reference(
            np.append(truncated.theta, special.logit(share)),
            np.append(truncated.errors, 1.0 / np.sqrt(N * share * (1.0 - share))),
            truncated.loglik + float(zero),
        )

    return reference


def truncated_poisson(t: Array, y: Array, design: Array) -> float:
    """Counts that are not zero."""
    return float(truncated_model.TruncatedLFPoisson(y, design).loglike(t))


def truncated_negative_binomial(t: Array, y: Array, design: Array) -> float:
    """Theirs has the dispersion itself."""
    return float(truncated_model.TruncatedLFNegativeBinomialP(y, design).loglike(np.r_[t[:3], np.exp(t[3])]))


def student_t(start: Array, step: Array) -> Reference:
    """`TLinearModel`: coefficients, degrees of freedom, scale; its own fit is by simplex, its errors by differences of low order."""
    model = TLinearModel(HEAVY, DESIGN)

    def loglike(t: Array) -> float:
        return float(model.loglikeobs(np.r_[t[:3], np.exp(t[4]), np.exp(t[3])]).sum())

    return by_differences(loglike, start, step)


def scipy_location_scale(y: Array, logpdf: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Reference]:
    """A density of SciPy in the residuals over the scale, `logpdf(z, further parameters)`."""

    def loglike(t: Array) -> float:
        z = (y - DESIGN @ t[:3]) * np.exp(-t[3])
        return float(np.sum(logpdf(z, t[4:]) - t[3]))

    return lambda start, step: by_differences(loglike, start, step)


def laplace(z: Array, _: Array) -> Array:
    """The symmetric hyperbolic density with δ = 1/2."""
    return np.asarray(stats.genhyperbolic.logpdf(z, 1.0, 0.5, 0.0, scale=0.5))


def censored(start: Array, step: Array) -> Reference:
    """Responses above one are known to be that (Tobit), of those below zero the sign alone."""

    def loglike(t: Array) -> float:
        law = stats.norm(DESIGN @ t[:3], np.exp(t[3]))
        return float(np.select([HEAVY > 1.0, HEAVY < 0.0], [law.logsf(1.0), law.logcdf(0.0)], law.logpdf(HEAVY)).sum())

    return by_differences(loglike, start, step)


def truncated(start: Array, step: Array) -> Reference:
    """Responses below zero have never been seen."""

    def loglike(t: Array) -> float:
        law = stats.norm(DESIGN @ t[:3], np.exp(t[3]))
        return float((law.logpdf(HEAVY) - law.logsf(0.0))[HEAVY > 0.0].sum())

    return by_differences(loglike, start, step)


def nonlinear(start: Array, step: Array) -> Reference:
    """Normal responses around `c tanh(aᵀx + b)`; the slopes come first in the free vector, then c and the log scale."""

    def loglike(t: Array) -> float:
        return float(stats.norm.logpdf(WAVE, t[3] * np.tanh(DESIGN @ t[:3]), np.exp(t[4])).sum())

    return by_differences(loglike, start, step)


# -- the cases ------------------------------------------------------------------------------------------------------------

POISSON, BINOMIAL = sm.families.Poisson(), sm.families.Binomial()
CASES = {
    "poisson": Case(experts.PoissonExpert(), COUNTS, lambda *_: exact(glm(COUNTS, POISSON))),
    "poisson, degree 2": Case(experts.PoissonExpert(2), COUNTS, lambda *_: exact(glm(COUNTS, POISSON, QUADRATIC))),
    "poisson, weights": Case(
        experts.PoissonExpert(), COUNTS, lambda *_: exact(glm(COUNTS, POISSON, freq_weights=WEIGHT)), WEIGHT
    ),
    "poisson, exposure": Case(
        experts.PoissonExpert(),
        COUNTS,
        lambda *_: exact(glm(COUNTS, POISSON, offset=np.log(EXPOSURE))),
        offset=np.log(EXPOSURE),
    ),
    "poisson, exposure and weights": Case(
        experts.PoissonExpert(),
        COUNTS,
        lambda *_: exact(glm(COUNTS, POISSON, exposure=EXPOSURE, freq_weights=WEIGHT)),
        WEIGHT,
        np.log(EXPOSURE),
    ),
    "binomial": Case(
        experts.BinomialExpert(),
        np.column_stack([SUCCESSES, TRIALS]),
        lambda *_: exact(glm(np.column_stack([SUCCESSES, TRIALS - SUCCESSES]), BINOMIAL)),
    ),
    "logit": Case(
        experts.BinomialExpert(),
        np.where(CLASSES == 0, 1.0, 0.0),
        lambda *_: exact(sm.Logit(CLASSES == 0, DESIGN).fit(**TIGHT)),
    ),
    "logit, offset": Case(
        experts.BinomialExpert(),
        np.where(CLASSES == 0, 1.0, 0.0),
        lambda *_: exact(sm.Logit(CLASSES == 0, DESIGN, offset=X[:, 0] ** 3).fit(**TIGHT)),
        offset=X[:, 0] ** 3,
    ),
    # their reference class is the first one, ours the last
    "multinomial": Case(
        experts.MultinomialExpert(),
        CLASSES.astype(float),
        lambda *_: exact(sm.MNLogit((CLASSES + 1) % 3, DESIGN).fit(**TIGHT)),
    ),
    "multinomial, degree 2": Case(
        experts.MultinomialExpert(2),
        CLASSES.astype(float),
        lambda *_: exact(sm.MNLogit((CLASSES + 1) % 3, QUADRATIC).fit(**TIGHT)),
    ),
    "negative_binomial": Case(
        experts.NegativeBinomialExpert(),
        WIDE,
        lambda *_: exact(sm.NegativeBinomial(WIDE, DESIGN).fit(**TIGHT), last_log),
    ),
    # their own start leads to negative dispersions
    "negative_binomial, exposure": Case(
        experts.NegativeBinomialExpert(),
        WIDE,
        lambda start, _: exact(
            sm.NegativeBinomial(WIDE, DESIGN, exposure=EXPOSURE).fit(np.r_[start[:3], np.exp(start[3])], **TIGHT),
            last_log,
        ),
        offset=np.log(EXPOSURE),
    ),
    "gamma": Case(experts.GammaExpert(), GAMMA, lambda *_: gamma(GAMMA, np.ones(N))),
    "gamma, weights": Case(experts.GammaExpert(), GAMMA, lambda *_: gamma(GAMMA, WEIGHT), WEIGHT),
    "inverse_gaussian": Case(experts.InverseGaussianExpert(), WALD, lambda *_: inverse_gaussian(WALD, np.ones(N))),
    "inverse_gaussian, weights": Case(
        experts.InverseGaussianExpert(), WALD, lambda *_: inverse_gaussian(WALD, WEIGHT), WEIGHT
    ),
    "gaussian": Case(experts.GaussianExpert(), HEAVY, lambda *_: least_squares(HEAVY)),
    "normal": Case(experts.NormalExpert(), HEAVY, lambda *_: least_squares(HEAVY)),
    "lognormal": Case(experts.LognormalExpert(), GAMMA, lambda *_: lognormal(GAMMA)),
    "beta": Case(experts.BetaExpert(), SHARE, lambda *_: exact(BetaModel(SHARE, DESIGN).fit(**TIGHT))),
    "zero_inflated_poisson": Case(
        experts.ZeroInflatedPoissonExpert(), np.where(KEPT, COUNTS, 0.0), zero_inflated_poisson
    ),
    "zero_inflated_negative_binomial": Case(
        experts.ZeroInflatedNegativeBinomialExpert(), np.where(KEPT, WIDE, 0.0), zero_inflated_negative_binomial
    ),
    "hurdle_poisson": Case(
        experts.HurdlePoissonExpert(),
        np.where(KEPT, COUNTS, 0.0),
        hurdle(np.where(KEPT, COUNTS, 0.0), truncated_poisson),
    ),
    "hurdle_negative_binomial": Case(
        experts.HurdleNegativeBinomialExpert(),
        np.where(KEPT, WIDE, 0.0),
        hurdle(np.where(KEPT, WIDE, 0.0), truncated_negative_binomial),
    ),
    "censored": Case(experts.CensoredExpert("normal"), INTERVALS, censored),
    "truncated": Case(
        experts.CensoredExpert("normal", low=0.0),
        np.column_stack([HEAVY, HEAVY]),
        truncated,
        weight=np.where(HEAVY > 0.0, 1.0, 0.0),
    ),
    "nonlinear": Case(experts.NonlinearExpert(), WAVE, nonlinear),
    "student_t": Case(experts.StudentTExpert(), HEAVY, student_t),
    "student_t, df 4": Case(
        experts.StudentTExpert(df=4),
        HEAVY,
        scipy_location_scale(HEAVY, lambda z, _: stats.t.logpdf(z, 4)),
    ),
    "skew_normal": Case(
        experts.SkewNormalExpert(),
        LEANING,
        scipy_location_scale(LEANING, lambda z, shape: stats.skewnorm.logpdf(z, shape[0])),
    ),
    "laplace": Case(experts.LaplaceExpert(smoothing=0.5), HEAVY, scipy_location_scale(HEAVY, laplace)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_expert_is_the_regression(name: str) -> None:
    case = CASES[name]
    data = {"sample_weight": case.weight, "offset": case.offset}
    est = MoERegressor(1, expert=case.expert).fit(X, case.y, **data)
    own = est.inference(X, case.y, **data)
    theta, errors = own.params.to_numpy(), own.bse.to_numpy()
    reference = case.reference(theta * (1.0 + 1e-3), errors)
    np.testing.assert_allclose(theta, reference.theta, rtol=DIGITS)
    np.testing.assert_allclose(errors, reference.errors, rtol=DIGITS)
    np.testing.assert_allclose([est.loglik_, own.llf], reference.loglik, rtol=1e-12)


@pytest.mark.parametrize(
    ("expert", "y", "family"),
    [
        (experts.PoissonExpert(), COUNTS, POISSON),
        (experts.BinomialExpert(), np.where(CLASSES == 0, 1.0, 0.0), BINOMIAL),
        (experts.NegativeBinomialExpert(), WIDE, None),
    ],
)
def test_robust_errors_are_the_sandwich(expert: BaseExpert, y: Array, family: Any) -> None:
    """HC0 and clustered covariances without finite-sample factors."""
    model = sm.NegativeBinomial(y, DESIGN) if family is None else sm.GLM(y, DESIGN, family=family)
    tight = TIGHT if family is None else {"tol": 1e-15, "tol_criterion": "params", "maxiter": 100}
    groups = np.arange(N) // 8
    est = MoERegressor(1, expert=expert).fit(X, y)
    for kind, options, theirs in (
        ("sandwich", {}, {"cov_type": "HC0"}),
        (
            "cluster",
            {"groups": groups},
            {"cov_type": "cluster", "cov_kwds": {"groups": groups, "use_correction": False, "df_correction": False}},
        ),
    ):
        errors = est.inference(X, y, kind, **options).bse.to_numpy()
        reference = exact(model.fit(**tight, **theirs), last_log if family is None else None)
        np.testing.assert_allclose(errors, reference.errors, rtol=DIGITS, err_msg=kind)


def test_classifier_is_the_multinomial_regression() -> None:
    """Labels in the classifier; the probabilities are theirs."""
    labels = np.array(["a", "b", "c"])[CLASSES]
    est = MoEClassifier(1).fit(X, labels)
    theirs = sm.MNLogit(CLASSES, DESIGN).fit(**TIGHT)
    np.testing.assert_allclose(est.predict_proba(X), theirs.predict(), rtol=1e-9)
    np.testing.assert_allclose(est.loglik_, theirs.llf, rtol=1e-13)
