"""Moves on parameters: split and merge keep moments, perturbation keeps the gauge and follows the units."""

from __future__ import annotations

import numpy as np
import pytest

from moestat.solvers.moves import perturbed, split_merge_candidates


def scalar_params() -> dict[str, np.ndarray]:
    return {
        "gate_coef": np.array([[1.0, 0.5], [-1.0, 0.2], [0.3, -0.7], [0.0, 0.0]]),
        "gate_intercept": np.array([0.1, -0.4, 0.8, 0.0]),
        "expert_coef": np.array([[1.0, 2.0], [0.0, 1.0], [-1.0, 0.5], [2.0, 2.0]]),
        "expert_intercept": np.array([0.0, 1.0, -1.0, 3.0]),
        "expert_scale": np.array([0.5, 1.0, 2.0, 0.3]),
    }


def joint_params() -> dict[str, np.ndarray]:
    params = scalar_params()
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 2, 2))
    covariance = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(2)
    params["expert_coef"] = rng.normal(size=(4, 2, 2))
    params["expert_intercept"] = rng.normal(size=(4, 2))
    params["expert_covariance"] = covariance
    params["expert_scale"] = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return params


def response_moments(params: dict[str, np.ndarray], x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Log of the gate's normaliser, mean and covariance of y at x."""
    K = len(params["gate_intercept"])
    score = params["gate_coef"] @ x + params["gate_intercept"]
    pi = np.exp(score - score.max())
    pi /= pi.sum()
    mean = (params["expert_coef"] @ x + params["expert_intercept"]).reshape(K, -1)
    default = params["expert_scale"].reshape(K, -1)[:, :, None] ** 2
    covariance = params.get("expert_covariance", default)
    centre = pi @ mean
    deviation = mean - centre
    total = np.einsum("k,kij->ij", pi, covariance) + np.einsum("k,ki,kj->ij", pi, deviation, deviation)
    return float(np.logaddexp.reduce(score)), centre, total


@pytest.mark.parametrize("make", [scalar_params, joint_params])
def test_split_and_merge_keeps_the_moments_at_the_centre(make) -> None:
    params = make()
    x = np.array([0.3, -0.6])
    score = params["gate_coef"] @ x + params["gate_intercept"]
    pi = np.exp(score) / np.exp(score).sum()
    # Overlap whose row sums are the gate's probabilities at x, so that the merge weighs by them.
    overlap = 0.5 * np.diag(pi) + 0.5 * np.outer(pi, pi)
    candidates = split_merge_candidates(params, overlap, gate_center=x, expert_center=x)
    assert len(candidates) == 4
    reference = response_moments(params, x)
    for candidate in candidates:
        assert {name: value.shape for name, value in candidate.items()} == {n: v.shape for n, v in params.items()}
        for got, expected in zip(response_moments(candidate, x), reference, strict=True):
            assert np.allclose(got, expected, rtol=1e-12)
        if "expert_covariance" in candidate:
            assert np.all(np.linalg.eigvalsh(candidate["expert_covariance"]) > 0)
            root = np.sqrt(np.diagonal(candidate["expert_covariance"], axis1=1, axis2=2))
            assert np.allclose(candidate["expert_scale"], root, rtol=1e-13)


def test_split_and_merge_takes_the_pair_of_largest_overlap_first() -> None:
    params = scalar_params()
    overlap = np.diag([10.0, 10.0, 10.0, 10.0])
    overlap[1, 3] = overlap[3, 1] = 8.0
    first = split_merge_candidates(params, overlap)[0]
    assert np.array_equal(first["expert_coef"][0], params["expert_coef"][0])
    assert np.allclose(first["expert_coef"][1], params["expert_coef"][[1, 3]].mean(axis=0))
    # Expert 2 has the widest residuals of the two left: its copies are 2 and 3.
    assert first["expert_intercept"][[2, 3]].tolist() == pytest.approx([-1.0 + 1.2, -1.0 - 1.2])
    assert np.allclose(first["gate_intercept"][[2, 3]], 0.8 - np.log(2.0))


def test_split_and_merge_needs_three_experts() -> None:
    params = {name: value[:2] for name, value in scalar_params().items()}
    assert split_merge_candidates(params, np.eye(2)) == []
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        split_merge_candidates(params, np.eye(3))
    with pytest.raises(ValueError, match=r"radius is 1\.5"):
        split_merge_candidates(params, np.eye(2), radius=1.5)


@pytest.mark.parametrize("make", [scalar_params, joint_params])
def test_perturbed_scales_with_the_experts_and_keeps_the_gauge(make) -> None:
    params = make()
    draws = [perturbed(params, 0.1, np.random.default_rng(s)) for s in range(400)]
    spread = np.std([p["expert_intercept"] for p in draws], axis=0)
    assert np.allclose(spread, 0.1 * params["expert_scale"], rtol=0.2)
    assert all(np.array_equal(p["gate_coef"][-1], params["gate_coef"][-1]) for p in draws)
    again = perturbed(params, 0.1, np.random.default_rng(3))
    assert all(np.array_equal(again[name], draws[3][name]) for name in params)
    still = perturbed(params, 0.0, np.random.default_rng(0))
    assert all(np.array_equal(still[name], value) for name, value in params.items())


def test_perturbation_is_equivariant_under_a_change_of_units() -> None:
    params = scalar_params()
    centre, spread = np.array([5.0, -200.0]), np.array([0.01, 50.0])
    raw = {name: value.copy() for name, value in params.items()}
    for part in ("gate", "expert"):
        raw[f"{part}_coef"] = params[f"{part}_coef"] / spread
        raw[f"{part}_intercept"] = params[f"{part}_intercept"] - raw[f"{part}_coef"] @ centre
    plain = perturbed(params, 0.3, np.random.default_rng(1))
    moved = perturbed(
        raw,
        0.3,
        np.random.default_rng(1),
        gate_center=centre,
        gate_spread=spread,
        expert_center=centre,
        expert_spread=spread,
    )
    z = np.array([0.4, -1.1])
    for got, expected in zip(response_moments(moved, centre + spread * z), response_moments(plain, z), strict=True):
        assert np.allclose(got, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="radius is -1"):
        perturbed(params, -1, np.random.default_rng(0))


def test_known_scale_stays() -> None:
    params = joint_params()
    for moved in (
        perturbed(params, 0.5, np.random.default_rng(0), keep_scale=True),
        split_merge_candidates(
            params | {"expert_covariance": np.tile(np.eye(2), (4, 1, 1))}, np.eye(4), keep_scale=True
        )[0],
    ):
        assert set(moved) == set(params)
    assert np.array_equal(moved["expert_covariance"], np.tile(np.eye(2), (4, 1, 1)))
