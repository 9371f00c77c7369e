"""Checks of arguments and data at the door: what is wrong, the value, and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate

Array = NDArray[np.float64]

LARGEST = 1e100  # squares and products of larger numbers overflow


@dataclass(frozen=True)
class Data:
    """Checked data: `X (n, d)`, `y (n, D)`, `weight (n,)` or empty for one each; `kept` says which rows the caller's were.

    Rows of zero weight are left out, so that nothing in them matters, however large; `kept` is None when all rows stay.
    """

    X: Array
    y: Array
    weight: Array
    vector_y: bool
    kept: NDArray[np.bool_] | None = None
    offset: Array = field(default_factory=lambda: np.empty(0))


def numeric(name: str, value: ArrayLike) -> Array:
    """A finite float array, or a ValueError that names the first bad place."""
    try:
        out = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be numeric; it could not be read as floating-point numbers ({error})."
        ) from error
    if np.iscomplexobj(value):
        raise ValueError(f"{name} is complex; it must be real.")
    if not out.size:
        return out
    low, high = float(out.min()), float(out.max())  # NaN and infinity show in them, without arrays of the data's size
    if not (np.isfinite(low) and np.isfinite(high)):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(
            f"{name} contains {out[place]} at {_where(place)}; remove or impute the rows with NaN or infinity."
        )
    if max(-low, high) > LARGEST:
        place = tuple(int(i) for i in np.argwhere(np.abs(out) > LARGEST)[0])
        raise ValueError(
            f"{name} contains {out[place]:g} at {_where(place)}; rescale it to magnitudes below {LARGEST:g}."
        )
    return out


def interval_ends(y: ArrayLike) -> Array:
    """Numbers that may be infinite, never NaN.

    Raises
    ------
    ValueError
        If they are not numeric or contain NaN.
    """
    out = np.asarray(y, dtype=np.float64)
    numeric("y", np.where(np.isinf(out), 0.0, out))
    return out


def _where(place: tuple[int, ...]) -> str:
    return f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "") if place else "its only entry"


def data(
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    n_experts: Any,
    offset: ArrayLike | None = None,
    *,
    intervals: bool = False,
) -> Data:
    """Data of a fit; responses may be infinite where they are the ends of intervals.

    Raises
    ------
    ValueError
        If shapes disagree, values are not finite, weights are negative or all zero, or `n_experts` is no positive integer.
    """
    if isinstance(n_experts, bool) or not isinstance(n_experts, Integral) or int(n_experts) < 1:
        raise ValueError(f"n_experts={n_experts!r} must be a positive integer.")
    features, target = numeric("X", X), interval_ends(y) if intervals else numeric("y", y)
    if features.ndim != 2:
        raise ValueError(f"X has shape {features.shape}; expected (n, d) (reshape one feature by X[:, None]).")
    if target.ndim not in (1, 2) or len(target) != len(features):
        raise ValueError(
            f"y has shape {target.shape}; expected ({len(features)},) or ({len(features)}, D) to go with X {features.shape}."
        )
    if target.ndim == 2 and target.shape[1] == 0:
        raise ValueError("y has no columns; expected at least one response.")
    if not len(features):
        raise ValueError("X and y have no rows; give at least n_experts of them.")
    weight, kept, shift = np.empty(0), None, np.empty(0)
    if offset is not None:
        shift = numeric("offset", offset)
        if shift.shape != (len(features),):
            raise ValueError(f"offset has shape {shift.shape}; expected ({len(features)},), one number a row.")
    if sample_weight is not None:
        weight = numeric("sample_weight", sample_weight)
        if weight.shape != (len(features),):
            raise ValueError(f"sample_weight has shape {weight.shape}; expected ({len(features)},).")
        if (weight < 0).any():
            raise ValueError(f"sample_weight has a negative entry ({weight.min():g}); weights must not be negative.")
        if not weight.any():
            raise ValueError("sample_weight is zero for every row; give at least one positive weight.")
        if not weight.all():
            kept = weight > 0.0
            features, target, weight = features[kept], target[kept], weight[kept]
            shift = shift[kept] if shift.size else shift
        if (weight == 1.0).all():
            weight = np.empty(0)
    vector_y = target.ndim == 1
    y_columns = target[:, None] if vector_y else target
    return Data(features, y_columns, np.ascontiguousarray(weight), vector_y, kept, np.ascontiguousarray(shift))


def fits_together(gate: Gate, expert: BaseExpert, gate_l2: float, rows: Data) -> None:
    """What a likelihood fit refuses: unnormalised gates, penalties and offsets where they mean nothing.

    Raises
    ------
    ValueError
        With what would be right.
    """
    if not gate.normalised:
        raise ValueError(
            f"the weights of gate={gate!r} do not sum to one, so that there is no density to maximise; "
            "use objective='least_squares', or the normalised gate."
        )
    penalty(gate, gate_l2)
    if rows.offset.size and expert.closed_form and expert.location_scale:
        raise ValueError("an offset of Gaussian experts is a shift of the response: subtract it from y.")


def penalty(gate: Gate, gate_l2: float) -> None:
    """A ValueError where a penalty on slopes is asked of a gate that has none."""
    if gate_l2 and gate.raw_features:
        raise ValueError(f"gate_l2={gate_l2:g} penalises slopes, and gate={gate!r} has none; use gate_l2=0 and a box.")


def enough_rows(n_distinct: int, n_experts: int) -> None:
    """A ValueError when there are fewer distinct rows than experts."""
    if n_distinct < n_experts:
        raise ValueError(
            f"there are {n_distinct} distinct rows of positive weight for n_experts={n_experts}; give more rows or ask for fewer experts."
        )


def columns(selection: Sequence[int] | None, n_features: int, name: str) -> list[int]:
    """Column numbers; None means all.

    Raises
    ------
    ValueError
        If a number is out of range or repeated.
    """
    if selection is None:
        return list(range(n_features))
    out = [int(c) for c in selection]
    bad = [c for c in out if not -n_features <= c < n_features]
    if bad:
        raise ValueError(f"{name} has column {bad[0]}, but X has {n_features} columns (0…{n_features - 1}).")
    out = [c % n_features for c in out]
    if len(set(out)) != len(out):
        raise ValueError(f"{name}={list(selection)} names a column twice.")
    return out


def responsibilities(value: Any, data: Data, n_experts: int) -> Array:
    """Starting responsibilities `(n, K)` of the rows that are kept, normalised.

    Raises
    ------
    ValueError
        If the shape is wrong, an entry is negative, or a row is zero.
    """
    out = numeric("init", value)
    n = len(data.X) if data.kept is None else len(data.kept)
    if out.shape != (n, n_experts):
        raise ValueError(f"init has shape {out.shape}; responsibilities must be ({n}, {n_experts}).")
    if data.kept is not None:
        out = out[data.kept]
    total = out.sum(axis=1, keepdims=True)
    if (out < 0).any() or not (total > 0).all():
        raise ValueError("init as responsibilities needs non-negative rows with a positive sum.")
    return np.asarray(out / total)


def settings(
    *,
    solver: Any,
    solvers: Sequence[str],
    n_init: Any,
    tol: Any,
    max_iter: Any,
    gate_l2: Any,
    variance_floor: Any,
    n_jobs: Any,
) -> None:
    """Check the numeric settings of a fit.

    Raises
    ------
    ValueError
        If one is outside its range.
    """
    known = solver in solvers if isinstance(solver, str) else all(hasattr(solver, a) for a in ("name", "init", "step"))
    if not known:
        raise ValueError(f"solver={solver!r} is not known; give one of {list(solvers)} or a solver object.")
    for name, value in (("n_init", n_init), ("max_iter", max_iter), ("n_jobs", n_jobs)):
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
            raise ValueError(f"{name}={value!r} must be a positive integer.")
    for name, value in (("tol", tol), ("gate_l2", gate_l2), ("variance_floor", variance_floor)):
        if not isinstance(value, Real) or not np.isfinite(float(value)) or float(value) < 0.0:
            raise ValueError(f"{name}={value!r} must be a finite number, zero or larger.")
