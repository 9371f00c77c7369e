"""Sparse gates: their masks by brute force, identities of kept mass, limits, entropies, budgets."""

from __future__ import annotations

from itertools import combinations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestat.gates.hybrid import HybridEntropyGate, tsallis_entropy
from moestat.gates.masked import SoftmaxScores, log_softmax
from moestat.gates.prototype import PrototypeGate
from moestat.gates.sparse import BudgetGate, TopKGate, TopPGate

RNG = np.random.default_rng(5)
K, N = 6, 200
SCORES = 2.0 * RNG.normal(size=(K, N))
GAMMA = RNG.normal(size=(K, 3)) * [[0.5], [1.0], [2.0], [1.0], [1.5], [0.0]]
Z = np.vstack([np.ones(N), RNG.normal(size=(2, N))])
DENSE = np.exp(SoftmaxScores().forward(GAMMA, Z)[1])
MASKED = [
    TopKGate(2),
    TopKGate(1),
    TopKGate(3, ranking="scores"),
    TopPGate(0.7),
    BudgetGate(2.5),
    BudgetGate(threshold=0.1),
    HybridEntropyGate(),
    PrototypeGate(1),
]


@pytest.mark.parametrize("gate", MASKED, ids=repr)
def test_kept_mass_is_divergence_and_total_variation(gate):
    log_prob = gate.forward(GAMMA, Z)[1]
    prob = np.exp(log_prob)
    kept = gate.kept_mass(GAMMA, Z)
    divergence = np.where(prob > 0.0, prob * (np.where(prob > 0.0, log_prob, 0.0) - np.log(DENSE)), 0.0).sum(axis=0)
    np.testing.assert_allclose(divergence, -np.log(kept), atol=1e-14)
    np.testing.assert_allclose(np.exp(gate.dense().forward(GAMMA, Z)[1]), DENSE, rtol=1e-14)
    np.testing.assert_allclose(0.5 * np.abs(prob - DENSE).sum(axis=0), 1.0 - kept, atol=1e-14)
    assert (kept <= 1.0).all()
    np.testing.assert_array_equal(gate.dense().index(K, 3), gate.index(K, 3))


