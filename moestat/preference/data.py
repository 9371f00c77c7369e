"""Choice data at the door: choice sets, chosen alternatives and annotators, checked and grouped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from moestat import checks

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

CONSTANT = 1e-13  # differences below this share of a feature's size are the rounding of a constant


@dataclass(frozen=True, eq=False)
class ChoiceSets:
    """The alternatives of T choice sets, one set after the other.

    Attributes
    ----------
    features : (R, p) array
    size : (T,) array of int
        Alternatives of each set, at least two.
    """

    features: Array
    size: Indices

    @cached_property
    def start(self) -> Indices:
        """First alternative of each set `(T,)`."""
        return np.asarray(np.cumsum(self.size) - self.size)

    @cached_property
    def place(self) -> tuple[Indices, Indices]:
        """Set and position within the set of each alternative, `(R,)` each."""
        which = np.repeat(np.arange(len(self.size)), self.size)
        return which, np.arange(len(which)) - self.start[which]

    def log_probabilities(self, coef: Array) -> Array:
        """`log softmax` of the rewards `coef (K, p)` within each set: `(T, m, K)`, `-inf` where a set has fewer than m alternatives."""
        differences = (
            self.features - self.features[self.start][self.place[0]]
        )  # a constant cancels before it is multiplied
        out = np.full((len(self.size), int(self.size.max()), len(coef)), -np.inf)
        out[self.place] = differences @ coef.T
        return np.asarray(log_softmax(out, axis=1))


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Choices grouped by annotator, as differences between the alternatives not chosen and the chosen one.

    Attributes
    ----------
    differences : (N, p) array
        `φ_i - φ_chosen` of the alternatives not chosen, one comparison after the other.
    size : (T,) array of int
        Alternatives not chosen of each comparison, at least one.
    annotator : (T,) array of int
        Codes 0 … A-1, ascending.
    weight : (T,) array
        Positive.
    """

    differences: Array
    size: Indices
    annotator: Indices
    weight: Array

    @cached_property
    def start(self) -> Indices:
        """First row of each comparison `(T,)`."""
        return np.asarray(np.cumsum(self.size) - self.size)

    @cached_property
    def comparison(self) -> Indices | slice:
        """The comparison of each row: an index `(N,)`, or everything where all are pairs."""
        return slice(None) if self.pairs else np.repeat(np.arange(len(self.size)), self.size)

    @cached_property
    def pairs(self) -> bool:
        """Whether there is one row a comparison."""
        return len(self.differences) == len(self.size)

    def reduced(self, ufunc: np.ufunc, values: Array) -> Array:
        """`ufunc` over the rows of each comparison, from `(N, …)` to `(T, …)`."""
        return values if self.pairs else np.asarray(ufunc.reduceat(values, self.start, axis=0))

    @cached_property
    def annotator_start(self) -> Indices:
        """First comparison of each annotator `(A,)`."""
        return np.flatnonzero(np.diff(self.annotator, prepend=-1))

    def transformed(self, root: Array) -> Comparisons:
        """The same choices with the features `differences @ root`."""
        return replace(self, differences=self.differences @ root)


def read_choice_sets(value: Any, n_features: int | None = None) -> ChoiceSets:
    """Choice sets from a `(T, m, p)` array, a list of `(m_t, p)` arrays, or a tuple of two `(T, p)` arrays (pairs).

    Raises
    ------
    ValueError
        If shapes disagree, a set has fewer than two alternatives, or an entry is not finite.
    """
    if isinstance(value, list):
        parts = [_floats("choice_sets", part) for part in value]
        for t, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != parts[0].shape[-1]:
                raise ValueError(
                    f"choice_sets[{t}] has shape {part.shape}; each entry of the list must be (m_t, p) with the same p."
                )
        size = np.array([len(part) for part in parts], dtype=np.intp)
        rows = np.concatenate(parts) if parts else np.zeros((0, 0))
    else:
        block = _pairs(value) if isinstance(value, tuple) else _floats("choice_sets", value)
        if block.ndim != 3:
            raise ValueError(
                f"choice_sets has shape {block.shape}; expected (T, m, p), a list of (m_t, p) arrays, or a tuple (A, B) of (T, p) arrays."
            )
        size = np.full(len(block), block.shape[1], dtype=np.intp)
        rows = block.reshape(-1, block.shape[2])
    if not len(size) or not rows.shape[1]:
        raise ValueError(f"choice_sets has {len(size)} sets and {rows.shape[1]} features; give at least one of each.")
    if size.min() < 2:
        t = int(np.argmin(size))
        raise ValueError(f"choice set {t} has {size[t]} alternatives; a choice needs at least two. Leave the set out.")
    if n_features is not None and rows.shape[1] != n_features:
        raise ValueError(f"choice_sets has {rows.shape[1]} features; the model was fitted with {n_features}.")
    sets = ChoiceSets(rows, size)
    bad = ~(np.abs(rows) <= checks.LARGEST)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        t, i = (int(index[row]) for index in sets.place)
        raise ValueError(
            f"choice_sets contains {rows[row, column]:g} in set {t}, alternative {i}, feature {column}; "
            f"remove or impute NaN and infinity, and rescale magnitudes above {checks.LARGEST:g}."
        )
    return sets


