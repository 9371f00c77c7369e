"""What every gate of linear scores owes: weights, derivatives, representatives, parameters."""

from __future__ import annotations

import pickle
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestat.gates.hierarchical import HierarchicalGate
from moestat.gates.hybrid import HybridEntropyGate
from moestat.gates.masked import MaskedGate, SoftmaxScores
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.prototype import GroupedSoftmax, PrototypeGate
from moestat.gates.scores import ScoreGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidGate
from moestat.gates.sparse import BudgetGate, TopKGate, TopPGate
from tests.gates.normaliser_oracle import mp_log_prob

K = 5
GATES: list[ScoreGate] = [
    SoftmaxScores(),
    NormalizedSigmoidGate(),
    SigmoidGate(),
    TopKGate(2, ranking="scores"),
    TopKGate(1, ranking="scores"),
    TopKGate(3),
    TopPGate(0.8),
    BudgetGate(threshold=0.2),
    HybridEntropyGate(0.6, keep_top_k=1, entropy_index=1.4, threshold=0.8),
    PrototypeGate(2),
    PrototypeGate(3, combine="mean"),
    GroupedSoftmax(3),
    HierarchicalGate(),
    HierarchicalGate([[0, 3], [1, [2, 4]]]),
    HierarchicalGate([2, 0, [1, 3, 4]]),
    SharedExperts(2),
    SharedExperts(1, "free", NormalizedSigmoidGate()),
    SharedExperts(2, "gated", TopKGate(2)),
    SharedExperts(3, "gated", TopPGate(0.5)),
    SharedExperts(1, "gated", HierarchicalGate([[0, 1], [2, 3]])),
    SharedExperts(0, "half", NormalizedSigmoidGate()),
    SharedExperts(K, "gated"),
]
each = pytest.mark.parametrize("gate", GATES, ids=repr)


def by_slopes(gate: ScoreGate) -> bool:
    """Whether the gate needs more than its scores."""
    return "slopes" in repr(gate)


by_scores = pytest.mark.parametrize("gate", [g for g in GATES if not by_slopes(g)], ids=repr)


def draw(gate: ScoreGate, n: int = 40, q: int = 3, size: float = 1.5, seed: int = 0) -> tuple[Any, Any]:
    """Coefficients, zero where they are pinned, and features."""
    rng = np.random.default_rng(seed)
    index = gate.index(K, q)
    gamma = np.where(index >= 0, size * rng.normal(size=index.shape), 0.0)
    return gamma, np.vstack([np.ones(n), rng.normal(size=(q - 1, n))])


def density(gate: ScoreGate, gamma: Any, z: Any) -> Any:
    return np.exp(gate.forward(gamma, z)[1])


@each
@pytest.mark.parametrize("size", [0.0, 1.5, 300.0])
def test_weights(gate, size):
    gamma, z = draw(gate, size=size)
    scores, log_prob = gate.forward(gamma, z)
    assert scores.shape == (gate.n_scores(K), 40)
    assert log_prob.shape == (K, 40)
    assert not np.isnan(log_prob).any()
    assert (log_prob <= 0.0).all()
    assert (log_prob.max(axis=0) > -np.inf).all()
    if gate.normalised:
        np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=1e-12)
    for array in (
        gate.jacobian(scores, log_prob),
        gate.curvature(scores, log_prob, np.where(np.isneginf(log_prob), 0.0, 1.0)),
    ):
        assert np.isfinite(array).all()


@each
def test_rows_do_not_see_each_other(gate):
    gamma, z = draw(gate)
    rows = [7, 3, 21]
    np.testing.assert_allclose(density(gate, gamma, z[:, rows]), density(gate, gamma, z)[:, rows], rtol=1e-13)


@each
def test_derivatives_equal_the_numerical_defaults(gate):
    gamma, z = draw(gate, n=25, seed=3)
    scores, log_prob = gate.forward(gamma, z)
    reference: ScoreGate = gate
    if by_slopes(gate):  # its mask, held fixed, in a gate that needs scores alone
        reference = fixed_mask(gate, log_prob)
    on = np.isfinite(log_prob)
    weight = np.where(on, np.random.default_rng(1).uniform(size=log_prob.shape), 0.0)
    mine, default = gate.jacobian(scores, log_prob), ScoreGate.jacobian(reference, scores, log_prob)
    np.testing.assert_allclose(mine.swapaxes(1, 2)[on], default.swapaxes(1, 2)[on], rtol=1e-12, atol=1e-14)
    mine, default = gate.curvature(scores, log_prob, weight), ScoreGate.curvature(reference, scores, log_prob, weight)
    np.testing.assert_allclose(mine, default, atol=1e-9)
    np.testing.assert_allclose(mine, mine.swapaxes(0, 1), atol=1e-15)


