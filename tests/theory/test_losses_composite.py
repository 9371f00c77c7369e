"""Losses of top-K gates, shared experts, hierarchies and deviated models; matchings."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moestat as ms
from moestat.losses import (
    DeviatedMeasure,
    HierarchicalMeasure,
    SharedMeasure,
    hungarian_loss,
    voronoi_cells,
    voronoi_loss,
)
from tests.theory.settings import TOP_K, measure, naive_loss, naive_top_k

SHARED = ["deepseek-D1", "deepseek-D2", "deepseek-D2sharp", "deepseek-D5"]
NESTED = ["hierarchical-D1", "hierarchical-D2"]


# -- top-K --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOP_K)
@pytest.mark.parametrize("n_active", [1, 2, 3])
@pytest.mark.parametrize("k", [3, 5])
def test_top_k_is_the_maximum_over_sets_of_experts(kind, n_active, k):
    rng = np.random.default_rng(k)
    cell = []
    while len(set(cell)) < 3:  # no cell is empty
        truth, estimate = measure(kind, 3, rng), measure(kind, k, rng)
        cell = voronoi_cells(estimate, truth).assignment.tolist()
    found = voronoi_loss(estimate, truth, kind, n_active=n_active)
    centres = (estimate.atoms["gate"][:, None] - truth.atoms["gate"]).ravel()
    grid = np.concatenate([centres, np.linspace(-4.0, 4.0, 401)])[:, None]
    searched = naive_top_k(estimate, truth, kind, n_active, cell, grid)
    assert searched * 0.995 <= found.value <= searched * (1.0 + 1e-12)
    # At its own set and translation the value is attained.
    own = naive_loss(estimate, truth, kind, found.t2, found.choice, cell)
    assert own[0] / own[1] == pytest.approx(found.value, rel=1e-10)
    assert found.cells.assignment.tolist() == cell


def test_one_active_expert_has_no_gate():
    """With K = 1 neither slopes nor weights of the gate count; the worst expert is the loss, in the truth's weights."""
    truth = measure("topk-D1", 2, np.random.default_rng(1))
    moved = {
        **truth.atoms,
        "gate": truth.atoms["gate"] + [[0.1], [0.05]],
        "intercept": truth.atoms["intercept"] + [0.2, 0.3],
    }
    estimate = ms.MixingMeasure(truth.weights * [3.0, 0.5], moved)
    found = voronoi_loss(estimate, truth, "topk-D1", n_active=1)
    assert found.value == pytest.approx(max(truth.weights * [0.2, 0.3]), rel=1e-9)
    pinned = voronoi_loss(estimate, truth, "topk-D1", n_active=1, infimum=False)
    by_hand = truth.weights * [3.0 * (0.1 + 0.2) + 2.0, 0.5 * (0.05 + 0.3) + 0.5]
    assert pinned.value == pytest.approx(max(by_hand), rel=1e-9)


def test_a_set_of_empty_cells_counts_its_mass():
    truth = ms.MixingMeasure([1.0, 2.0, 0.3], {"gate": [[0.0], [1.0], [2.0]], "intercept": [0.0, 9.0, 0.1]})
    estimate = ms.MixingMeasure([1.0, 0.3], {"gate": [[0.0], [2.0]], "intercept": [0.0, 0.1]})
    found = voronoi_loss(estimate, truth, "topk-D1", n_active=1)
    assert found.value == pytest.approx(2.0)
    assert found.choice == (1,)


# -- shared experts -----------------------------------------------------------------------------------------------------


def shared_measure(rng, k1, k2, sigmoid=False, size=1.0):
    routed = measure("D1", k2, rng, size=size)
    if sigmoid:
        level = size * rng.normal(size=k2)
        atoms = {**routed.atoms, "gate_intercept": level}
        routed = ms.MixingMeasure(1.0 / (1.0 + np.exp(-level)), atoms, "none")
    weights = rng.dirichlet(np.full(k1, 4.0))
    return SharedMeasure(_without_gate(measure("D1", k1, rng, size=size), weights), routed)


