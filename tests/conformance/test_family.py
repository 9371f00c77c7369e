"""What every gate and every expert must satisfy, from the registry: weights, densities, derivatives, statistics, solvers."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import moestat as ms
from moestat import blocks
from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.gates.masked import SoftmaxScores
from moestat.general import GeneralObjective
from moestat.linked import objective_for
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective

from . import family
from .family import Case, every_case, smooth_cases

N = 60


@every_case
def test_weights_sum_to_one(case: Case) -> None:
    m = family.mixture(case)
    X, _ = family.data(case, 200)
    np.testing.assert_allclose(m.gate_proba(X).sum(axis=1), 1.0, rtol=1e-14)
    far = 1e3 * X
    log_gate = m.log_gate(far)
    assert not np.isnan(log_gate).any()
    np.testing.assert_allclose(np.exp(log_gate).sum(axis=1), 1.0, rtol=1e-12)


@every_case
def test_sample_follows_the_distribution_function(case: Case) -> None:
    """Randomised probability integral transforms are uniform: a Kolmogorov–Smirnov bound at level 1e-4."""
    if not case.one_number:
        pytest.skip("the response is not one number")
    m = family.mixture(case)
    X, y = family.data(case, 3000, seed=5)
    upper = m.cdf(X, y)
    lower = m.cdf(X, y - 1.0) if case.expert.discrete else m.cdf(X, np.nextafter(y, -np.inf))
    u = np.sort(lower + np.random.default_rng(0).random(len(y)) * (upper - lower))
    grid = (np.arange(len(u)) + 0.5) / len(u)
    assert np.abs(u - grid).max() < 2.2 / np.sqrt(len(u))


@every_case
def test_density_is_the_slope_of_the_distribution_function(case: Case) -> None:
    if not case.one_number:
        pytest.skip("the response is not one number")
    m = family.mixture(case)
    X, y = family.data(case, 50)
    density = np.exp(m.log_density(X, y) - (_log_density_of_x(m, X) if case.gate.joint else 0.0))
    if case.expert.discrete:
        mass = m.cdf(X, y) - m.cdf(X, y - 1.0)
        np.testing.assert_allclose(density, mass, rtol=1e-8, atol=1e-12)
    else:
        h = 1e-3 * np.minimum(1.0, np.abs(y - np.round(y)) + 0.1) * np.abs(y + 1e-3)
        if case.expert.name == "beta":  # differences resolve the interior only
            inside = (y > 0.05) & (y < 0.95)
            X, y, density, h = X[inside], y[inside], density[inside], 1e-3 * np.ones(inside.sum())
        weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
        slope = sum(w * (m.cdf(X, y + i * h) - m.cdf(X, y - i * h)) for i, w in weights.items()) / h
        np.testing.assert_allclose(slope, density, rtol=1e-5, atol=1e-7)


def _log_density_of_x(m: ConditionalMixture, X: Any) -> Any:
    gate: Any = m.gate
    z = m.gate_map.features(X)
    return np.logaddexp.reduce(gate.log_weight(m.internal.gate, gate.scores(m.internal.gate, z)), axis=0)


@every_case
def test_moments_are_those_of_the_sample(case: Case) -> None:
    m = family.mixture(case)
    x = np.full((40_000, family.N_FEATURES), 0.4)
    mean, sd = m.mean(x[:1])[0], m.std(x[:1])[0]
    if not np.isfinite(sd).all():
        pytest.skip("no second moment")
    y = m.sample(x, 3)
    if case.expert.name == "multinomial":
        y = (y[:, None] == np.arange(len(mean))).astype(float)
    np.testing.assert_allclose(y.mean(axis=0), mean, atol=6.0 * np.max(sd) / 200.0)


@every_case
def test_quantile_inverts_the_distribution_function(case: Case) -> None:
    if not case.one_number:
        pytest.skip("the response is not one number")
    m = family.mixture(case)
    X, _ = family.data(case, 20)
    for q in (0.01, 0.3, 0.5, 0.97):
        y = m.quantile(X, q)
        if case.expert.discrete:
            assert (m.cdf(X, y) >= q - 1e-12).all()
            assert (m.cdf(X, y - 1.0) < q + 1e-12).all()
        else:
            np.testing.assert_allclose(m.cdf(X, y), q, rtol=1e-8)


@smooth_cases
def test_scores_are_derivatives_of_the_log_density(case: Case) -> None:
    m = family.mixture(case)
    X, y = family.data(case, 15)
    theta = m.free_vector()
    exact = family.difference(lambda t: family.at(m, t).log_density(X, y), theta)
    scores = m.scores(X, y)
    np.testing.assert_allclose(scores, exact, rtol=2e-7, atol=2e-7 * (1.0 + np.abs(exact).max()))


@smooth_cases
def test_hessian_is_the_derivative_of_the_gradient(case: Case) -> None:
    m = family.mixture(case)
    X, y = family.data(case, 25)
    weight = np.random.default_rng(1).uniform(0.0, 2.0, len(X))
    objective, theta = m.objective(X, y, weight, raw=True)
    value, gradient, hessian = objective.derivatives(theta)
    np.testing.assert_allclose(value, weight @ m.log_density(X, y), rtol=1e-12)
    short_value, short = objective.gradient(theta)
    np.testing.assert_allclose(short_value, value, rtol=1e-13)
    np.testing.assert_allclose(short, gradient, rtol=1e-10, atol=1e-11 * (1.0 + np.abs(gradient).max()))
    np.testing.assert_allclose(
        weight @ m.scores(X, y), gradient, rtol=1e-9, atol=1e-10 * (1.0 + np.abs(gradient).max())
    )
    exact = family.difference(lambda t: objective.gradient(t)[1], theta)
    np.testing.assert_allclose(hessian, exact, rtol=1e-6, atol=1e-7 * (1.0 + np.abs(exact).max()))


@every_case
def test_statistics_are_sums_over_rows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are repetitions, blocks and threads do not matter."""
    m = family.mixture(case, seed=3)
    X, y = family.data(case, N)
    weight = np.random.default_rng(4).integers(0, 4, N).astype(float)
    repeat = np.repeat(np.arange(N), weight.astype(int))
    whole = _results(*m.objective(X, y, weight))
    _same(whole, _results(*m.objective(X[repeat], y[repeat])), 1e-9)
    cut = 23
    parts = [_results(*m.objective(X[s], y[s], weight[s])) for s in (slice(None, cut), slice(cut, None))]
    _same({name: parts[0][name] + parts[1][name] for name in whole}, whole, 1e-9)
    at, theta = m.objective(X, y, weight)
    at.size = 17
    _same(_results(at, theta), whole, 1e-9)
    monkeypatch.setattr(blocks, "STORED_BYTES", 0)
    lazy, _ = m.objective(X, y, weight)
    lazy.size = 17
    _same(_results(lazy, theta), whole, 1e-9)


