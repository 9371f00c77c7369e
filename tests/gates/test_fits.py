"""Whole fits under gates with kinks, jumps and null directions: what is certified, what is said, and what does not depend on other rows."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import moestat as ms
from moestat.fitting import fit_mixture
from moestat.gates import (
    BudgetGate,
    CosineGate,
    HierarchicalGate,
    HybridEntropyGate,
    LaplaceGate,
    PrototypeGate,
    SharedExperts,
    SoftmaxGate,
    TopKGate,
    TopPGate,
)
from moestat.gates.floored import FlooredGate

LAPLACE = {
    "gate_location": [[1.0], [-0.8]],
    "gate_intercept": [0.3, 0.0],
    "expert_coef": [[-2.0], [2.0]],
    "expert_intercept": [1.0, -1.0],
    "expert_scale": [0.5, 0.4],
}


def sample(gate, params, n, seed, low=-2.0, high=2.0, d=1):
    truth = ms.ConditionalMixture(gate, "gaussian", params)
    rng = np.random.default_rng(seed)
    X = rng.uniform(low, high, (n, d))
    return truth, X, truth.sample(X, rng)


# -- kinks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [300, 2000])
def test_laplace_fits_are_certified(n, seed):
    """In one dimension, where the exact distance has a kink at every row."""
    truth, X, y = sample(LaplaceGate(), LAPLACE, n, seed)
    result = fit_mixture(X, y, 2, gate=LaplaceGate(), n_init=4, rng=0).result
    assert result.converged
    assert result.loglik > truth.log_density(X, y).sum()


def test_an_exact_distance_is_not_certified_at_a_kink():
    """The reason for the smoothing: values are the same to a fraction of a nat, and the certificate is often missing."""
    certified = []
    for seed in range(6):
        _, X, y = sample(LaplaceGate(), LAPLACE, 1000, seed)
        exact, smooth = (fit_mixture(X, y, 2, gate=LaplaceGate(s), init=LAPLACE).result for s in (0.0, 1e-3))
        assert abs(exact.loglik - smooth.loglik) < 0.05
        certified.append((exact.converged, smooth.converged))
    assert all(smooth for _, smooth in certified)
    assert sum(exact for exact, _ in certified) < 4


@pytest.mark.parametrize("levels", [("softmax", "laplace"), ("laplace", "softmax"), "laplace"])
def test_hierarchies_with_distances_are_certified(levels):
    gate = HierarchicalGate([[0, 1], [2, 3]], levels)
    gamma = np.array([[0.3, 1.5], [0.0, 0.0], [0.2, -2.0], [0.0, 0.0], [-0.2, 2.0], [0.0, 0.0]])
    if levels != ("softmax", "laplace"):
        gamma[1, 1] = -1.5
    if levels != ("laplace", "softmax"):
        gamma[2:, 1] = [0.3, 2.0, -2.0, -0.5]
    experts = {
        "expert_coef": [[-2.0], [1.0], [2.0], [-1.0]],
        "expert_intercept": [1.0, -1.0, -1.0, 2.0],
        "expert_scale": np.full(4, np.sqrt(0.1)),
    }
    truth, X, y = sample(gate, gate.to_params(gamma, 4) | experts, 800, 0, -3.0, 3.0)
    result = fit_mixture(X, y, 4, gate=gate, init=truth.params).result
    assert result.converged
    assert result.loglik > truth.log_density(X, y).sum()


# -- jumps ------------------------------------------------------------------------------------------------------------

K = 3
CLOUDS = {
    "gate_coef": [[3.0, 0.0], [-2.0, 2.0], [0.0, 0.0]],
    "gate_intercept": [0.2, -0.1, 0.0],
    "expert_coef": [[2.0, 0.0], [0.0, -2.0], [-1.0, 1.0]],
    "expert_intercept": [2.0, 0.0, -2.0],
    "expert_scale": [0.4, 0.4, 0.4],
}
SPARSE = [
    TopKGate(1),
    TopKGate(2),
    TopKGate(2, "scores"),
    TopPGate(0.7),
    BudgetGate(threshold=0.2),
    HybridEntropyGate(0.7, keep_top_k=1),
    PrototypeGate(2),
    SharedExperts(1, "free", TopKGate(1)),
]
sparse = pytest.mark.parametrize("gate", SPARSE, ids=repr)


def clouds(gate, n=250, seed=0):
    """Data of the gate with these coefficients, and the mixture that made them."""
    params = dict(CLOUDS)
    if isinstance(gate, SharedExperts):
        params |= {"shared_intercept": [0.0], "block_intercept": -1.0}
        params |= {key: np.asarray(params[key])[:2] for key in ("gate_coef", "gate_intercept")}
    return sample(gate, params, n, seed, d=2)


@sparse
def test_fits_from_default_starts(gate):
    """Better than the dense fit made sparse afterwards, near the truth, and honest about what is certified."""
    truth, X, y = clouds(gate)
    n_init = (
        10 if isinstance(gate, SharedExperts) else 3
    )  # which expert is the shared one is for the starts to find out
    fitted = fit_mixture(X, y, K, gate=gate, n_init=n_init, rng=0)
    value = fitted.result.loglik
    np.testing.assert_allclose(fitted.mixture.log_density(X, y).sum(), value, rtol=1e-9)
    dense = fit_mixture(X, y, K, gate=gate.dense(), n_init=3, rng=0).mixture
    afterwards = ms.ConditionalMixture(gate, "gaussian", dense.params).log_density(X, y).sum()
    assert value >= afterwards - 1e-6
    assert value > truth.log_density(X, y).sum() - 10.0
    said = " ".join(fitted.result.messages)
    flat = gate.null_directions(K, 3) > 0 or "TopKGate(k=1" in repr(gate)
    assert ("only the experts' are certified" in said) == flat
    assert ("maxima are at jumps" in said) == (not flat and not fitted.result.converged)
    assert "same active experts" in gate.reading(K) or isinstance(gate, SharedExperts)


def test_all_active_says_nothing():
    """Where the sparse gate is the dense one, the fit is, too."""
    _, X, y = clouds(SoftmaxGate())
    fits = [fit_mixture(X, y, K, gate=gate, n_init=2, rng=0).result for gate in (TopKGate(K), SoftmaxGate())]
    assert fits[0].converged
    assert fits[0].messages == ()
    assert fits[0].loglik == pytest.approx(fits[1].loglik, rel=1e-9)


@pytest.mark.parametrize(
    ("gate", "objective"),
    [
        (BudgetGate(1.4), "likelihood"),
        (SharedExperts(1, "free", BudgetGate(1.4)), "likelihood"),
        (BudgetGate(1.4), "least_squares"),
    ],
    ids=str,
)
def test_a_budget_becomes_a_number(gate, objective, tmp_path):
    """Set once, kept in the model and its file; weights at one x do not depend on other rows, nor on blocks."""
    _, X, y = clouds(SoftmaxGate())
    est = ms.MoERegressor(3, gate=gate, objective=objective, n_init=1, random_state=0, max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, y)
    fitted = est.model_.gate
    assert gate.open_threshold
    assert not fitted.open_threshold
    proba, mean = est.gate_proba(X), est.predict(X)
    kept = np.r_[0:50, 120:131, 249]
    alone = np.concatenate([est.gate_proba(X[i : i + 1]) for i in kept])
    for fewer in (alone, est.gate_proba(X[kept]), est.gate_proba(X[::-1])[::-1][kept]):
        np.testing.assert_array_equal(fewer > 0.0, proba[kept] > 0.0)
        np.testing.assert_allclose(fewer, proba[kept], rtol=1e-9)
    np.testing.assert_allclose(est.predict(X[kept]), mean[kept], rtol=1e-9)
    if objective == "likelihood":
        at, theta = est.model_.objective(X, y)
        whole = at.value(theta)
        at.size = 7
        assert at.value(theta) == pytest.approx(whole, rel=1e-12)
    est.save(tmp_path / "model.json")
    np.testing.assert_array_equal(ms.load(tmp_path / "model.json").gate_proba(X), proba)
    active = (proba > 0.0).sum(axis=1).mean() - getattr(gate, "n_shared", 0)
    said = [m for m in est.result_.messages if "are active on average" in m]
    assert bool(said) == (abs(active / 1.4 - 1.0) > 0.01)
    assert all(m.startswith(f"{active:.3g} experts") for m in said)


def test_a_given_threshold_is_not_compared_with_a_budget():
    assert BudgetGate(1.1, threshold=0.1).messages(3, 2.0, True) == []
    said = BudgetGate(1.5).messages(3, 1.8, True)
    assert said == [
        "1.8 experts are active on average, not avg_active=1.5: the threshold was set on the dense fit, and scores have moved "
        "since. Give avg_active=1.25 to come nearer."
    ]
    assert BudgetGate(5.0).messages(3, 3.0, True) == []


# -- a floor of the dense gate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [g for g in SPARSE if "slopes" not in repr(g)], ids=repr)
def test_floored_gate(gate):
    """A density, the mixture of the two, and its Jacobian by central differences where no active set changes."""
    rng = np.random.default_rng(1)
    gamma, z = rng.normal(size=gate.index(K, 3).shape), np.vstack([np.ones(50), rng.normal(size=(2, 50))])
    floored = FlooredGate(gate, 0.05)
    scores, log_prob = floored.forward(gamma, z)
    own, log_sparse = gate.forward(gamma, z)
    dense = gate.dense().log_prob(own)
    np.testing.assert_allclose(np.exp(log_prob), 0.95 * np.exp(log_sparse) + 0.05 * np.exp(dense), rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=1e-14)
    jacobian, h = floored.jacobian(scores, log_prob), 1e-6
    for j in range(len(own)):
        up, down = own.copy(), own.copy()
        up[j] += h
        down[j] -= h
        moved = [np.log(0.95 * np.exp(gate.log_prob(s)) + 0.05 * np.exp(gate.dense().log_prob(s))) for s in (up, down)]
        same = (np.isneginf(gate.log_prob(up)) == np.isneginf(gate.log_prob(down))).all(axis=0)
        assert same.mean() > 0.9
        np.testing.assert_allclose(jacobian[:, j, same], ((moved[0] - moved[1]) / (2 * h))[:, same], atol=1e-8)
    np.testing.assert_array_equal(floored.index(K, 3), gate.index(K, 3))


# -- null directions ----------------------------------------------------------------------------------------------------


def test_criteria_do_not_count_null_directions():
    """A cosine gate of two experts in two columns: no lengths of slopes among the parameters."""
    params = CLOUDS | {key: np.asarray(CLOUDS[key])[:2] for key in CLOUDS}
    _, X, y = sample(CosineGate(), params, 300, 0, d=2)
    est = ms.MoERegressor(2, gate=CosineGate(), n_init=2, random_state=0).fit(X, y)
    free = len(est.model_.free_vector())
    assert est.n_parameters_ == free - 2 == est.result_.certificate.rank
    assert est.aic(X, y) == pytest.approx(-2.0 * est.loglik_ + 2.0 * (free - 2), rel=1e-12)
    assert replace(CosineGate(), temperature=0.5).null_directions(2, 3) == 2