def _without_gate(given, weights=None, gauge="softmax"):
    atoms = {name: block for name, block in given.atoms.items() if name != "gate"}
    return ms.MixingMeasure(given.weights if weights is None else weights, atoms, gauge)


@pytest.mark.parametrize(
    ("kind", "shared", "routed"),
    [
        ("deepseek-D1", 0.04 + 0.09 + 0.16, 0.01 + 0.13 + 0.16),
        ("deepseek-D2", 0.04 + 0.3**4 + 0.16, 0.1**4 + 0.04 + 0.3**4 + 0.16),
        ("deepseek-D2sharp", 0.04 + 0.3**4 + 0.16, 0.01 + 0.04 + 0.3**4 + 0.16),
        ("deepseek-D5", 0.04 + 0.09 + 0.16, 0.01 + 0.13 + 0.16),
    ],
)
def test_shared_experts_by_hand(kind, shared, routed):
    """Over-specified cells of two at ±(0.1, 0.2, 0.3, 0.4); the shared weights are off by 0.1, the single routed atom exact."""
    sign = np.array([1.0, -1.0])
    cell = {"coef": 0.2 * sign[:, None], "intercept": 0.3 * sign, "scale": np.sqrt(1.0 + 0.4 * sign)}
    one = {"coef": [[0.0]], "intercept": [0.0], "scale": [1.0]}
    far = {"coef": [[5.0]], "intercept": [9.0], "scale": [1.0]}

    def joined(first, second, gate=None):
        atoms = {name: np.concatenate([np.asarray(first[name]), np.asarray(second[name])]) for name in first}
        return atoms if gate is None else {**atoms, "gate": gate}

    truth = SharedMeasure(
        ms.MixingMeasure([0.6, 0.4], joined(one, far)),
        ms.MixingMeasure([1.0, 3.0], joined(one, far, [[4.0], [0.0]])),
    )
    estimate = SharedMeasure(
        ms.MixingMeasure([0.25, 0.25, 0.5], joined(cell, far)),
        ms.MixingMeasure([0.5, 0.5, 3.0], joined(cell, far, np.array([[4.1], [3.9], [0.0]]))),
    )
    found = voronoi_loss(estimate, truth, kind, n_active=1)
    assert found.parts["shared"].value == pytest.approx(0.2 + 0.5 * shared, rel=1e-9)
    assert found.parts["routed"].value == pytest.approx(routed, rel=1e-9)
    assert found.value == pytest.approx(0.2 + 0.5 * shared + routed, rel=1e-9)
    assert sum(found.terms.values()) == pytest.approx(found.value, rel=1e-14)
    other = SharedMeasure(estimate.shared, estimate.routed, weight=0.3)
    assert voronoi_loss(other, truth, kind, n_active=1).value == pytest.approx(found.value + 0.2, rel=1e-12)


@pytest.mark.parametrize(("kind", "plain"), [("deepseek-D3", "sigmoid-L1"), ("deepseek-D4", "sigmoid-L2")])
def test_normalised_sigmoid_is_the_sigmoid_loss_with_variances(kind, plain):
    rng = np.random.default_rng(4)
    truths = [shared_measure(rng, 1, 2, sigmoid=True) for _ in range(3)]
    estimate = shared_measure(rng, 2, 3, sigmoid=True)
    one = voronoi_loss(estimate, truths[0], kind)
    assert one.parts["shared"].value == pytest.approx(
        voronoi_loss(estimate.shared, truths[0].shared, "strong-D1").value, rel=1e-12
    )
    without = voronoi_loss(estimate.routed, truths[0].routed, plain)
    same = one.parts["routed"].cells.assignment.tolist() == without.cells.assignment.tolist()
    assert not same or one.parts["routed"].value > without.value
    values = [voronoi_loss(estimate, truth, kind).value for truth in truths]
    several = voronoi_loss(estimate, truths, kind)
    assert (several.value, several.choice) == (min(values), (int(np.argmin(values)),))
    assert voronoi_loss(truths[1], truths, kind).value == 0.0
    # The difference is that of the variances: exact cells of one atom each.
    moved = {**truths[0].routed.atoms, "scale": np.sqrt(truths[0].routed.atoms["scale"] ** 2 + 0.1)}
    shifted = SharedMeasure(truths[0].shared, ms.MixingMeasure(truths[0].routed.weights, moved, "none"))
    assert voronoi_loss(shifted, truths[0], kind).value == pytest.approx(0.2, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(SHARED), t=st.floats(-2, 2))
