"""Polynomial features of any total degree, orthonormal inside and monomial outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROW_BLOCK = 16384
RANK_TOLERANCE = 1e-12  # on the eigenvalues of the features' correlation matrix, which carry errors of about 1e-15


def exponents(n_columns: int, degree: int) -> NDArray[np.int64]:
    """Exponents `(q, n_columns)` of all monomials of total degree 0…degree, graded lexicographic, the constant first."""
    rows = []
    for total in range(degree + 1):
        for combination in combinations_with_replacement(range(n_columns), total):
            rows.append(np.bincount(np.asarray(combination, dtype=np.int64), minlength=n_columns))
    return np.array(rows, dtype=np.int64).reshape(len(rows), n_columns)


def legendre_to_monomial(degree: int, center: float, scale: float) -> Array:
    """Matrix `C[i, j]` with `P_i((x - center)/scale) = Σ_j C[i, j] x^j`, P_i the Legendre polynomials."""
    table = np.zeros((degree + 1, degree + 1))
    for i in range(degree + 1):
        in_u = np.polynomial.legendre.leg2poly([0.0] * i + [1.0])
        for power, c in enumerate(in_u):
            for j in range(power + 1):
                table[i, j] += c * comb(power, j) * (-center) ** (power - j) / scale**power
    return table


def monomial_to_legendre(degree: int, center: float, scale: float) -> Array:
    """The inverse of `legendre_to_monomial`, built directly (no matrix inversion)."""
    table = np.zeros((degree + 1, degree + 1))
    for i in range(degree + 1):
        in_u = np.array([comb(i, j) * scale**j * center ** (i - j) for j in range(i + 1)])
        table[i, : i + 1] = np.polynomial.legendre.poly2leg(in_u)
    return table


def _product_table(tables: Sequence[Array], powers: NDArray[np.int64]) -> Array:
    """Change of basis between product bases in several columns from the one-column tables."""
    q = len(powers)
    out = np.ones((q, q))
    for column, table in enumerate(tables):
        out *= table[powers[:, column][:, None], powers[:, column][None, :]]
    return out


@dataclass(frozen=True, eq=False)
class PolynomialMap:
    """All monomials up to a total degree of some columns, in an orthonormal basis of the data.

    The features are `φ(x) = T b(x)`: `b` are products of Legendre polynomials in `u = (x - center)/scale`, or plain monomials
    in the raw map, and `T` makes `φ` orthonormal under the weighted data, the constant feature first. Directions in which the
    data do not vary (constant or collinear columns) are left out of `T`: every estimate is then the minimum-norm one.

    Parameters
    ----------
    degree : int
        Total degree; 0 gives the constant alone.
    columns : tuple of int
        The columns of `X` that are used.
    center, scale : (len(columns),) arrays
        Affine standardisation of each column.
    transform : (q', q) array or None
        The matrix `T`; None is the raw map (`center` 0, `scale` 1, monomials).
    restore : (q, q') array or None
        The map back, `b(x) = restore φ(x)` on the data, exact also where columns depend on each other.
    dependent : tuple of int
        Positions (in monomial order) of the features that take part in a linear dependence.
    """

    degree: int
    columns: tuple[int, ...]
    center: Array
    scale: Array
    transform: Array | None = None
    restore: Array | None = None
    dependent: tuple[int, ...] = ()
    powers: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "powers", exponents(len(self.columns), self.degree))

    @classmethod
    def raw(cls, degree: int, columns: Sequence[int]) -> PolynomialMap:
        """The map whose features are the user's own monomials."""
        d = len(columns)
        return cls(degree, tuple(columns), np.zeros(d), np.ones(d))

    def raw_map(self) -> PolynomialMap:
        """The map of the same columns whose features are monomials."""
        return PolynomialMap.raw(self.degree, self.columns)

    def refit(self, X: Array, weight: Array | None = None) -> PolynomialMap:
        """The map of the same columns that is orthonormal under the weighted rows of `X`."""
        return PolynomialMap.fit(X, self.degree, self.columns, weight)

    @classmethod
    def fit(cls, X: Array, degree: int, columns: Sequence[int], weight: Array | None = None) -> PolynomialMap:
        """Choose centre, scale and `T` from the weighted rows of `X`; only rows of positive weight count."""
        used = slice(None) if weight is None or weight.all() else weight > 0
        cols = list(columns)
        low, high = np.empty(len(cols)), np.empty(len(cols))
        for j, c in enumerate(cols):
            x = X[:, c][used]
            low[j], high[j] = x.min(), x.max()
        center = 0.5 * low + 0.5 * high
        half = 0.5 * high - 0.5 * low
        scale = np.where(half > 1e-14 * np.abs(center), half, 1.0)
        for j in np.flatnonzero(scale != 1.0).tolist():
            if abs(degree * np.log10(max(scale[j], abs(center[j])))) > 200 or degree * np.log10(scale[j]) < -200:
                raise ValueError(
                    f"column {cols[j]} of X is of the order {max(scale[j], abs(center[j])):.1g}: its power {degree} leaves the range of "
                    "floating-point numbers. Rescale the column."
                )
        base = cls(
            degree, tuple(cols), center, np.where(scale > 0, scale, 1.0), np.eye(len(exponents(len(cols), degree)))
        )
        mean, covariance = base._moments(X, weight)
        transform, restore, dependent = _whiten(mean, covariance)
        return cls(degree, base.columns, center, base.scale, transform, restore, dependent)

    def _moments(self, X: Array, weight: Array | None) -> tuple[Array, Array]:
        """Weighted mean and covariance of the basis functions, accumulated over blocks; the mean first, for accuracy."""
        q = len(self.powers)
        if len(X) <= ROW_BLOCK:  # one block: its basis serves both sums
            b = self.basis(X)
            w = np.full(len(X), 1.0 / len(X)) if weight is None else weight / weight.sum()
            mean = b @ w
            b -= mean[:, None]
            return mean, (b * w) @ b.T
        starts = range(0, len(X), ROW_BLOCK)
        total, mean = 0.0, np.zeros(q)
        for i in starts:
            b = self.basis(X[i : i + ROW_BLOCK])
            w = np.ones(b.shape[1]) if weight is None else weight[i : i + ROW_BLOCK]
            total += float(w.sum())
            mean += b @ w
        mean /= total
        covariance = np.zeros((q, q))
        for i in starts:
            b = self.basis(X[i : i + ROW_BLOCK]) - mean[:, None]
            covariance += b @ (b.T if weight is None else (b * weight[i : i + ROW_BLOCK]).T)
        return mean, covariance / total

    @property
    def n_raw(self) -> int:
        """Number of monomials, the constant included."""
        return len(self.powers)

    @property
    def n_features(self) -> int:
        """Number of internal features, the constant included."""
        return self.n_raw if self.transform is None else len(self.transform)

    def basis(self, X: Array) -> Array:
        """The untransformed basis `b(x)`, `(q, n)`."""
        n, q = len(X), len(self.powers)
        out = np.empty((q, n))
        out[0] = 1.0
        if self.degree == 0 or not self.columns:
            return out
        u = (X[:, list(self.columns)].T - self.center[:, None]) / self.scale[:, None]
        if self.degree == 1:
            out[1:] = u
            return out
        table = [np.ones_like(u), u]
        for k in range(2, self.degree + 1):
            if self.transform is None:
                table.append(table[-1] * u)
            else:
                table.append(((2 * k - 1) * u * table[-1] - (k - 1) * table[-2]) / k)
        for i, power in enumerate(self.powers[1:], start=1):
            active = np.flatnonzero(power)
            out[i] = table[power[active[0]]][active[0]]
            for j in active[1:]:
                out[i] *= table[power[j]][j]
        return out

    def features(self, X: Array) -> Array:
        """Features `φ(x)`, `(q', n)`, contiguous along the rows of the data."""
        b = self.basis(X)
        return b if self.transform is None else self.transform @ b

    @cached_property
    def _tables(self) -> tuple[Array, Array]:
        """Changes of basis from Legendre products to monomials, and back."""
        if self.degree <= 1:
            down, up = np.eye(self.n_raw), np.eye(self.n_raw)
            if self.degree:
                down[1:, 0], up[1:, 0] = -self.center / self.scale, self.center
                down[1:, 1:], up[1:, 1:] = np.diag(1.0 / self.scale), np.diag(self.scale)
            return down, up
        pairs = [(float(c), float(s)) for c, s in zip(self.center, self.scale, strict=True)]
        down = _product_table([legendre_to_monomial(self.degree, c, s) for c, s in pairs], self.powers)
        up = _product_table([monomial_to_legendre(self.degree, c, s) for c, s in pairs], self.powers)
        return down, up

    def to_raw(self, coef: Array) -> Array:
        """Internal coefficients `(…, q')` as coefficients of the raw monomials `(…, q)`."""
        if self.transform is None:
            return coef
        return np.asarray(coef @ self.transform @ self._tables[0])

    def from_raw(self, coef: Array) -> Array:
        """Internal coefficients `(…, q')` of the function that has raw coefficients `(…, q)`, on the data."""
        if self.restore is None:
            return coef
        return np.asarray(coef @ self._tables[1] @ self.restore)

    def jacobian(self) -> Array:
        """Matrix `A (q', q)` of `to_raw`: raw = internal @ A."""
        return self.to_raw(np.eye(self.n_features))

    def names(self, columns: Sequence[str]) -> list[str]:
        """Names of the raw monomials without the constant: `x1`, `x1^2`, `x1 x2`, …"""
        labels = [columns[c] for c in self.columns]
        out = []
        for power in self.powers[1:]:
            parts = [f"{name}^{p}" if p > 1 else name for name, p in zip(labels, power, strict=True) if p]
            out.append(" ".join(parts))
        return out

    def to_state(self) -> dict[str, Any]:
        """Plain data from which `from_state` rebuilds the map."""
        return {
            "degree": self.degree,
            "columns": list(self.columns),
            "center": self.center,
            "scale": self.scale,
            "transform": self.transform,
            "restore": self.restore,
            "dependent": list(self.dependent),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PolynomialMap:
        """Rebuild a map from `to_state`."""
        transform, restore = (
            None if state[name] is None else np.asarray(state[name], dtype=float) for name in ("transform", "restore")
        )
        return cls(
            int(state["degree"]),
            tuple(int(c) for c in state["columns"]),
            np.asarray(state["center"], dtype=float),
            np.asarray(state["scale"], dtype=float),
            transform,
            restore,
            tuple(int(c) for c in state["dependent"]),
        )


def _whiten(mean: Array, covariance: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """`T` with `T b` orthonormal, its first row the constant; the map back; the basis functions in a dependence."""
    q = len(mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    varies = deviation > 1e-14 * (np.abs(mean) + 1.0)
    varies[0] = False
    keep = np.flatnonzero(varies)
    constant = np.flatnonzero(~varies)[1:]
    transform = np.zeros((1, q))
    transform[0, 0] = 1.0
    if not keep.size:
        return transform, mean[:, None].copy(), tuple(int(i) for i in constant)
    s = deviation[keep]
    values, vectors = np.linalg.eigh(covariance[np.ix_(keep, keep)] / np.outer(s, s))
    null = values <= RANK_TOLERANCE * len(keep) * values[-1]
    involved = keep[np.abs(vectors[:, null]).max(axis=1, initial=0.0) > 1e-5] if null.any() else keep[:0]
    rows = (vectors[:, ~null] / np.sqrt(values[~null])).T / s
    body = np.zeros((len(rows), q))
    body[:, keep] = rows
    body[:, 0] = -(rows @ mean[keep])
    back = np.zeros((q, 1 + len(rows)))
    back[:, 0] = mean
    back[keep, 1:] = s[:, None] * vectors[:, ~null] * np.sqrt(values[~null])
    return np.vstack([transform, body]), back, tuple(sorted(int(i) for i in (*constant, *involved)))
