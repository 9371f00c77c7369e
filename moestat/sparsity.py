"""Gates that switch experts off, in a fit: the number that the dense fit sets, and what a user must be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.checks import Data
from moestat.gates.base import Gate
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective
from moestat.solvers.base import FitResult

Array = NDArray[np.float64]

ROWS = 65536  # at a time


def with_threshold(gate: Gate, dense: ConditionalMixture, data: Data) -> Gate:
    """The gate with the number that `Gate.calibrate` takes from the scores of a fit of its dense form at all rows."""
    form: Any = dense.gate
    scores = form.scores(dense.internal.gate, dense.gate_map.features(data.X))
    made: Gate = gate.calibrate(scores, data.weight if data.weight.size else None)
    return made


def with_gate_messages(result: FitResult, asked: Any, objective: Objective, theta: Array) -> FitResult:
    """The report with what the gate that was asked for has to say about it; see `ScoreGate.messages`."""
    if asked.dense() is None:
        return result
    counts = np.concatenate([(log_prob > -np.inf).sum(axis=0) for log_prob in _weights(objective, theta)])
    active = float(np.average(counts, weights=objective.rows.weight if objective.rows.weight.size else None))
    said = asked.messages(objective.layout.n_experts, active, result.status.certified)
    return replace(result, messages=(*result.messages, *said))


def _weights(objective: Objective, theta: Array) -> Iterator[Array]:
    """Log-weights `(K, B)` of all rows, block by block."""
    gate: Any = objective.layout.gate
    gamma, n = objective.layout.unpack(theta).gate, objective.rows.n
    for start in range(0, n, ROWS):
        block = objective.rows.block(start, min(start + ROWS, n))
        yield gate.forward(gamma, block.gate_features[:, block.start : block.stop])[1]
