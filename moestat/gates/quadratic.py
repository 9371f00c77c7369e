"""Quadratic gates: softmax gates in the monomials of degree two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moestat.gates.base import Array
from moestat.gates.inputs import monomial_products, resolve_transform
from moestat.gates.softmax import SoftmaxGate

__all__ = ["QuadraticGate", "QuadraticMonomialGate", "monomial_products", "quadratic_coef", "quadratic_params"]


@dataclass(frozen=True)
class QuadraticGate(SoftmaxGate):
    """Quadratic (polynomial) gate: `π_k(x) ∝ exp(xᵀA_k x + b_kᵀx + c_k)` (Akbarian, Nguyen, Han & Ho, "Quadratic gating functions in
    mixture of experts", 2024).

    A softmax gate that is linear in the monomials of degree one and two, with all its invariances: the last expert's A, b and c are
    zero. The posterior probabilities of a Gaussian mixture in x have this form, with covariances that may differ.

    Notes
    -----
    Parameters are `gate_intercept (K,)`, c, and `gate_coef (K, d + d(d + 1)/2)`: coefficients of `x1, …, xd, x1², x1 x2, …, xd²`.
    `quadratic_params` makes A and b of them, `quadratic_coef` them of A and b.

    Examples
    --------
    >>> from moestat.gates.quadratic import QuadraticGate, quadratic_params
    >>> QuadraticGate().degree
    2
    >>> A, b = quadratic_params([[1.0, 2.0, 3.0, 4.0, 5.0]], 2)
    >>> A[0], b[0]
    (array([[3., 2.],
           [2., 5.]]), array([1., 2.]))
    """

    name: ClassVar[str] = "quadratic"
    degree: ClassVar[int] = 2

    def slope_blocks(self, coef: Array) -> dict[str, Array]:
        """`b (K, d)` and the symmetric `A (K, d, d)`."""
        square, linear = quadratic_params(coef, n_squared(coef.shape[1], linear=True))
        return {"gate": linear, "gate_quadratic": square}


@dataclass(frozen=True)
class QuadraticMonomialGate(SoftmaxGate):
    """Quadratic monomial gate: `π_k(x) ∝ exp(xᵀA_k x + c_k)`, without linear terms (see `QuadraticGate`).

    The softmax gate of the modified inputs `M(x) = (x_i x_j)`. Not invariant to a shift of x, whose origin is part of the model.

    Notes
    -----
    Parameters are `gate_intercept (K,)`, c, and `gate_coef (K, d(d + 1)/2)`: coefficients of `x1², x1 x2, …, xd²`.

    Examples
    --------
    >>> from moestat.gates.quadratic import QuadraticMonomialGate
    >>> QuadraticMonomialGate().inputs().labels(["x1", "x2"])
    ['x1^2', 'x1 x2', 'x2^2']
    """

    name: ClassVar[str] = "quadratic_monomial"

    def __post_init__(self) -> None:
        if self.transform is not None:
            raise ValueError(
                f"transform={self.transform!r} has no place here: the products of columns are the transform."
            )
        super().__post_init__()

    def inputs(self) -> Any:
        """The products of two columns."""
        return resolve_transform("products")

    def slope_blocks(self, coef: Array) -> dict[str, Array]:
        """The symmetric `A (K, d, d)`."""
        return {"gate_quadratic": quadratic_params(coef, n_squared(coef.shape[1], linear=False))[0]}


def n_squared(width: int, linear: bool) -> int:
    """The d of `d(d + 1)/2` coefficients of products, or of `d(d + 3)/2` with the linear ones."""
    shift = 1.5 if linear else 0.5
    return round(float(np.sqrt(2.0 * width + shift * shift)) - shift)


def quadratic_params(gate_coef: Any, d: int) -> tuple[Array, Array]:
    """Symmetric `A (K, d, d)` and `b (K, d)` with `xᵀA x + bᵀx` the polynomial of coefficients in graded lexicographic order.

    The coefficients are `(K, d + d(d + 1)/2)`, or `(K, d(d + 1)/2)` without the linear ones (then `b` is zero).

    Raises
    ------
    ValueError
        If the number of coefficients is another one.
    """
    coef = np.atleast_2d(np.asarray(gate_coef, dtype=float))
    m = d * (d + 1) // 2
    if coef.ndim != 2 or coef.shape[1] not in (m, m + d):
        raise ValueError(
            f"gate_coef has shape {coef.shape}; for d={d} expected (K, {m + d}), or (K, {m}) without x itself."
        )
    rows, cols = np.triu_indices(d)
    A = np.zeros((len(coef), d, d))
    A[:, rows, cols] = 0.5 * coef[:, -m:] if m else 0.0
    b = coef[:, :d].copy() if coef.shape[1] > m else np.zeros((len(coef), d))
    return A + A.swapaxes(1, 2), b


def quadratic_coef(A: Any, b: Any = None) -> Array:
    """Coefficients in graded lexicographic order of `xᵀA x + bᵀx`, the inverse of `quadratic_params`; without `b` of `xᵀA x` alone.

    Raises
    ------
    ValueError
        If `A (K, d, d)` and `b (K, d)` have other shapes.
    """
    square = np.asarray(A, dtype=float)
    if square.ndim != 3 or square.shape[1] != square.shape[2]:
        raise ValueError(f"A has shape {square.shape}; expected (K, d, d).")
    rows, cols = np.triu_indices(square.shape[1])
    both = square + square.swapaxes(1, 2)
    products = both[:, rows, cols] * np.where(rows == cols, 0.5, 1.0)
    if b is None:
        return np.asarray(products)
    linear = np.asarray(b, dtype=float)
    if linear.shape != square.shape[:2]:
        raise ValueError(f"b has shape {linear.shape}; expected {square.shape[:2]}.")
    return np.concatenate([linear, products], axis=1)