def fixed_mask(gate: ScoreGate, log_prob: Any) -> ScoreGate:
    """The gate with the mask of one batch for ever."""

    class Fixed(MaskedGate):
        def mask(self, scores):
            return on

    on = np.isfinite(log_prob)
    if isinstance(gate, SharedExperts):
        on = on[gate.n_shared :]
        return SharedExperts(gate.n_shared, gate.weight, Fixed())
    return Fixed()


# -- against mpmath -----------------------------------------------------------------------------------------------------

MODERATE = [0.3, -1.2, 0.9, 0.1, 0.8, -0.4, 1.1, 0.2]
LARGE = [-90.0, 3.0, 110.0, -2.0, 5.0, 40.0, -60.0, 1.0]
HUGE = [[-650.0, 3.0, 690.0, -2.0, 5.0, 40.0, -300.0, 1.0], [30.0, 0.0, -45.0, 31.0, -690.0, 0.5, 700.0, 0.7],
        [-690.0, -700.0, -695.0, -689.0, -710.0, -700.0, -701.0, -702.0]]  # fmt: skip


@by_scores
@pytest.mark.parametrize(
    ("point", "digits", "second"), [(MODERATE, 150, True), (LARGE, 260, True), *((p, 640, False) for p in HUGE)]
)
def test_against_mpmath(gate, point, digits, second):
    scores = np.array(point[: gate.n_scores(K)])[:, None]
    log_prob = gate.log_prob(scores)
    active = {k for k in range(K) if np.isfinite(log_prob[k, 0])}
    weight = np.array([[0.3], [0.8], [0.2], [0.5], [0.7]]) * np.isfinite(log_prob)
    jacobian = gate.jacobian(scores, log_prob)[..., 0]
    curvature = gate.curvature(scores, log_prob, weight)[..., 0]

    pairs = [pair for pair in np.ndindex(len(scores), len(scores)) if second and pair[0] >= pair[1]]
    floor = 10.0 ** (-0.45 * digits)
    with mp.workdps(digits):
        h = mp.mpf(10) ** (-digits // 4)  # central differences are exact to about half of the digits

        def value(*moves):
            s = [mp.mpf(v) for v in scores[:, 0]]
            for i, sign in moves:
                s[i] += sign * h
            return mp_log_prob(gate, s, active)

        exact = value()
        for k in active:
            np.testing.assert_allclose(log_prob[k, 0], float(exact[k]), rtol=1e-13, atol=floor)
        for i in range(len(scores)):
            up, down = value((i, 1)), value((i, -1))
            for k in active:
                np.testing.assert_allclose(jacobian[k, i], float((up[k] - down[k]) / (2 * h)), rtol=1e-12, atol=floor)
        for i, j in pairs:
            signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            parts = [a * b * mp.fdot(weight[:, 0].tolist(), value((i, a), (j, b))) for a, b in signs]
            np.testing.assert_allclose(
                curvature[i, j], float(mp.fsum(parts) / (4 * h * h)), rtol=1e-11, atol=10.0 ** (-0.4 * digits)
            )


# -- representatives, orders, parameters ------------------------------------------------------------------------------


@each
def test_index_numbers_the_free_coefficients(gate):
    index = gate.index(K, 3)
    assert index.shape == (gate.n_scores(K), gate.n_coef(3))
    free = index[index >= 0]
    assert sorted(free) == list(range(len(free)))


@each
def test_canonical_leaves_the_density(gate):
    _, z = draw(gate)
    rng = np.random.default_rng(4)
    gamma = rng.normal(size=gate.index(K, 3).shape)
    if isinstance(gate, SharedExperts) and gate.n_shared:  # the slopes of ω are no coefficients, and W may be fixed
        head = gate.index(K, 3)[: 1 + gate.n_shared]
        gamma[: len(head), 1:] *= (head >= 0)[:, 1:]
        gamma[0, 0] *= head[0, 0] >= 0
    canonical = gate.canonical(gamma)
    np.testing.assert_allclose(density(gate, canonical, z), density(gate, gamma, z), rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(gate.canonical(canonical), canonical)
    assert not canonical[gate.index(K, 3) < 0].any()


@each
def test_orders_of_experts(gate):
    gamma, z = draw(gate)
    before = density(gate, gamma, z)
    allowed = 0
    for order in ([3, 0, 4, 1, 2], [1, 0, 2, 3, 4], [0, 1, 2, 4, 3], [3, 1, 2, 0, 4], [1, 2, 0, 4, 3], [0, 1, 2, 3, 4]):
        try:
            moved = gate.permute(gamma, order)
        except ValueError:
            continue
        allowed += 1
        assert not moved[gate.index(K, 3) < 0].any()
        np.testing.assert_allclose(density(gate, moved, z), before[order], rtol=1e-12)
    assert allowed >= (1 if isinstance(gate, (HierarchicalGate, GroupedSoftmax, SharedExperts)) else 6)


@each
def test_parameters_and_names(gate):
    gamma, z = draw(gate)
    params = gate.to_params(gamma, K)
    assert set(params) <= set(gate.keys)
    if not isinstance(gate, SharedExperts) or gate.n_shared < K:
        assert gate.n_inputs(params) == 2
    np.testing.assert_array_equal(gate.from_params(params, K, 3), gamma)
    names = gate.names(K, ["Intercept", "x1", "x2"])
    assert [len(row) for row in names] == [gate.n_coef(3)] * gate.n_scores(K)
    flat = [name for row in names for name in row]
    assert len(set(flat)) == len(flat)
    assert type(gate)(**gate.get_params()) == gate
    assert pickle.loads(pickle.dumps(gate)) == gate
    resp = np.full((K, z.shape[1]), 1.0 / K)
    assert gate.start(resp, z).shape == gamma.shape
    assert gate.bounds(K, 3) is None


@each
def test_a_missing_entry_is_named(gate):
    gamma, _ = draw(gate)
    params = gate.to_params(gamma, K)
    for name in params:
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            gate.from_params({key: value for key, value in params.items() if key != name}, K, 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=K, max_size=K), st.sampled_from([g for g in GATES if not by_slopes(g)]))
def test_any_scores(values, gate):
    scores = np.resize(np.array(values), gate.n_scores(K))[:, None]
    log_prob = gate.log_prob(scores)
    assert not np.isnan(log_prob).any()
    if gate.normalised:
        assert np.exp(log_prob).sum() == pytest.approx(1.0, rel=1e-12)
    if type(gate) in (SoftmaxScores, TopKGate, TopPGate, BudgetGate, HybridEntropyGate, NormalizedSigmoidGate):
        kept = log_prob[np.isfinite(log_prob)]
        off = scores[np.isneginf(log_prob)]
        assert off.size == 0 or off.max() <= scores[np.isfinite(log_prob)].min() + 1e-9  # the highest are active
        assert kept.size >= 1


@pytest.mark.parametrize("cls", [NormalizedSigmoidGate, SigmoidGate])
def test_sigmoid_degrees(cls):
    assert [cls(degree=d).degree for d in (0, 1, 2)] == [0, 1, 2]
    with pytest.raises(ValueError, match="degree=3"):
        cls(degree=3)


def test_normalised_sigmoid_tends_to_a_softmax():
    s = np.random.default_rng(0).normal(size=(4, 50))
    softmax = SoftmaxScores().log_prob(s)
    gap = [
        np.abs(np.exp(NormalizedSigmoidGate().log_prob(s - c)) - np.exp(softmax)).max() for c in (5, 10, 20, 40, 600)
    ]
    bound = [np.exp(s.max() - c) + 4e-16 * c for c in (5, 10, 20, 40, 600)]  # as the docstring says; s - c is rounded
    assert (np.array(gap) < bound).all()
    assert gap[0] > 1e-3


def test_a_single_expert():
    for gate in (g for g in GATES if not isinstance(g, (SigmoidGate, GroupedSoftmax, SharedExperts))):
        if getattr(gate, "tree", None) is None:
            gamma = np.zeros(gate.index(1, 2).shape)
            assert (gate.index(1, 2) == -1).all()
            assert gate.forward(gamma, np.ones((2, 3)))[1].tolist() == [[0.0, 0.0, 0.0]]
