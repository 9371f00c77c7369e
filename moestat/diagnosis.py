"""What a user must be told about a fit: separation, idle experts, collinear features, active bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.certificate import LocalModel

if TYPE_CHECKING:
    from moestat.coordinates import Coordinates

Array = NDArray[np.float64]

FLAT = 1e-4  # share of the largest gate curvature below which a direction is tried for separation
REACH = 30.0  # change of the largest score over which the likelihood must not fall
IDLE = 1e-8  # share of the total responsibility below which an expert is idle


def idle_experts(mass: Array) -> list[int]:
    """Experts (from 0) that have lost practically all responsibility; `mass (K,)` is their total responsibility."""
    return [] if len(mass) == 1 else [int(k) for k in np.flatnonzero(mass <= IDLE * mass.sum())]


def idle_message(experts: Sequence[int]) -> str:
    """What to say about idle experts (numbered from 1)."""
    names = ", ".join(str(k) for k in sorted(experts))
    return f"expert {names} has no responsibility for any row: the fit uses fewer experts than asked for. Lower n_experts or raise n_init."


def floor_message(experts: Sequence[int]) -> str:
    """What to say about experts (numbered from 1) whose scale is on the variance floor."""
    names = ", ".join(str(k) for k in experts)
    return (
        f"expert {names} sits on the variance floor, where its likelihood is unbounded. "
        "Use fewer experts or variance='tied', or raise variance_floor."
    )


def separation(objective: Objective, theta: Array, model: LocalModel, idle: Sequence[int]) -> Array | None:
    """Direction `(K, q)` of the gate along which the likelihood rises to its supremum at infinity, or None.

    Candidates are the flattest directions of the gate's curvature; one counts if the log-likelihood does not fall when
    the largest score is moved by 30, where all posterior odds have either saturated or never mattered.
    """
    layout = objective.layout
    s, q = layout.n_scored, layout.q_gate
    if s == 0 or layout.gate.degree == 0:
        return None
    value, gradient, hessian = model.value, model.gradient, model.hessian
    values, vectors = np.linalg.eigh(-hessian[: s * q, : s * q])
    flat = np.flatnonzero(values <= FLAT * objective.total_weight / layout.n_experts)
    if not flat.size:
        return None
    largest_score = np.sqrt(float(np.max(np.diag(objective.gram)) / objective.total_weight))
    for j in flat:
        v = vectors[:, j]
        for sign in np.array([1.0, -1.0]) * (1.0 if gradient[: s * q] @ v >= 0.0 else -1.0):
            direction = np.zeros((layout.n_experts, q))
            direction[:s] = (sign * v).reshape(s, q)
            if (
                idle
                and np.abs(direction - direction.mean(axis=0))[
                    [k for k in range(layout.n_experts) if k not in idle]
                ].max()
                < 1e-3
            ):
                continue
            far = theta.copy()
            far[: s * q] += REACH / largest_score * direction[:s].ravel()
            if objective.value(far) >= value - 1e-7 * max(1.0, abs(value) * 1e-6):
                return direction
    return None


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
