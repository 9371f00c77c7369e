"""Voronoi losses of every setting: by hand, against the theorems written out, invariances, relations between powers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import moestat as ms
from moestat.losses import KINDS, component_gaps, voronoi_loss
from tests.theory.settings import BLIND, SETTINGS, TOP_K, measure, naive_loss

R = 3.0  # the power of the kinds that take one


def split_measures(gauge="softmax", *, temperature=None, gate=(4.0, 0.0)):
    """A cell of two atoms at ±(0.1, 0.2, 0.3, 0.4) in (gate, coef, intercept, variance), and a cell of one.

    That one, of weight 2, is off by 0.5 in the intercept and by 1.2 in the variance.
    """
    sign = np.array([1.0, -1.0, 0.0])
    truth = {"gate": [[gate[0]], [gate[1]]], "coef": [[1.0], [-1.0]], "intercept": [0.0, 9.0], "scale": [1.0, 1.0]}
    estimate = {
        "gate": np.array([[gate[0]], [gate[0]], [gate[1]]]) + 0.1 * sign[:, None],
        "coef": np.array([[1.0], [1.0], [-1.0]]) + 0.2 * sign[:, None],
        "intercept": np.array([0.0, 0.0, 9.5]) + 0.3 * sign,
        "scale": np.sqrt(np.array([1.0, 1.0, 2.2]) + 0.4 * sign),
    }
    if temperature is not None:
        truth["temperature"] = np.full(2, 0.5)
        estimate["temperature"] = 0.5 + temperature * sign
    return ms.MixingMeasure([0.5, 0.5, 2.0], estimate, gauge), ms.MixingMeasure([1.0, 2.0], truth, gauge)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("D1", {}, 0.3**0.5 + 2.6),
        ("D2", {}, 0.1**2 + 0.2 + 2.6),
        ("D2sharp", {}, 0.01 + 0.04 + 0.3**4 + 0.16 + 2.6),
        ("strong-D1", {}, 0.01 + 0.13 + 0.16 + 3.4),
        ("topk-D1", {}, 1.0 + 3.4),
        ("topk-D2", {}, 0.1**4 + 0.04 + 0.3**4 + 0.16 + 3.4),
        ("topk-D2sharp", {}, 0.01 + 0.04 + 0.3**4 + 0.16 + 3.4),
        ("laplace-D1", {"gauge": "weights"}, 1.0 + 3.4),
        ("laplace-D2", {"gauge": "weights"}, 0.01 + 0.04 + 0.3**4 + 0.16 + 3.4),
        ("quadratic-monomial-D2", {}, 0.01 + 0.04 + 0.3**4 + 0.16 + 2.6),
        ("quadratic-polynomial-D2", {}, 0.1**2 + 0.2 + 2.6),
        ("quadratic-polynomial-D2sharp", {}, 0.01 + 0.04 + 0.3**4 + 0.16 + 2.6),
        ("lse-L1", {}, 0.01 + 0.13 + 1.0),
        ("lse-L2r", {}, 0.1**3 + 0.13**1.5 + 2 * 0.5**3),
        ("perturbed-cosine-L2", {"gauge": "weights"}, 0.01 + 0.13 + 1.0),
        ("cosine-L1r", {"gauge": "weights"}, 0.1**3 + 0.13**1.5 + 2 * 0.5**3),
        ("activation-D2", {"gauge": "weights", "temperature": 0.05}, 0.01 + 0.04 + 0.3**4 + 0.16 + 0.0025 + 3.4),
        (
            "temperature-D2r",
            {"temperature": 0.05},
            0.1**3 + 0.2**3 + 0.3**3 + 0.4**3 + 0.05**3 + 2 * (0.5**3 + 1.2**3),
        ),
        ("temperature-D1", {"temperature": 0.0}, (0.2**2 + 0.29) ** 0.5 + 2.6),
        ("temperature-D2sharp", {"temperature": 0.0}, 0.04 + 0.04 + 0.3**4 + 0.16 + 2.6),
    ],
)
def test_by_hand(kind, options, expected):
    estimate, truth = split_measures(options.pop("gauge", "softmax"), **options)
    found = voronoi_loss(estimate, truth, kind, r=R, n_active=2)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.cells.pattern == (2, 1)
    assert sum(found.terms.values()) == pytest.approx(found.value, rel=1e-14)


def test_multinomial_by_hand():
    sign = np.array([1.0, -1.0, 0.0])[:, None]
    truth = {"gate": [[4.0], [0.0]], "coef": [[[1.0], [2.0]], [[-3.0], [0.5]]], "intercept": [[0.0, 1.0], [5.0, 5.0]]}
    estimate = {
        "gate": np.array([[4.0], [4.0], [0.0]]) + 0.1 * sign,
        "coef": np.array(truth["coef"])[[0, 0, 1]] + np.array([[0.2], [0.1]]) * sign[:, :, None],
        "intercept": np.array(truth["intercept"])[[0, 0, 1]] + np.array([0.3, 0.05]) * sign,
    }
    estimate["intercept"][2, 0] += 0.5
    measures = ms.MixingMeasure([0.5, 0.5, 2.0], estimate), ms.MixingMeasure([1.0, 2.0], truth)
    assert voronoi_loss(*measures, "multinomial-D1").value == pytest.approx(
        0.01 + 0.04 + 0.01 + 0.09 + 0.0025 + 1.0, rel=1e-9
    )
    assert voronoi_loss(*measures, "multinomial-D2r", r=R).value == pytest.approx(
        0.1**3 + 0.2**3 + 0.1**3 + 0.3**3 + 0.05**3 + 2 * 0.5**3, rel=1e-9
    )


def test_sigmoid_by_hand():
    """Cell of two: masses 0.2 + 0.25 of 0.5; cell of one: β0 off by log 3, the intercept by 0.5."""
    levels = np.log([0.25, 1.0 / 3.0, 3.0])
    truth = {"gate": [[0.0], [3.0]], "intercept": [0.0, 9.0], "gate_intercept": [0.0, 0.0]}
    estimate = {"gate": [[0.1], [-0.1], [3.0]], "intercept": [0.3, -0.3, 9.5], "gate_intercept": levels}
    measures = ms.MixingMeasure([0.2, 0.25, 0.75], estimate, "none"), ms.MixingMeasure([0.5, 0.5], truth, "none")
    found = voronoi_loss(*measures, "sigmoid-L1")
    assert found.value == pytest.approx(0.05 + 2 * (0.01 + 0.09) + np.log(3.0) + 0.5, rel=1e-12)
    assert found.t1 == 0.0
    dense = voronoi_loss(*measures, "sigmoid-L2")
    assert dense.value == pytest.approx(2 * (0.1 + 0.3) + np.abs(levels).sum() + 0.5, rel=1e-12)
    assert dense.terms["weights"] == 0.0
    # Of several pseudo-true measures the nearest one counts; an unwatched cell of the truth is seen by its mass in L1.
    nearest = voronoi_loss(measures[0], [measures[1], measures[0]], "sigmoid-L2")
    assert (nearest.value, nearest.choice) == (0.0, (1,))
    alone = ms.MixingMeasure([0.5], {"gate": [[0.0]], "intercept": [0.0], "gate_intercept": [0.0]}, "none")
    assert voronoi_loss(alone, measures[1], "sigmoid-L1").value == pytest.approx(0.5)


@pytest.mark.parametrize(("location", "power"), [(0.5, 2), (0.0, 3)])
def test_gaussian_gate_by_hand(location, power):
    """Three atoms in a cell, r = 6: the power of the slope is 2 as published, 3 where the true location is zero, 3 sharp."""
    truth = ms.MixingMeasure(
        [0.3, 0.7],
        {
            "gate_location": [[location], [9.0]],
            "gate_covariance": [[[1.0]], [[1.0]]],
            "coef": [[1.0], [0.0]],
            "intercept": [0.0, 0.0],
            "scale": [1.0, 1.0],
        },
        "none",
    )
    moved = {name: np.asarray(block)[[0, 0, 0, 1]].copy() for name, block in truth.atoms.items()}
    for name, gap in {"gate_location": 0.1, "gate_covariance": 0.2, "coef": 0.3, "intercept": 0.4}.items():
        moved[name][:3] += gap
    moved["scale"][:3] = np.sqrt(1.5)
    estimate = ms.MixingMeasure([0.1, 0.1, 0.2, 0.6], moved, "none")
    others = 0.1**6 + 0.2**3 + 0.4**6 + 0.5**3
    assert voronoi_loss(estimate, truth, "gaussian-gate-D2").value == pytest.approx(
        0.2 + 0.4 * (others + 0.3**power), rel=1e-12
    )
    assert voronoi_loss(estimate, truth, "gaussian-gate-D2sharp").value == pytest.approx(
        0.2 + 0.4 * (others + 0.3**3), rel=1e-12
    )
    assert voronoi_loss(estimate, truth, "gaussian-gate-D1").value == pytest.approx(0.2 + 0.4 * 1.5, rel=1e-12)


def test_cosine_router_compares_directions():
    angle = 0.2
    truth = {"gate": [[3.0, 0.0], [0.0, 1.0]], "intercept": [0.0, 5.0]}
    turned = [np.cos(angle), np.sin(angle)], [np.cos(angle), -np.sin(angle)]
    estimate = {"gate": [*(7.0 * np.array(turned)), [0.0, 20.0]], "intercept": [0.0, 0.0, 5.0]}
    measures = (
        ms.MixingMeasure([0.5, 0.5, 1.0], estimate, "weights"),
        ms.MixingMeasure([2.0, 2.0], truth, "weights"),
    )
    found = voronoi_loss(*measures, "cosine-L2")
    assert found.value == pytest.approx(2.0 * (2.0 * np.sin(angle / 2)) ** 2, rel=1e-12)
    assert np.exp(found.t1) == pytest.approx(0.5)
    zero = ms.MixingMeasure([1.0, 1.0], {"gate": np.zeros((2, 2)), "intercept": [0.0, 1.0]}, "weights")
    with pytest.raises(ValueError, match="directions"):
        voronoi_loss(zero, measures[1], "cosine-L2")


def test_quadratic_gate_is_translated_in_both_blocks(random_measure):
    """Translations of slopes and matrices are a gauge, and the infimum over both together is that of many searches."""
    rng = np.random.default_rng(5)

    def quadratic(k):
        plain = random_measure(k, 2, rng)
        return ms.MixingMeasure(plain.weights, {**plain.atoms, "gate_quadratic": rng.normal(size=(k, 2, 2))})

    truth, estimate = quadratic(2), quadratic(3)
    found = voronoi_loss(estimate, truth, "quadratic-polynomial-D2")
    moved = estimate.translated(-0.4, [1.0, 2.0], [[3.0, 1.0], [-2.0, 0.5]])
    assert voronoi_loss(moved, truth, "quadratic-polynomial-D2").value == pytest.approx(found.value, rel=1e-7)
    assert found.t2.shape == (6,)
    assert found.t2[3] == pytest.approx(found.t2[4])  # only the symmetric part is a function of x

    def flat(given):
        matrices = 0.5 * (given.atoms["gate_quadratic"] + given.atoms["gate_quadratic"].transpose(0, 2, 1))
        joined = np.concatenate([given.atoms["gate"], matrices.reshape(-1, 4)], axis=1)
        return ms.MixingMeasure(given.weights, {**given.atoms, "gate": joined}, "softmax")

    left, right = (
        ms.MixingMeasure(m.weights, {n: b for n, b in flat(m).atoms.items() if n != "gate_quadratic"})
        for m in (estimate, truth)
    )

    def value(t):
        return naive_loss(left, right, "D2", t)[0]

    searched = min(minimize(value, 1.5 * rng.normal(size=6), method="Nelder-Mead").fun for _ in range(3))
    scaled = found.value * np.exp(found.t1)
    assert scaled <= min(searched, value(np.zeros(6))) + 1e-9
    near = [value(found.t2 + h) for h in 1e-8 * np.vstack([np.zeros(6), rng.normal(size=(20, 6))])]
    assert min(near) == pytest.approx(scaled, rel=1e-5)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_against_the_theorem_written_out(kind, seed):
    rng = np.random.default_rng(seed)
    k_star = int(rng.integers(1, 4))
    truth, estimate = measure(kind, k_star, rng), measure(kind, k_star + int(rng.integers(0, 3)), rng)
    found = voronoi_loss(estimate, truth, kind, r=R)
    value = found.value * np.exp(found.t1)
    if truth.gauge == "softmax":
        values = [naive_loss(estimate, truth, kind, t)[0] for t in np.linspace(-4.0, 4.0, 201)]
        assert value <= min(values) + 1e-10
    else:
        assert found.t2.shape == (0,)
    near = [naive_loss(estimate, truth, kind, found.t2 + h) for h in (0.0, 1e-9, -1e-9)]
    assert min(near)[0] == pytest.approx(value, rel=1e-6)
    assert min(near)[1] == pytest.approx(np.exp(found.t1), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 2),
    k_star=st.integers(1, 3),
    extra=st.integers(0, 2),
    t1=st.floats(-3, 3),
    t2=st.floats(-3, 3),
    kind=st.sampled_from([*SETTINGS, *TOP_K]),
)
def test_invariant_to_labels_and_gauge(seed, d, k_star, extra, t1, t2, kind):
    rng = np.random.default_rng(seed)
    truth, estimate = measure(kind, k_star, rng, d), measure(kind, k_star + extra, rng, d)
    options = {"r": R, "n_active": 1 + k_star // 2}
    value = voronoi_loss(estimate, truth, kind, **options).value
    shift = {"softmax": (t1, t2 * np.ones(d)), "weights": (t1, 0.0), "none": (0.0, 0.0)}[truth.gauge]
    moved = estimate.translated(*shift).permuted(rng.permutation(estimate.n_atoms))
    relabelled = truth.permuted(rng.permutation(k_star))
    assert voronoi_loss(moved, relabelled, kind, **options).value == pytest.approx(value, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("kind", [*SETTINGS, *TOP_K])
def test_zero_at_the_truth_and_only_there(kind, rng):
    truth = measure(kind, 3, rng, d=2)
    options = {"r": 1.0, "n_active": 2}
    shift = {"softmax": (0.4, [-1.3, 0.2]), "weights": (0.4, 0.0), "none": (0.0, 0.0)}[truth.gauge]
    same = truth.translated(*shift).permuted([2, 0, 1])
    assert voronoi_loss(same, truth, kind, **options).value < 1e-12
    for name, block in truth.atoms.items():
        if name == BLIND.get(kind):
            continue
        moved = block + 1e-3 * np.arange(block.size).reshape(block.shape)
        estimate = ms.MixingMeasure(truth.weights, {**truth.atoms, name: moved}, truth.gauge)
        assert voronoi_loss(estimate, truth, kind, **options).value > 1e-5, name
    heavier = ms.MixingMeasure(truth.weights * [1.0, 1.0, 1.01], truth.atoms, truth.gauge)
    changed = voronoi_loss(heavier, truth, kind, **options).value
    # sigmoid losses see the weight of a single atom as its β0.
    assert changed > 1e-4 or kind.startswith("sigmoid")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), extra=st.integers(0, 3))
def test_larger_powers_of_small_gaps_are_smaller(seed, extra):
    """Where all gaps are below one: published slopes <= sharp ones <= first powers; L_{2,r} falls with r."""
    rng = np.random.default_rng(seed)
    truth, estimate = measure("D1", 2, rng, size=0.1), measure("D1", 2 + extra, rng, size=0.1)
    laplace = [ms.MixingMeasure(m.weights, m.atoms, "weights") for m in (estimate, truth)]

    def value(kind, measures=(estimate, truth), **options):
        return voronoi_loss(*measures, kind, infimum=False, n_active=2, **options).value

    slack = 1.0 + 1e-12
    assert value("topk-D2") <= value("topk-D2sharp") * slack <= value("topk-D1") * slack**2
    assert value("laplace-D2", laplace) <= value("laplace-D1", laplace) * slack
    assert value("laplace-D2", laplace) == pytest.approx(value("topk-D2sharp"), rel=1e-12)
    assert value("lse-L2r", r=4) <= value("lse-L2r", r=2) * slack <= value("lse-L2r", r=1) * slack**2
    assert value("lse-L2r", r=2) <= value("lse-L1") * slack <= value("lse-L2r", r=1) * slack**2
    assert value("D1") <= value("topk-D1") * slack
    # Two norms joined are at most both, and at least one of them.
    assert value("D2sharp") <= value("topk-D2sharp") * slack
    gated = [measure("gaussian-gate-D1", k, rng, size=0.1) for k in (2 + extra, 2)]
    near = [
        ms.MixingMeasure(m.weights, {**m.atoms, "gate_covariance": 0.1 * m.atoms["gate_covariance"]}, "none")
        for m in gated
    ]
    assert value("gaussian-gate-D2sharp", near) <= value("gaussian-gate-D2", near) * slack


def test_gaps_in_the_coordinates_of_the_loss():
    estimate, truth = split_measures(temperature=0.0)
    gaps = component_gaps(estimate, truth, "temperature-D2sharp")
    assert gaps.over["gate"] == pytest.approx(0.2)
    assert gaps.spread["gate"] == pytest.approx(0.4)
    assert set(gaps.over) == {"gate", "coef", "intercept", "variance"}
    laplace = component_gaps(*split_measures("weights"), "laplace-D2")
    assert laplace.over == pytest.approx({"gate": 0.1, "coef": 0.2, "intercept": 0.3, "variance": 0.4})
    assert laplace.exact == pytest.approx({"gate": 0.0, "coef": 0.0, "intercept": 0.5, "variance": 1.2})
    with pytest.raises(ValueError, match="gaps are those"):
        component_gaps(estimate, truth, "topk-D1")


def test_merged_moments_without_interaction():
    """Where nothing translates the slopes, the moments of gate and experts are plain sums."""
    estimate, truth = split_measures("weights")
    found = voronoi_loss(estimate, truth, "merged")
    assert found.terms == pytest.approx({"weights": 0.0, "gate": 0.0, "coef": 0.0, "intercept": 1.0, "variance": 2.99})
    merged = estimate.merged(found.cells.cells)
    assert merged.gauge == "weights"
    np.testing.assert_allclose(merged.atoms["coef"], [[1.0], [-1.0]])


def test_errors():
    estimate, truth = split_measures()
    laplace = split_measures("weights")[1]
    with pytest.raises(ValueError, match="gauge weights, got 'softmax'"):
        voronoi_loss(estimate, truth, "laplace-D2")
    with pytest.raises(ValueError, match="one gauge"):
        voronoi_loss(estimate, laplace, "D1")
    with pytest.raises(ValueError, match=r"needs the blocks \['temperature'\]"):
        voronoi_loss(estimate, truth, "temperature-D1")
    with pytest.raises(ValueError, match=r"exponents for the blocks .* got \['temperature'\]"):
        voronoi_loss(*split_measures(temperature=0.1), "D2")
    with pytest.raises(ValueError, match="temperatures must be positive"):
        voronoi_loss(*split_measures(temperature=-0.6), "temperature-D1")
    with pytest.raises(ValueError, match="n_active=2"):
        voronoi_loss(estimate, truth, "topk-D1")
    with pytest.raises(ValueError, match="between 1 and the 2 experts"):
        voronoi_loss(estimate, truth, "topk-D1", n_active=3)
    with pytest.raises(ValueError, match="r must be at least 1"):
        voronoi_loss(estimate, truth, "lse-L2r", r=0.5)
    with pytest.raises(ValueError, match="at least one truth"):
        voronoi_loss(estimate, [], "D1")


def test_every_kind_is_tested_and_documented():
    from moestat.losses import composite, kinds

    tested = {*SETTINGS, *TOP_K, "merged", "temperature-D1", "temperature-D2sharp", "D1-hungarian"}
    tables = kinds.__doc__ + composite.__doc__
    composites = {*composite.SHARED, *composite.HIERARCHICAL, *composite.DEVIATED}
    assert set(KINDS) == tested | composites
    assert all(f" {kind}" in tables for kind in {*KINDS} - {"D1-hungarian"})
