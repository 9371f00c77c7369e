"""Bounds on raw parameters, as users write them, in the places of the internal parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.layout import Layout, Parameters

Array = NDArray[np.float64]


def box_bounds(
    layout: Layout, box: Mapping[str, tuple[ArrayLike, ArrayLike]], vector_y: bool
) -> tuple[Parameters, Parameters]:
    """Lower and upper bounds of all parameters, infinite where the box says nothing (raw coordinates only).

    Raises
    ------
    ValueError
        If a name is unknown, bounds are no pair of numbers or do not broadcast, or leave no value of a scale.
    """
    rows, p = layout.gate_index.shape
    k, d, q = layout.n_experts, layout.n_predictors, layout.q_expert
    tail = () if d == 1 and vector_y else (d,)
    scalars = layout.expert.box_scalars(d, vector_y)
    shapes: dict[str, tuple[int, ...]] = {
        "gate_intercept": (rows,),
        "gate_coef": (rows, p - 1),
        "expert_intercept": (k, *tail),
        "expert_coef": (k, *tail, q - 1),
        **{key: (k, *shape) for key, (_, shape) in scalars.items()},
    }
    unknown = sorted(set(box) - set(shapes))
    if unknown == ["expert_scale"]:
        raise ValueError("box on 'expert_scale' needs covariance='diag' or 'spherical' when y has several columns.")
    if unknown:
        raise ValueError(f"box has unknown parameters {unknown}; it may bound {sorted(shapes)}.")
    for name, pair in box.items():
        if not _is_pair(pair):
            raise ValueError(f"box[{name!r}]={pair!r} must be a pair (lower, upper) of numbers; use ±inf for none.")
    sides = []
    for side, default in ((0, -np.inf), (1, np.inf)):
        value = {}
        for name, shape in shapes.items():
            given = np.asarray(box[name][side] if name in box else default, dtype=float)
            try:
                value[name] = np.broadcast_to(given, shape)
            except ValueError as error:
                raise ValueError(f"box[{name!r}] has bounds that do not broadcast to the shape {shape}.") from error
        scale = np.full(layout.known_scale.shape, default)
        for key, (links, _) in scalars.items():
            if key in box:
                columns = value[key].reshape(k, -1)
                for j, (position, link) in enumerate(links):
                    scale[:, position] = _free_bound(key, link, columns[:, j], side)
        for group in layout.tied_groups():  # bounds on equal scalars: all of them hold
            scale[group] = scale[group].max() if side == 0 else scale[group].min()
        gate = np.column_stack([value["gate_intercept"], value["gate_coef"]])
        coef = np.concatenate(
            [value["expert_intercept"].reshape(k, d, 1), value["expert_coef"].reshape(k, d, q - 1)], axis=2
        )
        sides.append(Parameters(gate, coef, scale))
    return sides[0], sides[1]


def _free_bound(key: str, link: str, raw: Array, side: int) -> Array:
    """The bound of a free value from that of the reported one; a bound outside the range of the link is none."""
    if link == "log":
        if side == 1 and not (raw > 0).all():
            raise ValueError(f"box[{key!r}] must leave positive values; its upper bound is {raw.tolist()}.")
        with np.errstate(divide="ignore"):  # a lower bound of zero is none
            return np.asarray(np.log(np.maximum(raw, 0.0)))
    if link == "logit":
        inside = np.clip(raw, 0.0, 1.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(inside) - np.log1p(-inside))
    return raw


def _is_pair(value: Any) -> bool:
    """Whether these are two bounds: numbers or arrays of them, infinite perhaps but never NaN."""
    try:
        low, high = value
        return not any(np.isnan(np.asarray(side, dtype=float)).any() for side in (low, high))
    except (TypeError, ValueError):
        return False
