"""Discrete families in use: refused responses, starts, the parameter dictionary, and fits of one expert against statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from statsmodels.discrete.count_model import ZeroInflatedPoisson

from moestat.experts.base import Expert
from moestat.experts.binomial import BinomialExpert
from moestat.experts.hurdle import HurdleNegativeBinomialExpert, HurdlePoissonExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.negative_binomial import NegativeBinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.experts.zero_inflated import ZeroInflatedNegativeBinomialExpert, ZeroInflatedPoissonExpert
from moestat.fitting import fit_mixture

Array = NDArray[np.float64]
COUNTS: list[Expert] = [
    PoissonExpert(),
    NegativeBinomialExpert(),
    ZeroInflatedPoissonExpert(),
    ZeroInflatedNegativeBinomialExpert(),
    HurdlePoissonExpert(),
    HurdleNegativeBinomialExpert(),
]
EVERY_COUNT = pytest.mark.parametrize("expert", COUNTS, ids=lambda e: e.name)


@pytest.mark.parametrize("bad", [-1.0, 2.5, np.inf, np.nan])
@pytest.mark.parametrize(
    "expert", [*COUNTS, BinomialExpert(trials=9), MultinomialExpert(n_classes=9)], ids=lambda e: e.name
)
def test_check_names_the_first_bad_row_and_its_density_is_zero(expert: Expert, bad: float) -> None:
    y = np.array([[0.0], [3.0], [bad], [-7.0]])
    expert.check(y[:2])
    with pytest.raises(ValueError, match=rf"y is {bad} in row 2; {expert.name} experts need .*(integers|codes)"):
        expert.check(y)
    eta, extra = np.zeros((expert.n_predictors(y[:2]), 2, 4)), np.zeros((len(expert.scalars), 2, 1))
    log_density = expert.log_density(y.T, eta, extra)
    assert log_density.shape == (2, 4)
    assert np.isfinite(log_density[:, :2]).all()
    assert (log_density[:, 2:] == -np.inf).all()


@pytest.mark.parametrize(
    ("expert", "y", "message"),
    [
        (PoissonExpert(), [[1, 2]], "y has 2 columns; poisson experts take one"),
        (BinomialExpert(), [[1], [2]], r"y is 2.0 in row 1; binomial experts need"),
        (BinomialExpert(), [[1, 4], [5, 4]], r"y is \[5.0, 4.0\] in row 1; binomial experts need"),
        (BinomialExpert(), [[1, 4.5]], r"y is \[1.0, 4.5\] in row 0"),
        (BinomialExpert(), [[1, 2, 3]], "y has 3 columns; binomial experts need one .* or two"),
        (BinomialExpert(trials=3), [[1, 2]], "trials=3"),
        (MultinomialExpert(n_classes=3), [[0], [3]], "y is 3.0 in row 1; multinomial experts need"),
        (MultinomialExpert(), [[0, 2, 1], [0, -1, 1]], r"y is \[0.0, -1.0, 1.0\] in row 1"),
        (MultinomialExpert(n_classes=4), [[0, 2, 1]], "y has 3 columns, but n_classes=4"),
    ],
)
def test_what_else_is_refused(expert: Expert, y: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expert.check(np.array(y, dtype=float))


@pytest.mark.parametrize(
    ("family", "setting"),
    [(BinomialExpert, {"trials": t}) for t in (0, 2.0, True)]
    + [(MultinomialExpert, {"n_classes": c}) for c in (1, 2.0, True)]
    + [(HurdlePoissonExpert, {"degree": -1}), (NegativeBinomialExpert, {"tied": 1})],
)
def test_settings_out_of_range(family: type[Expert], setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))}={next(iter(setting.values()))!r} must be"):
        family(**setting)


def test_classes_have_neither_distribution_function_nor_quantiles() -> None:
    with pytest.raises(ValueError, match="no distribution function: classes have no order"):
        MultinomialExpert().cdf(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.empty((0, 1, 1)))
    with pytest.raises(ValueError, match="no quantiles: classes have no order"):
        MultinomialExpert().quantile(0.5, np.zeros((1, 1, 1)), np.empty((0, 1, 1)))


def test_number_and_names_of_predictors() -> None:
    codes, columns = np.array([[0.0], [3.0]]), np.ones((2, 5))
    assert [MultinomialExpert().n_predictors(y) for y in (codes, columns, codes[:1])] == [3, 4, 1]
    assert MultinomialExpert(n_classes=6).n_predictors(codes) == 5
    assert MultinomialExpert().predictor_names(3, True) == ["class0:", "class1:", "class2:"]
    assert MultinomialExpert().predictor_names(1, True) == [""]
    assert [e.n_predictors(columns[:, :2]) for e in (BinomialExpert(), PoissonExpert())] == [1, 1]


def mean_log_density(expert: Expert, y: Array, weight: Array, eta: Array, extra: Array) -> float:
    points = np.broadcast_to(eta[:, None, None], (len(eta), 1, len(y)))
    return float(expert.log_density(y.T, points, extra[:, None, None])[0] @ weight / weight.sum())


@pytest.mark.parametrize(
    "expert", [*COUNTS, BinomialExpert(trials=400), MultinomialExpert(n_classes=400)], ids=lambda e: e.name
)
@pytest.mark.parametrize(
    "y", [np.zeros(5), np.ones(5), np.full(5, 300.0), np.r_[np.zeros(200), 399.0]], ids=["0", "1", "300", "rare"]
)
def test_origin_and_starting_response_are_numbers_for_odd_responses(expert: Expert, y: Array) -> None:
    column, weight = y[:, None], np.ones(len(y))
    eta, extra = expert.origin(column, weight)
    assert eta.shape == (expert.n_predictors(column),)
    assert extra.shape == (len(expert.scalars),)
    assert all(s.low <= v <= s.high for s, v in zip(expert.scalars, extra, strict=True))
    assert np.isfinite(mean_log_density(expert, column, weight, eta, extra))
    response = expert.starting_response(column)
    assert np.isfinite(response).all()
    assert len(response) == len(y)


@pytest.mark.parametrize(
    ("expert", "y"),
    [
        (PoissonExpert(), np.array([[0.0], [4], [1], [2]])),
        (BinomialExpert(trials=6), np.array([[0.0], [4], [1], [2]])),
        (BinomialExpert(), np.array([[0.0, 3], [4, 7], [1, 1], [2, 6]])),
        (MultinomialExpert(), np.array([[0.0], [2], [1], [2]])),
        (MultinomialExpert(), np.array([[0.0, 3], [4, 7], [1, 1], [2, 6]])),
    ],
)
def test_origin_of_a_family_without_scalars_is_the_constant_fit(expert: Expert, y: Array) -> None:
    weight = np.array([1.0, 0.5, 2.0, 3.0])
    eta, extra = expert.origin(y, weight)
    first, _ = expert.derivatives(y.T, np.tile(eta[:, None, None], (1, 1, 4)), extra[:, None, None])
    np.testing.assert_allclose(first[:, 0] @ weight, 0.0, atol=1e-12)


@EVERY_COUNT
def test_origin_is_near_the_constant_fit(expert: Expert, rng: np.random.Generator) -> None:
    """Within 0.15 nats a row of the truth, by which the counts were drawn."""
    eta, extra = (
        np.array([1.2]),
        np.array([{"log_dispersion": -0.5, "logit_zero": -1.0}[s.label] for s in expert.scalars]),
    )
    y = expert.sample(np.tile(eta[:, None], 4000), np.tile(extra[:, None], 4000), rng).T
    weight = np.ones(4000)
    start = mean_log_density(expert, y, weight, *expert.origin(y, weight))
    assert start > mean_log_density(expert, y, weight, eta, extra) - 0.15


def test_starting_responses() -> None:
    np.testing.assert_allclose(PoissonExpert().starting_response(np.array([[0.0], [7.0]])), np.log([[0.5], [7.5]]))
    np.testing.assert_allclose(
        BinomialExpert().starting_response(np.array([[1.0, 1.0], [2.0, 4.0]])), [[np.log(3.0)], [0.0]]
    )
    codes = MultinomialExpert().starting_response(np.array([[0.0], [2.0]]))
    np.testing.assert_allclose(codes, np.log(3.0) / 3.0 * np.array([[2.0, -1.0, -1.0], [-1.0, -1.0, 2.0]]))


@EVERY_COUNT
def test_parameter_dictionary_round_trip(expert: Expert) -> None:
    coef = np.array([[[0.3, 1.0]], [[-0.2, 0.4]]])
    scale = np.array([[{"log_dispersion": -2.0, "logit_zero": 1.0}[s.label] for s in expert.scalars]] * 2)
    params = expert.write(coef, scale, True)
    assert set(params) == {"expert_coef", "expert_intercept", *(s.key for s in expert.scalars)}
    if expert.scalars and expert.scalars[-1].label == "logit_zero":
        np.testing.assert_allclose(params["expert_zero_proba"], 1.0 / (1.0 + np.exp(-1.0)), rtol=1e-15)
    if any(s.label == "log_dispersion" for s in expert.scalars):
        np.testing.assert_allclose(params["expert_dispersion"], np.exp(-2.0), rtol=1e-15)
    back = expert.read(params, 2)
    np.testing.assert_allclose(back.coef, coef, rtol=1e-15)
    np.testing.assert_allclose(back.scale, scale, rtol=1e-14)


def fit(expert: Expert, x: Array, y: Array) -> Any:
    return fit_mixture(x, y, n_experts=1, expert=expert, rng=0)


def test_fits_of_one_expert_reach_those_of_statsmodels(rng: np.random.Generator) -> None:
    n = 300
    x = rng.normal(size=(n, 1))
    X, log_mean = sm.add_constant(x), 0.8 + 0.5 * x[:, 0]
    y = rng.negative_binomial(2.0, 2.0 / (2.0 + np.exp(log_mean))).astype(float)
    theirs = sm.NegativeBinomial(y, X).fit(disp=0, method="newton", tol=1e-12, maxiter=100)
    ours = fit(NegativeBinomialExpert(), x, y)
    assert ours.result.loglik == pytest.approx(theirs.llf, abs=1e-7)
    values = [ours.mixture.params[key].item() for key in ("expert_intercept", "expert_coef", "expert_dispersion")]
    np.testing.assert_allclose(values, theirs.params, rtol=1e-5)

    y = rng.poisson(np.exp(log_mean)) * (rng.random(n) < 0.7).astype(float)
    theirs = ZeroInflatedPoisson(y, X).fit(disp=0, method="bfgs", maxiter=500, gtol=1e-9)
    ours = fit(ZeroInflatedPoissonExpert(), x, y)
    assert ours.result.loglik == pytest.approx(theirs.llf, abs=1e-6)

    trials = rng.integers(1, 9, n)
    y = np.column_stack([rng.binomial(trials, 1.0 / (1.0 + np.exp(-log_mean))), trials]).astype(float)
    theirs = sm.GLM(np.column_stack([y[:, 0], y[:, 1] - y[:, 0]]), X, family=sm.families.Binomial()).fit(tol=1e-12)
    assert fit(BinomialExpert(), x, y).result.loglik == pytest.approx(theirs.llf, abs=1e-7)

    y = rng.multinomial(1, [0.2, 0.3, 0.5], n).argmax(axis=1).astype(float)
    theirs = sm.MNLogit(y, X).fit(disp=0, tol=1e-12)
    ours = fit(MultinomialExpert(), x, y)
    assert ours.result.loglik == pytest.approx(theirs.llf, abs=1e-7)
    against_first = np.array(theirs.params)  # columns: log odds of the classes 1 and 2 against 0
    ours_against_last = np.column_stack(
        [ours.mixture.params["expert_intercept"][0], ours.mixture.params["expert_coef"][0]]
    )
    wanted = np.array([-against_first[:, 1], against_first[:, 0] - against_first[:, 1]])
    np.testing.assert_allclose(ours_against_last, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (
            NegativeBinomialExpert(),
            "dispersion of expert 1 is at its low limit 1e-08; its limit is the Poisson distribution",
        ),
        (
            ZeroInflatedPoissonExpert(),
            "zero_proba of expert 1 is at its low limit 1e-08; its limit is the Poisson distribution",
        ),
        (HurdlePoissonExpert(), "zero_proba of expert 1 is at its low limit 1e-08; none of its counts is zero"),
    ],
)
def test_a_fit_at_the_limit_of_its_family_says_so(expert: Expert, message: str, rng: np.random.Generator) -> None:
    y = 1.0 + rng.binomial(3, 0.5, 200)  # less variable than Poisson counts, and never zero
    fitted = fit(expert, rng.normal(size=(200, 1)), y)
    assert any(message in text for text in fitted.result.messages)
