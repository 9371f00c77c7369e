"""Factorial mixtures: the density by enumeration, exact M-steps, fits, and what contradicts them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import moestat as ms
from moestat.experts import FactorialExpert, PoissonExpert
from moestat.fitting import fit_mixture
from moestat.gates import FactorialGate, PrototypeGate, SoftmaxGate
from moestat.states import incidence

SIZES = [(2, 2), (2, 3), (4,), (2, 1, 2)]
each = pytest.mark.parametrize("sizes", SIZES, ids=str)


def parts(sizes: tuple[int, ...], seed: int = 0, spread: float = 2.0) -> dict[str, Any]:
    """Gate and lines of the E experts: `gate`, `line` with rows (intercept, slope)."""
    rng, e = np.random.default_rng(seed), sum(sizes)
    gate, line = rng.normal(size=(e, 2)), spread * rng.normal(size=(e, 2))
    for stop in np.cumsum(sizes):
        gate[stop - 1] = 0.0
    return {"gate": gate, "line": line, "sd": 0.4}


def params_of(sizes: tuple[int, ...], p: dict[str, Any]) -> dict[str, Any]:
    sums = incidence(sizes) @ p["line"]
    return {
        "gate_intercept": p["gate"][:, 0],
        "gate_coef": p["gate"][:, 1:],
        "expert_intercept": sums[:, 0],
        "expert_coef": sums[:, 1:],
        "expert_scale": np.full(len(sums), p["sd"]),
    }


def model(sizes: tuple[int, ...], seed: int = 0, spread: float = 2.0) -> ms.ConditionalMixture:
    return ms.ConditionalMixture(
        FactorialGate(sizes), FactorialExpert(sizes=sizes), params_of(sizes, parts(sizes, seed, spread))
    )


def sample(m: ms.ConditionalMixture, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, (n, 1))
    return X, m.sample(X, rng)


@each
def test_density_is_the_sum_over_choices(sizes: tuple[int, ...]) -> None:
    p, m = parts(sizes), model(sizes)
    X, y = sample(m, 7, 1)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for x, target, found in zip(X[:, 0], y, m.log_density(X, y), strict=True):
        total = 0.0
        for choice in product(*map(range, sizes)):
            weight, mean = 1.0, 0.0
            for start, size, j in zip(starts, sizes, choice, strict=True):
                scores = np.exp(p["gate"][start : start + size] @ [1.0, x])
                weight *= scores[j] / scores.sum()
                mean += p["line"][start + j] @ [1.0, x]
            total += weight * norm.pdf(target, mean, p["sd"])
        assert found == pytest.approx(np.log(total), rel=1e-12)


@each
def test_free_parameters(sizes: tuple[int, ...]) -> None:
    """E - P + 1 lines, E - P gates and one scale; the round trip and the derivatives."""
    m, count = model(sizes), sum(sizes) - len(sizes)
    assert len(m.free_names()) == 2 * (count + 1) + 2 * count + 1
    assert len(set(m.free_names())) == len(m.free_vector()) == len(m.free_links())
    X, y = sample(m, 30, 2)
    np.testing.assert_allclose(m.with_free_vector(m.free_vector()).log_density(X, y), m.log_density(X, y), rtol=1e-12)
    vector, h = m.free_vector(), 1e-5
    steps = [(m.with_free_vector(vector + h * e), m.with_free_vector(vector - h * e)) for e in np.eye(len(vector))]
    scores = np.stack([(a.log_density(X, y) - b.log_density(X, y)) / (2.0 * h) for a, b in steps], axis=1)
    np.testing.assert_allclose(m.scores(X, y), scores, atol=1e-7 * np.abs(scores).max())
    hessian = np.stack([(a.scores(X, y).sum(axis=0) - b.scores(X, y).sum(axis=0)) / (2.0 * h) for a, b in steps])
    np.testing.assert_allclose(m.hessian(X, y), hessian, atol=1e-7 * np.abs(hessian).max())


@each
def test_m_step_is_stacked_least_squares(sizes: tuple[int, ...]) -> None:
    m, rng = model(sizes), np.random.default_rng(3)
    k = m.n_experts
    X, y = sample(m, 60, 3)
    weight, resp = rng.uniform(0.5, 2.0, 60), rng.dirichlet(np.ones(k), 60).T
    objective, theta = m.objective(X, y, weight, raw=True)
    found = objective.layout.unpack(objective.maximise(theta, objective.em_pass(theta, resp)))
    features = np.column_stack([np.ones(60), X])
    rows = np.concatenate([np.kron(row, features) for row in incidence(sizes)])  # all choices below each other
    root = np.sqrt((resp * weight).ravel())
    solution = np.linalg.lstsq(root[:, None] * rows, root * np.tile(y, k), rcond=None)[0]
    np.testing.assert_allclose(found.coef[:, 0], incidence(sizes) @ solution.reshape(-1, 2), rtol=1e-8, atol=1e-9)
    variance = np.average((np.tile(y, k) - rows @ solution) ** 2, weights=root**2)
    np.testing.assert_allclose(np.exp(found.scale), np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("sizes", [(2, 2), (2, 3)], ids=str)
def test_fits_find_their_truth(sizes: tuple[int, ...]) -> None:
    truth = model(sizes, seed=4, spread=3.0)
    X, y = sample(truth, 1500, 4)
    fitted = fit_mixture(X, y, truth.n_experts, gate=truth.gate, expert=truth.expert, init=truth.params)
    assert fitted.result.certificate.certified
    assert fitted.result.certificate.rank == len(truth.free_vector())
    results = ms.inference.infer(fitted.mixture, X, y)
    z = (fitted.mixture.free_vector() - truth.free_vector()) / results.bse.to_numpy()
    assert np.sqrt(np.mean(z**2)) < 1.6
    assert str(results.summary())
    em = fit_mixture(X, y, truth.n_experts, gate=truth.gate, expert=truth.expert, init=truth.params, solver="em")
    assert em.result.loglik == pytest.approx(fitted.result.loglik, abs=1e-6)
    assert (np.diff(em.result.trace) > -1e-8).all()


def test_default_starts_and_the_estimator(tmp_path: Any) -> None:
    truth = model((2, 2), seed=4, spread=3.0)
    X, y = sample(truth, 600, 5)
    est = ms.MoERegressor(
        4, gate=FactorialGate((2, 2)), expert=FactorialExpert(sizes=(2, 2)), n_init=10, random_state=0
    ).fit(X, y)
    assert est.loglik_ > truth.log_density(X, y).sum()
    sums = est.expert_coef_[:, 0]
    assert sums[0] - sums[1] == pytest.approx(sums[2] - sums[3], abs=1e-10)
    est.save(tmp_path / "model.json")
    np.testing.assert_array_equal(ms.load(tmp_path / "model.json").predict(X), est.predict(X))


def test_halves_on_their_own() -> None:
    """Products of gates with experts of any family, and sums of lines under any gate."""
    p = params_of((2, 2), parts((2, 2)))
    gate = {key: p[key] for key in ("gate_intercept", "gate_coef")}
    counts = ms.ConditionalMixture(
        FactorialGate((2, 2)),
        PoissonExpert(),
        gate | {"expert_intercept": np.arange(4.0), "expert_coef": np.zeros((4, 1))},
    )
    X, y = sample(counts, 200, 6)
    assert (
        fit_mixture(X, y, 4, gate=counts.gate, expert="poisson", init=counts.params).result.loglik
        >= counts.log_density(X, y).sum()
    )
    sums = ms.ConditionalMixture(
        "softmax",
        FactorialExpert(sizes=(2, 2)),
        {key: p[key] for key in p if "expert" in key} | {"gate_intercept": np.zeros(4), "gate_coef": np.zeros((4, 1))},
    )
    X, y = sample(sums, 200, 6)
    assert fit_mixture(X, y, 4, gate=SoftmaxGate(), expert=sums.expert, init=sums.params).result.certificate.certified


def test_what_contradicts_them() -> None:
    m = model((2, 2))
    with pytest.raises(ValueError, match="sums of those of its experts"):
        ms.ConditionalMixture(m.gate, m.expert, m.params | {"expert_intercept": [0.0, 0.0, 0.0, 1.0]})
    for sizes in ((), (2, 0), "22", (2.0, 2), 4):
        for made in (FactorialGate, lambda sizes: FactorialExpert(sizes=sizes)):
            with pytest.raises(ValueError, match="integers of at least 1"):
                made(sizes)
    with pytest.raises(ValueError, match="6 joint choices for n_experts=4"):
        FactorialGate((2, 3)).index(4, 2)
    with pytest.raises(ValueError, match="tied=False"):
        FactorialExpert(tied=False)
    with pytest.raises(ValueError, match="order"):
        m.permuted([1, 0, 2, 3])
    with pytest.raises(ValueError, match="says which experts"):
        FactorialGate((2, 2)).permute(np.zeros((4, 2)), [1, 0, 2, 3])
    with pytest.raises(ValueError, match="no mixing measure"):
        m.mixing_measure()
    X, y = sample(m, 50, 0)
    with pytest.raises(ValueError, match="sums of free ones"):
        fit_mixture(X, y, 4, gate=m.gate, expert=m.expert, box={"expert_coef": (-1.0, 1.0)})
    with pytest.raises(ValueError, match="FactorialGate"):
        PrototypeGate(2, combine="factorial")