@pytest.mark.parametrize(
    "gate",
    [
        *(TopKGate(k, r) for k in (K, K + 3) for r in ("slopes", "scores")),
        TopPGate(1.0),
        BudgetGate(threshold=0.0),
        BudgetGate(K),
        HybridEntropyGate(threshold=0.0),
        HybridEntropyGate(top_p=0.1, keep_top_k=K),
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [1.0, 200.0])
def test_limits_are_the_dense_gate(gate, size):
    np.testing.assert_array_equal(gate.forward(size * GAMMA, Z)[1], SoftmaxScores().forward(size * GAMMA, Z)[1])


def active(gate, scores):
    return np.isfinite(gate.log_prob(scores))


# -- top k ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_ranks_by_slopes_or_scores(k):
    for ranking, values in (("slopes", GAMMA[:, 1:] @ Z[1:]), ("scores", GAMMA @ Z)):
        on = np.isfinite(TopKGate(k, ranking).forward(GAMMA, Z)[1])
        for b in range(N):
            assert set(np.flatnonzero(on[:, b])) == set(sorted(range(K), key=lambda j: -values[j, b])[:k])
    assert (TopKGate(k).forward(GAMMA, Z)[1] != TopKGate(k, "scores").forward(GAMMA, Z)[1]).any()
    with pytest.raises(ValueError, match="call forward"):
        TopKGate(k).log_prob(SCORES)


def test_ties_go_to_the_lower_index():
    tied = np.array([[1.0], [2.0], [2.0], [2.0], [0.0]])
    assert active(TopKGate(2, "scores"), tied).ravel().tolist() == [False, True, True, False, False]
    assert active(PrototypeGate(1), tied).ravel().tolist() == [False, True, False, False, False]
    assert active(TopPGate(0.5), np.zeros((4, 1))).ravel().tolist() == [True, True, False, False]
    assert np.isfinite(TopKGate(2).forward(GAMMA, Z * 0.0 + [[1.0], [0.0], [0.0]])[1])[:, 0].tolist() == [
        1,
        1,
        0,
        0,
        0,
        0,
    ]


def test_top_1_has_no_gradient():
    scores, log_prob = TopKGate(1).forward(GAMMA, Z)
    on = np.isfinite(log_prob)
    assert (log_prob[on] == 0.0).all()
    assert not TopKGate(1).jacobian(scores, log_prob).swapaxes(1, 2)[on].any()
    assert not TopKGate(1).curvature(scores, log_prob, on.astype(float)).any()


# -- nucleus ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.floats(0.01, 0.999))
def test_nucleus_is_the_smallest_set_with_its_mass(values, p):
    scores = np.array(values)[:, None]
    on = np.flatnonzero(active(TopPGate(p), scores))
    prob = np.exp(log_softmax(scores))[:, 0]
    assert prob[on].sum() >= p - 1e-14
    if len(on) > 1:
        most = max(prob[list(c)].sum() for c in combinations(range(len(prob)), len(on) - 1))
        assert most <= p + 1e-14


def test_nucleus_near_one_keeps_digits():
    scores = np.log([[1.0], [1e-9], [1e-12]])  # the last two have masses 1e-9 and 1e-12
    assert active(TopPGate(1.0 - 1e-8), scores).ravel().tolist() == [True, False, False]
    assert active(TopPGate(1.0 - 1e-10), scores).ravel().tolist() == [True, True, False]
    assert active(TopPGate(1.0 - 1e-13), scores).all()
    assert active(TopPGate(1.0), np.array([[0.0], [-1500.0]])).all()
    assert active(TopPGate(1e-300), np.array([[0.0], [-1.0]])).ravel().tolist() == [True, False]


def test_a_mass_that_misses_by_rounding_counts():
    for k in range(2, 65):
        for j in range(1, k):
            assert active(TopPGate(j / k), np.zeros((k, 1))).sum() == j


# -- budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 3.7, 5.99])
def test_budget_is_spent(budget):
    gate = BudgetGate(budget).calibrate(SCORES)
    assert active(gate, SCORES).sum() == np.floor(budget * N + 1e-9)
    np.testing.assert_array_equal(active(BudgetGate(budget), SCORES), active(gate, SCORES))  # calibrated on the batch


def test_budget_with_weights_is_that_of_repeated_rows():
    times = RNG.integers(0, 4, size=N)
    gate = BudgetGate(2.2)
    repeated = gate.calibrate(np.repeat(SCORES, times, axis=1))
    assert gate.calibrate(SCORES, times).threshold == pytest.approx(repeated.threshold, rel=1e-14)


def test_budget_is_optimal_by_brute_force():
    scores = RNG.normal(size=(3, 4))
    prob = np.exp(log_softmax(scores))
    cumulative = -np.sort(-prob, axis=0).cumsum(axis=0)
    for total in (5, 7, 8, 10):
        on = active(BudgetGate(total / 4), scores)
        assert on.sum() == total
        best = max(
            sum(np.log(cumulative[s - 1, b]) for b, s in enumerate(sizes))
            for sizes in np.ndindex(4, 4, 4, 4)
            if min(sizes) > 0 and sum(sizes) == total
        )
        assert np.log((prob * on).sum(axis=0)).sum() == pytest.approx(best, abs=1e-13)


def test_budget_beats_nucleus_and_top_k_at_the_same_activity():
    def loss(gate):
        on = active(gate, SCORES)
        return -np.log((np.exp(log_softmax(SCORES)) * on).sum(axis=0)).mean(), on.mean(axis=1).sum()

    top_k, used = loss(TopKGate(2, "scores"))
    budget, spent = loss(BudgetGate(2.0))
    assert used == spent == 2.0
    nucleus, activity = loss(TopPGate(0.8))
    assert budget < top_k
    assert loss(BudgetGate(activity))[0] <= nucleus + 1e-14


def test_equal_gains_enter_together():
    flat = np.zeros((3, 10))
    assert active(BudgetGate(1.5), flat).sum() == 10
    assert active(BudgetGate(2.0), flat).sum() == 20
    assert BudgetGate(1.5).calibrate(np.zeros((3, 0))).threshold == 0.0


# -- hybrid -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.05, 0.5, 0.999999, 1.0, 1.0000001, 1.1, 2.0])
def test_tsallis_entropy_against_mpmath(q):
    for scores in (SCORES[:, :3], 500.0 * SCORES[:, :2], np.zeros((4, 1))):
        log_prob = log_softmax(scores)
        entropy = tsallis_entropy(log_prob, q)
        share = tsallis_entropy(log_prob, q, normalised=True)
        with mp.workdps(700):  # 1 - Σ p^q of a spike
            for b in range(scores.shape[1]):
                prob = [mp.exp(mp.mpf(v)) for v in log_prob[:, b]]
                prob = [v / mp.fsum(prob) for v in prob]
                order, k = mp.mpf(q), len(prob)
                if q == 1.0:
                    exact, largest = -mp.fsum(v * mp.log(v) for v in prob), mp.log(k)
                else:
                    exact = (1 - mp.fsum(v**order for v in prob)) / (order - 1)
                    largest = (1 - mp.mpf(k) ** (1 - order)) / (order - 1)
                np.testing.assert_allclose(entropy[b], float(exact), rtol=1e-11)
                np.testing.assert_allclose(share[b], float(exact / largest), rtol=1e-11)


def test_tsallis_entropy_tends_to_shannon_and_is_zero_for_one_expert():
    log_prob = log_softmax(SCORES)
    shannon = -(np.exp(log_prob) * log_prob).sum(axis=0)
    np.testing.assert_allclose(tsallis_entropy(log_prob, 1.0), shannon, rtol=1e-14)
    for gap in (1e-3, 1e-6, 1e-9, -1e-9):
        np.testing.assert_allclose(tsallis_entropy(log_prob, 1.0 + gap), shannon, rtol=10 * abs(gap) + 1e-14)
    assert tsallis_entropy(np.zeros((1, 3)), 1.1, normalised=True).tolist() == [0.0, 0.0, 0.0]


def test_hybrid_is_dense_where_the_entropy_is_high():
    gate = HybridEntropyGate(0.6, keep_top_k=2, entropy_index=1.3, threshold=0.7)
    prob = np.exp(log_softmax(SCORES))
    share = (1 - (prob**1.3).sum(axis=0)) / (1 - K ** (1 - 1.3))
    on = active(gate, SCORES)
    assert 0 < (share > 0.7).sum() < N
    for b in range(N):
        order = np.argsort(-prob[:, b])
        n = max(2, int(np.searchsorted(np.cumsum(prob[order, b]), 0.6)) + 1)
        assert set(np.flatnonzero(on[:, b])) == (set(range(K)) if share[b] > 0.7 else set(order[:n]))
    flat = np.zeros((K, 1))
    assert active(HybridEntropyGate(), flat).all()
    assert active(HybridEntropyGate(threshold=1.0), flat).sum() == 5  # 5/6 reaches 0.75, and nothing is broadcast
    assert active(HybridEntropyGate(), np.zeros((1, 2))).all()


# -- prototypes -------------------------------------------------------------------------------------------------------


def test_one_prototype_is_top_1():
    np.testing.assert_array_equal(PrototypeGate(1).log_prob(SCORES), TopKGate(1, "scores").log_prob(SCORES))


@pytest.mark.parametrize(("k", "p"), [(6, 2), (7, 3), (5, 4)])
def test_prototypes_by_brute_force(k, p):
    scores = RNG.normal(size=(k, 50))
    average, mean = np.exp(PrototypeGate(p).log_prob(scores)), np.exp(PrototypeGate(p, combine="mean").log_prob(scores))
    np.testing.assert_allclose(average.sum(axis=0), 1.0, rtol=1e-15)
    for b in range(50):
        for group in np.array_split(np.arange(k), p):
            winner = group[np.argmax(scores[group, b])]
            assert np.flatnonzero(average[group, b]).tolist() == [winner - group[0]]
            share = np.exp(scores[winner, b]) / np.exp(scores[group, b]).sum()
            assert mean[winner, b] == pytest.approx(share, rel=1e-13)
            assert share >= 1.0 / len(group)
    gate = PrototypeGate(p, combine="mean")
    gamma = RNG.normal(size=(k, 3))
    np.testing.assert_allclose(gate.kept_mass(gamma, Z), np.exp(gate.forward(gamma, Z)[1]).sum(axis=0) / p, rtol=1e-13)
    on = np.isfinite(gate.forward(gamma, Z)[1])
    dense = np.exp(gate.dense().forward(gamma, Z)[1])
    np.testing.assert_allclose(gate.kept_mass(gamma, Z), (dense * on).sum(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(gate.dense().index(k, 3), gate.index(k, 3))


def test_as_many_prototypes_as_experts_have_no_gate():
    np.testing.assert_array_equal(PrototypeGate(K, combine="mean").log_prob(SCORES), np.zeros((K, N)))
    assert (PrototypeGate(K).index(K, 3) == -1).all()
    assert PrototypeGate(2).normalised
    assert not PrototypeGate(2, combine="mean").normalised


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TopKGate(0), "k=0"),
        (lambda: TopKGate(2, "best"), "ranking='best'"),
        (lambda: TopPGate(0.0), r"p=0.0 must be a number in \(0.0, 1.0\]"),
        (lambda: TopPGate(1.5), "p=1.5"),
        (lambda: BudgetGate(0.5), r"avg_active=0.5 must be a number in \[1.0, inf\)"),
        (lambda: BudgetGate(2, -0.1), "threshold=-0.1"),
        (lambda: HybridEntropyGate(entropy_index=2.5), "entropy_index=2.5"),
        (lambda: HybridEntropyGate(keep_top_k=-1), "keep_top_k=-1"),
        (lambda: HybridEntropyGate(threshold=float("nan")), "threshold=nan"),
        (lambda: PrototypeGate(0), "n_prototypes=0"),
        (lambda: PrototypeGate(2, "factorial"), "factorial"),
        (lambda: PrototypeGate(3).index(2, 2), "exceeds the number of experts, 2"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(ValueError, match=text):
        make()
