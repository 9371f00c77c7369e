"""Voronoi losses: formulas by hand, the exact infimum against brute force, invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import moestat as ms
from moestat.losses import component_gaps, voronoi_cells, voronoi_loss

VORONOI = ["D1", "D2", "D2sharp", "merged"]


def naive_loss(estimate, truth, kind, t2):
    """The loss at one translation, written out atom by atom; exp(t1) by search over all ratios of masses."""
    theta = [
        np.concatenate([estimate.atoms["gate"][i] - t2, estimate.atoms["coef"][i]]) for i in range(estimate.n_atoms)
    ]
    theta = [np.append(v, [b, s**2]) for v, b, s in zip(theta, estimate.atoms["intercept"], estimate.atoms["scale"])]
    star = [
        np.concatenate([truth.atoms["gate"][j], truth.atoms["coef"][j], [truth.atoms["intercept"][j]]])
        for j in range(truth.n_atoms)
    ]
    star = [np.append(v, s**2) for v, s in zip(star, truth.atoms["scale"])]
    cell = [int(np.argmin([np.linalg.norm(u - v) for v in star])) for u in theta]
    mass = np.array([sum(w for w, j in zip(estimate.weights, cell) if j == c) for c in range(truth.n_atoms)])
    seen = mass > 0
    s = min(mass / truth.weights, key=lambda r: np.abs(mass - r * truth.weights).sum())
    if s == 0.0:  # the infimum over t1 is at minus infinity: only the cells that are not empty choose s
        s = min((mass / truth.weights)[seen], key=lambda r: np.abs(mass - r * truth.weights)[seen].sum())
    total = np.abs(mass - s * truth.weights).sum()
    d = estimate.atoms["gate"].shape[1]
    for c in range(truth.n_atoms):
        members = [i for i, j in enumerate(cell) if j == c]
        gaps = [theta[i] - star[c] for i in members]
        w = estimate.weights[members]
        if kind == "merged":
            if members:
                g = np.array(gaps)
                gate, coef, b, v = g[:, :d], g[:, d : 2 * d], g[:, 2 * d], g[:, 2 * d + 1]
                total += np.linalg.norm(w @ gate) + np.linalg.norm(w @ (coef + b[:, None] * gate))
                total += abs(w @ b) + abs(w @ (v + b**2))
            continue
        r = 2 * len(members)
        for weight, g in zip(w, gaps):
            gate, coef, b, v = g[:d], g[d : 2 * d], g[2 * d], g[2 * d + 1]
            if kind == "D1" or len(members) == 1:
                total += weight * np.linalg.norm(g)
            elif kind == "D2":
                total += weight * (
                    np.hypot(np.linalg.norm(gate), b) ** r + np.hypot(np.linalg.norm(coef), v) ** (r / 2)
                )
            else:
                total += weight * (gate @ gate + coef @ coef + abs(b) ** r + abs(v) ** (r / 2))
    return total


@pytest.mark.parametrize("kind", VORONOI)
@pytest.mark.parametrize("seed", range(6))
def test_infimum_in_one_dimension_is_that_of_a_grid(kind, seed, random_measure):
    rng = np.random.default_rng(seed)
    k_star = int(rng.integers(1, 4))
    truth, estimate = random_measure(k_star, 1, rng), random_measure(k_star + int(rng.integers(0, 3)), 1, rng)
    found = voronoi_loss(estimate, truth, kind)
    value = found.value * np.exp(found.t1)
    grid = np.linspace(-5.0, 5.0, 1001)
    values = [naive_loss(estimate, truth, kind, np.array([t])) for t in grid]
    assert value <= min(values) + 1e-10
    # And it is attained (just beside t2 where the infimum is the limit at a change of cells).
    near = [naive_loss(estimate, truth, kind, found.t2 + h) for h in (0.0, 1e-9, -1e-9)]
    assert min(near) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("kind", VORONOI)
@pytest.mark.parametrize("seed", range(3))
def test_infimum_in_two_dimensions_is_that_of_many_searches(kind, seed, random_measure):
    rng = np.random.default_rng(100 + seed)
    truth, estimate = random_measure(2, 2, rng), random_measure(3, 2, rng)
    found = voronoi_loss(estimate, truth, kind)
    value = found.value * np.exp(found.t1)
    best = min(
        minimize(lambda t: naive_loss(estimate, truth, kind, t), 2.0 * rng.normal(size=2), method="Nelder-Mead").fun
        for _ in range(5)
    )
    assert value <= best + 1e-9
    near = [
        naive_loss(estimate, truth, kind, found.t2 + h)
        for h in 1e-8 * np.vstack([np.zeros(2), rng.normal(size=(20, 2))])
    ]
    assert min(near) == pytest.approx(value, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 3),
    k_star=st.integers(1, 3),
    extra=st.integers(0, 2),
    t1=st.floats(-3, 3),
    t2=st.floats(-3, 3),
    kind=st.sampled_from(VORONOI),
)
def test_invariant_to_labels_and_gauge(seed, d, k_star, extra, t1, t2, kind, random_measure):
    rng = np.random.default_rng(seed)
    truth = random_measure(k_star, d, rng)
    estimate = random_measure(k_star + extra, d, rng)
    value = voronoi_loss(estimate, truth, kind).value
    moved = estimate.translated(t1, t2 * np.ones(d)).permuted(rng.permutation(estimate.n_atoms))
    relabelled = truth.permuted(rng.permutation(k_star))
    assert voronoi_loss(moved, relabelled, kind).value == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("kind", [*VORONOI, "D1-hungarian"])
@pytest.mark.parametrize("d", [1, 2])
def test_zero_for_the_same_measure_and_only_then(kind, d, random_measure, rng):
    truth = random_measure(3, d, rng)
    same = truth.translated(0.4, -1.3 * np.ones(d)).permuted([2, 0, 1])
    assert voronoi_loss(same, truth, kind).value < 1e-13
    for name in truth.atoms:
        atoms = dict(truth.atoms)
        atoms[name] = atoms[name] + 1e-3 * np.arange(3).reshape(3, *[1] * (atoms[name].ndim - 1))
        assert voronoi_loss(ms.MixingMeasure(truth.weights, atoms), truth, kind).value > 1e-5


def test_terms_add_up_and_convert(random_measure, rng):
    truth, estimate = random_measure(2, 2, rng), random_measure(3, 2, rng)
    for kind in VORONOI:
        found = voronoi_loss(estimate, truth, kind)
        assert sum(found.terms.values()) == pytest.approx(found.value, rel=1e-14)
        assert set(found.terms) == {"weights", "gate", "coef", "intercept", "variance"}
        assert float(found) == found.value


def test_variance_not_standard_deviation_is_compared():
    truth = ms.MixingMeasure([1.0], {"intercept": [0.0], "scale": [3.0]})
    estimate = ms.MixingMeasure([1.0], {"intercept": [0.0], "scale": [4.0]})
    assert voronoi_loss(estimate, truth, "D1").value == pytest.approx(7.0)


def test_constant_gate_has_only_the_scale_of_the_weights():
    truth = ms.MixingMeasure([0.4, 0.6], {"intercept": [0.0, 5.0], "scale": [1.0, 1.0]})
    estimate = ms.MixingMeasure([8.0, 12.0], {"intercept": [0.0, 5.1], "scale": [1.0, 1.0]})
    found = voronoi_loss(estimate, truth, "D1")
    assert found.value == pytest.approx(0.06)
    assert np.exp(found.t1) == pytest.approx(20.0)
    assert found.t2.shape == (0,)


def test_powers_in_an_over_specified_cell():
    """Two atoms at ±eps in the intercept: D2 and D2sharp have eps^4, D1 eps, the merged moments eps²."""
    truth = ms.MixingMeasure([1.0, 1.0], {"gate": [[4.0], [0.0]], "intercept": [0.0, 5.0], "scale": [1.0, 1.0]})

    def split(eps):
        atoms = {"gate": [[4.0], [4.0], [0.0]], "intercept": [eps, -eps, 5.0], "scale": [1.0] * 3}
        return ms.MixingMeasure([0.5, 0.5, 1.0], atoms)

    for kind, power in {"D1": 1, "D2": 4, "D2sharp": 4, "merged": 2}.items():
        assert voronoi_loss(split(0.1), truth, kind).value == pytest.approx(0.1**power, rel=1e-9)


def test_sharp_and_published_powers_differ_in_the_slopes():
    truth = ms.MixingMeasure([1.0, 1.0], {"gate": [[4.0], [0.0]], "intercept": [0.0, 5.0], "scale": [1.0, 1.0]})
    atoms = {"gate": [[4.1], [3.9], [0.0]], "intercept": [0.0, 0.0, 5.0], "scale": [1.0] * 3}
    estimate = ms.MixingMeasure([0.5, 0.5, 1.0], atoms)
    assert voronoi_loss(estimate, truth, "D2").value == pytest.approx(1e-4, rel=1e-9)
    assert voronoi_loss(estimate, truth, "D2sharp").value == pytest.approx(1e-2, rel=1e-9)
    gaps = component_gaps(estimate, truth)
    assert gaps.over["gate"] == pytest.approx(0.1)
    assert gaps.spread["gate"] == pytest.approx(0.2)
    assert gaps.exact["gate"] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(component_gaps(truth, truth).over["intercept"])


def test_infimum_beats_the_pinned_gauge(random_measure, rng):
    """The atom that is pinned in the estimate is another one than in the truth."""
    truth = random_measure(2, 1, rng)
    pinned = ms.MixingMeasure.from_params
    params = {
        "gate_coef": truth.atoms["gate"],
        "gate_intercept": np.log(truth.weights),
        "expert_coef": truth.atoms["coef"],
        "expert_intercept": truth.atoms["intercept"],
        "expert_scale": truth.atoms["scale"],
    }
    swapped = {name: value[::-1] for name, value in params.items()}
    assert voronoi_loss(pinned(swapped), pinned(params), "D1", infimum=False).value > 0.1
    assert voronoi_loss(pinned(swapped), pinned(params), "D1").value < 1e-13


def test_cells_ties_and_empty_cells():
    truth = ms.MixingMeasure([1.0, 2.0], {"intercept": [-1.0, 1.0]})
    tied = voronoi_cells(ms.MixingMeasure([1.0, 1.0], {"intercept": [0.0, 1.0]}), truth)
    assert tied.tie
    assert tied.assignment.tolist() == [0, 1]
    crowded = ms.MixingMeasure([1.0, 2.0], {"intercept": [1.0, 1.0]})
    cells = voronoi_cells(crowded, truth)
    assert cells.pattern == (0, 2)
    assert not cells.tie
    assert [cell.tolist() for cell in cells.cells] == [[], [0, 1]]
    # s = 3/2: the empty cell counts its own mass 1, in units of the truth.
    assert voronoi_loss(crowded, truth, "D1").value == pytest.approx(1.0)
    # A matching moves the lighter atom to the other one: weight 1 times distance 2.
    assert voronoi_loss(crowded, truth, "D1-hungarian").value == pytest.approx(2.0)


def test_matching_agrees_with_cells_of_one_atom_and_with_the_search_for_many_atoms(random_measure):
    rng = np.random.default_rng(3)
    for k in (2, 7):
        atoms = {"gate": np.arange(k)[:, None] * 3.0, "coef": rng.normal(size=(k, 1)), "intercept": np.arange(k) * 5.0}
        truth = ms.MixingMeasure(np.ones(k), atoms)
        estimate = ms.MixingMeasure(np.ones(k) * 1.1, {n: v + 0.1 * rng.normal(size=v.shape) for n, v in atoms.items()})
        plain = voronoi_loss(estimate, truth, "D1")
        assert plain.cells.pattern == (1,) * k
        assert voronoi_loss(estimate, truth, "D1-hungarian").value == pytest.approx(plain.value, rel=1e-9)


def test_several_responses_and_one_agree(random_measure, rng):
    def lifted(measure):
        atoms = dict(measure.atoms)
        scale = atoms.pop("scale")
        atoms |= {"coef": atoms["coef"][:, None], "intercept": atoms["intercept"][:, None]}
        return ms.MixingMeasure(measure.weights, {**atoms, "covariance": scale[:, None, None] ** 2})

    truth, estimate = random_measure(2, 2, rng), random_measure(3, 2, rng)
    for kind in VORONOI:
        expected = voronoi_loss(estimate, truth, kind).value
        assert voronoi_loss(lifted(estimate), lifted(truth), kind).value == pytest.approx(expected, rel=1e-12)


def test_merged_loss_vanishes_for_merges_to_second_order(random_measure, rng):
    """A measure and its own merge have the same moments in every cell."""
    estimate = random_measure(3, 1, rng)
    far = ms.MixingMeasure(
        estimate.weights,
        {**estimate.atoms, "intercept": estimate.atoms["intercept"] * 0.1 + np.array([0.0, 0.0, 50.0])},
    )
    truth = far.merged([[0, 1], [2]])
    found = voronoi_loss(far, truth, "merged")
    assert found.cells.pattern == (2, 1)
    assert found.value < 1e-12


def test_errors(random_measure, rng):
    truth, estimate = random_measure(2, 1, rng), random_measure(3, 1, rng)
    with pytest.raises(ValueError, match="kind must be one of"):
        voronoi_loss(estimate, truth, "D3")
    with pytest.raises(ValueError, match="as many atoms"):
        voronoi_loss(estimate, truth, "D1-hungarian")
    with pytest.raises(ValueError, match="same family"):
        voronoi_loss(ms.MixingMeasure([1.0], {"intercept": [0.0]}), truth)
    with pytest.raises(ValueError, match="one shape"):
        voronoi_loss(random_measure(2, 2, rng), truth)
    with pytest.raises(ValueError, match="no gauge-fixed variant"):
        voronoi_loss(truth, truth, "D1-hungarian", infimum=False)
    quadratic = ms.MixingMeasure([1.0], {"gate": [[1.0]], "coef": [[1.0, 2.0]], "intercept": [0.0]})
    with pytest.raises(ValueError, match="merged moments"):
        voronoi_loss(quadratic, quadratic, "merged")
    assert voronoi_loss(quadratic, quadratic, "D1").value == 0.0


def test_the_name_of_the_documents_is_an_alias(random_measure, rng):
    truth, estimate = random_measure(2, 1, rng), random_measure(3, 1, rng)
    assert voronoi_loss(estimate, truth, "D2#").value == voronoi_loss(estimate, truth, "D2sharp").value
    assert voronoi_loss(estimate, truth, "D2#").kind == "D2sharp"


@pytest.mark.parametrize("kind", VORONOI)
@pytest.mark.parametrize("sizes", [(3, 2), (2, 2), (1, 2)])
def test_losses_are_defined_for_any_numbers_of_atoms(kind, sizes, random_measure, rng):
    estimate, truth = (random_measure(k, 1, rng) for k in sizes)
    assert np.isfinite(voronoi_loss(estimate, truth, kind).value)


def test_matching_needs_equal_numbers(random_measure, rng):
    with pytest.raises(ValueError, match="as many atoms"):
        voronoi_loss(random_measure(3, 1, rng), random_measure(2, 1, rng), "D1-hungarian")
