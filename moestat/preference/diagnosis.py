"""What a user must be told about a fit to choices: separable choices, separated gate, idle experts, features that do not vary."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moestat.diagnosis import FLAT, REACH, idle_experts
from moestat.preference.coordinates import Coordinates
from moestat.preference.data import Array
from moestat.preference.objective import PreferenceObjective

DIVERGED = 8.0  # length, in whitened units, from which on coefficients in a flat direction are on their way to infinity


class Separation(NamedTuple):
    """Directions along which the likelihood rises to its supremum at infinity: the gate's `(K, q)`, and those of experts `(r,)`."""

    gate: Array | None
    experts: dict[int, Array]


def separation(objective: PreferenceObjective, theta: Array, hessian: Array) -> Separation:
    """Directions of the gate and of single experts in which the coefficients have diverged, in internal coordinates.

    A candidate is the part of the estimate in the flat directions of the block's own curvature; it counts if it is long and
    the log-likelihood does not fall when the point is moved along it by `REACH`, where all odds have saturated.
    """
    at = objective.forward(theta)
    value = objective.value(theta)
    idle = idle_experts(at.resp.sum(axis=1))

    def diverged(block: slice, amount: float) -> Array | None:
        values, vectors = np.linalg.eigh(-hessian[block, block])
        flat = vectors[:, values <= FLAT * amount]
        direction = flat @ (flat.T @ theta[block])
        length = float(np.linalg.norm(direction))
        if length < DIVERGED:
            return None
        far = theta.copy()
        far[block] += REACH * direction / length
        falls = objective.value(far) < value - 1e-7 * max(1.0, abs(value) * 1e-6)
        return None if falls else direction

    gate = diverged(slice(0, objective.n_gate), len(objective.z) / objective.n_experts) if objective.n_gate else None
    if gate is not None:
        gate = np.vstack([gate.reshape(objective.n_experts - 1, -1), np.zeros((1, objective.z.shape[1]))])
        busy = np.delete(gate, idle, axis=0)
        if idle and np.linalg.norm(busy - busy.mean(axis=0)) < DIVERGED:
            gate = None  # only the shares of idle experts go to zero
    experts = {}
    for k in range(0 if objective.coordinates.fixed else objective.n_experts):
        amount = float(objective.choices.weight @ at.resp[k][objective.choices.annotator])
        direction = None if k in idle else diverged(objective.block(k), amount)
        if direction is not None:
            experts[k] = direction
    return Separation(gate, experts)


def separable_message(expert: int, direction: Array, names: list[str]) -> str:
    """What to say when all choices of an expert (numbered from 1) agree with a reward."""
    return (
        f"the choices of expert {expert} are separable: its annotators never choose against the reward {in_words(direction, names)}, and the "
        "likelihood rises towards infinite coefficients. Give l2 > 0 for finite coefficients, more comparisons, "
        "or use fewer experts."
    )


def gate_message(direction: Array, names: list[str]) -> str:
    """What to say when covariates separate the experts; `direction (K, 1 + d)` is raw, the intercept first."""
    rows = "; ".join(
        f"gate[{k + 1}]: {in_words(row, ['Intercept', *names])}"
        for k, row in enumerate(direction)
        if np.abs(row).max() > 0.0
    )
    return (
        "the covariates separate the experts: the likelihood rises towards infinite gate coefficients. "
        f"Give gate_l2 > 0 for finite gate coefficients, or use fewer experts. Direction: {rows}."
    )


def idle_message(experts: list[int], fixed: bool) -> str:
    """What to say about experts (numbered from 1) that no annotator follows."""
    names = ", ".join(str(k) for k in sorted(experts))
    fewer = "The fit uses fewer experts than asked for: lower n_experts or raise n_init."
    advice = "Leave its reward out." if fixed else fewer
    return f"expert {names} has no responsibility for any annotator, and its share goes to zero. {advice}"


def constant_messages(
    coordinates: Coordinates, names: list[str], covariate_names: list[str], penalised: bool
) -> list[str]:
    """What to say about features that do not vary where it matters, alone or together."""
    least, penalty = (
        "The minimum-norm coefficients are returned",
        "The penalty alone decides between their coefficients",
    )
    features = [names[j] for j in coordinates.rewards.dependent]
    covariates = [covariate_names[j] for j in coordinates.covariates.dependent]
    out = []
    if features:
        what = f"the features {_listed(features)} are constant or linearly dependent within every choice set"
        out.append(f"{what}. {penalty if penalised else least}; drop columns for unique ones.")
    if covariates:
        what = f"the covariates {_listed(covariates)} are constant or linearly dependent over annotators"
        out.append(f"{what}. {least}; drop columns for unique ones.")
    return out


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def in_words(direction: Array, names: list[str]) -> str:
    """The direction with its largest coefficient at ±1."""
    scaled = direction / np.abs(direction).max()
    return " ".join(f"{value:+.3g}·{name}" for value, name in zip(scaled, names, strict=True) if abs(value) > 1e-6)
