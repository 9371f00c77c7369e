"""Likelihood, gradient and Hessian of choices against the plain formula at 40 digits; EM rises."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from moestat.preference.coordinates import Coordinates
from moestat.preference.data import comparisons, read_choice_sets
from moestat.preference.objective import PreferenceObjective
from moestat.preference.search import EM, starts

from .choices import plain_loglik, simulate


def small(rng, n_experts, fixed=False, pairs=False):
    """Four annotators, eleven sets of two to four alternatives, weights; two features (as many as experts if fixed), one covariate."""
    p = n_experts if fixed else 2
    size = np.full(11, 2) if pairs else np.array([2, 3, 4, 2, 2, 3, 3, 2, 4, 2, 2])
    sets = [rng.normal(size=(m, p)) for m in size]
    annotator = np.array([2, 0, 1, 0, 1, 3, 2, 2, 0, 1, 3])
    chosen = np.array([rng.integers(m) for m in size])
    weight = rng.choice([0.5, 1.0, 2.0], size=11)
    return sets, chosen, annotator, rng.normal(size=(4, 1)), weight


def make(data, n_experts, fixed=False, l2=0.0, gate_l2=0.0):
    sets, chosen, annotator, U, weight = data
    grouped, _ = comparisons(read_choice_sets(sets), chosen, annotator, weight)
    coordinates = Coordinates.of(n_experts, U, grouped.differences, l2, fixed)
    return PreferenceObjective(grouped, U, coordinates, l2=l2, gate_l2=gate_l2)


def reference(objective, data, l2, gate_l2):
    """The penalised log-likelihood of the internal free vector, in mpmath and in raw coordinates."""
    sets, chosen, annotator, U, weight = data
    k, c = objective.n_experts, objective.coordinates
    q, r = objective.z.shape[1], c.rewards.root.shape[1]
    spread = c.covariates.size  # whitened units of one covariate: divided by its standard deviation

    def value(*theta):
        inner = [list(theta[j * q : (j + 1) * q]) for j in range(k - 1)] + [[mpmath.mpf(0)] * q]
        gate = [[sum(mpmath.mpf(x) * g[j] for j, x in enumerate(row)) for row in c.gate_matrix] for g in inner]
        coef = [[mpmath.mpf(int(i == j)) for j in range(k)] for i in range(k)]
        if not c.fixed:
            blocks = [theta[(k - 1) * q + j * r : (k - 1) * q + (j + 1) * r] for j in range(k)]
            coef = [[sum(mpmath.mpf(x) * b[j] for j, x in enumerate(row)) for row in c.rewards.root] for b in blocks]
        out = plain_loglik(gate, coef, sets, chosen.tolist(), annotator.tolist(), U, weight)
        out -= mpmath.mpf(l2) / 2 * sum(x**2 for w in coef for x in w) if not c.fixed else 0
        slopes = [g[1] * mpmath.mpf(float(spread[0])) for g in gate]
        mean = sum(slopes) / k
        return out - mpmath.mpf(gate_l2) / 2 * sum((s - mean) ** 2 for s in slopes)

    return value


CASES = [
    pytest.param(1, False, False, 0.0, 0.0, 1.0, id="K=1"),
    pytest.param(2, False, False, 0.0, 0.0, 1.0, id="K=2"),
    pytest.param(2, False, True, 0.0, 0.0, 1.0, id="K=2, pairs"),
    pytest.param(3, False, False, 0.7, 0.3, 1.0, id="K=3, penalised"),
    pytest.param(3, True, False, 0.0, 0.2, 1.0, id="K=3, fixed"),
    pytest.param(2, False, False, 0.0, 0.0, 40.0, id="K=2, far out"),
]


@pytest.mark.parametrize(("n_experts", "fixed", "pairs", "l2", "gate_l2", "reach"), CASES)
def test_value_gradient_hessian(n_experts, fixed, pairs, l2, gate_l2, reach):
    rng = np.random.default_rng(7)
    data = small(rng, n_experts, fixed, pairs)
    objective = make(data, n_experts, fixed, l2, gate_l2)
    theta = reach * rng.normal(size=objective.n_params)
    value, gradient, hessian = objective.derivatives(theta)
    plain = reference(objective, data, l2, gate_l2)
    unit = np.eye(objective.n_params, dtype=int)
    with mpmath.workdps(40):
        exact = float(plain(*map(mpmath.mpf, theta)))
        slope = [float(mpmath.diff(plain, tuple(theta), tuple(e.tolist()))) for e in unit]
        curvature = np.zeros((len(theta), len(theta)))
        for i, j in zip(*np.tril_indices(len(theta))):
            curvature[i, j] = curvature[j, i] = mpmath.diff(plain, tuple(theta), tuple((unit[i] + unit[j]).tolist()))
    scale = max(1.0, np.abs(curvature).max(initial=0.0))
    assert_allclose(value, exact, rtol=1e-13)
    assert_allclose(gradient, slope, rtol=1e-10, atol=1e-12 * max(1.0, np.abs(slope).max(initial=0.0)))
    assert_allclose(hessian, curvature, rtol=1e-10, atol=1e-12 * scale)
    assert objective.value(theta) == value
    assert_allclose(objective.gradient(theta)[1], gradient, rtol=1e-14, atol=1e-14)
    score = objective.row_scores(theta).sum(axis=0) - objective.penalty @ theta
    assert_allclose(score, gradient, rtol=1e-9, atol=1e-12 * scale)


def test_nothing_overflows():
    rng = np.random.default_rng(1)
    objective = make(small(rng, 3), 3)
    for reach in (1e3, 1e5):
        value, gradient, hessian = objective.derivatives(reach * rng.normal(size=objective.n_params))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert np.isfinite(hessian).all()


def test_probabilities_of_certain_choices_keep_their_digits():
    """log P = -e^-50 of a choice that is all but certain, not zero."""
    grouped, _ = comparisons(read_choice_sets([[[0.0], [-50.0]]]), np.array([0]), np.array([0]), np.ones(1))
    coordinates = Coordinates.of(1, np.zeros((1, 0)), np.array([[1.0]]), 0.0, False)
    value = PreferenceObjective(grouped, np.zeros((1, 0)), coordinates).value(np.ones(1))
    assert_allclose(value, -np.exp(-50.0), rtol=1e-14)


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_em_never_falls(l2):
    rng = np.random.default_rng(3)
    data = simulate(rng, [[1.5, -1.0, 0.0], [-1.0, 0.5, 1.0]], [[0.5, 1.0], [0.0, 0.0]], n_annotators=40, n_each=5, m=3)
    objective = make((data["sets"], data["chosen"], data["annotator"], data["U"], np.ones(200)), 2, l2=l2, gate_l2=l2)
    em = EM()
    for theta in [*starts(objective, data["U"], 4, rng), 5.0 * rng.normal(size=objective.n_params)]:
        states = [em.init(objective, theta)]
        for _ in range(60):
            states.append(em.step(objective, states[-1]))
        values = np.array([state.value for state in states])
        assert (np.diff(values) >= -1e-10).all()
        assert values[-1] > values[0]
    gradient = objective.gradient(states[-1].theta)[1]
    assert np.abs(gradient).max() < 0.5


def test_em_step_is_the_m_step_of_a_gate_alone():
    """With fixed experts and a constant gate, EM converges to the share that maximises the likelihood."""
    rng = np.random.default_rng(5)
    data = small(rng, 2, fixed=True)
    sets, chosen, annotator, _, weight = data
    objective = make((sets, chosen, annotator, np.zeros((4, 0)), weight), 2, fixed=True)
    em, state = EM(), None
    state = em.init(objective, np.zeros(1))
    for _ in range(200):
        state = em.step(objective, state)
    density = np.exp(np.stack([objective.by_annotator(c.log_prob) for c in objective.forward(state.theta).choices]))
    shares = np.linspace(1e-4, 1.0 - 1e-4, 100_001)
    grid = np.log(np.outer(shares, density[0]) + np.outer(1.0 - shares, density[1])).sum(axis=1)
    assert state.value >= grid.max() - 1e-9
