"""Corners of a fit: rows of zero weight, boxes in odd units, responses that depend on each other, arguments out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.solvers import Status


def two_lines(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (n, 1))
    first = 3.0 * X[:, 0] + rng.logistic(size=n) > 0.0
    return X, np.where(first, 1.0 + 2.0 * X[:, 0], -1.0 - X[:, 0]) + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize(("value", "degree"), [(1e80, 1), (1e90, 4)])
def test_rows_of_zero_weight_do_not_matter_however_large(value: float, degree: int) -> None:
    X, y = two_lines()
    expert = GaussianExpert(degree=degree)
    weight = np.r_[0.0, np.ones(len(X))]
    wanted = fit_mixture(X, y, expert=expert, rng=0)
    got = fit_mixture(np.vstack([[[value]], X]), np.r_[value, y], expert=expert, sample_weight=weight, rng=0)
    assert got.result.loglik == wanted.result.loglik
    np.testing.assert_array_equal(got.mixture.params["expert_coef"], wanted.mixture.params["expert_coef"])
    resp = np.vstack([[1.0, 0.0], np.c_[X > 0, X <= 0]])
    start = fit_mixture(np.vstack([[[value]], X]), np.r_[value, y], sample_weight=weight, init=resp)
    assert start.result.loglik == fit_mixture(X, y, init=resp[1:]).result.loglik


# -- boxes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e4)])
def test_units_of_x_do_not_make_a_boxed_fit_look_separated(factor: float, offset: float) -> None:
    X, y = two_lines()
    fitted = fit_mixture(factor * X + offset, y, rng=0, box={"expert_scale": (0.0, 20.0)})
    assert fitted.result.status is Status.CERTIFIED
    assert fitted.result.separation is None
    assert fitted.result.loglik == pytest.approx(fit_mixture(X, y, rng=0).result.loglik, abs=1e-6)


def separated() -> tuple[np.ndarray, np.ndarray]:
    X, y = two_lines()
    X = X + 0.2 * np.sign(X)
    return X, 5.0 * np.sign(X[:, 0]) + 0.3 * y


def test_a_bounded_gate_is_not_separated_but_an_unbounded_one_is() -> None:
    X, y = separated()
    bounded = fit_mixture(X, y, rng=0, box={"gate_coef": (-20.0, 20.0)})
    assert bounded.result.status is Status.CERTIFIED
    assert bounded.result.active_bounds == ("gate[1]:x1",)
    free = fit_mixture(1e-3 * X + 0.5, y, rng=0, box={"expert_scale": (0.0, np.inf)})
    assert free.result.status is Status.SEPARATED


def test_penalty_means_the_same_under_a_box() -> None:
    X, y = two_lines()
    X = np.c_[100.0 * X, 0.01 * X + 0.01 * np.random.default_rng(1).normal(size=X.shape)]
    weight = np.random.default_rng(2).integers(1, 4, len(y)).astype(float)
    kwargs: dict[str, Any] = {"gate_l2": 5.0, "sample_weight": weight, "rng": 0}
    free = fit_mixture(X, y, **kwargs)
    boxed = fit_mixture(X, y, box={"expert_scale": (1e-3, 20.0)}, **kwargs)
    assert boxed.result.penalised == pytest.approx(free.result.penalised, abs=1e-7)
    assert boxed.result.loglik == pytest.approx(free.result.loglik, abs=1e-3)


@pytest.mark.parametrize("bad", [3.0, (1.0, 2.0, 3.0), (np.nan, 1.0), ("a", 1.0), None])
def test_a_box_that_is_no_pair_of_numbers_is_an_error(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"box\['expert_coef'\].*pair"):
        fit_mixture(*two_lines(), box={"expert_coef": bad})


def test_a_box_without_positive_scales_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_mixture(*two_lines(), box={"expert_scale": (-1.0, 0.0)})


# -- several responses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.1])
def test_em_and_newton_mean_the_same_floor_of_a_full_covariance(noise: float) -> None:
    rng = np.random.default_rng(0)
    X, base = rng.normal(size=(200, 1)), rng.normal(size=200)
    Y = np.c_[base, 2.0 * base + 1.0 + noise * rng.normal(size=200), base - X[:, 0] + rng.normal(size=200)]
    em, newton = (fit_mixture(X, Y, 1, solver=solver) for solver in ("em", "newton"))
    assert em.result.loglik == pytest.approx(newton.result.loglik, rel=1e-9)
    wanted = Status.CERTIFIED if noise == 0.1 else Status.DEGENERATE
    assert em.result.status is newton.result.status is wanted


def test_floored_covariance_is_the_constrained_maximiser() -> None:
    from scipy.optimize import minimize

    S = np.array([[1.0, 0.9, 0.3], [0.9, 0.85, 0.2], [0.3, 0.2, 1.5]])
    floor = np.array([0.3, 0.5, 0.2])
    expert, rows, cols = GaussianExpert(), *np.tril_indices(3)

    def loss(packed: np.ndarray) -> float:
        factor = expert.factors(packed[None], 3)[0]
        return float(-2.0 * np.log(np.diag(factor)).sum() + np.trace(factor.T @ S @ factor))

    bounds = [(np.log(floor[i]), None) if i == j else (None, None) for i, j in zip(rows, cols, strict=True)]
    best = minimize(loss, np.where(rows == cols, 0.5, 0.0), bounds=bounds, method="L-BFGS-B", tol=1e-14)
    got = expert.scale_parameters(S[None], floor)[0]
    assert loss(got) == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(got, best.x, atol=1e-4)
    assert (got[rows == cols] >= np.log(floor) - 1e-12).all()


@pytest.mark.parametrize("solver", ["auto", "em"])
def test_several_responses_that_are_met_exactly_end_on_the_floor(solver: str) -> None:
    x = np.linspace(-1.0, 1.0, 7)[:, None]
    Y = np.c_[1.0 + x[:, 0], x[:, 0] - x[:, 0] ** 2]
    fitted = fit_mixture(x, Y, 2, expert=GaussianExpert(degree=2), rng=0, solver=solver)
    assert fitted.result.floored == (1, 2)
    np.testing.assert_allclose(fitted.mixture.mean(x), Y, atol=1e-6)


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"solver": None}, "solver=None"),
        ({"solver": 3}, "solver=3"),
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"n_jobs": "2"}, "n_jobs='2'"),
    ],
)
def test_arguments_out_of_range_are_named(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fit_mixture(*two_lines(), **kwargs)


def test_known_scales_that_contradict_the_covariance_are_an_error() -> None:
    X, y = two_lines()
    with pytest.raises(ValueError, match="spherical"):
        fit_mixture(X, np.c_[y, y], expert=GaussianExpert(variance=[[1.0, 2.0]] * 2, covariance="spherical"))


LINES: dict[str, Any] = {
    "gate_coef": [[1.0], [0.0]],
    "gate_intercept": [0.0, 0.0],
    "expert_coef": [[1.0], [2.0]],
    "expert_intercept": [0.0, 1.0],
    "expert_scale": [1.0, 1.0],
}
PLANES: dict[str, Any] = LINES | {
    "expert_coef": np.zeros((2, 2, 1)),
    "expert_intercept": np.zeros((2, 2)),
    "expert_covariance": [[[1.0, 0.5], [0.5, 1.0]]] * 2,
}


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"gate": "constant", "params": LINES}, "gate_coef.*does not depend on x"),
        ({"expert": GaussianExpert(degree=0), "params": LINES}, "expert_coef.*does not depend on x"),
        ({"expert": GaussianExpert(covariance="diag"), "params": PLANES}, "expert_covariance.*contradicts"),
        ({"params": LINES, "n_features": 0}, "n_features=0 is too small"),
    ],
)
def test_parameters_are_never_dropped_silently(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ms.ConditionalMixture(**kwargs)


@pytest.mark.filterwarnings("ignore:The features")
@pytest.mark.filterwarnings("ignore::moestat.inference.InferenceWarning")
def test_information_criteria_count_what_the_data_determine() -> None:
    X, y = two_lines()
    doubled = np.c_[X, 2.0 * X]
    alone = ms.MoERegressor(random_state=0).fit(X, y)
    both = ms.MoERegressor(random_state=0).fit(doubled, y)
    results = both.inference(doubled, y)
    for name in ("aic", "bic"):
        wanted = getattr(alone, name)(X, y)
        assert getattr(both, name)(doubled, y) == pytest.approx(wanted, abs=1e-6)
        assert getattr(results, name) == pytest.approx(wanted, abs=1e-6)


def test_information_criteria_take_weights_as_repetitions() -> None:
    X, y = two_lines()
    weight = np.random.default_rng(1).integers(0, 3, len(y))
    est = ms.MoERegressor(random_state=0).fit(X, y, sample_weight=weight)
    repeated = np.repeat(X, weight, axis=0), np.repeat(y, weight)
    for name in ("aic", "bic", "icl"):
        assert getattr(est, name)(X, y, weight) == pytest.approx(getattr(est, name)(*repeated), rel=1e-12)


@pytest.mark.parametrize("solver", ["newton", "auto", "lbfgs"])
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_a_box_does_not_depend_on_the_unit_of_x(solver: str, unit: float) -> None:
    """Under a box the user's coordinates are kept: parameters may then differ by many orders of magnitude."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1))
    y = np.where(X[:, 0] + 0.3 * rng.normal(size=200) > 0, 1 + X[:, 0], -2 * X[:, 0]) + 0.4 * rng.normal(size=200)
    box = {"expert_scale": (1e-3, 20.0)}

    def start(u: float) -> dict[str, list[list[float]] | list[float]]:
        return {
            "gate_coef": [[2 / u], [0.0]],
            "gate_intercept": [0.0, 0.0],
            "expert_coef": [[0.8 / u], [-1.5 / u]],
            "expert_intercept": [0.8, 0.1],
            "expert_scale": [0.5, 0.5],
        }

    plain = fit_mixture(X, y, init=start(1.0), box=box).result
    scaled = fit_mixture(X * unit, y, init=start(unit), box=box, solver=solver).result
    assert scaled.converged
    assert scaled.certificate.rank == scaled.certificate.n_params == plain.certificate.n_params
    assert scaled.loglik == pytest.approx(plain.loglik, abs=1e-7)
