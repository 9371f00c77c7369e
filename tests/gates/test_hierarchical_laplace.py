"""Hierarchies with Laplace gates at some levels: weights and derivatives against mpmath, parameters, starts."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from moestat.gates import HierarchicalGate, LaplaceGate
from moestat.gates.parts import NestedParts

from .maps_cases import exact, norm, points
from .test_maps import chain

DELTA = 0.25
GATES = {
    "SL": HierarchicalGate([[0, 1], [2, 3, 4]], ("softmax", "laplace"), DELTA),
    "LS": HierarchicalGate([[0, 4], 1, [2, 3]], ["laplace", "softmax"], DELTA),
    "LL": HierarchicalGate([[0, 1], [2, 3, 4]], "laplace", DELTA),
    "SLS": HierarchicalGate([[0, [1, 4]], [2, 3]], ("softmax", "laplace", "softmax"), DELTA),
    "balanced": HierarchicalGate(None, ("laplace", "softmax", "laplace"), DELTA),
}
TREES = {name: gate.tree or (((0, 1), 2), (3, 4)) for name, gate in GATES.items()}
each = pytest.mark.parametrize("name", GATES)
K, D = 5, 2


def coefficients(gate, seed=0):
    gamma = np.random.default_rng(seed).normal(size=(gate.n_scores(K), 1 + D))
    gamma[gate.index(K, 1 + D) < 0] = 0.0
    return gamma


def log_prob(name, gamma, x):
    """By levels: rows are taken off the list in the order that the docstring gives."""
    gate, out, rest, level, depth = GATES[name], {}, list(gamma), [(TREES[name], mp.mpf(0))], 0
    while level:
        below = []
        for branches, so_far in level:
            rows, rest = rest[: len(branches)], rest[len(branches) :]
            if (gate.levels if isinstance(gate.levels, str) else gate.levels[depth]) == "laplace":
                scores = [r[0] - norm([*(w - a for w, a in zip(r[1:], x)), mp.mpf(DELTA)]) for r in rows]
            else:
                scores = [r[0] + mp.fdot(r[1:], x) for r in rows]
            total = mp.log(mp.fsum(mp.exp(s) for s in scores))
            for branch, score in zip(branches, scores):
                value = so_far + score - total
                if isinstance(branch, int):
                    out[branch] = value
                else:
                    below.append((branch, value))
        level, depth = below, depth + 1
    assert not rest
    return [out[k] for k in range(K)]


@each
@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_weights(name, size):
    gate, z = GATES[name], points(D)
    z[1:] *= size
    gamma = coefficients(gate)
    with mp.workdps(50):
        want = np.array([log_prob(name, [exact(row) for row in gamma], exact(x)) for x in z[1:].T], dtype=float).T
    got = gate.forward(gamma, z)[1]
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13 * max(1.0, size))
    np.testing.assert_allclose(gate.log_prob(gate.scores(gamma, z)), want, rtol=1e-9, atol=1e-9)
    assert np.isfinite(gate.score_curvature(gamma, z, np.ones_like(gate.scores(gamma, z)))).all()


@each
def test_derivatives(name):
    """Of weighted log-probabilities in the free coefficients, through all pieces of the gate."""
    gate, z = GATES[name], points(D, 2)
    gamma, index = coefficients(gate), gate.index(K, 1 + D)
    weight = np.random.default_rng(2).normal(size=(K, z.shape[1]))
    with mp.workdps(50):
        free = exact([gamma[index == v][0] for v in range(index.max() + 1)])

        def value(*theta):
            rows = [[theta[v] if v >= 0 else mp.mpf(0) for v in i] for i in index]
            return mp.fsum(mp.fdot(exact(w), log_prob(name, rows, exact(x))) for w, x in zip(weight.T, z[1:].T))

        rng = np.random.default_rng(3)
        a, b = (exact(rng.normal(size=len(free))) for _ in range(2))

        def along(s, t):
            return value(*(f + s * u + t * v for f, u, v in zip(free, a, b)))

        first, second = mp.diff(along, (0, 0), (1, 0)), mp.diff(along, (0, 0), (1, 1))
    gradient, hessian = chain(gate, gamma, z, weight)
    left, right = np.array(a, dtype=float), np.array(b, dtype=float)
    np.testing.assert_allclose(gradient @ left, float(first), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(left @ hessian @ right, float(second), rtol=1e-11, atol=1e-12)


@each
def test_parameters(name):
    gate = GATES[name]
    gamma = coefficients(gate)
    params = gate.to_params(gamma, K)
    assert tuple(params) == gate.keys
    np.testing.assert_array_equal(gate.from_params(params, K, 1 + D), gamma)
    assert gate.n_inputs(params) == D
    names, index = gate.names(K, ["Intercept", "x1", "x2"]), gate.index(K, 1 + D)
    assert len({n for row in names for n in row}) == gamma.size
    laplace = np.array([["location" in n for n in row] for row in names])
    np.testing.assert_array_equal(laplace[:, 1:], np.isin(gamma[:, 1:], params.get("gate_location")))
    assert (index[laplace] >= 0).all()  # all places are free
    shifted = gamma + np.where(laplace, 0.0, 0.7)
    nodes = gate.nodes(len(gamma))
    np.testing.assert_allclose(gate.canonical(shifted), gamma, atol=1e-15)
    assert [(index[node.rows.stop - 1, 0] < 0) for node in nodes] == [True] * len(nodes)
    with pytest.raises(ValueError, match="expected"):
        gate.from_params(params | {gate.keys[0]: params[gate.keys[0]][1:]}, K, 1 + D)


def test_names_of_places():
    gate = HierarchicalGate([[0, 1], 2], ("laplace", "softmax"))
    assert gate.names(3, ["Intercept", "x1"])[1:3] == [
        ["gate[2]:Intercept", "gate[2]:location[x1]"],
        ["gate[1.1]:Intercept", "gate[1.1]:x1"],
    ]


def test_one_level_is_the_laplace_gate():
    z = points(D)
    ours, theirs = HierarchicalGate([0, 1, 2], "laplace"), LaplaceGate()
    gamma = np.random.default_rng(4).normal(size=(3, 3))
    for a, b in zip(ours.forward(gamma, z), theirs.forward(gamma, z)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ours.index(3, 3), theirs.index(3, 3))
    assert ours.names(3, ["Intercept", "a", "b"]) == theirs.names(3, ["Intercept", "a", "b"])
    assert ours.keys == theirs.keys


@each
def test_orders(name):
    """An order that turns the tree into itself; one that does not."""
    gate, z = GATES[name], points(D)
    gamma = coefficients(gate, 5)
    order = {"SL": [1, 0, 4, 2, 3], "LL": [1, 0, 4, 2, 3], "LS": [3, 1, 0, 4, 2], "SLS": [0, 4, 3, 2, 1]}.get(
        name, [1, 0, 2, 4, 3]
    )
    before = gate.forward(gamma, z)[1]
    np.testing.assert_allclose(gate.forward(gate.permute(gamma, order), z)[1], before[order], rtol=1e-12)
    with pytest.raises(ValueError, match="into itself"):
        gate.permute(gamma, [2, 1, 0, 3, 4])


@each
def test_start(name):
    """Finite, canonical, and better than equal weights on data that the gate made."""
    gate, z = GATES[name], points(D, 400)
    truth = coefficients(gate)
    prob = np.exp(gate.forward(3.0 * truth, z)[1])
    gamma = gate.start(prob, z)
    np.testing.assert_array_equal(gate.canonical(gamma), gamma)
    equal = gate.forward(np.zeros_like(gamma), z)[1]
    assert (prob * gate.forward(gamma, z)[1]).sum() > (prob * equal).sum()


def test_only_distances_need_raw_features():
    assert not HierarchicalGate().raw_features
    assert all(gate.raw_features for gate in GATES.values())


@pytest.mark.parametrize("name", ["SL", "LS", "LL"])
def test_measure(name):
    """Blocks and gauges are those of the nodes' gates."""
    gate = GATES[name]
    gamma = coefficients(gate)
    found = gate.measure_parts(gate.to_params(gamma, K), K)
    assert isinstance(found, NestedParts)
    kinds = [{"S": "softmax", "L": "weights"}[letter] for letter in name]
    assert [found.branches.gauge, found.children[0][1].gauge] == kinds
    np.testing.assert_array_equal(found.branches.blocks["gate"], gamma[gate.nodes(len(gamma))[0].rows, 1:])
    assert [leaves for leaves, _ in found.children] == [list(leaves) for leaves in gate.nodes(len(gamma))[0].leaves]
