"""Covariates of annotators: from a mapping, a frame or an array to one row an annotator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat import checks
from moestat.preference.data import Array, Indices


@dataclass(frozen=True, eq=False)
class Covariates:
    """Covariates `values (A, q)` of annotators, and the names of the columns."""

    values: Array
    names: tuple[str, ...]

    @classmethod
    def none(cls, n_annotators: int) -> Covariates:
        """No covariates."""
        return cls(np.zeros((n_annotators, 0)), ())


def read_covariates(U: Any, labels: NDArray[Any], codes: Indices) -> Covariates:
    """Covariates of the annotators `labels (A,)`, whose comparisons have the codes `codes (T,)`.

    `U` is None (no covariates), a mapping or a pandas frame or series indexed by label, an array with one row an annotator in the order of the
    sorted labels, or an array with one row a comparison.

    Raises
    ------
    ValueError
        If an annotator has no covariates, or two different ones; if the shape is wrong or an entry is not finite.
    """
    if U is None:
        return Covariates.none(len(labels))
    if hasattr(U, "loc") and hasattr(U, "index"):
        return _from_frame(U, labels, codes)
    if isinstance(U, Mapping):
        missing = [label for label in labels.tolist() if label not in U]
        _no_missing(missing, "key")
        values = checks.numeric("U", [np.ravel(U[label]) for label in labels.tolist()])
    else:
        values = _by_annotator(as_columns(checks.numeric("U", U)), labels, codes)
    return Covariates(values, tuple(f"u{j + 1}" for j in range(values.shape[1])))


def _from_frame(U: Any, labels: NDArray[Any], codes: Indices) -> Covariates:
    """Covariates of a pandas frame or series, by the labels of its index."""
    if len(set(U.index)) != len(U):
        raise ValueError(
            "U has repeated labels in its index; give one row an annotator, or U.to_numpy() with one row a comparison."
        )
    known = set(U.index)
    _no_missing([label for label in labels.tolist() if label not in known], "row")
    if len(U) == len(codes) > len(labels) and list(U.index) == list(range(len(U))):
        raise ValueError(
            f"U has {len(U)} rows, one a comparison, but its index 0 … {len(U) - 1} looks like annotators' labels; "
            "give U.to_numpy() for rows of comparisons, or one row an annotator indexed by label."
        )
    values = as_columns(checks.numeric("U", U.loc[labels.tolist()].to_numpy()))
    columns = list(U.columns) if hasattr(U, "columns") else [U.name if U.name is not None else "u1"]
    return Covariates(values, tuple(str(name) for name in columns))


def _no_missing(missing: Sequence[Any], what: str) -> None:
    if missing:
        shown = ", ".join(repr(label) for label in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise ValueError(
            f"U has no {what} for {len(missing)} annotators ({shown}); it must cover every label of annotator."
        )


def as_columns(values: Array) -> Array:
    """A vector as one column."""
    if values.ndim not in (1, 2):
        raise ValueError(f"U has shape {values.shape}; expected (n_annotators, q) or (T, q).")
    return values[:, None] if values.ndim == 1 else values


def _by_annotator(values: Array, labels: NDArray[Any], codes: Indices) -> Array:
    """One row an annotator, from rows of annotators or of comparisons."""
    n_annotators, n_sets = len(labels), len(codes)
    if len(values) not in (n_annotators, n_sets):
        raise ValueError(
            f"U has {len(values)} rows; expected {n_annotators} (one an annotator, in the order of the sorted labels) "
            f"or {n_sets} (one a comparison)."
        )
    if n_annotators == n_sets and not np.array_equal(codes, np.arange(n_sets)):
        raise ValueError(
            "U as an array is ambiguous here: there are as many annotators as comparisons, and the labels are not sorted; "
            "give a mapping or a data frame indexed by label."
        )
    if len(values) == n_annotators:
        return values
    out = values[np.unique(codes, return_index=True)[1]]
    differs = (values != out[codes]).any(axis=1)
    if differs.any():
        t = int(np.argmax(differs))
        raise ValueError(
            f"U differs between comparisons of annotator {labels[codes[t]]!r} (row {t}); covariates of the gate belong to the annotator. "
            "Give each context its own annotator label if they change."
        )
    return out
