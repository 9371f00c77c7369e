"""What a user must be told about a fit: separation, idle experts, collinear features, active bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moestat.linalg import orthonormal_root
from moestat.objective import Objective
from moestat.solvers.certificate import LocalModel

if TYPE_CHECKING:
    from moestat.coordinates import Coordinates
    from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

FLAT = 1e-4  # share of the largest gate curvature below which a direction is tried for separation
REACH = 30.0  # standard deviations of the scores over which the likelihood must not fall
IDLE = 1e-8  # share of the total responsibility below which an expert is idle


def idle_experts(mass: Array) -> list[int]:
    """Experts (from 0) that have lost practically all responsibility; `mass (K,)` is their total responsibility."""
    return [] if len(mass) == 1 else [int(k) for k in np.flatnonzero(mass <= IDLE * mass.sum())]


def idle_message(experts: Sequence[int]) -> str:
    """What to say about idle experts (numbered from 1)."""
    names = ", ".join(str(k) for k in sorted(experts))
    return f"expert {names} has no responsibility for any row: the fit uses fewer experts than asked for. Lower n_experts or raise n_init."


def thin_experts(mass: Array, n_rows: int, n_features: int) -> list[int]:
    """Experts (from 0) with free variance that rest on at most two rows more than they have coefficients.

    Maxima with such an expert are mostly spurious: it follows a few rows that happen to lie on a line (Hathaway 1985).
    """
    rows = mass / mass.sum() * n_rows
    idle = idle_experts(mass)
    return [int(k) for k in np.flatnonzero(rows < n_features + 2) if int(k) not in idle]


def thin_message(experts: Sequence[int]) -> str:
    """What to say about experts (numbered from 1) that rest on a handful of rows."""
    return (
        f"expert {', '.join(str(k) for k in sorted(experts))} rests on hardly more rows than it has coefficients; maxima of this kind are "
        "often spurious. Compare with fewer experts, variance='tied', or a larger variance_floor."
    )


def floor_message(experts: Sequence[int]) -> str:
    """What to say about experts (numbered from 1) whose scale is on the variance floor."""
    names = ", ".join(str(k) for k in experts)
    sits = "sits" if len(experts) == 1 else "sit"
    return (
        f"expert {names} {sits} on the variance floor, where its likelihood is unbounded. "
        "Use fewer experts or variance='tied', or raise variance_floor."
    )


def separation(objective: Objective, theta: Array, model: LocalModel, idle: Sequence[int]) -> Array | None:
    """Direction `(K, q)` of the gate along which the likelihood rises to its supremum at infinity, or None.

    Candidates are the flattest directions of the gate's curvature, in features that are orthonormal in the data; one counts
    if the log-likelihood does not fall when the scores are moved by 30 of their standard deviations, where all posterior odds
    have either saturated or never mattered. A direction that leaves the box has no supremum to rise to.
    """
    layout = objective.layout
    if layout.gate.general:
        return None
    s, q = layout.n_scored, layout.q_gate
    if s == 0 or layout.gate.degree == 0 or not model.finite:
        return None
    value, gradient, hessian = model.value, model.gradient, model.hessian
    root = orthonormal_root(objective.gram / objective.total_weight)
    frame = np.kron(np.eye(s), root)
    values, vectors = np.linalg.eigh(-(frame.T @ hessian[: s * q, : s * q] @ frame))
    flat = np.flatnonzero(values <= FLAT * objective.total_weight / layout.n_experts)
    if not flat.size:
        return None
    busy = [k for k in range(layout.n_experts) if k not in idle]
    for j in flat:
        rises = gradient[: s * q] @ frame @ vectors[:, j] >= 0.0
        for sign in (1.0, -1.0) if rises else (-1.0, 1.0):
            scores = np.zeros((layout.n_experts, root.shape[1]))
            scores[:s] = sign * vectors[:, j].reshape(s, -1)
            if idle and np.abs(scores - scores.mean(axis=0))[busy].max() < 1e-3:
                continue
            direction = scores @ root.T
            far = theta.copy()
            far[: s * q] += REACH * direction[:s].ravel()
            if np.array_equal(objective.clip(far), far) and objective.value(far) >= value - 1e-7 * max(
                1.0, abs(value) * 1e-6
            ):
                return direction
    return None


def expert_separation(
    objective: Objective, theta: Array, model: LocalModel, idle: Sequence[int]
) -> list[tuple[int, Array]]:
    """Experts (from 0) with a direction `(d, q)` of their coefficients along which the likelihood rises to its supremum.

    As for the gate: the flattest directions of an expert's curvature, tried over `REACH` standard deviations of its predictors. Classes
    or counts that an expert's rows never show make such directions; so do features that separate them.
    """
    layout = objective.layout
    k, d, q = layout.n_experts, layout.n_predictors, layout.q_expert
    if layout.expert.closed_form or layout.expert.raw_features or layout.expert.by_scores or not model.finite:
        return []  # means (`by_scores`) have neither classes nor counts
    found = []
    start = layout.n_gate
    for e in range(k):
        if e in idle:
            continue
        part = slice(start + e * d * q, start + (e + 1) * d * q)
        values, vectors = np.linalg.eigh(-model.hessian[part, part])
        for j in np.flatnonzero(values <= FLAT * objective.total_weight / k):
            rises = model.gradient[part] @ vectors[:, j] >= 0.0
            for sign in (1.0, -1.0) if rises else (-1.0, 1.0):
                far = theta.copy()
                far[part] += sign * REACH * vectors[:, j]
                kept = np.array_equal(objective.clip(far), far)
                if kept and objective.value(far) >= model.value - 1e-7 * max(1.0, abs(model.value) * 1e-6):
                    found.append((e, sign * vectors[:, j].reshape(d, q)))
                    break
            else:
                continue
            break
    return found


def expert_separation_message(
    found: Sequence[tuple[int, Array]], coordinates: Coordinates, rank: Mapping[int, int]
) -> str:
    """What to say about experts whose coefficients grow without bound."""
    layout, names = (
        coordinates.layout,
        coordinates.feature_names or [f"x{j + 1}" for j in range(coordinates.n_features)],
    )
    terms = layout.expert.terms(["Intercept", *coordinates.expert_map.names(names)])
    heads = layout.expert.predictor_names(layout.n_predictors, coordinates.vector_y)
    said = []
    for e, direction in sorted(found, key=lambda item: rank[item[0]]):
        raw = coordinates.expert_map.to_raw(direction)
        size = np.abs(raw).max()
        parts = [
            f"{value / size:+.2g}·{head}{term}"
            for head, row in zip(heads, raw, strict=True)
            for term, value in zip(terms, row, strict=True)
            if abs(value) > 0.05 * size
        ]
        said.append(f"expert[{rank[e]}]: {' '.join(parts[:4])}{' …' if len(parts) > 4 else ''}")
    return (
        "the likelihood rises towards infinite coefficients of an expert, whose rows lack a class or are separated by the features "
        f"(direction {'; '.join(said)}). Its coefficients and their errors there mean nothing; use fewer experts or features, or a box."
    )


def limits_reached(
    objective: Objective, theta: Array, mixture: ConditionalMixture, order: Sequence[int]
) -> tuple[list[str], list[str]]:
    """Names of the scalars at the limit of their family (not the variance floor), and what it means.

    The order of the experts is that of the reported mixture.
    """
    layout = objective.layout
    if not layout.expert.scalars or layout.expert.known_scale is not None:
        return [], []
    scale = layout.unpack(theta).scale[list(order)]
    bounds = objective.scale_limits()
    names, messages = [], []
    tied = bool(layout.n_experts > 1 and (layout.scale_index == layout.scale_index[0]).all())
    for j, scalar in enumerate(layout.expert.scalars):
        for side, text in (("low", scalar.at_low), ("high", scalar.at_high)):
            limit = bounds[0 if side == "low" else 1, j]
            if scalar.spike == side or not np.isfinite(limit):
                continue
            hit = np.flatnonzero(np.abs(scale[:, j] - limit) <= 1e-6)
            if hit.size:
                names += [f"expert:{scalar.label}"] if tied else [f"expert[{k + 1}]:{scalar.label}" for k in hit]
                if not text:
                    continue
                who = "the experts" if tied else f"expert {', '.join(str(k + 1) for k in hit)}"
                raw = float(scalar.to_raw(np.asarray(limit)))
                meaning = f"; {text}"
                messages.append(
                    f"{scalar.key.removeprefix('expert_')} of {who} is at its {side} limit {raw:.3g}{meaning}. "
                    "Its standard error is not defined there; use the simpler family."
                )
    return names, messages


def collinearity(coordinates: Coordinates) -> list[str]:
    """Messages that name constant and linearly dependent columns."""
    names = coordinates.feature_names or [f"x{j + 1}" for j in range(coordinates.n_features)]
    out = []
    maps = {"gate and experts": coordinates.gate_map}
    if coordinates.expert_map is not coordinates.gate_map:
        maps = {"gate": coordinates.gate_map, "experts": coordinates.expert_map}
    for where, feature_map in maps.items():
        if feature_map.dependent:
            terms = ["Intercept", *feature_map.names(names)]
            listed = ", ".join(terms[j] for j in feature_map.dependent[:10]) + (
                ", …" if len(feature_map.dependent) > 10 else ""
            )
            out.append(
                f"the features of the {where} are constant or linearly dependent ({listed}): rank "
                f"{feature_map.n_features} of {feature_map.n_raw}. The minimum-norm coefficients are returned; drop columns for unique ones."
            )
    return out


def active_bounds(
    objective: Objective, theta: Array, coordinates: Coordinates, order: Sequence[int]
) -> tuple[str, ...]:
    """Names of the parameters at a bound of the box (the variance floor is reported apart)."""
    if coordinates.gate_map.transform is not None or coordinates.expert_map.transform is not None:
        return ()
    low, high = objective.bounds
    at = (theta <= low) | (theta >= high)
    if not at.any():
        return ()
    names = coordinates.mixture(theta, order).free_names()
    return tuple(name for name, hit in zip(names, at, strict=True) if hit)
