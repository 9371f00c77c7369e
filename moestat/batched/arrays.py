"""Stacks of small problems: arrays with a leading axis that are gathered, scattered, chosen from and solved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

__all__ = ["Stacked", "log_sum_exp", "scatter", "solve_psd", "transposed"]

Array = Any  # of any Array API library
S = TypeVar("S", bound="Stacked")

TOLERANCE = 1e-12  # on eigenvalues after scaling to a unit diagonal, as in moestat.linalg


class Stacked:
    """A dataclass whose arrays share their leading axis; other fields are common to all."""

    def arrays(self) -> dict[str, Array]:
        """The fields that are arrays."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if hasattr(value, "dtype")}

    def map(self: S, function: Callable[[Array], Array]) -> S:
        """The same with a function of each array."""
        return replace(self, **{name: function(value) for name, value in self.arrays().items()})  # type: ignore[type-var]

    def take(self: S, xp: Any, index: Array) -> S:
        """The problems `index`, in that order."""
        return self.map(lambda value: xp.take(value, index, axis=0))

    def where(self: S, xp: Any, mask: Array, other: S) -> S:
        """This one where `mask (B,)`, the other elsewhere."""
        theirs = other.arrays()
        chosen = {name: choose(xp, mask, value, theirs[name]) for name, value in self.arrays().items()}
        return replace(self, **chosen)  # type: ignore[type-var]


def choose(xp: Any, mask: Array, left: Array, right: Array) -> Array:
    """`left` where `mask (B,)`, `right` elsewhere."""
    return xp.where(xp.reshape(mask, (-1,) + (1,) * (left.ndim - 1)), left, right)


def scatter(xp: Any, full: Array, index: Array, part: Array) -> Array:
    """`full` with the rows `index` (ascending) replaced by those of `part`; nothing is changed in place."""
    if index.shape[0] == full.shape[0]:
        return part
    every = xp.arange(full.shape[0], device=full.device, dtype=index.dtype)
    place = xp.clip(xp.searchsorted(index, every), None, index.shape[0] - 1)
    return choose(xp, xp.take(index, place) == every, xp.take(part, place, axis=0), full)


def transposed(array: Array) -> Array:
    """The last two axes exchanged."""
    # CuPy has mT since version 14
    return array.mT if hasattr(array, "mT") else array.swapaxes(-1, -2)


def log_sum_exp(xp: Any, values: Array, axis: int) -> tuple[Array, Array]:
    """`log Σ exp` along an axis (kept), and the shares `exp(values) / Σ exp`; values are finite."""
    top = xp.max(values, axis=axis, keepdims=True)
    shares = xp.exp(values - top)
    total = xp.sum(shares, axis=axis, keepdims=True)
    return top + xp.log(total), shares / total


def finite_rows(xp: Any, array: Array) -> Array:
    """Whether all entries of each problem are finite, `(B,)`."""
    return xp.all(xp.reshape(xp.isfinite(array), (array.shape[0], -1)), axis=1)


def solve_psd(xp: Any, matrix: Array, rhs: Array) -> Array:
    """Minimum-norm solutions of symmetric positive semidefinite systems `(…, q, q)` with right sides `(…, q)`.

    As `moestat.linalg.solve_psd`: matrices are scaled to a unit diagonal, and directions whose eigenvalue is numerically zero get no
    component. Systems that are not finite get the solution zero.
    """
    diagonal = xp.linalg.diagonal(matrix)
    inverse = xp.where(diagonal > 0.0, 1.0 / xp.sqrt(xp.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    scaled = matrix * inverse[..., :, None] * inverse[..., None, :]
    right = rhs * inverse
    sound = xp.all(xp.all(xp.isfinite(scaled), axis=-1), axis=-1) & xp.all(xp.isfinite(right), axis=-1)
    values, vectors = xp.linalg.eigh(xp.where(sound[..., None, None], scaled, 0.0))
    right = xp.where(sound[..., None], right, 0.0)
    cut = TOLERANCE * xp.clip(values[..., -1:], 1e-300, None)
    weight = xp.where(values > cut, 1.0 / xp.where(values > cut, values, 1.0), 0.0)
    along = xp.matmul(transposed(vectors), right[..., None])
    return xp.matmul(vectors, weight[..., None] * along)[..., 0] * inverse
