"""What goes wrong in data, and what a fit says and returns then: floor, separation, collinearity, few rows, too many experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat.exceptions import CollinearityWarning, ConvergenceWarning, DegeneracyWarning, SeparationWarning
from moestat.fitting import fit_mixture
from moestat.solvers import Status


def two_lines(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, (n, 2))
    first = 2.0 * X[:, 0] + rng.logistic(size=n) > 0.0
    return X, np.where(first, 2.0 + X[:, 1], -2.0 - X[:, 1]) + 0.5 * rng.normal(size=n)


def separated(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Experts whose rows a line in x divides, with a gap between them."""
    rng = np.random.default_rng(3)
    X = rng.uniform(0.2, 1.0, (n, 2)) * np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    return X, np.where(X[:, 0] > 0, 5.0, -5.0) + X[:, 1] + 0.3 * rng.normal(size=n)


# -- degeneracy ----------------------------------------------------------------------------------------------------


def test_expert_on_the_floor_is_named() -> None:
    X, y = two_lines()
    X[:3], y[:3] = [[5.0, 0.0], [5.1, 0.1], [5.2, 0.3]], [40.0, 41.0, 43.0]  # three rows that a plane meets exactly
    start = {
        "gate_coef": [[0.0, 0.0], [8.0, 0.0], [0.0, 0.0]],
        "gate_intercept": [0.5, -30.0, 0.0],
        "expert_coef": [[0.0, 1.0], [10.0, 0.0], [0.0, -1.0]],
        "expert_intercept": [2.0, -10.0, -2.0],
        "expert_scale": [0.5, 0.1, 0.5],
    }
    with pytest.warns(DegeneracyWarning, match="Expert 3") as caught:
        est = ms.MoERegressor(3, init=start).fit(X, y)
    assert any("variance_floor" in str(w.message) for w in caught)
    assert not est.converged_
    assert est.result_.status is Status.DEGENERATE
    assert est.result_.floored == (3,)
    floor = np.sqrt(1e-6) * y.std()
    assert est.expert_scale_[2] == pytest.approx(floor, rel=1e-6)
    assert (est.expert_scale_ >= floor * (1 - 1e-9)).all()
    assert np.isfinite(est.predict(X)).all()
    tied = fit_mixture(X, y, 3, init=start, expert=ms.experts.GaussianExpert(variance="tied"))
    assert tied.result.floored == ()


def test_degenerate_starts_lose_against_sound_ones() -> None:
    X, y = two_lines()
    y[:4] = 0.25  # a tie on which a spike could sit
    X[:4, 1] = 0.0
    fitted = fit_mixture(X, y, 2, rng=0, n_init=20)
    assert fitted.result.floored == ()
    assert fitted.result.converged


def test_variance_floor_is_relative_to_the_response() -> None:
    X, y = two_lines()
    for size in (1e-6, 1.0, 1e6):
        fitted = fit_mixture(X, size * y, rng=0, variance_floor=0.2)
        assert fitted.mixture.params["expert_scale"].min() == pytest.approx(np.sqrt(0.2) * size * y.std(), rel=1e-6)


def test_exact_data_end_on_the_floor_with_a_warning() -> None:
    x = np.linspace(-1.0, 1.0, 40)[:, None]
    with pytest.warns(DegeneracyWarning, match="Expert 1"):
        est = ms.MoERegressor(1).fit(x, 3.0 * x[:, 0] + 1.0)
    np.testing.assert_allclose(est.expert_coef_, 3.0, rtol=1e-9)


