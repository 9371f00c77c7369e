"""MixingMeasure: validation, gauge, and merges that keep the density to second order."""

import numpy as np
import pytest

import moestat as ms
from moestat.divergences import hellinger


def test_from_params_is_in_the_last_expert_gauge(sgb):
    params = {name: value.copy() for name, value in sgb.params.items()}
    params["gate_intercept"] = params["gate_intercept"] + 3.0
    params["gate_coef"] = params["gate_coef"] - 2.0
    measure = ms.MixingMeasure.from_params(params)
    np.testing.assert_allclose(measure.weights, [np.exp(0.5), 1.0], rtol=1e-14)
    np.testing.assert_allclose(measure.atoms["gate"], [[4.0], [0.0]], atol=1e-14)
    np.testing.assert_array_equal(measure.atoms["scale"], [0.5, 0.4])
    assert measure.n_atoms == 2


def test_huge_gate_intercepts_stay_finite(sgb):
    params = {**sgb.params, "gate_intercept": np.array([2000.0, 0.0])}
    measure = ms.MixingMeasure.from_params(params)
    assert np.isfinite(measure.weights).all()
    assert measure.weights[1] == 0.0


def test_it_is_frozen(random_measure, rng):
    measure = random_measure(3, 1, rng)
    with pytest.raises(AttributeError):
        measure.weights = np.ones(3)
    with pytest.raises(ValueError, match="read-only"):
        measure.weights[0] = 1.0
    with pytest.raises(TypeError):
        measure.atoms["gate"] = np.ones((3, 1))


@pytest.mark.parametrize(
    ("weights", "atoms", "message"),
    [
        ([1.0, -1.0], {"intercept": [0.0, 1.0]}, "non-negative"),
        ([[1.0]], {"intercept": [0.0]}, r"vector \(K,\)"),
        ([1.0], {}, "at least one block"),
        ([1.0], {"intercept": [0.0, 1.0]}, "1 rows"),
        ([1.0], {"gate": [0.0]}, r"shape \(K,d\)"),
        ([1.0], {"scale": [0.0]}, "positive standard deviations"),
        ([np.nan], {"intercept": [0.0]}, "weights must be finite"),
        ([1.0], {"intercept": [np.inf]}, "must be finite"),
        ([1.0], {"gate_location": [[np.nan]]}, "must be finite"),
    ],
)
def test_errors(weights, atoms, message):
    with pytest.raises(ValueError, match=message):
        ms.MixingMeasure(weights, atoms)


def test_errors_of_operations(random_measure, rng):
    measure = random_measure(3, 1, rng)
    with pytest.raises(ValueError, match="permutation"):
        measure.permuted([0, 0, 1])
    with pytest.raises(ValueError, match="partition"):
        measure.merged([[0, 1]])
    with pytest.raises(ValueError, match="constant gate"):
        ms.MixingMeasure([1.0], {"intercept": [0.0]}).translated(0.0, 1.0)
    with pytest.raises(ValueError, match="linear in the gate's features"):
        ms.MixingMeasure(
            [1.0, 1.0], {"gate": np.ones((2, 1)), "coef": np.ones((2, 2)), "intercept": [0.0, 1.0]}
        ).merged([[0, 1]])
    with pytest.raises(ValueError, match="gate_intercept"):
        ms.MixingMeasure.from_params({})


def test_gauges():
    atoms = {"gate": [[1.0], [0.0]], "gate_quadratic": [[[2.0]], [[0.0]]], "intercept": [0.0, 1.0]}
    measure = ms.MixingMeasure([1.0, 2.0], atoms)
    moved = measure.translated(0.5, 1.0, -2.0)
    np.testing.assert_allclose(moved.weights, np.exp(0.5) * measure.weights)
    np.testing.assert_array_equal(moved.atoms["gate"], [[2.0], [1.0]])
    np.testing.assert_array_equal(moved.atoms["gate_quadratic"], [[[0.0]], [[-2.0]]])
    laplace = ms.MixingMeasure([1.0, 2.0], atoms, "weights")
    assert laplace.translated(0.5).permuted([1, 0]).gauge == "weights"
    with pytest.raises(ValueError, match="only gauge 'softmax' translates slopes"):
        laplace.translated(0.0, 1.0)
    fixed = ms.MixingMeasure([0.4, 0.6], {"gate_location": [[1.0], [0.0]]}, gauge="none")
    with pytest.raises(ValueError, match="leave t1 at 0"):
        fixed.translated(1.0)
    with pytest.raises(ValueError, match=r"gauge must be one of .* got 'gaussian'"):
        ms.MixingMeasure([1.0], {"intercept": [0.0]}, "gaussian")
    with pytest.raises(ValueError, match=r"moment matching is known .* got \['gate_quadratic'\]"):
        measure.merged([[0, 1]])


