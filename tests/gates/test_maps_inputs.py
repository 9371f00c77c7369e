"""Modified inputs and quadratic gates."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from moestat.gates.inputs import SPECS, monomial_products, resolve_transform
from moestat.gates.quadratic import QuadraticGate, QuadraticMonomialGate, quadratic_coef, quadratic_params
from moestat.maps import InputMap, PolynomialMap
from moestat.mixture import ConditionalMixture

X = np.array([[0.5, -2.0], [3.0, 4.0], [0.0, 0.0]])
NAMED = {
    "tanh": (np.tanh(X), ["tanh(x1)", "tanh(x2)"]),
    "sigmoid": (1.0 / (1.0 + np.exp(-X)), ["sigmoid(x1)", "sigmoid(x2)"]),
    "power:3": (X * X * X, ["x1^3", "x2^3"]),
    "power:1": (X, ["x1", "x2"]),
    "normalized": (X / np.array([[np.hypot(0.5, 2.0)], [5.0], [1.0]]), ["x1/|x|", "x2/|x|"]),
    "products": (np.array([[0.25, -1.0, 4.0], [9.0, 12.0, 16.0], [0.0, 0.0, 0.0]]), ["x1^2", "x1 x2", "x2^2"]),
}


@pytest.mark.parametrize("spec", NAMED)
def test_named(spec):
    values, labels = NAMED[spec]
    transform = resolve_transform(spec)
    np.testing.assert_allclose(transform.apply(X), values, rtol=1e-15)
    assert transform.labels(["x1", "x2"]) == labels
    assert transform.n_columns(len(labels)) == 2
    again = pickle.loads(pickle.dumps(resolve_transform(transform.to_state())))
    np.testing.assert_array_equal(again.apply(X), transform.apply(X))
    assert spec in SPECS or spec.startswith("power:")


@pytest.mark.parametrize("spec", ["tanh", "sigmoid", "normalized"])
def test_bounded_transforms_do_not_overflow(spec):
    out = resolve_transform(spec).apply(np.array([[1e300, -1e300], [1e-320, 0.0], [-800.0, 800.0]]))
    assert (np.abs(out) <= 1.0).all()


def test_in_a_map():
    """The map of modified inputs: a linear function of `M(x)` whatever the internal basis, and its names."""
    rows = np.random.default_rng(0).normal(size=(50, 3))
    fitted = InputMap.fit(resolve_transform("products"), rows, 1, (2, 0))
    raw = fitted.raw_map()
    assert raw.names(["a", "b", "c"]) == ["c^2", "c a", "a^2"]
    coef = np.array([[0.3, 1.0, -2.0, 0.5]])
    np.testing.assert_allclose(
        fitted.from_raw(coef) @ fitted.features(rows), coef @ raw.features(rows), rtol=1e-11, atol=1e-12
    )


def test_function():
    """Functions of the user's own: numbered columns, no state."""
    mine = resolve_transform(lambda x: np.column_stack([x[:, 0] > 1, np.sin(x)]))
    np.testing.assert_array_equal(mine.apply(X), np.column_stack([[0.0, 1.0, 0.0], np.sin(X)]))
    assert mine.labels(["x1", "x2"]) == ["M1", "M2", "M3"]
    assert resolve_transform(mine) is mine
    assert mine.n_columns(3) is None
    with pytest.raises(ValueError, match="cannot be saved"):
        mine.to_state()


def test_impossible_width():
    with pytest.raises(ValueError, match="'products' makes 4 columns of no number"):
        resolve_transform("products").n_columns(4)


