"""Laplace gate: experts have places, and weights fall with the distance from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moestat.entries import read_entry
from moestat.gates.base import Array
from moestat.gates.masked import check_number
from moestat.gates.nonlinear import NonlinearScores, n_location_columns, polar, straight, weighted_means
from moestat.gates.scores import ScoreGate


@dataclass(frozen=True)
class LaplaceGate(NonlinearScores):
    """Laplace gate: `π_k(x) ∝ exp(β_k - |W_k - x|)` with Euclidean distances (Han et al., "FuseMoE", NeurIPS 2024, Sec. 3).

    Only a common shift of the `β` leaves the weights unchanged: the last one is pinned at zero, the places `W` are all free. No
    scale multiplies the distance, so the unit of x is part of the model.

    Parameters
    ----------
    smoothing : float, at least 0, default 1e-3
        δ in the distance `√(|W - x|² + δ²)`, in the units of x; 0 is the exact one. Scores, and log-weights, differ from those of the
        exact distance by at most δ. With the exact distance in one dimension the log-likelihood has a kink wherever a place is an observed x
        and its maximum may sit on one, which no Newton decrement certifies.

    Raises
    ------
    ValueError
        If `smoothing` is negative, or there is no column for the distance.

    Notes
    -----
    Parameters are `gate_location (K, d)`, the places W, and `gate_intercept (K,)`, β. Where an exact distance is zero its derivative is
    taken as zero. In one dimension a place beyond all x is (but for δ) identified only together with its β: the score is `β ∓ W ± x`.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.laplace import LaplaceGate
    >>> _, log_prob = LaplaceGate().forward(np.array([[0.3, 1.0], [0.0, -0.8]]), np.array([[1.0, 1.0], [0.0, 1.0]]))
    >>> np.exp(log_prob).round(4)
    array([[0.525 , 0.8907],
           [0.475 , 0.1093]])
    """

    name: ClassVar[str] = "laplace"

    scoring: ClassVar[bool] = True  # curvatures at kinks say nothing of the next step

    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        check_number("smoothing", self.smoothing, 0.0, np.inf, "[")

    def n_coef(self, n_features: int) -> int:
        """`β` and `W`."""
        self.check_columns(n_features, 1)
        return n_features

    # -- the map: distances are lengths of (W - x, δ) ------------------------------------------------------------------

    def _polar(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Lengths `(K, 1, B)` and directions `(K, d + 1, B)` of the gaps `(W_k - x, δ)`."""
        gaps = np.full((len(gamma), *z.shape), float(self.smoothing))
        gaps[:, :-1] = gamma[:, 1:, None] - z[None, 1:]
        return polar(gaps, 1)

    def scores(self, gamma: Array, z: Array) -> Array:
        """`β_k - √(|W_k - x|² + δ²)`."""
        return np.asarray(gamma[:, :1] - self._polar(gamma, z)[0][:, 0])

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores up to a term common to all experts, and log-probabilities.

        `|a| - |b| = (a - b)ᵀ(a + b)/(|a| + |b|)`, which keeps its digits where x is far from every place.
        """
        gaps = gamma[:, 1:, None] - z[None, 1:]
        lengths = self._polar(gamma, z)[0]
        both = lengths + lengths[-1]
        middle = (gaps + gaps[-1]) / np.where(both > 0.0, both, 1.0)
        farther = np.einsum("kd,kdb->kb", gamma[:, 1:] - gamma[-1, 1:], middle)
        scores = np.asarray(gamma[:, :1] - farther)
        return scores, self.log_prob(scores)

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`(1, -u)` with the first d coordinates u of the gap's direction."""
        direction = self._polar(gamma, z)[1][:, :-1]
        return np.concatenate([np.ones((len(gamma), 1, z.shape[1])), -direction], axis=1)

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array:
        """`-(I - u uᵀ)/√(|W_k - x|² + δ²)` in W, `1 - u_i²` as the sum of the other squares; zero where a distance is."""
        length, direction = self._polar(gamma, z)
        away = length[:, 0] > 1e-300
        pull = np.where(away, weight / np.where(away, length[:, 0], 1.0), 0.0)
        squares = np.einsum("kb,kib,kjb->kij", pull, direction, direction, optimize=True)
        d = len(z) - 1
        out = np.zeros((len(gamma), d + 1, d + 1))
        out[:, 1:, 1:] = squares[:, :d, :d]
        others = np.diagonal(squares, axis1=1, axis2=2) @ (1.0 - np.eye(d + 1, d))
        out[:, 1 + np.arange(d), 1 + np.arange(d)] = -others
        return out

    def for_information(self, n: float) -> ScoreGate:
        """Without the curvature of distances, unless `smoothing` rounds it over more than the gaps between rows, about `n^(-1/3)`."""
        return straight(self) if self.smoothing < max(n, 1.0) ** (-1.0 / 3.0) else self

    # -- start and parameters -------------------------------------------------------------------------------------------

    def start(self, resp: Array, z: Array) -> Array:
        """The mean x of every expert, `β` its log share."""
        share, means = weighted_means(resp, z[1:])
        return self.canonical(np.column_stack([np.log(share), means]))

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("gate_location", "gate_intercept")

    def n_inputs(self, params: Mapping[str, Any]) -> int:
        """Columns of `gate_location`."""
        return n_location_columns(params)

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """`gate_location` and `gate_intercept`."""
        return {"gate_location": gamma[:, 1:], "gate_intercept": gamma[:, 0]}

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (K, 1 + d)`."""
        location = read_entry(params, "gate_location", (n_experts, n_features - 1))
        return np.column_stack([read_entry(params, "gate_intercept", (n_experts,)), location])

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """`gate[1]:Intercept`, `gate[1]:location[x1]`, …"""
        row = [terms[0], *(f"location[{term}]" for term in terms[1:])]
        return [[f"gate[{k + 1}]:{label}" for label in row] for k in range(n_experts)]