def test_shared_losses_ignore_labels_and_gauge(seed, kind, t):
    rng = np.random.default_rng(seed)
    truth, estimate = shared_measure(rng, 2, 2), shared_measure(rng, 3, 3)
    moved = SharedMeasure(
        estimate.shared.permuted(rng.permutation(3)), estimate.routed.translated(t, -t).permuted(rng.permutation(3))
    )
    value = voronoi_loss(estimate, truth, kind, n_active=1).value
    assert voronoi_loss(moved, truth, kind, n_active=1).value == pytest.approx(value, rel=1e-7)
    same = SharedMeasure(truth.shared, truth.routed.translated(-t, t))
    assert voronoi_loss(same, truth, kind, n_active=2).value < 1e-12


def test_composite_errors():
    rng = np.random.default_rng(0)
    truth = shared_measure(rng, 1, 2)
    with pytest.raises(ValueError, match="compares two SharedMeasure, got MixingMeasure"):
        voronoi_loss(truth.routed, truth.routed, "deepseek-D1")
    with pytest.raises(ValueError, match="compares two MixingMeasure, got SharedMeasure"):
        voronoi_loss(truth, truth, "D1")
    with pytest.raises(ValueError, match="compares two HierarchicalMeasure"):
        voronoi_loss(truth, truth, "hierarchical-D1")
    with pytest.raises(ValueError, match="compares two DeviatedMeasure"):
        voronoi_loss(truth, truth, "deviated-D2")
    with pytest.raises(ValueError, match="n_active=2"):
        voronoi_loss(truth, truth, "deepseek-D5")
    with pytest.raises(ValueError, match="have no gate"):
        SharedMeasure(truth.routed, truth.routed)
    with pytest.raises(ValueError, match="between 0 and 1"):
        SharedMeasure(truth.shared, truth.routed, weight=1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        DeviatedMeasure(-0.1, truth.shared)
    with pytest.raises(ValueError, match="one child for each of the 2 weights"):
        HierarchicalMeasure([1.0, 1.0], [[1.0], [0.0]], [truth.routed])
    with pytest.raises(ValueError, match="shape"):
        HierarchicalMeasure([1.0, 1.0], [1.0, 0.0], [truth.routed] * 2)


# -- hierarchies --------------------------------------------------------------------------------------------------------


def hierarchy(rng, k1, k2, gauges=("softmax", "softmax")):
    children = [measure("D1", k2, rng) for _ in range(k1)]
    children = [ms.MixingMeasure(child.weights, child.atoms, gauges[1]) for child in children]
    return HierarchicalMeasure(np.exp(rng.normal(size=k1)), 3.0 * rng.normal(size=(k1, 1)), children, gauges[0])


def test_hierarchy_by_hand():
    """Two branches near one: weights 0.5 each, gates at ±0.1, inner losses 0.2 and 0.3 (weight 1 times a gap)."""

    def leaf(gap):
        return ms.MixingMeasure([1.0, 1.0], {"gate": [[2.0], [0.0]], "intercept": [0.0, 8.0 + gap]})

    truth = HierarchicalMeasure([1.0, 3.0], [[4.0], [0.0]], [leaf(0.0), leaf(50.0)])
    estimate = HierarchicalMeasure([0.5, 0.5, 3.0], [[4.1], [3.9], [0.0]], [leaf(0.2), leaf(0.3), leaf(50.0)])
    first = voronoi_loss(estimate, truth, "hierarchical-D1")
    assert first.value == pytest.approx(0.1 + 0.5 * (0.2 + 0.3), rel=1e-9)
    second = voronoi_loss(estimate, truth, "hierarchical-D2")
    assert second.value == pytest.approx(0.01 + 0.5 * (0.2 + 0.3), rel=1e-9)
    assert second.terms == pytest.approx({"weights": 0.0, "gate": 0.01, "children": 0.25})
    assert second.parts["child 1"].value == pytest.approx(0.3)


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("gauges", [("softmax", "softmax"), ("softmax", "weights"), ("weights", "weights")])
@pytest.mark.parametrize("seed", range(2))
def test_hierarchy_has_a_translation_at_every_node(kind, gauges, seed):
    rng = np.random.default_rng(seed)
    truth, estimate = hierarchy(rng, 2, 2, gauges), hierarchy(rng, 3, 3, gauges)
    found = voronoi_loss(estimate, truth, kind)

    def moved(given, order):
        t2 = rng.normal() if gauges[1] == "softmax" else 0.0
        children = [given.children[i].translated(rng.normal(), t2).permuted([1, 0, 2]) for i in order]
        t2 = 1.3 if gauges[0] == "softmax" else 0.0
        gates = given.outer.translated(0.0, t2).atoms["gate"][order]
        return HierarchicalMeasure(1.7 * given.outer.weights[order], gates, children, gauges[0])

    order = rng.permutation(3)
    assert voronoi_loss(moved(estimate, order), truth, kind).value == pytest.approx(found.value, rel=1e-7)
    same = HierarchicalMeasure(2.0 * truth.weights, truth.gates, [c.translated(0.5) for c in truth.children], gauges[0])
    assert voronoi_loss(same, truth, kind).value < 1e-12


@pytest.mark.parametrize("kind", NESTED)
def test_hierarchy_against_brute_force(kind):
    """The infimum over translations of the first gate, the children's losses being numbers."""
    rng = np.random.default_rng(7)
    truth, estimate = hierarchy(rng, 2, 2), hierarchy(rng, 3, 2)
    inner = {"hierarchical-D1": "D1", "hierarchical-D2": "D2sharp"}[kind]
    losses = np.array([[voronoi_loss(a, b, inner).value for b in truth.children] for a in estimate.children])

    def value(t):
        gap = np.abs(estimate.gates - t - truth.gates.T)
        cell = gap.argmin(axis=1)
        sizes = np.bincount(cell, minlength=2)
        mass = np.bincount(cell, weights=estimate.weights, minlength=2)
        power = np.where((sizes[cell] > 1) & (kind == "hierarchical-D2"), 2.0, 1.0)
        atoms = estimate.weights @ (gap[np.arange(3), cell] ** power + losses[np.arange(3), cell])
        return atoms + min(np.abs(mass - s * truth.weights).sum() for s in mass[mass > 0] / truth.weights[mass > 0])

    found = voronoi_loss(estimate, truth, kind)
    scaled = found.value * np.exp(found.t1)
    assert scaled <= min(value(t) for t in np.linspace(-15.0, 15.0, 6001)) + 1e-10
    assert min(value(found.t2 + h) for h in (0.0, 1e-9, -1e-9)) == pytest.approx(scaled, rel=1e-7)


# -- deviated models ----------------------------------------------------------------------------------------------------


def test_deviated_by_hand():
    sign = np.array([1.0, -1.0, 0.0])
    truth = ms.MixingMeasure([0.4, 0.6], {"coef": [[0.0], [3.0]], "intercept": [0.0, 9.0], "scale": [1.0, 1.0]})
    atoms = {
        "coef": np.array([[0.2], [-0.2], [3.0]]),
        "intercept": np.array([0.3, -0.3, 9.5]),
        "scale": np.sqrt(1.0 + 0.4 * sign),
    }
    estimate = ms.MixingMeasure([0.2, 0.3, 0.5], atoms)
    inner = 0.2 + 0.5 * (0.04 + 0.3**4 + 0.16) + 0.5 * 0.5
    found = voronoi_loss(DeviatedMeasure(0.7, estimate), DeviatedMeasure(0.4, truth), "deviated-D2")
    assert found.value == pytest.approx(0.3 + 1.1 * inner, rel=1e-12)
    assert found.parts["measure"].value == pytest.approx(inner, rel=1e-12)
    assert sum(found.terms.values()) == pytest.approx(found.value)
    # Constant weights are what they are: no factor between them.
    half = ms.MixingMeasure(0.5 * truth.weights, truth.atoms)
    assert voronoi_loss(DeviatedMeasure(0.4, half), DeviatedMeasure(0.4, truth), "deviated-D2").value == pytest.approx(
        0.4
    )


# -- matchings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gauge", ["none", "weights"])
def test_matching_of_many_atoms_is_the_best_of_all(gauge):
    rng = np.random.default_rng(11)
    k = 7
    truth, estimate = (
        ms.MixingMeasure(np.exp(rng.normal(size=k)), {"intercept": rng.normal(size=k)}, gauge) for _ in range(2)
    )
    gap = np.abs(estimate.atoms["intercept"][:, None] - truth.atoms["intercept"])
    orders = np.array(list(permutations(range(k))))
    star = truth.weights[orders]
    distance = (estimate.weights * gap[np.arange(k), orders]).sum(axis=1)
    factors = [np.ones(len(orders))] if gauge == "none" else [estimate.weights[i] / star[:, i] for i in range(k)]
    mass = min((np.abs(estimate.weights - s[:, None] * star).sum(axis=1) + distance).min() for s in factors)
    found = hungarian_loss(estimate, truth)
    assert found.value * np.exp(found.matched.t1) == pytest.approx(mass, rel=1e-12)
    assert float(found) == found.value == voronoi_loss(estimate, truth, "D1-hungarian").value


@pytest.mark.parametrize("kind", ["D1", "strong-D1", "sigmoid-L2", "multinomial-D2r"])
def test_matching_and_cells_agree_where_every_cell_has_one_atom(kind):
    rng = np.random.default_rng(2)
    truth = measure(kind, 3, rng)
    estimate = ms.MixingMeasure(
        truth.weights,
        {name: block + 0.01 * rng.random(block.shape) for name, block in truth.atoms.items()},
        truth.gauge,
    )
    found = hungarian_loss(estimate.permuted([2, 0, 1]), truth, kind)
    assert found.agree
    assert found.pattern == (1, 1, 1)
    assert found.matched.cells.assignment.tolist() == [2, 0, 1]
    assert found.value == pytest.approx(found.voronoi.value, rel=1e-9)


def test_a_matching_and_the_cells_that_it_cannot_follow():
    """Two atoms in one cell: the Voronoi loss counts the mass 1 of the empty cell, twice; a matching a distance of 3."""
    truth = ms.MixingMeasure([1.0, 2.0], {"intercept": [-1.0, 1.0]}, "none")
    found = hungarian_loss(ms.MixingMeasure([1.0, 2.0], {"intercept": [1.5, 1.0]}, "none"), truth)
    assert not found.agree
    assert found.pattern == (0, 2)
    assert (found.value, found.voronoi.value) == (2.5, 2.0 + 0.5)
    with pytest.raises(ValueError, match="as many atoms"):
        hungarian_loss(ms.MixingMeasure([1.0], {"intercept": [0.0]}, "none"), truth)
    for kind in ("topk-D1", "merged"):
        with pytest.raises(ValueError, match="no sum over atoms"):
            hungarian_loss(truth, truth, kind)