def _floats(name: str, value: Any) -> Array:
    """A real array of floats, which may still contain NaN."""
    try:
        out = np.asarray(value)
        if np.iscomplexobj(out):
            raise TypeError("it is complex")
        return out.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numeric arrays of equal shape; they could not be read ({error}).") from error


def _pairs(value: tuple[Any, ...]) -> Array:
    """The `(T, 2, p)` array of a tuple `(A, B)`."""
    parts = [_floats("choice_sets", part) for part in value]
    if len(parts) != 2 or parts[0].ndim != 2 or parts[0].shape != parts[1].shape:
        raise ValueError(
            f"choice_sets is a tuple of shapes {[part.shape for part in parts]}; for pairs give (A, B), both (T, p). "
            "Sets of different sizes go into a list."
        )
    return np.stack(parts, axis=1)


def read_chosen(value: ArrayLike, size: Indices) -> Indices:
    """Index of the chosen alternative of each set, `(T,)`.

    Raises
    ------
    ValueError
        If there is not one whole number a set, or one is out of range.
    """
    given = np.asarray(value)
    if given.shape != size.shape:
        raise ValueError(f"chosen has shape {given.shape}; expected one index a choice set, ({len(size)},).")
    if given.dtype.kind not in "iuf" or (given != np.floor(given)).any():
        raise ValueError(
            f"chosen has entries of type {given.dtype}; it must hold the index of the chosen alternative, a whole number from 0 "
            "(in a pair: 0 if the first was chosen, 1 if the second)."
        )
    out = (given < 0) | (given >= size)
    if out.any():
        t = int(np.argmax(out))
        raise ValueError(
            f"chosen[{t}] is {given[t]:g}, but set {t} has {size[t]} alternatives: it must be 0 … {size[t] - 1}."
        )
    return given.astype(np.intp)


def read_annotators(value: ArrayLike, n_sets: int) -> tuple[NDArray[Any], Indices]:
    """Sorted labels `(A,)` of the annotators, and the code of each comparison's annotator `(T,)`.

    Raises
    ------
    ValueError
        If there is not one label a choice set, one is missing, or they cannot be sorted.
    """
    labels = np.asarray(value)
    if labels.shape != (n_sets,):
        raise ValueError(f"annotator has shape {labels.shape}; expected one label a choice set, ({n_sets},).")
    missing = [t for t, label in enumerate(labels.tolist()) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"annotator has {len(missing)} missing labels (first in row {missing[0]}); leave these rows out."
        )
    try:
        unique, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"annotator has labels of several types, which cannot be sorted ({error}); make them all strings."
        ) from error
    return unique, codes.astype(np.intp)


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA has no truth value
        return True


def read_weights(value: ArrayLike | None, n_sets: int) -> Array:
    """Non-negative weights of the comparisons `(T,)`, not all zero.

    Raises
    ------
    ValueError
        If they are not.
    """
    if value is None:
        return np.ones(n_sets)
    weight = checks.numeric("sample_weight", value)
    if weight.shape != (n_sets,):
        raise ValueError(f"sample_weight has shape {weight.shape}; expected one weight a choice set, ({n_sets},).")
    if (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must not be negative, and positive for at least one comparison.")
    return weight


def comparisons(sets: ChoiceSets, chosen: Indices, codes: Indices, weight: Array) -> tuple[Comparisons, Indices]:
    """Choices of positive weight grouped by annotator, and the old codes `(A,)` of the annotators who made them."""
    order = np.argsort(codes, kind="stable")
    order = order[weight[order] > 0.0]
    size = sets.size[order]
    which = np.repeat(np.arange(len(order)), size)
    position = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    others = position != chosen[order][which]
    first = sets.start[order]
    rows = (first[which] + position)[others]
    differences = sets.features[rows] - sets.features[(first + chosen[order])[which[others]]]
    noise = CONSTANT * np.abs(sets.features).max(axis=0)
    differences[:, np.abs(differences).max(axis=0) <= noise] = 0.0
    kept, annotator = np.unique(codes[order], return_inverse=True)
    return Comparisons(differences, size - 1, annotator.astype(np.intp), weight[order]), kept