def test_merge_without_interaction_of_gate_and_experts():
    atoms = {"gate": [[1.0], [3.0]], "coef": [[0.0, 4.0], [2.0, 8.0]], "intercept": [1.0, 2.0]}
    merged = ms.MixingMeasure([1.0, 3.0], atoms, "weights").merged([[0, 1]])
    np.testing.assert_allclose(merged.atoms["coef"], [[1.5, 7.0]])


def test_merge_by_hand():
    atoms = {"gate": [[1.0], [3.0]], "coef": [[0.0], [2.0]], "intercept": [1.0, 2.0], "scale": [1.0, 2.0]}
    merged = ms.MixingMeasure([1.0, 3.0], atoms).merged([[0, 1], []])
    # Shares 1/4, 3/4: means 2.5, 1.5, 1.75, 3.25; covariance of gate and intercept 3/8, variance of intercepts 3/16.
    np.testing.assert_allclose(merged.weights, [4.0])
    np.testing.assert_allclose(merged.atoms["gate"], [[2.5]])
    np.testing.assert_allclose(merged.atoms["coef"], [[1.5 + 0.375]])
    np.testing.assert_allclose(merged.atoms["intercept"], [1.75])
    np.testing.assert_allclose(merged.atoms["scale"] ** 2, [3.25 + 0.1875])


def test_merge_of_several_responses_matches_the_single_one(random_measure, rng):
    one = random_measure(4, 2, rng)
    many = ms.MixingMeasure(
        one.weights,
        {
            "gate": one.atoms["gate"],
            "coef": one.atoms["coef"][:, None, :],
            "intercept": one.atoms["intercept"][:, None],
            "covariance": one.atoms["scale"][:, None, None] ** 2,
        },
    )
    cells = [[0, 2], [1, 3]]
    left, right = one.merged(cells), many.merged(cells)
    np.testing.assert_allclose(left.atoms["coef"], right.atoms["coef"][:, 0])
    np.testing.assert_allclose(left.atoms["scale"] ** 2, right.atoms["covariance"][:, 0, 0])


def test_moment_matching_beats_plain_averages(sgb):
    """A cell split in intercepts and gates by eps differs from its merge by eps³, from the averages by eps²."""
    x = ms.distributions.Uniform(-1.0, 1.0)
    distances = {"matched": [], "averaged": []}
    for eps in (0.08, 0.04):
        split = np.array([1.0, -1.0, 0.0])
        p = {name: value[[0, 0, 1]] for name, value in sgb.params.items()}
        p["gate_intercept"] = p["gate_intercept"] - np.log([2.0, 2.0, 1.0])
        p["gate_coef"] = p["gate_coef"] + 0.1 * eps * split[:, None]
        p["expert_intercept"] = p["expert_intercept"] + eps * split
        estimate = ms.ConditionalMixture(gate="softmax", expert="gaussian", params=p)
        merged = estimate.mixing_measure().merged([[0, 1], [2]])
        matched = {
            **sgb.params,
            "expert_coef": merged.atoms["coef"],
            "expert_intercept": merged.atoms["intercept"],
            "expert_scale": merged.atoms["scale"],
        }
        other = ms.ConditionalMixture(gate="softmax", expert="gaussian", params=matched)
        distances["matched"].append(hellinger(estimate, other, x).value)
        distances["averaged"].append(hellinger(estimate, sgb, x).value)
    assert np.log2(np.divide(*distances["matched"])) > 2.7
    assert np.log2(np.divide(*distances["averaged"])) == pytest.approx(2.0, abs=0.15)
