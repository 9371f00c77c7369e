"""Derivatives of atoms against differences and mpmath; ranks, relations and cones on families that are known."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import moestat as ms
from moestat.audit.atoms import atom_of, expert_pieces, gate_pieces, log_density, one_expert
from moestat.audit.points import law_of, points_of
from moestat.audit.rank import column_rank, hidden_order, relation

Array = np.ndarray[Any, Any]

PLANE = {"expert_coef": [[-2.0, 0.5], [2.0, 0.0]], "expert_intercept": [1.0, -1.0]}
SCALES = {"expert_scale": [0.5, 0.4]}
SLOPES = {"gate_coef": [[1.6, -0.5], [0.0, 0.0]], "gate_intercept": [0.5, 0.0]}
PLACES = {"gate_location": [[0.3, 0.1], [-0.2, -0.6]], "gate_intercept": [0.5, 0.0]}

EXPERTS: list[tuple[Any, dict[str, Any]]] = [
    ("gaussian", PLANE | SCALES),
    ("student_t", PLANE | SCALES | {"expert_df": [4.0, 6.0]}),
    ("gamma", PLANE | {"expert_shape": [2.0, 3.0]}),
    ("poisson", PLANE),
    ("zero_inflated_poisson", PLANE | {"expert_zero_proba": [0.3, 0.2]}),
    (
        ms.experts.MultinomialExpert(),
        {"expert_coef": np.ones((2, 2, 2)), "expert_intercept": [[0.2, -0.3], [1.0, 0.0]]},
    ),
    ("gaussian", {"expert_coef": np.ones((2, 2, 2)), "expert_intercept": np.ones((2, 2)),
                  "expert_covariance": [[[1.0, 0.3], [0.3, 0.5]]] * 2}),
]  # fmt: skip
GATES: list[tuple[Any, dict[str, Any]]] = [
    ("softmax", SLOPES),
    (ms.gates.SoftmaxGate(temperature=0.5), SLOPES),
    ("quadratic_monomial", {"gate_coef": [[1.6, -0.5, 0.3], [0.0, 0.0, 0.0]], "gate_intercept": [0.5, 0.0]}),
    ("laplace", PLACES),
    ("gaussian", {"gate_weight": [0.4, 0.6], "gate_location": PLACES["gate_location"],
                  "gate_covariance": [[[0.5, 0.1], [0.1, 0.4]], [[0.3, 0.0], [0.0, 0.2]]]}),
    ("cosine", {"gate_coef": [[1.0, 0.4], [-0.5, 0.8]], "gate_intercept": [0.5, 0.0]}),
    (ms.gates.ActivationGate(reference=False), {"gate_coef": [[1.0, 0.4], [-0.5, 0.8]], "gate_intercept": [0.5, 0.0], "gate_temperature": 0.7}),
]  # fmt: skip


def second_differences(value: Any, p: int, h: float = 1e-3) -> tuple[Array, Array]:
    """First `(P, N)` and second `(P, P, N)` derivatives at zero of a function of a vector, by differences of fourth order."""
    weights = {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}
    unit = np.eye(p) * h
    first = np.stack([sum(w * value(s * unit[i]) for s, w in weights.items()) / h for i in range(p)])
    second = np.stack([
        np.stack([
            sum(w * v * value(s * unit[i] + t * unit[j]) for s, w in weights.items() for t, v in weights.items()) / h**2
            for j in range(p)
        ])
        for i in range(p)
    ])  # fmt: skip
    return first, second


@pytest.mark.parametrize(("expert", "params"), EXPERTS, ids=lambda v: str(v)[:24] if not isinstance(v, dict) else "")
def test_derivatives_of_experts(expert: Any, params: dict[str, Any]) -> None:
    model = ms.ConditionalMixture("softmax", expert, SLOPES | params)
    X, y = points_of(model, 0, law_of(model, None), 40, np.random.default_rng(0))
    assert y is not None
    pieces = expert_pieces(model, 0, X, y)
    coef, scale = one_expert(model, 0)
    phi = model.expert_map.raw_map().features(X)
    base = log_density(model.expert, coef, scale, phi, y)
    n = coef.size
    index = model.layout.scale_index[0]
    free = np.unique(index[index >= 0])
    tie = np.array([index == v for v in free], dtype=float).reshape(len(free), scale.shape[1])
    at = scale[0] @ np.linalg.pinv(tie) if len(free) else np.zeros(0)
    nu = np.array([name.startswith("ν") for name in pieces.names[n:]])
    log = np.array([not name.startswith(("ν", "logit", "cholesky")) for name in pieces.names[n:]])
    start = np.where(nu, np.exp(2.0 * at), np.where(log, np.exp(at), at))

    def value(move: Array) -> Array:
        moved = start + move[n:]
        raw = np.where(nu, 0.5 * np.log(np.abs(moved)), np.where(log, np.log(np.abs(moved)), moved))
        density = log_density(model.expert, coef + move[:n].reshape(coef.shape), (raw @ tie)[None], phi, y)
        return np.exp(density - base)

    first, second = second_differences(value, len(pieces.names))
    np.testing.assert_allclose(pieces.first, first, rtol=1e-6, atol=1e-6 * np.abs(first).max())
    np.testing.assert_allclose(pieces.second, second, rtol=1e-5, atol=1e-5 * np.abs(second).max())


@pytest.mark.parametrize(("gate", "params"), GATES, ids=lambda v: str(v)[:24] if not isinstance(v, dict) else "")
def test_derivatives_of_gates(gate: Any, params: dict[str, Any]) -> None:
    model = ms.ConditionalMixture(gate, "gaussian", params | PLANE | SCALES)
    X = law_of(model, None).sample(30, np.random.default_rng(1))
    pieces = gate_pieces(model, 1, X)
    gamma, z = model.gate_map.to_raw(model.internal.gate), model.gate_map.raw_map().features(X)
    scored: Any = model.gate
    base = scored.scores(gamma, z)[1]
    p = len(pieces.names)

    def value(move: Array) -> Array:
        moved = gamma.copy()
        moved[1, 1 : 1 + p] += move
        return np.exp(scored.scores(moved, z)[1] - base)

    first, second = second_differences(value, p)
    np.testing.assert_allclose(pieces.first, first, rtol=1e-6, atol=1e-7 * np.abs(first).max())
    np.testing.assert_allclose(pieces.second, second, rtol=1e-5, atol=1e-6 * np.abs(second).max())


def test_products_of_gate_and_expert() -> None:
    model = ms.ConditionalMixture("laplace", "gaussian", PLACES | PLANE | SCALES)
    X, y = points_of(model, 0, law_of(model, None), 20, np.random.default_rng(0))
    atom = atom_of(model, 0, X, y)
    gate, expert = gate_pieces(model, 0, X), expert_pieces(model, 0, X, y)
    assert atom.names == (*gate.names, *expert.names)
    np.testing.assert_array_equal(atom.second[1, 3], gate.first[1] * expert.first[1])
    np.testing.assert_allclose(atom.second, atom.second.swapaxes(0, 1), rtol=1e-13, atol=1e-13)


def test_student_t_solves_an_equation_of_its_own() -> None:
    """A finding of the audit: `∂²f/∂b² + ∂²f/∂s²/ν = (ν - 1)/(ν s) ∂f/∂s`, elliptic in location and scale."""
    nu, s, b, y = mpmath.mpf(4), mpmath.mpf("0.5"), mpmath.mpf("0.3"), mpmath.mpf("1.1")

    def f(location: Any, scale: Any) -> Any:
        return (1 + ((y - location) / scale) ** 2 / nu) ** (-(nu + 1) / 2) / scale

    with mpmath.workdps(50):
        left = mpmath.diff(f, (b, s), (2, 0)) + mpmath.diff(f, (b, s), (0, 2)) / nu
        assert abs(left - (nu - 1) / (nu * s) * mpmath.diff(f, (b, s), (0, 1))) < mpmath.mpf(10) ** -20
    model = ms.ConditionalMixture("softmax", "student_t", {**SLOPES, **PLANE, **SCALES, "expert_df": [4.0, 6.0]})
    report = ms.identifiability(model)
    assert "∂²f/∂b² = 1.5 ∂f/∂scale − 0.25 ∂²f/∂scale²" in report.atoms[0].relations
    assert report.atoms[0].hidden.atoms == 3  # no two atoms hide a second order that has rank two
    assert [report.atoms[0].names[i] for i in report.atoms[0].hidden.slow] == ["b", "scale"]


# -- linear algebra -----------------------------------------------------------------------------------------------------


def test_rank_and_relation() -> None:
    x = np.random.default_rng(0).normal(size=200)
    columns = np.column_stack([np.ones(200), x, 2.0 - 3.0 * x, 1e-7 * x**2, np.zeros(200)])
    found = column_rank(columns, np.ones(5))
    assert (found.rank, found.n_functions, found.full, found.clear) == (3, 5, False, True)
    np.testing.assert_allclose(columns @ found.null, 0.0, atol=1e-12)
    vector = found.null[:, np.abs(found.null[2]) > 0.0][:, 0]
    assert relation(vector, ["1", "x", "u", "w", "o"], 2) == "u = 2 1 − 3 x"
    assert relation(np.array([0.0, 1.0]), ["a", "b"], 1) == "b = 0"


def null_of(*matrices: Array, firsts: Array | None = None) -> Array:
    """Vanishing combinations whose second-order parts are these symmetric matrices `(P, P)`."""
    p = len(matrices[0])
    rows, cols = np.tril_indices(p)
    seconds = np.array([m[rows, cols] * np.where(rows == cols, 0.5, 1.0) for m in matrices])
    first = np.zeros((len(matrices), p)) if firsts is None else firsts
    return np.concatenate([np.zeros((len(matrices), 1)), first, seconds], axis=1).T


def test_only_semidefinite_combinations_hide_a_split() -> None:
    e = np.eye(3)
    product = np.outer(e[0], e[1]) + np.outer(e[1], e[0])
    assert hidden_order(null_of(product), np.ones(3)).slow == ()
    assert hidden_order(null_of(np.diag([1.0, -1.0, 0.0])), np.ones(3)).slow == ()
    found = hidden_order(
        null_of(np.diag([0.0, 1.0, 0.0]), product, firsts=np.array([[0.0, 0.0, -2.0], [0, 0, 0]])), np.ones(3)
    )
    assert (found.slow, found.partners, found.atoms) == ((1,), (2,), 2)
    np.testing.assert_allclose(np.abs(found.directions), [[0.0, 1.0, 0.0]], atol=1e-7)
    rank_two = hidden_order(null_of(np.diag([1.0, 1.0, 0.0])), np.ones(3))
    assert (rank_two.slow, rank_two.atoms, len(rank_two.directions)) == ((0, 1), 3, 0)
    every = hidden_order(null_of(np.diag([1.0, 0, 0]), np.diag([0, 1.0, 0]), product), np.ones(3))
    assert (every.slow, every.atoms) == ((0, 1), 2)


def test_units_do_not_matter() -> None:
    v = np.array([1e-6, 1.0, 1e6])
    found = hidden_order(null_of(np.outer(1.0 / v, 1.0 / v)), v)
    assert found.slow == (0, 1, 2)
    np.testing.assert_allclose(np.abs(found.directions), np.full((1, 3), 3**-0.5), rtol=1e-6)
