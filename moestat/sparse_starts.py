"""Starts of gates that switch experts off: from the dense gate over ever lower floors of it, then a search by values alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.gates.floored import FlooredGate
from moestat.linked import objective_for
from moestat.objective import Objective
from moestat.solvers.base import short_run
from moestat.solvers.em import EM

Array = NDArray[np.float64]

WARM_UP = 30  # EM steps of the dense gate
FLOORS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of dense weights under the sparse ones
FLOOR_STEPS = 10  # EM steps on each
ROUNDS = 4  # of moving the gate by values, then the experts
EXPERT_STEPS = 3  # EM steps of the experts in each
HALVINGS = 7  # of the gate's step in each
SWEEPS = 10  # over its coefficients at most, with one step
COMPARED_ROWS = 1500  # by which values are compared


def sparse_start(objective: Objective, dense: Objective, theta: Array) -> Array:
    """From a start `theta` of the model with the dense gate, whose coefficients have the same places."""
    theta = short_run(EM(), dense, theta, WARM_UP).theta
    theta = objective.clip(objective.layout.pack(dense.layout.unpack(theta)))
    if hasattr(objective, "gauss_newton"):  # squares have no heavy tails: the dense start is near enough
        return theta
    gate: Any = objective.layout.gate
    for share in FLOORS:
        layout = replace(objective.layout, gate=FlooredGate(gate, share))
        theta = best_of_steps(objective_for(objective.rows, layout, floor=objective.floor), theta)
    return by_values(objective, objective.clip(theta))


def best_of_steps(objective: Objective, theta: Array) -> Array:
    """The best of some EM steps that are not shortened: active sets may move, and the likelihood fall on the way."""
    best, value = theta, -np.inf
    for _ in range(FLOOR_STEPS):
        at = objective.em_pass(theta)
        if at.value > value:
            best, value = theta, at.value
        theta = objective.maximise(theta, at)
        if not (np.isfinite(at.value) and np.isfinite(theta).all()):
            break
    return best


def by_values(objective: Objective, theta: Array) -> Array:
    """The gate moved by values of the likelihood, which jumps, and the experts by EM, in turn while that raises it."""
    n, (low, high) = objective.layout.n_gate, objective.bounds
    if n == 0:
        return theta
    value, shrink = objective.value(theta), 1.0
    for _ in range(ROUNDS):
        gates = GateValues(objective, theta)
        step = shrink * (0.1 * gates.unit + 0.5 * gates.unit * float(np.mean(np.abs(theta[:n]) / gates.unit)))
        moved = theta.copy()
        moved[:n] = compass(gates, theta[:n], step, low[:n], high[:n])
        for _ in range(EXPERT_STEPS):
            experts = objective.maximise(moved, objective.em_pass(moved))
            moved[n:] = experts[n:]
        new = objective.value(moved)
        if not new > value + 1e-3:
            break
        theta, value, shrink = moved, new, 0.5 * shrink
    return theta


class GateValues:
    """The log-likelihood of a few rows as a function of the free gate parameters, the experts as they are.

    Attributes
    ----------
    unit : (n,) array
        Changes of the parameters that change scores by one in root mean square.
    """

    def __init__(self, objective: Objective, theta: Array) -> None:
        rows, layout = objective.rows, objective.layout
        stride, params = -(-rows.n // COMPARED_ROWS), layout.unpack(theta)
        features, densities = [], []
        for start in range(0, rows.n, objective.size):
            block, ws = objective._forward(params, start, min(start + objective.size, rows.n))
            features.append(block.gate_features[:, block.start : block.stop][:, ::stride].copy())
            densities.append(ws["log_density"][:, ::stride].copy())
        self.features, log_density = np.concatenate(features, axis=1), np.concatenate(densities, axis=1)
        weight = rows.weight if rows.weight.size else np.ones(rows.n)
        self.weight = np.concatenate(
            [weight[s : s + objective.size][::stride] for s in range(0, rows.n, objective.size)]
        )
        self.top = log_density.max(axis=0)
        self.density = np.exp(log_density - self.top)
        self.layout, self.gate = layout, layout.gate
        size = np.sqrt(np.mean(self.features**2, axis=1))
        self.unit = layout.pack_gate(np.broadcast_to(1.0 / np.where(size > 0.0, size, 1.0), layout.gate_index.shape))

    def __call__(self, free: Array) -> float:
        gate: Any = self.gate
        index = self.layout.gate_index
        gamma = np.where(index >= 0, free[index], 0.0)
        mixed = (np.exp(gate.forward(gamma, self.features)[1]) * self.density).sum(axis=0)
        return float(self.weight @ (np.log(np.maximum(mixed, 1e-300)) + self.top))


def compass(function: GateValues, at: Array, step: Array, low: Array, high: Array) -> Array:
    """Steps along single coordinates as long as one rises, then half as long ones (Hooke & Jeeves 1961)."""
    value = function(at)
    for _ in range(HALVINGS):
        for _ in range(SWEEPS):
            before = value
            for j in range(len(at)):
                for sign in (1.0, -1.0):
                    new = at.copy()
                    new[j] = np.clip(at[j] + sign * step[j], low[j], high[j])
                    found = function(new)
                    if found > value + 1e-9 * abs(value):
                        at, value = new, found
                        break
            if value == before:
                break
        step = 0.5 * step
    return at
