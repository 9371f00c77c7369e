"""What softmax gates that are not linear in their coefficients share: one pinned number, lengths and directions, means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array
from moestat.gates.masked import SoftmaxScores
from moestat.gates.parts import Parts
from moestat.gates.scores import ScoreGate


@dataclass(frozen=True)
class NonlinearScores(SoftmaxScores):
    """Softmax of scores whose first coefficient is an intercept; its common shift is all that leaves the weights unchanged."""

    raw_features: ClassVar[bool] = True
    scoring: ClassVar[bool] = False

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """All are free but the last intercept."""
        out = np.arange(n_experts * self.n_coef(n_features)).reshape(n_experts, -1)
        out[-1] -= 1
        out[-1, 0] = -1
        return out

    def canonical(self, gamma: Array) -> Array:
        """The last intercept zero."""
        out = gamma.copy()
        out[:, 0] -= gamma[-1, 0]
        return out

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """`exp(β0)` as weights; the gauge translates these alone."""
        slopes = params["gate_location"] if "gate_location" in params else params["gate_coef"]
        return Parts(params["gate_intercept"], {"gate": slopes}, "weights")

    def check_columns(self, n_features: int, fewest: int) -> None:
        """A ValueError unless the gate has that many columns."""
        if n_features <= fewest:
            raise ValueError(
                f"{type(self).__name__} needs {fewest} or more columns of X for the gate; it has {n_features - 1}."
            )


def straight(gate: ScoreGate) -> ScoreGate:
    """The gate with scores that count as linear around their coefficients: equal values and first derivatives, no curvature.

    In a Hessian the curvature of a score is multiplied by the log-likelihood's derivative in that score, whose mean at every x is zero
    where the model holds. Where scores have kinks it is a rare, large number that no sum over rows averages out: without it the
    information has the same mean.
    """
    cls = type(gate)
    made: ScoreGate = type(cls.__name__, (cls,), {"score_curvature": lambda self, gamma, z, weight: None})(
        **gate.get_params()
    )
    return made


def polar(vectors: Array, axis: int) -> tuple[Array, Array]:
    """Lengths (that axis kept, of size 1) and directions of vectors, without overflow; the zero vector has direction zero."""
    top = np.abs(vectors).max(axis=axis, keepdims=True, initial=0.0)
    scaled = vectors / np.where(top > 0.0, top, 1.0)
    length = np.sqrt((scaled * scaled).sum(axis=axis, keepdims=True))
    return top * length, scaled / np.where(length > 0.0, length, 1.0)


def weighted_means(resp: Array, x: Array) -> tuple[Array, Array]:
    """Shares `(K,)` and means `(K, d)` of columns `x (d, n)` under weights `resp (K, n)`; an expert without weight gets the overall mean."""
    mass = resp.sum(axis=1)
    total = max(float(mass.sum()), 1e-300)
    overall = resp.sum(axis=0) @ x.T / total
    floor = 1e-12 * total
    means = np.where(mass[:, None] > floor, resp @ x.T / np.maximum(mass, floor)[:, None], overall)
    return np.maximum(mass, floor) / np.maximum(mass, floor).sum(), means


def n_location_columns(params: Mapping[str, Any]) -> int:
    """Columns that a gate with places sees, as far as a parameter dictionary tells."""
    return int(np.shape(params.get("gate_location", np.zeros((1, 0))))[-1])
