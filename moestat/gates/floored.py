"""A gate over a floor of its dense form: the way of a search to a gate that switches experts off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.gates.around import AroundGate
from moestat.gates.base import Array
from moestat.gates.scores import ScoreGate


@dataclass(frozen=True)
class FlooredGate(AroundGate):
    """`(1 - ε) π_k + ε g_k` for a gate π that switches experts off, and its dense form g, of the same coefficients.

    Under π alone a row whose expert is switched off has the tail density of the other experts, often hundreds of nats less: active sets
    can hardly move. With a floor it loses at most `-log ε`, and as ε falls to zero the sets settle.

    In `forward` the scores are followed by the K log-probabilities of π, which may need more than scores (ranks by slopes).
    """

    scoring: ClassVar[bool] = True  # its weights jump: a second derivative says nothing of the next step

    gate: ScoreGate
    floor: float = 0.1

    @property
    def inner(self) -> ScoreGate:
        """The gate π."""
        return self.gate

    @property
    def _dense(self) -> Any:
        return self.gate.dense()

    def n_scores(self, n_experts: int) -> int:
        """Those of the gate."""
        return self.gate.n_scores(n_experts)

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """That of the gate."""
        return self.gate.index(n_experts, n_features)

    def canonical(self, gamma: Array) -> Array:
        """That of the gate."""
        return self.gate.canonical(gamma)

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """That of the gate."""
        return self.gate.score_jacobian(gamma, z)

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores with the log-probabilities of π, and those of the floored gate."""
        scores, log_prob = self.gate.forward(gamma, z)
        mixed = np.logaddexp(np.log1p(-self.floor) + log_prob, np.log(self.floor) + self._dense.log_prob(scores))
        return np.concatenate([scores, log_prob]), np.asarray(mixed)

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """The gate's and the dense one's, weighted by their shares of the weight; active sets taken as constant."""
        own = scores[: len(scores) - len(log_prob)]
        sparse, dense = scores[len(own) :], self._dense.log_prob(own)
        share = np.exp(np.log1p(-self.floor) + sparse - log_prob)[:, None]
        return np.asarray(share * self.gate.jacobian(own, sparse) + (1.0 - share) * self._dense.jacobian(own, dense))
