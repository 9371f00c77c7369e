"""Directions in which a gate is flat along curves: rank, missing standard errors, and those of what is identified."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from moestat.fitting import fit_mixture
from moestat.flat import flat_directions
from moestat.gates import CosineGate, GaussianGate, PerturbedCosineGate, SharedExperts, SoftmaxGate
from moestat.inference import InferenceWarning, infer
from moestat.inference.information import invert_information, within
from moestat.mixture import ConditionalMixture

EXPERTS = {"expert_coef": [[1.0, 0.5], [-1.0, 0.0]], "expert_intercept": [2.0, -1.0], "expert_scale": [0.5, 0.8]}
SLOPES = {"gate_coef": [[1.0, 0.0], [-0.6, 0.8]], "gate_intercept": [0.3, 0.0], **EXPERTS}
GATES = [CosineGate(0.3), PerturbedCosineGate(temperature=0.3), GaussianGate("conditional"), SoftmaxGate()]


def model(gate: Any) -> ConditionalMixture:
    if isinstance(gate, GaussianGate):
        places = {"gate_location": [[-1.0, 0.0], [1.0, 0.5]], "gate_covariance": [np.eye(2), 2.0 * np.eye(2)]}
        return ConditionalMixture(gate, "gaussian", {"gate_weight": [0.5, 0.5], **places, **EXPERTS})
    return ConditionalMixture(gate, "gaussian", SLOPES)


def sample(m: ConditionalMixture, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, (n, 2))
    return X, m.sample(X, rng)


@pytest.mark.parametrize("gate", GATES, ids=repr)
def test_directions_leave_the_weights_alone(gate: Any) -> None:
    """To first order, away from any maximum: the weights change with the square of a step."""
    m = model(gate)
    X, y = sample(m, 200, 0)
    objective, theta = m.objective(X, y, raw=True)
    flat = flat_directions(objective, theta)
    assert flat.shape == (len(theta), gate.null_directions(2, 3))
    for direction in (flat / np.linalg.norm(flat, axis=0)).T:
        change = [np.abs(m.with_free_vector(theta + h * direction).log_gate(X) - m.log_gate(X)) for h in (1e-3, 1e-4)]
        assert all(np.nanmax(c[np.isfinite(c)]) < 30.0 * h * h for c, h in zip(change, (1e-3, 1e-4), strict=True))


@pytest.mark.parametrize("gate", GATES[:3], ids=repr)
def test_rank_and_errors_beside_the_maximum(gate: Any) -> None:
    """Where the gradient is small but no rounding: so is the Hessian along a flat curve, the gradient times its bend."""
    truth = model(gate)
    X, y = sample(truth, 400, 1)
    m = fit_mixture(X, y, 2, gate=gate, init=truth.params).mixture
    m = m.with_free_vector(m.free_vector() + 1e-3 * np.random.default_rng(0).normal(size=len(m.free_vector())))
    null = gate.null_directions(2, 3)
    objective, theta = m.objective(X, y)
    assert (invert_information(-objective.derivatives(theta)[2]).null_eigenvalues != 0.0).all()  # a Hessian sees none
    with pytest.warns(InferenceWarning, match="singular"):
        results = infer(m, X, y)
    assert results.rank == len(theta) - null
    assert len(results.unidentified) == null
    slopes = [name for name in results.names if name.startswith("gate") and "Intercept" not in name]
    assert results.bse[slopes].isna().all()
    assert (results.bse.filter(like="expert") < 0.3).all()


@pytest.mark.parametrize(
    "gate", [CosineGate(0.3), PerturbedCosineGate(temperature=0.3), SharedExperts(1, "free", CosineGate())], ids=repr
)
def test_certificates_count_them(gate: Any) -> None:
    truth = model(CosineGate(0.3))
    for seed in range(4):
        X, y = sample(truth, 300, seed)
        k = 3 if isinstance(gate, SharedExperts) else 2
        result = fit_mixture(X, y, k, gate=gate, n_init=1, rng=0).result
        certificate = result.certificate
        assert certificate.rank <= certificate.n_params - gate.null_directions(k, 3)
        assert np.abs(certificate.eigenvalues).min() < 1e-14


def test_identified_directions_have_the_errors_of_angles() -> None:
    """A cosine gate in two columns is one in angles, which are identified: differences of the log-likelihood give their information."""
    truth = model(CosineGate(0.3))
    X, y = sample(truth, 500, 2)
    m = fit_mixture(X, y, 2, gate=truth.gate, init=truth.params, tol=1e-12).mixture
    slopes = m.params["gate_coef"]
    vector, angles = m.free_vector(), np.arctan2(slopes[:, 1], slopes[:, 0])
    names = m.free_names()
    where = [names.index(f"gate[{k}]:x{j}") for k in (1, 2) for j in (1, 2)]

    def loglik(move: np.ndarray) -> float:
        moved = vector.copy()
        turned = angles + move[:2]
        moved[where] = np.column_stack([np.cos(turned), np.sin(turned)]).ravel()
        moved[rest] += move[2:]
        return float(m.with_free_vector(moved).log_density(X, y).sum())

    rest = [i for i in range(len(vector)) if i not in where]
    p, h = len(rest) + 2, 1e-4
    steps = h * np.eye(p)
    hessian = np.array(
        [
            [sum(s * t * loglik(s * a + t * b) for s in (1, -1) for t in (1, -1)) / (4 * h * h) for b in steps]
            for a in steps
        ]
    )
    reference = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = infer(m, X, y)
    np.testing.assert_allclose(results.bse.to_numpy()[rest], reference[2:], rtol=1e-4)
    turns = np.zeros((2, len(vector)))
    for k in range(2):
        turns[k, where[2 * k : 2 * k + 2]] = -np.sin(angles[k]), np.cos(angles[k])
    assert results.estimable(turns).all()
    np.testing.assert_allclose(np.sqrt(np.diag(results.contrast_covariance(turns))), reference[:2], rtol=1e-4)


def test_flat_directions_are_taken_out_of_a_matrix() -> None:
    """A tiny curvature along a direction that is flat for certain counts as none, whatever the units."""
    units = np.array([1.0, 1e4, 1e-3])
    direction = np.array([[1.0], [1e-4], [0.0]])
    matrix = np.diag([1.0, 1.0, 2.0]) - np.array([[0.0, 1 - 1e-6, 0.0], [1 - 1e-6, 0.0, 0.0], [0.0, 0.0, 0.0]])
    matrix *= np.outer(units, units)
    assert invert_information(matrix).rank == 3
    inverse = invert_information(matrix, flat=direction)
    assert inverse.rank == 2
    assert inverse.identified(np.array([[1.0, -1e4, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])).tolist() == [
        True,
        False,
        True,
    ]
    basis = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(within(basis, np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 1.0]])), [[1.0], [2.0]])
