"""Gates as functions of scores: any map from x to scores, any normaliser from scores to log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.entries import read_entry
from moestat.gates.base import Array, Gate
from moestat.linalg import orthonormal_root, solve_psd

__all__ = ["ScoreGate", "read_entry"]

FLATTEST = 1e-5  # smallest curvature that a Newton step divides by, in units of scoring's


@dataclass(frozen=True)
class ScoreGate(Gate):
    """A gate `log π_k(x) = N_k(s_1(x), …, s_S(x))` with scores `s_j(x) = map(x; γ_j)`.

    A subclass gives the number of scores and the normaliser `log_prob`; that is enough. `jacobian` and `curvature` have numerical
    defaults (complex steps, then differences of these, good to about eight digits), which closed forms replace. The map is
    linear in the features, `s_j = γ_jᵀ z`, unless `scores`, `score_jacobian` and `score_curvature` say otherwise.

    Shapes: scores `(S, B)`, log-probabilities `(K, B)`, coefficients `γ (S, p)`, features `z (q, B)`, the constant first.
    """

    general: ClassVar[bool] = True
    scoring: ClassVar[bool] = False  # the information of the gate's own law is minus the Hessian of Σ r log π

    # -- shape --------------------------------------------------------------------------------------------------------

    def n_scores(self, n_experts: int) -> int:
        """Number S of scores for K experts."""
        raise NotImplementedError

    def n_coef(self, n_features: int) -> int:
        """Coefficients p of one score for q features."""
        return n_features

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """For each coefficient `(S, p)` the number of the free parameter it equals; -1 where it is pinned at zero."""
        shape = self.n_scores(n_experts), self.n_coef(n_features)
        return np.arange(shape[0] * shape[1]).reshape(shape)

    # -- the map ------------------------------------------------------------------------------------------------------

    def scores(self, gamma: Array, z: Array) -> Array:
        """Scores `(S, B)`."""
        return np.asarray(gamma @ z)

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`∂s_j/∂γ_j`, `(S, p, B)`, or `(1, q, B)` where it is the same for every score (a linear map)."""
        return z[None]

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array | None:
        """`Σ_b weight_jb ∂²s_j/∂γ_j∂γ_jᵀ`, `(S, p, p)`, for `weight (S, B)`; None where it vanishes."""
        return None

    # -- the normaliser -----------------------------------------------------------------------------------------------

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`; `-inf` where an expert is switched off."""
        raise NotImplementedError

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`∂ log π_k/∂s_j`, `(K, S, B)`; anything finite where `log π_k` is `-inf`."""
        h = 1e-30
        out = np.empty((len(log_prob), *scores.shape))
        for j in range(len(scores)):
            moved = scores.astype(complex)
            moved[j] += 1j * h
            out[:, j] = self.log_prob(moved).imag / h
        return out

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`Σ_k weight_k ∂² log π_k/∂s_i∂s_j`, `(S, S, B)`, for `weight (K, B)`, which is zero where `log π_k` is `-inf`."""
        out = np.empty((len(scores), *scores.shape))
        for j in range(len(scores)):
            total = np.zeros_like(scores)
            for step, factor in ((1.0, 8.0), (2.0, -1.0)):  # central differences of fourth order
                h = 1e-3 * step
                for sign in (1.0, -1.0):
                    moved = scores.copy()
                    moved[j] += sign * h
                    slope = self.jacobian(moved, self.log_prob(moved))
                    total += sign * factor / (12.0 * 1e-3) * np.einsum("kb,ksb->sb", weight, slope)
            out[j] = total
        return np.asarray(0.5 * (out + out.swapaxes(0, 1)))

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores and log-probabilities."""
        scores = self.scores(gamma, z)
        return scores, self.log_prob(scores)

    # -- the M-step and its start -------------------------------------------------------------------------------------------

    def start(self, resp: Array, z: Array) -> Array:
        """Coefficients `(S, p)` from which the first M-step of the gate starts, for responsibilities `(K, n)` (weighted)."""
        return np.zeros((self.n_scores(len(resp)), self.n_coef(len(z))))

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """What the user of a fit must know and can do; `active` experts a row on average. Asked of gates with a dense form."""
        return []

    def maximise_free(
        self, theta: Array, slope: Array, information: Array, step: float, bend: Array | None = None
    ) -> Array:
        """A step of the given length on the free gate parameters; `step = 0` is a very short one.

        A scoring step by the information of the gate's own law, or, with `bend`, minus the exact second derivative of `Σ r log π`, a
        Newton step; see `newton_move`. The caller keeps what raises the likelihood.
        """
        if not all(np.isfinite(part).all() for part in (slope, information, 0.0 if bend is None else bend)):
            return theta
        move = solve_psd(information, slope[:, None])[:, 0] if bend is None else newton_move(slope, information, bend)
        return np.asarray(theta + (step if step > 0.0 else 1e-3) * move)

    # -- parameters ---------------------------------------------------------------------------------------------------

    def canonical(self, gamma: Array) -> Array:
        """The representative of `γ (S, p)` under the gate's own invariances; idempotent, and the density is unchanged."""
        return gamma

    def reading(self, n_experts: int) -> str:
        """See `Gate.reading`."""
        return f"Gate: coefficients of the scores of the {self.name} gate."


def newton_move(slope: Array, information: Array, bend: Array) -> Array:
    """`|B|⁻¹ slope` for `B = bend`, its absolute eigenvalues taken in the metric of the information, where scoring's are all one.

    An ascent direction also where `Σ r log π` is not concave in curved coefficients. Directions in which no weight changes, where a curved
    parametrisation has a second derivative all the same, are none of that metric and get no step; eigenvalues below `FLATTEST` count as
    that much, so that no step is longer than some of scoring's.
    """
    root = orthonormal_root(information)
    values, vectors = np.linalg.eigh(root.T @ bend @ root)
    return np.asarray(root @ vectors @ ((vectors.T @ (root.T @ slope)) / np.maximum(np.abs(values), FLATTEST)))