@pytest.mark.parametrize("n_responses", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_without_a_floor_few_rows_end_in_a_status(n_responses: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(12, 1)), rng.normal(size=(12, n_responses))
    fitted = fit_mixture(X, y, 3, variance_floor=0.0, rng=0)
    assert isinstance(fitted.result.status, Status)
    assert not np.isnan(fitted.result.loglik)
    assert (fitted.mixture.params["expert_scale"] > 0.0).all()


def test_constant_response_is_an_error() -> None:
    with pytest.raises(ValueError, match="constant"):
        fit_mixture(np.arange(20.0)[:, None], np.full(20, 4.0))


# -- separation ----------------------------------------------------------------------------------------------------


def test_separated_experts_are_reported_with_the_direction() -> None:
    X, y = separated()
    with pytest.warns(SeparationWarning, match="gate_l2") as caught:
        est = ms.MoERegressor(random_state=0).fit(X, y)
    message = str(caught[0].message)
    assert "Direction: gate[1]:" in message
    assert est.result_.status is Status.SEPARATED
    for name, value in est.model_.params.items():
        assert np.isfinite(value).all(), name
    direction = est.result_.separation
    assert direction is not None
    assert not direction[-1].any()
    # along the direction every row moves to its own side
    step = direction[:, 0] + X @ direction[:, 1:].T
    own = est.responsibilities(X, y).argmax(axis=1)
    other = 1 - own
    rows = np.arange(len(y))
    assert (step[rows, own] - step[rows, other] > 0).all()
    # and the likelihood is within a rounding of its supremum
    far = est.model_.params | {
        "gate_coef": est.gate_coef_ + 1e3 * direction[:, 1:],
        "gate_intercept": est.gate_intercept_ + 1e3 * direction[:, 0],
    }
    assert ms.ConditionalMixture(params=far).log_density(X, y).sum() == pytest.approx(est.loglik_, abs=1e-6)


@pytest.mark.parametrize("gate_l2", [1e-3, 0.1, 10.0])
def test_penalty_gives_a_finite_certified_optimum(gate_l2: float) -> None:
    X, y = separated()
    est = ms.MoERegressor(random_state=0, gate_l2=gate_l2).fit(X, y)
    assert est.result_.status is Status.CERTIFIED
    assert est.result_.separation is None
    assert est.result_.penalised < est.result_.loglik == pytest.approx(est.log_density(X, y).sum(), rel=1e-12)
    # the penalty by hand, in features whitened by the data: ½ λ Σ_k |γ_k - γ̄|²
    root = np.linalg.cholesky(np.cov(X.T, bias=True))
    slopes = est.gate_coef_ @ root
    penalty = 0.5 * gate_l2 * np.sum((slopes - slopes.mean(axis=0)) ** 2)
    assert est.result_.loglik - est.result_.penalised == pytest.approx(penalty, rel=1e-8)

    def penalised(factor: float) -> float:
        params = est.model_.params | {
            "gate_coef": factor * est.gate_coef_,
            "gate_intercept": factor * est.gate_intercept_,
        }
        return float(ms.ConditionalMixture(params=params).log_density(X, y).sum() - factor**2 * penalty)

    assert penalised(1.0) > max(penalised(0.98), penalised(1.02))


def test_overlapping_experts_are_not_called_separated() -> None:
    X, y = two_lines()
    est = ms.MoERegressor(random_state=0).fit(X, y)  # warnings are errors here
    assert est.result_.separation is None
    assert est.converged_


# -- collinearity --------------------------------------------------------------------------------------------------


def collinear(X: np.ndarray) -> np.ndarray:
    return np.column_stack([X, 2.0 * X[:, 0] + 1.0, np.full(len(X), 7.0)])


@pytest.mark.parametrize("sample_weight", [None, "integers"])
def test_collinear_columns_are_named_and_change_nothing(sample_weight: Any) -> None:
    X, y = two_lines()
    weight = None if sample_weight is None else np.random.default_rng(0).integers(0, 3, len(y))
    plain = ms.MoERegressor(random_state=0).fit(X, y, weight)
    with pytest.warns(CollinearityWarning, match=r"x1, x3, x4.*rank 3 of 5"):
        est = ms.MoERegressor(random_state=0).fit(collinear(X), y, weight)
    assert est.loglik_ == pytest.approx(plain.loglik_, rel=1e-10)
    np.testing.assert_allclose(est.predict(collinear(X)), plain.predict(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(est.gate_proba(collinear(X)), plain.gate_proba(X), atol=1e-6)
    # least norm in standardised units: the two copies share the effect evenly, the constant has none
    for mine, theirs in ((est.expert_coef_, plain.expert_coef_), (est.gate_coef_, plain.gate_coef_)):
        np.testing.assert_allclose(mine[:, 0], theirs[:, 0] / 2.0, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(mine[:, 2], theirs[:, 0] / 4.0, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(mine[:, 1], theirs[:, 1], rtol=1e-5, atol=1e-6)
        assert np.abs(mine[:, 3]).max() < 1e-12
    assert est.converged_


def test_collinear_monomials_are_named() -> None:
    X, y = two_lines()
    X[:, 1] = np.where(X[:, 1] > 0, 1.0, 0.0)  # its square is itself
    with pytest.warns(CollinearityWarning, match=r"experts.*x2\^2.*rank 5 of 6"):
        est = ms.PolynomialMoERegressor(random_state=0).fit(X, y)
    assert np.isfinite(est.expert_coef_).all()


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_experts", [3, 10])
def test_too_few_rows_is_an_error(n_experts: int) -> None:
    X = np.array([[0.0], [1.0], [0.0], [1.0]])
    with pytest.raises(ValueError, match=f"2 distinct rows.*n_experts={n_experts}"):
        fit_mixture(X, [1.0, 2.0, 1.0, 2.0], n_experts)
    rng = np.random.default_rng(0)
    weight = np.r_[1.0, 1.0, np.zeros(38)]
    with pytest.raises(ValueError, match="2 distinct rows"):
        fit_mixture(rng.normal(size=(40, 1)), rng.normal(size=40), n_experts, sample_weight=weight)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_n_experts_must_be_a_positive_integer(bad: Any) -> None:
    X, y = two_lines(30)
    with pytest.raises(ValueError, match="n_experts"):
        fit_mixture(X, y, bad)


def test_iteration_limit_is_reported() -> None:
    X, y = two_lines()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        est = ms.MoERegressor(solver="em", max_iter=1, n_init=1, random_state=0).fit(X, y)
    assert est.result_.status is Status.MAX_ITER
    assert est.result_.certificate.rule == "iteration limit"
    assert est.result_.certificate.decrement > 1e-8


def test_more_experts_than_there_are() -> None:
    X, y = two_lines(400)
    logliks = []
    for k in range(1, 6):
        fitted = fit_mixture(X, y, k, rng=0, gate_l2=1e-2, n_init=10)
        assert np.isfinite(fitted.result.loglik)
        assert np.isfinite(fitted.result.certificate.eigenvalues).all()
        logliks.append(fitted.result.penalised)
    assert logliks[1] > logliks[0] + 100.0
    assert (np.diff(logliks) > -0.02).all(), logliks  # the penalty aside, a further expert cannot hurt
    assert logliks[4] < logliks[1] + 60.0


def test_the_certificate_is_true() -> None:
    X, y = two_lines()
    fitted = fit_mixture(X, y, rng=0)
    certificate = fitted.result.certificate
    objective, theta = fitted.mixture.objective(X, y)
    _, gradient, hessian = objective.derivatives(theta)
    assert fitted.result.converged
    assert certificate.decrement <= 1e-8
    assert 0.5 * gradient @ np.linalg.solve(-hessian, gradient) <= 1e-8
    diagonal = np.sqrt(-np.diag(hessian))
    spectrum = np.linalg.eigvalsh(-hessian / diagonal / diagonal[:, None])
    np.testing.assert_allclose(certificate.eigenvalues, spectrum, rtol=1e-3, atol=1e-6)
    assert certificate.rank == certificate.n_params == len(theta)
    assert 1 <= certificate.n_agree <= certificate.n_starts == 10
