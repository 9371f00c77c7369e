"""Dendrograms: merged atoms keep weights and moments, levels are nested, the criterion finds the number of experts."""

from __future__ import annotations

import numpy as np
import pytest

import moestat as ms
from moestat.dendrograms import merge

PARAMS = {
    "gate_coef": [[4.0, 1.0], [3.0, -1.0], [0.0, 0.0]],
    "gate_intercept": [0.5, -0.2, 0.0],
    "expert_coef": [[-2.0, 0.5], [-1.5, 1.0], [2.0, 0.0]],
    "expert_intercept": [1.0, 0.8, -1.0],
    "expert_scale": [0.5, 0.6, 0.4],
}


def test_a_merged_atom_has_the_moments_of_its_two() -> None:
    """Weight, and the four merged moments of over-specified cells, by hand about the truth's atom at the origin."""
    params = {key: np.array(value) for key, value in PARAMS.items()}
    found = merge(params, 1, 0)
    w = np.exp(params["gate_intercept"][:2])
    assert np.exp(found["gate_intercept"][0]) == pytest.approx(w.sum())

    def moments(w, beta, a, b, sd):
        return w @ beta, w @ b, w @ a + (w * b) @ beta, w @ (sd**2 + b**2)

    keys = ("gate_coef", "expert_coef", "expert_intercept", "expert_scale")
    two = moments(w, *(params[key][:2] for key in keys))
    one = moments(w.sum(keepdims=True), *(found[key][:1] for key in keys))
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    np.testing.assert_array_equal(found["expert_coef"][1], params["expert_coef"][2])


def test_equal_atoms_merge_first_and_leave_the_density() -> None:
    truth = ms.ConditionalMixture(params={key: value[::2] for key, value in PARAMS.items()})
    double = {key: np.array(value)[[0, 0, 2]] for key, value in PARAMS.items()}
    double["gate_intercept"] = double["gate_intercept"] - np.log([2.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2))
    y = truth.sample(X, rng)
    tree = ms.dendrogram(ms.ConditionalMixture(params=double), X, y)
    assert tree.merged[0] == (0, 1)
    assert tree.heights[0] == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(tree.mixtures[1].log_density(X, y), truth.log_density(X, y), rtol=1e-10)
    np.testing.assert_allclose(tree.loglik[:2], truth.log_density(X, y).sum())
    assert [m.n_experts for m in tree.mixtures] == [3, 2, 1]
    np.testing.assert_allclose(tree.criterion, -(tree.heights + np.log(300) * tree.loglik[:2] / 300))
    assert tree.n_experts == 2
    assert tree.selected is tree.mixtures[1]
    assert tree.to_frame().shape == (3, 3)


def test_a_fit_with_too_many_experts() -> None:
    truth = ms.ConditionalMixture(params=PARAMS)
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (3000, 2))
    y = truth.sample(X, rng)
    est = ms.MoERegressor(4, n_init=4, random_state=0).fit(X, y)
    assert ms.dendrogram(est, X, y).n_experts in (2, 3)  # the first two experts are nearly alike


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ms.ConditionalMixture("laplace", params={"gate_location": [[0.0], [1.0]], "gate_intercept": [0.0, 0.0],
                                                  "expert_coef": [[1.0], [2.0]], "expert_intercept": [0.0, 1.0],
                                                  "expert_scale": [1.0, 1.0]}), "softmax or constant gates"),
        (ms.ConditionalMixture("constant", params={"gate_intercept": [0.0], "expert_coef": [[1.0]], "expert_intercept": [0.0],
                                                   "expert_scale": [1.0]}), "at least two experts"),
        (3, "softmax or constant gates"),
    ],
)  # fmt: skip
def test_models_without_a_dendrogram(model, message) -> None:
    with pytest.raises(ValueError, match=message):
        ms.dendrogram(model, np.zeros((3, 1)), np.zeros(3))
