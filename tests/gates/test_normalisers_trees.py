"""Hierarchies and shared experts: identities by brute force, and what they reduce to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import expit

from moestat.gates.hierarchical import HierarchicalGate
from moestat.gates.masked import SoftmaxScores
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.scores import ScoreGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidGate
from moestat.gates.softmax import SoftmaxGate
from moestat.gates.sparse import TopKGate
from moestat.gates.trees import balanced_tree

RNG = np.random.default_rng(8)
N = 30
Z = np.vstack([np.ones(N), RNG.normal(size=(2, N))])


def softmax(a):
    return np.exp(a) / np.exp(a).sum(axis=0)


# -- hierarchies ------------------------------------------------------------------------------------------------------


def test_two_levels():
    gate = HierarchicalGate([[0, 1, 2], [3, 4]])
    gamma = RNG.normal(size=(7, 3))
    outer, left, right = softmax(gamma[:2] @ Z), softmax(gamma[2:5] @ Z), softmax(gamma[5:] @ Z)
    expected = np.concatenate([outer[:1] * left, outer[1:] * right])
    np.testing.assert_allclose(np.exp(gate.forward(gamma, Z)[1]), expected, rtol=1e-13)
    assert gate.names(5, ["Intercept", "x1"])[5] == ["gate[2.1]:Intercept", "gate[2.1]:x1"]
    assert (gate.index(5, 3)[:, 0] < 0).tolist() == [False, True, False, False, True, False, True]


def test_one_level_is_the_softmax_gate():
    gamma = RNG.normal(size=(4, 3))
    ours, theirs = HierarchicalGate([0, 1, 2, 3]), SoftmaxScores()
    np.testing.assert_array_equal(ours.forward(gamma, Z)[1], theirs.forward(gamma, Z)[1])
    np.testing.assert_array_equal(ours.index(4, 3), theirs.index(4, 3))
    np.testing.assert_array_equal(ours.permute(gamma, [2, 0, 3, 1]), theirs.permute(gamma, [2, 0, 3, 1]))


def test_balanced_trees():
    assert [balanced_tree(k) for k in (1, 2, 3, 4, 5)] == [
        (0,), (0, 1), ((0, 1), 2), ((0, 1), (2, 3)), (((0, 1), 2), (3, 4)),
    ]  # fmt: skip
    gamma = RNG.normal(size=(8, 3))
    np.testing.assert_array_equal(
        HierarchicalGate().forward(gamma, Z)[1], HierarchicalGate([[[0, 1], 2], [3, 4]]).forward(gamma, Z)[1]
    )
    assert HierarchicalGate().n_scores(1) == 1


def test_orders_of_a_tree():
    gate = HierarchicalGate([[0, 1], [2, [3, 4]]])
    gamma = RNG.normal(size=(8, 3))
    before = gate.forward(gamma, Z)[1]
    for order in ([1, 0, 2, 3, 4], [0, 1, 2, 4, 3], [1, 0, 2, 4, 3]):
        np.testing.assert_allclose(gate.forward(gate.permute(gamma, order), Z)[1], before[order], rtol=1e-12)
    for order in ([2, 1, 0, 3, 4], [0, 1, 3, 2, 4], [2, 3, 4, 0, 1]):
        with pytest.raises(ValueError, match="into itself"):
            gate.permute(gamma, order)
    swap = HierarchicalGate([[0, 1], [2, 3]])
    gamma = RNG.normal(size=(6, 3))
    before = swap.forward(gamma, Z)[1]
    np.testing.assert_allclose(swap.forward(swap.permute(gamma, [3, 2, 0, 1]), Z)[1], before[[3, 2, 0, 1]], rtol=1e-12)


def test_a_tree_is_kept_as_it_is():
    tree = ((0, 1), (2, 3))
    assert HierarchicalGate(tree).tree is tree  # scikit-learn's clone asks for this
    assert HierarchicalGate([[0, 1], [2, 3]]) == HierarchicalGate(tree)
    assert hash(HierarchicalGate([[0, 1], [2, 3]])) == hash(HierarchicalGate(tree))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: HierarchicalGate([[0, 1], [1, 2]]), "each once"),
        (lambda: HierarchicalGate([[0, 1], [3]]), "two or more branches"),
        (lambda: HierarchicalGate([0, 2]), r"it has \[0, 2\]"),
        (lambda: HierarchicalGate(3), "nested sequence"),
        (lambda: HierarchicalGate([0, 1.5]), "nested sequence"),
        (lambda: HierarchicalGate([[0, 1], 2]).n_scores(4), "3 leaves for 4 experts"),
        (lambda: HierarchicalGate(levels="sigmoid"), "levels='sigmoid'"),
        (lambda: HierarchicalGate(levels=()), "one of .*or a sequence"),
        (lambda: HierarchicalGate(levels=["laplace", 1]), "levels=.'laplace', 1."),
        (lambda: HierarchicalGate([[0, 1], 2], levels=["laplace"]), "has 1 entries; the tree .* has 2 levels"),
        (lambda: HierarchicalGate(levels=["laplace"]).index(4, 2), "has 1 entries; the tree .* has 2 levels"),
        (lambda: HierarchicalGate(smoothing=-1.0), "smoothing=-1.0"),
        (lambda: HierarchicalGate(levels="laplace").index(2, 1), "LaplaceGate needs 1 or more columns"),
    ],
)
def test_refused_trees(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# -- shared experts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routed", ["softmax", "normalized_sigmoid"])
@pytest.mark.parametrize("weight", ["half", "free", "gated"])
def test_the_model_of_deepseek(routed, weight):
    gate = SharedExperts(2, weight, routed)
    params = {
        "shared_intercept": RNG.normal(size=2),
        "block_intercept": np.array(0.4),
        "block_coef": np.array([1.0, -2.0]),
        "gate_intercept": RNG.normal(size=3),
        "gate_coef": RNG.normal(size=(3, 2)),
    }
    params = {key: value for key, value in params.items() if key in gate.keys}
    omega = softmax(params["shared_intercept"])[:, None]
    w = {"half": 0.5, "free": expit(0.4), "gated": expit(0.4 + np.array([1.0, -2.0]) @ Z[1:])}[weight]
    s = params["gate_intercept"][:, None] + params["gate_coef"] @ Z[1:]
    inner = softmax(s) if routed == "softmax" else expit(s) / expit(s).sum(axis=0)
    gamma = gate.from_params(params, 5, 3)
    expected = np.concatenate([np.broadcast_to(w * omega, (2, N)), (1.0 - w) * inner])
    np.testing.assert_allclose(np.exp(gate.forward(gamma, Z)[1]), expected, rtol=1e-13)
    free = {"half": 0, "free": 1, "gated": 3}[weight] + 1 + (6 if routed == "softmax" else 9)
    assert gate.index(5, 3).max() + 1 == free
    back = gate.to_params(gamma, 5)
    assert set(back) == set(params)
    for key, value in params.items():
        np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize(
    "routed", [SoftmaxScores(), NormalizedSigmoidGate(), TopKGate(2), HierarchicalGate()], ids=repr
)
def test_no_shared_experts_is_the_routed_gate(routed):
    gate = SharedExperts(0, "gated", routed)
    index = routed.index(4, 3)
    gamma = RNG.normal(size=index.shape)
    np.testing.assert_array_equal(gate.index(4, 3), index)
    ours, theirs = gate.forward(gamma, Z), routed.forward(gamma, Z)
    weight = np.where(np.isfinite(ours[1]), 0.7, 0.0)
    for a, b in (
        *zip(ours, theirs),
        (gate.jacobian(*ours), routed.jacobian(*theirs)),
        (gate.curvature(*ours, weight), routed.curvature(*theirs, weight)),
        (gate.canonical(gamma), routed.canonical(gamma)),
    ):
        np.testing.assert_array_equal(a, b)
    assert gate.names(4, ["Intercept", "x1", "x2"]) == routed.names(4, ["Intercept", "x1", "x2"])
    assert gate.keys == routed.keys
    assert gate.to_params(gamma, 4).keys() == routed.to_params(gamma, 4).keys()


@pytest.mark.parametrize("weight", ["half", "free", "gated"])
def test_only_shared_experts_is_a_constant_gate(weight):
    gate = SharedExperts(3, weight)
    params = {"shared_intercept": np.array([1.0, -0.5, 0.0])}
    gamma = gate.from_params(params, 3, 3)
    scores, log_prob = gate.forward(gamma, Z)
    np.testing.assert_allclose(
        np.exp(log_prob), np.repeat(softmax(params["shared_intercept"])[:, None], N, axis=1), rtol=1e-14
    )
    assert (gate.index(3, 3) >= 0).sum() == 2
    assert gate.index(3, 3)[1:3, 0].tolist() == [0, 1]
    assert list(gate.to_params(gamma, 3)) == ["shared_intercept"]
    assert not gate.jacobian(scores, log_prob)[:, 0].any()


def test_orders_keep_the_shared_block():
    gate = SharedExperts(2, "gated")
    gamma = gate.canonical(RNG.normal(size=(6, 3)) * (gate.index(5, 3) >= 0))
    before = gate.forward(gamma, Z)[1]
    order = [1, 0, 4, 2, 3]
    np.testing.assert_allclose(gate.forward(gate.permute(gamma, order), Z)[1], before[order], rtol=1e-12)
    with pytest.raises(ValueError, match="first 2 experts first"):
        gate.permute(gamma, [0, 2, 1, 3, 4])


def test_the_dense_form_has_a_dense_routed_gate():
    assert SharedExperts(1, "gated", TopKGate(2)).dense() == SharedExperts(1, "gated", SoftmaxGate())
    assert SharedExperts(1, "gated", TopKGate(2)).raw_features
    assert SharedExperts(1).dense() is None
    assert not SharedExperts(1).raw_features
    assert SharedExperts(1, routed=NormalizedSigmoidGate(degree=2)).degree == 2


def test_a_routed_softmax_with_a_temperature():
    warm, plain = SharedExperts(1, "gated", SoftmaxGate(temperature=2.0)), SharedExperts(1, "gated", SoftmaxGate())
    gamma = np.where(plain.index(4, 3) >= 0, RNG.normal(size=(5, 3)), 0.0)
    halved = gamma * [[1.0], [1.0], [0.5], [0.5], [0.5]]
    np.testing.assert_allclose(warm.forward(gamma, Z)[1], plain.forward(halved, Z)[1], rtol=1e-14)
    assert plain.score_jacobian(gamma, Z).shape == (1, 3, N)
    np.testing.assert_array_equal(warm.score_jacobian(gamma, Z), np.array([1, 1, 0.5, 0.5, 0.5])[:, None, None] * Z)


@dataclass(frozen=True)
class Curved(SoftmaxScores):
    """A gate with a nonlinear map and one coefficient more, or fewer, than features: `s = γ_0 sin(γᵀx) `."""

    more: int = 1

    def n_coef(self, n_features):
        return n_features + self.more

    def index(self, n_experts, n_features):
        return np.arange(n_experts * self.n_coef(n_features)).reshape(n_experts, -1)

    def bounds(self, n_experts, n_features):
        shape = n_experts, self.n_coef(n_features)
        return np.full(shape, -3.0), np.full(shape, 4.0)

    def canonical(self, gamma):
        return gamma

    def scores(self, gamma, z):
        return np.sin(gamma[:, : len(z)] @ z[: gamma.shape[1]]) + gamma[:, -1:] ** 2

    def score_jacobian(self, gamma, z):
        out = np.zeros((*gamma.shape, z.shape[1]))
        n = min(len(z), gamma.shape[1])
        out[:, :n] = np.cos(gamma[:, :n] @ z[:n])[:, None] * z[:n]
        out[:, -1] += 2.0 * gamma[:, -1:]
        return out

    def score_curvature(self, gamma, z, weight):
        n = min(len(z), gamma.shape[1])
        out = np.zeros((*gamma.shape, gamma.shape[1]))
        out[:, :n, :n] = np.einsum("sb,ib,jb->sij", -weight * np.sin(gamma[:, :n] @ z[:n]), z[:n], z[:n])
        out[:, -1, -1] += 2.0 * weight.sum(axis=1)
        return out


@pytest.mark.parametrize("more", [1, -1])
def test_a_routed_gate_with_a_map_of_its_own(more):
    gate: ScoreGate = SharedExperts(2, "gated", Curved(more=more))
    index = gate.index(4, 3)
    width = max(3, 3 + more)
    assert index.shape == (5, width)
    assert sorted(index[index >= 0]) == list(range(3 + 1 + 2 * (3 + more)))
    gamma = np.where(index >= 0, RNG.normal(size=index.shape), 0.0)
    rest = gamma[3:, : 3 + more]
    np.testing.assert_array_equal(gate.scores(gamma, Z)[3:], Curved(more=more).scores(rest, Z))
    np.testing.assert_array_equal(gate.canonical(gamma), gamma)
    low, high = gate.bounds(4, 3)
    assert low.shape == high.shape == (5, width)
    assert np.isinf(low[:3]).all()
    assert (high[3:, : 3 + more] == 4.0).all()

    def jacobian(g):
        return gate.score_jacobian(g, Z)

    weight = RNG.normal(size=(5, N))
    curvature = gate.score_curvature(gamma, Z, weight)
    h = 1e-5
    for j, i in zip(*np.nonzero(index >= 0)):
        up, down = gamma.copy(), gamma.copy()
        up[j, i] += h
        down[j, i] -= h
        slope = (gate.scores(up, Z) - gate.scores(down, Z)) / (2 * h)
        np.testing.assert_allclose(jacobian(gamma)[j, i], slope[j], atol=1e-8)
        bend = np.einsum("b,pb->p", weight[j], (jacobian(up)[j] - jacobian(down)[j]) / (2 * h))
        np.testing.assert_allclose(curvature[j, i], bend, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SharedExperts(-1), "n_shared=-1"),
        (lambda: SharedExperts(1, "third"), "weight='third'"),
        (lambda: SharedExperts(1, routed="none"), "routed='none'"),
        (lambda: SharedExperts(1, routed=SigmoidGate()), "sum to one"),
        (lambda: SharedExperts(1, routed=SharedExperts(1)), "without shared experts"),
        (lambda: SharedExperts(3).n_scores(2), "exceeds the number of experts, 2"),
    ],
)
def test_refused_shared_experts(make, text):
    with pytest.raises(ValueError, match=text):
        make()