@pytest.mark.parametrize("spec", ["cube", "power:0", "power:-1", "power:0.5", "power", 3, None])
def test_unknown(spec):
    with pytest.raises(ValueError, match="is not known; give one of"):
        resolve_transform(spec)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[:1], r"shape \(1, 2\).*expected real numbers of shape \(3, d'\)"),
        (lambda x: x[:, 0], r"shape \(3,\)"),
        (lambda x: x + 1j, "complex"),
        (lambda x: 1.0 / x, "of row 2 of X"),
        (lambda x: x.astype(str), "type <U"),
    ],
)
def test_bad_functions(function, message):
    with pytest.raises(ValueError, match=message):
        resolve_transform(function).apply(X)


def test_overflow_is_reported():
    with pytest.raises(ValueError, match=r"'power:9' made .*inf.* of row 1 of X"):
        resolve_transform("power:9").apply(np.array([[1.0], [1e200]]))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_quadratic_coefficients(d):
    """The polynomial map's own monomials, `xᵀA x + bᵀx` and the products agree; there and back."""
    rng = np.random.default_rng(d)
    rows, coef = rng.normal(size=(7, d)), rng.normal(size=(2, d + d * (d + 1) // 2))
    monomials = PolynomialMap.raw(2, range(d)).features(rows)[1:]
    A, b = quadratic_params(coef, d)
    np.testing.assert_array_equal(A, A.swapaxes(1, 2))
    np.testing.assert_allclose(
        np.einsum("ni,kij,nj->kn", rows, A, rows) + b @ rows.T, coef @ monomials, rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(quadratic_coef(A, b), coef, rtol=1e-15)
    np.testing.assert_allclose(monomial_products(rows).T, monomials[d:], rtol=1e-15)
    A, b = quadratic_params(coef[:, d:], d)
    assert not b.any()
    np.testing.assert_allclose(quadratic_coef(A), coef[:, d:], rtol=1e-15)
    skew = A + np.triu(np.ones((d, d)), 1) - np.tril(np.ones((d, d)), -1)
    np.testing.assert_allclose(
        quadratic_coef(skew), coef[:, d:], rtol=1e-14, atol=1e-15
    )  # only the symmetric part counts


def test_quadratic_shapes():
    with pytest.raises(ValueError, match=r"shape \(1, 4\); for d=2 expected \(K, 5\), or \(K, 3\)"):
        quadratic_params(np.ones((1, 4)), 2)
    with pytest.raises(ValueError, match=r"A has shape \(2, 2\)"):
        quadratic_coef(np.eye(2))
    with pytest.raises(ValueError, match=r"b has shape \(2,\); expected \(1, 2\)"):
        quadratic_coef(np.eye(2)[None], np.ones(2))


def test_gates():
    """Both are softmax gates of linear scores, for the compiled kernels."""
    polynomial, monomial = QuadraticGate(), QuadraticMonomialGate()
    assert (polynomial.degree, monomial.degree) == (2, 1)
    assert not polynomial.general
    assert not monomial.general
    assert polynomial.inputs() is None
    assert pickle.loads(pickle.dumps(monomial)) == monomial
    np.testing.assert_array_equal(monomial.inputs().apply(X), monomial_products(X))


@pytest.mark.parametrize(
    ("gate", "coef", "logit"),
    [
        (QuadraticMonomialGate(), [2.0], lambda x: -1.5 + 2.0 * x * x),
        (QuadraticGate(), [1.0, 1.5], lambda x: -1.5 + x + 1.5 * x * x),
    ],
)
def test_weights_of_a_mixture(gate, coef, logit):
    """The quadratic models of the gate bench in the engine."""
    params = {
        "gate_intercept": [-1.5, 0.0],
        "gate_coef": [coef, [0.0] * len(coef)],
        "expert_coef": [[-2.0], [2.0]],
        "expert_intercept": [1.0, -1.0],
        "expert_scale": [0.5, 0.4],
    }
    x = np.linspace(-2.0, 2.0, 9)
    proba = ConditionalMixture(gate=gate, params=params).gate_proba(x[:, None])
    np.testing.assert_allclose(proba[:, 0], 1.0 / (1.0 + np.exp(-logit(x))), rtol=1e-13)