def _results(at: Objective, theta: Any) -> dict[str, Any]:
    value, gradient, hessian = at.derivatives(theta)
    done = at.em_pass(theta)
    sums = {name: np.asarray(total) for name, total in done.statistics.items() if name != "value"}
    masses = dict(zip(("gate mass", "resp mass"), at.masses(theta), strict=True))
    return sums | {"value": value, "em": done.value, "gradient": gradient, "hessian": hessian} | masses


def _same(left: dict[str, Any], right: dict[str, Any], tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        scale = np.abs(right[name]).max(initial=1.0)
        np.testing.assert_allclose(value, right[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@every_case
def test_em_never_lowers_the_likelihood(case: Case) -> None:
    """Within one active set for gates that switch experts off: their own guarantee, see `MaskedGate`."""
    from moestat.solvers.em import EM

    X, y = family.data(case, 150)
    objective, theta = family.mixture(case, seed=1).objective(X, y)
    em = EM()
    with np.errstate(all="ignore"):  # as in a fit: a step too long may overflow, and is then shortened
        state = em.init(objective, theta)
        for _ in range(6):
            new = em.step(objective, state)
            assert new.value >= state.value - 1e-10 * (1.0 + abs(state.value))
            state = new


@every_case
def test_canonical_form_and_order_leave_the_density_alone(case: Case) -> None:
    m = family.mixture(case)
    X, y = family.data(case, 30)
    log_density = m.log_density(X, y)
    once = m.canonical()
    np.testing.assert_allclose(once.log_density(X, y), log_density, rtol=1e-9, atol=1e-9)
    twice = once.canonical()
    for name, value in once.params.items():
        np.testing.assert_allclose(twice.params[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    try:
        turned = m.permuted([2, 0, 1])
    except ValueError:
        return  # the gate says that the order is part of the model
    np.testing.assert_allclose(turned.log_density(X, y), log_density, rtol=1e-9, atol=1e-9)


@every_case
def test_parameters_round_trip(case: Case) -> None:
    m = family.mixture(case)
    X, y = family.data(case, 30)
    again = ConditionalMixture(case.gate, case.expert, m.params, n_features=family.N_FEATURES)
    np.testing.assert_allclose(again.log_density(X, y), m.log_density(X, y), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(m.with_free_vector(m.free_vector()).log_density(X, y), m.log_density(X, y), rtol=1e-12)
    names = m.free_names()
    assert len(names) == len(set(names)) == len(m.free_vector()) == len(m.free_links())
    for component in (case.gate, case.expert):
        assert repr(component) == repr(pickle.loads(pickle.dumps(component)))
        assert type(component)(**component.get_params()) == component


QUICK = {"n_init": 2, "random_state": 0, "max_iter": 200}


@every_case
def test_fit_save_load_and_infer(case: Case, tmp_path: Any) -> None:
    """A whole fit from default starts: it ends, its report is honest, and the file gives the same model back."""
    X, y = family.data(case, 300)
    est = ms.MoERegressor(family.K, gate=case.gate, expert=case.expert, **QUICK)
    assert repr(clone(est)) == repr(est)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, y)
        results = est.inference(X, y)
    m, truth = est.model_, family.mixture(case)
    assert np.isfinite(est.loglik_)
    np.testing.assert_allclose(est.log_likelihood(X, y), est.loglik_, rtol=1e-9)
    if case.smooth and est.converged_:
        assert (
            est.loglik_ > truth.log_density(X, y).sum() - 25.0
        )  # two starts may end in a lesser maximum, not in nowhere
    assert str(results.summary())
    assert len(results.params) == len(m.free_names())
    est.save(tmp_path / "model.json")
    again = ms.load(tmp_path / "model.json")
    np.testing.assert_array_equal(again.log_density(X, y), est.log_density(X, y))
    np.testing.assert_array_equal(again.gate_proba(X), est.gate_proba(X))


@smooth_cases
def test_solvers_reach_the_same_maximum(case: Case) -> None:
    X, y = family.data(case, 400)
    truth = family.mixture(case)
    found = {}
    for solver in ("newton", "lbfgs", "auto"):
        fitted = fit_mixture(
            X, y, family.K, gate=case.gate, expert=case.expert, init=truth.params, solver=solver, max_iter=500
        )
        found[solver] = fitted.result.loglik
    assert max(found.values()) - min(found.values()) < 1e-5 * (1.0 + abs(found["auto"])) or len(set(found)) == 3
    assert found["auto"] >= truth.log_density(X, y).sum() - 1e-8


def test_general_route_is_the_twin_of_the_compiled_one() -> None:
    """Softmax by scores against the compiled softmax: value, gradient, Hessian, scores, EM statistics."""
    for expert, d in ((GaussianExpert(2, "tied"), 1), (GaussianExpert(), 2), (ms.experts.PoissonExpert(), 1)):
        case = Case(ms.gates.SoftmaxGate(), expert, d, d)
        m = family.mixture(case)
        X, y = family.data(case, 200)
        weight = np.random.default_rng(0).uniform(0.0, 2.0, len(X))
        fast, theta = m.objective(X, y, weight)
        layout = family.replace(fast.layout, gate=SoftmaxScores())
        slow = objective_for(fast.rows, layout, floor=fast.floor, gate_l2=0.3)
        fast.gate_l2 = 0.3
        assert isinstance(slow, GeneralObjective)
        assert not isinstance(fast, GeneralObjective)
        for left, right in zip(fast.derivatives(theta), slow.derivatives(theta), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-11 * np.abs(right).max())
        np.testing.assert_allclose(fast.row_scores(theta), slow.row_scores(theta), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(fast.gradient(theta)[1], slow.gradient(theta)[1], rtol=1e-10, atol=1e-10)
        left, right = fast.em_pass(theta), slow.em_pass(theta)
        np.testing.assert_allclose(left.value, right.value, rtol=1e-13)
        np.testing.assert_allclose(left.information, right.information, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(fast.maximise(theta, left), slow.maximise(theta, right), rtol=1e-8, atol=1e-8)
