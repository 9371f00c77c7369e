"""Modified inputs `M(x)` of a gate: named transforms of its columns, or a function of the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from scipy.special import expit

from moestat.gates.base import Array
from moestat.gates.nonlinear import polar
from moestat.maps.inputs import Inputs


@dataclass(frozen=True)
class Transform:
    """A transform `M` of the columns of a gate, as in `softmax(β1ᵀM(x) + β0)`; see `resolve_transform`.

    Attributes
    ----------
    function : callable
        `(n, d) -> (n, d')`.
    write : callable or None
        Names of the new columns from those of the old; None numbers them `M1`, `M2`, …
    spec : str
        The name, or "" for a function of the user's own.
    """

    function: Callable[[Array], Any]
    write: Callable[[Sequence[str]], list[str]] | None = None
    spec: str = ""

    def apply(self, X: Array) -> Array:
        """`M(x)` row by row, `(n, d) -> (n, d')`.

        Raises
        ------
        ValueError
            If the result is not a finite real array with one row a row of `X`.
        """
        label = f"transform={self.spec!r}" if self.spec else f"the transform {self.function!r}"
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            out = np.asarray(self.function(X))
        if out.dtype.kind not in "fiub" or out.ndim != 2 or len(out) != len(X):
            raise ValueError(
                f"{label} made an array of shape {out.shape} and type {out.dtype} from X of shape {X.shape}; expected real numbers "
                f"of shape ({len(X)}, d')."
            )
        out = out.astype(float)
        bad = ~np.isfinite(out).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{label} made {out[row].tolist()} of row {row} of X, {X[row].tolist()}; expected finite numbers."
            )
        return out

    def labels(self, columns: Sequence[str]) -> list[str]:
        """Names of the new columns."""
        if self.write is not None:
            return self.write(columns)
        return [f"M{j + 1}" for j in range(self.apply(np.ones((1, len(columns)))).shape[1])]

    def n_columns(self, width: int) -> int | None:
        """Number of columns of which the transform makes `width`; None for a function of the user's own, which may make any.

        Raises
        ------
        ValueError
            If no number of columns does.
        """
        if self.write is None:
            return None
        for d in range(width + 1):
            if len(self.write([""] * d)) == width:
                return d
        raise ValueError(f"transform={self.spec!r} makes {width} columns of no number of columns.")

    def to_state(self) -> str:
        """The name, from which `resolve_transform` makes the transform again.

        Raises
        ------
        ValueError
            For a function of the user's own.
        """
        if not self.spec:
            raise ValueError(
                f"the transform {self.function!r} is a function, which cannot be saved; give the columns that it makes as X, or one of "
                f"{SPECS}."
            )
        return self.spec


def monomial_products(X: Any) -> Array:
    """Products of two columns, `x_i x_j` for `i ≤ j` in graded lexicographic order, `(n, d) -> (n, d(d + 1)/2)`.

    Examples
    --------
    >>> monomial_products([[2.0, 3.0]])
    array([[4., 6., 9.]])
    """
    X = np.asarray(X, dtype=float)
    rows, cols = np.triu_indices(X.shape[1])
    return np.asarray(X[:, rows] * X[:, cols])


def _sigmoid(X: Array) -> Array:
    return np.asarray(expit(X))


def _power(X: Array, p: int) -> Array:
    return np.asarray(X**p)


def _normalized(X: Array) -> Array:
    return polar(X, 1)[1]  # zero rows stay


def _product_names(columns: Sequence[str]) -> list[str]:
    return [
        f"{a}^2" if i == j else f"{a} {b}" for (i, a), (j, b) in combinations_with_replacement(enumerate(columns), 2)
    ]


def _each(columns: Sequence[str], pattern: str) -> list[str]:
    return [pattern.format(c) for c in columns]


def _columnwise(spec: str, function: Callable[[Array], Any], pattern: str) -> Transform:
    return Transform(function, partial(_each, pattern=pattern), spec)


TRANSFORMS: dict[str, Transform] = {
    "tanh": _columnwise("tanh", np.tanh, "tanh({})"),
    "sigmoid": _columnwise("sigmoid", _sigmoid, "sigmoid({})"),
    "normalized": _columnwise("normalized", _normalized, "{}/|x|"),
    "products": Transform(monomial_products, _product_names, "products"),
}

SPECS = [*TRANSFORMS, "power:p"]


def resolve_transform(spec: Any) -> Inputs:
    """The transform that is named or given.

    Parameters
    ----------
    spec : str, callable or transform
        "tanh" or "sigmoid" of every column; "power:p", every column to the power p = 1, 2, …; "normalized", `x/|x|`; "products", all
        products of two columns; or a function `(n, d) -> (n, d')` that works row by row (checked when it is applied).

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> cube = resolve_transform("power:3")
    >>> cube.apply(np.array([[1.0, -2.0]])), cube.labels(["x1", "x2"])
    (array([[ 1., -8.]]), ['x1^3', 'x2^3'])
    """
    if isinstance(spec, str):
        if spec in TRANSFORMS:
            return TRANSFORMS[spec]
        power = re.fullmatch(r"power:([1-9]\d*)", spec)
        if power:
            p = int(power[1])
            return _columnwise(spec, partial(_power, p=p), f"{{}}^{p}" if p > 1 else "{}")
    elif all(hasattr(spec, name) for name in ("apply", "labels", "to_state")):
        return spec  # type: ignore[no-any-return]
    elif callable(spec):
        return Transform(spec)
    raise ValueError(
        f"transform={spec!r} is not known; give one of {SPECS} (p = 1, 2, …) or a function from (n, d) to (n, d') arrays."
    )
