"""Modified inputs: a polynomial map of `M(x)` in the place of `x`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moestat.maps.polynomial import PolynomialMap

Array = NDArray[np.float64]


class Inputs(Protocol):
    """A transform `M` of the columns of a gate."""

    def apply(self, X: Array) -> Array:
        """`M(x)` row by row, `(n, d) -> (n, d')`."""

    def labels(self, columns: Sequence[str]) -> list[str]:
        """Names of the new columns."""


@dataclass(frozen=True, eq=False)
class InputMap:
    """The polynomial map `inner` of the transformed columns `M(x)`; the same interface as `PolynomialMap`."""

    inputs: Inputs
    columns: tuple[int, ...]
    inner: PolynomialMap

    @classmethod
    def fit(
        cls, inputs: Inputs, X: Array, degree: int, columns: Sequence[int], weight: Array | None = None
    ) -> InputMap:
        """Orthonormal polynomials of `M(x)` under the weighted rows."""
        moved = inputs.apply(X[:, list(columns)])
        return cls(inputs, tuple(columns), PolynomialMap.fit(moved, degree, range(moved.shape[1]), weight))

    def raw_map(self) -> InputMap:
        """The map of the same columns whose features are monomials of `M(x)`."""
        return InputMap(self.inputs, self.columns, self.inner.raw_map())

    def refit(self, X: Array, weight: Array | None = None) -> InputMap:
        """See `PolynomialMap.refit`."""
        return InputMap.fit(self.inputs, X, self.degree, self.columns, weight)

    @property
    def degree(self) -> int:
        """Total degree in `M(x)`."""
        return self.inner.degree

    @property
    def transform(self) -> Array | None:
        """See `PolynomialMap.transform`."""
        return self.inner.transform

    @property
    def dependent(self) -> tuple[int, ...]:
        """See `PolynomialMap.dependent`."""
        return self.inner.dependent

    @property
    def n_raw(self) -> int:
        """Number of monomials, the constant included."""
        return self.inner.n_raw

    @property
    def n_features(self) -> int:
        """Number of internal features, the constant included."""
        return self.inner.n_features

    def features(self, X: Array) -> Array:
        """Features `(q', n)`."""
        return self.inner.features(self.inputs.apply(X[:, list(self.columns)]))

    def to_raw(self, coef: Array) -> Array:
        """See `PolynomialMap.to_raw`."""
        return self.inner.to_raw(coef)

    def from_raw(self, coef: Array) -> Array:
        """See `PolynomialMap.from_raw`."""
        return self.inner.from_raw(coef)

    def jacobian(self) -> Array:
        """See `PolynomialMap.jacobian`."""
        return self.inner.jacobian()

    def names(self, columns: Sequence[str]) -> list[str]:
        """Names of the raw monomials without the constant."""
        return self.inner.names(self.inputs.labels([columns[c] for c in self.columns]))

    def to_state(self) -> dict[str, Any]:
        """Plain data from which the map can be rebuilt, given its inputs (the gate has them)."""
        return {"columns": list(self.columns), "inner": self.inner.to_state()}


FeatureMap = PolynomialMap | InputMap


def make_map(
    degree: int,
    columns: Sequence[int],
    *,
    inputs: Inputs | None = None,
    X: Array | None = None,
    weight: Array | None = None,
) -> FeatureMap:
    """A map of the columns: orthonormal under the rows of `X` where they are given, raw monomials otherwise."""
    if inputs is None or degree == 0:
        return PolynomialMap.raw(degree, columns) if X is None else PolynomialMap.fit(X, degree, columns, weight)
    if X is not None:
        return InputMap.fit(inputs, X, degree, columns, weight)
    width = inputs.apply(np.ones((1, len(columns)))).shape[1]
    return InputMap(inputs, tuple(columns), PolynomialMap.raw(degree, range(width)))
