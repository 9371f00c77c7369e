"""Shared experts: a mixture with constant weights beside a routed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from moestat.entries import read_entry
from moestat.gates.around import AroundGate
from moestat.gates.base import Array, Gate
from moestat.gates.masked import (
    SoftmaxScores,
    check_choice,
    check_count,
    log_sigmoid,
    log_softmax,
    numbered,
    softmax_curvature,
    softmax_jacobian,
)
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.parts import NestedParts, Parts, SharedParts, with_shared
from moestat.gates.scores import ScoreGate

ROUTED: dict[str, ScoreGate] = {"softmax": SoftmaxScores(), "normalized_sigmoid": NormalizedSigmoidGate()}


@dataclass(frozen=True)
class SharedExperts(AroundGate):
    """Shared experts: the first `n_shared` experts with constant weights in a block of weight `W(x)`, the others routed.

    `π_i(x) = W(x) ω_i` for the shared experts, `Σ ω_i = 1`, and `π_j(x) = (1 - W(x)) π^routed_j(x)` for the others: the model of
    DeepSeekMoE (Nguyen et al., "On DeepSeekMoE", 2025, eq. 1 with a softmax and eq. 8 with a normalised sigmoid), where `W = 1/2`.

    Parameters
    ----------
    n_shared : int, default 1
        Shared experts; 0 is the routed gate. With as many as there are experts `W = 1`: weights that do not depend on x.
    weight : {"half", "free", "gated"}, default "half"
        `W = 1/2`, `W = σ(b)`, or `W = σ(aᵀx + b)`.
    routed : {"softmax", "normalized_sigmoid"} or gate, default "softmax"
        The gate of the routed experts: any normalised gate of scores.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or there are fewer experts than `n_shared`.

    Notes
    -----
    Parameters are those of the routed gate and

    * `shared_intercept (n_shared,)`: `ω = softmax(shared_intercept)`, the last one zero;
    * `block_intercept ()`, unless `weight="half"`, and `block_coef (d,)` for `"gated"`: `W(x)`, as above.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.shared import SharedExperts
    >>> gate = SharedExperts(n_shared=2)
    >>> params = {"shared_intercept": [np.log(3.0), 0.0], "gate_intercept": [0.0, 0.0], "gate_coef": [[1.0], [0.0]]}
    >>> gamma = gate.from_params(params, 4, 2)
    >>> np.exp(gate.forward(gamma, np.array([[1.0], [0.0]]))[1]).ravel().round(4)
    array([0.375, 0.125, 0.25 , 0.25 ])
    """

    name: ClassVar[str] = "shared"

    n_shared: int = 1
    weight: Literal["half", "free", "gated"] = "half"
    routed: str | ScoreGate = "softmax"

    def __post_init__(self) -> None:
        check_count("n_shared", self.n_shared)
        check_choice("weight", self.weight, ("half", "free", "gated"))
        if not isinstance(self.routed, ScoreGate) and self.routed not in ROUTED:
            raise ValueError(f"routed={self.routed!r} is not known; give one of {list(ROUTED)} or a gate of scores.")
        if isinstance(self.inner, SharedExperts) or not self.inner.normalised or self.inner.joint:
            raise ValueError(f"routed={self.routed!r} must be a gate whose weights sum to one, without shared experts.")

    @property
    def inner(self) -> ScoreGate:
        """The routed gate."""
        return self.routed if isinstance(self.routed, ScoreGate) else ROUTED[self.routed]

    # -- shape: the score of the block, those of ω, those of the routed gate ------------------------------------------

    @property
    def _head(self) -> int:
        return 1 + self.n_shared if self.n_shared else 0  # rows before the routed ones

    def _n_routed(self, n_experts: int) -> int:
        if n_experts < self.n_shared:
            raise ValueError(f"n_shared={self.n_shared} exceeds the number of experts, {n_experts}.")
        return n_experts - self.n_shared

    def _stack(self, head: Any, routed: Any, fill: float) -> Any:
        """Rows of the head over those of the routed gate, widened by `fill` to the same width."""
        width = max(head.shape[1], routed.shape[1])
        blocks = ((rows, ((0, 0), (0, width - rows.shape[1]))) for rows in (head, routed))
        return np.concatenate([np.pad(rows, pad, constant_values=fill) for rows, pad in blocks])

    def _split(self, gamma: Array, n_features: int | None = None) -> tuple[Array, Array]:
        """Rows of the head and of the routed gate, at their own widths."""
        if n_features is None:
            n_features = next(q for q in range(gamma.shape[1], 0, -1) if self.n_coef(q) == gamma.shape[1])
        return gamma[: self._head, :n_features], gamma[self._head :, : self.inner.n_coef(n_features)]

    def n_scores(self, n_experts: int) -> int:
        """One for the block, one a shared expert, and those of the routed gate."""
        return self._head + (self.inner.n_scores(n) if (n := self._n_routed(n_experts)) else 0)

    def n_coef(self, n_features: int) -> int:
        """As many as the routed gate, or one a feature."""
        return max(n_features, self.inner.n_coef(n_features))

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """Slopes of ω, and its last row, are pinned; the block as `weight` says."""
        n, p = self._n_routed(n_experts), self.inner.n_coef(n_features)
        free = np.zeros((self._head, n_features), dtype=bool)
        free[:1, : {"half": 0, "free": 1, "gated": n_features}[self.weight] if n else 0] = True
        free[1:-1, :1] = True
        routed = self.inner.index(n, n_features) if n else np.full((0, p), -1)
        return np.asarray(self._stack(numbered(free), np.where(routed >= 0, routed + free.sum(), -1), -1))

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """Those of the routed gate."""
        return self.inner.null_directions(n, n_features) if (n := self._n_routed(n_experts)) else 0

    def for_information(self, n: float) -> SharedExperts:
        """With that of the routed gate."""
        inner = self.inner.for_information(n)
        return self if inner is self.inner or inner == self.inner else replace(self, routed=inner)

    def bounds(self, n_experts: int, n_features: int) -> tuple[Array, Array] | None:
        """Those of the routed gate."""
        inner = self.inner.bounds(n, n_features) if (n := self._n_routed(n_experts)) else None
        if inner is None:
            return None
        head = np.full((self._head, n_features), np.inf)
        return self._stack(-head, inner[0], -np.inf), self._stack(head, inner[1], np.inf)

    def scores(self, gamma: Array, z: Array) -> Array:
        """Scores `(S, B)`."""
        return self.forward(gamma, z)[0]

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`∂s_j/∂γ_j`; `(1, q, B)` where the routed gate is linear."""
        head, rows = self._split(gamma, len(z))
        inner = self.inner.score_jacobian(rows, z) if len(rows) else z[None]
        if gamma.shape[1] == len(z) and len(inner) == 1 and np.array_equal(inner[0], z):
            return z[None]
        out = np.zeros((*gamma.shape, z.shape[1]))
        out[: len(head), : len(z)] = z
        if len(rows):
            out[len(head) :, : rows.shape[1]] = inner
        return out

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array | None:
        """That of the routed gate."""
        head, rows = self._split(gamma, len(z))
        inner = self.inner.score_curvature(rows, z, weight[len(head) :]) if len(rows) else None
        if inner is None:
            return None
        out = np.zeros((*gamma.shape, gamma.shape[1]))
        out[len(head) :, : rows.shape[1], : rows.shape[1]] = inner
        return out

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores and log-probabilities."""
        coef, rows = self._split(gamma, len(z))
        head = coef @ z
        if not len(rows):
            return head, self.log_prob(head)
        scores, log_prob = self.inner.forward(rows, z)  # a routed gate may need more than its scores
        return np.concatenate([head, scores]), self._join(head, log_prob)

    # -- the normaliser -----------------------------------------------------------------------------------------------

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`."""
        head, rest = scores[: self._head], scores[self._head :]
        return self._join(head, self.inner.log_prob(rest) if len(rest) else rest)

    def _join(self, head: Array, routed: Array) -> Array:
        """`log π` of the head's scores and the routed gate's log-probabilities."""
        if not self.n_shared:
            return routed
        if not len(routed):
            return log_softmax(head[1:])
        return np.concatenate([log_sigmoid(head[0]) + log_softmax(head[1:]), log_sigmoid(-head[0]) + routed])

    def _routed_log_prob(self, scores: Array, log_prob: Array) -> Array:
        """The routed gate's own log-probabilities: by scores where these suffice, as a difference loses digits of weights near one."""
        if type(self.inner).forward is ScoreGate.forward:
            return self.inner.log_prob(scores[self._head :])
        return log_prob[self.n_shared :] - (log_sigmoid(-scores[0]) if self.n_shared else 0.0)

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`∂ log π_k/∂s_j`, `(K, S, B)`: blocks for ω and the routed gate, and the column of W."""
        m, h = self.n_shared, self._head
        out = np.zeros((len(log_prob), *scores.shape))
        if m:
            out[:m, 1:h] = softmax_jacobian(log_softmax(scores[1:h]))
        if len(scores) > h:
            if m:
                out[:m, 0], out[m:, 0] = expit(-scores[0]), -expit(scores[0])
            out[m:, h:] = self.inner.jacobian(scores[h:], self._routed_log_prob(scores, log_prob))
        return out

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """Blocks for W, ω and the routed gate, `(S, S, B)`."""
        m, h = self.n_shared, self._head
        out = np.zeros((len(scores), *scores.shape))
        if m:
            out[1:h, 1:h] = softmax_curvature(log_softmax(scores[1:h]), weight[:m].sum(axis=0))
        if len(scores) > h:
            if m:
                out[0, 0] = -expit(scores[0]) * expit(-scores[0]) * weight.sum(axis=0)
            out[h:, h:] = self.inner.curvature(scores[h:], self._routed_log_prob(scores, log_prob), weight[m:])
        return out

    def start(self, resp: Array, z: Array) -> Array:
        """Equal weights in the head, the routed gate's own start."""
        head, resp = np.zeros((self._head, len(z))), resp[self.n_shared :]
        return np.asarray(self._stack(head, self.inner.start(resp, z) if len(resp) else head[:0], 0.0))

    def calibrate(self, scores: Array, weight: Array | None = None) -> Gate:
        """With the routed gate's threshold."""
        return replace(self, routed=self.inner.calibrate(scores[self._head :], weight))

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """Those of the routed gate."""
        return self.inner.messages(n, active - self.n_shared, certified) if (n := self._n_routed(n_experts)) else []

    def dense(self) -> Gate | None:
        """The same with the dense form of the routed gate."""
        inner = self.inner.dense()
        return None if inner is None else replace(self, routed=inner if isinstance(inner, ScoreGate) else "softmax")

    def canonical(self, gamma: Array) -> Array:
        """The last row of ω at zero, and the routed gate's own representative."""
        head, rows = self._split(gamma)
        head = np.concatenate([head[:1], head[1:] - head[-1:]])
        return np.asarray(self._stack(head, self.inner.canonical(rows) if len(rows) else rows, 0.0))

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """See `Gate.permute`; the order must keep the shared experts first, and the routed gate must allow its part."""
        m = self.n_shared
        if sorted(order[:m]) != list(range(m)):
            raise ValueError(f"order={list(order)} must keep the first {m} experts first, which are shared.")
        head, rows = self._split(gamma)
        head = head[[0, *(1 + i for i in order[:m])]] if m else head
        rows = self.inner.permute(rows, [i - m for i in order[m:]]) if len(rows) else rows
        return self.canonical(np.asarray(self._stack(head, rows, 0.0)))

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        block = {"half": (), "free": ("block_intercept",), "gated": ("block_intercept", "block_coef")}
        return (*self.inner.keys, *(("shared_intercept", *block[self.weight]) if self.n_shared else ()))

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """Entries of the public parameter dictionary of raw coefficients `γ (S, p)`."""
        head, rows = self._split(gamma)
        out = self.inner.to_params(rows, self._n_routed(n_experts)) if len(rows) else {}
        if self.n_shared:
            out["shared_intercept"] = head[1:, 0]
        block = {"block_intercept": head[:1, 0], "block_coef": head[:1, 1:]}
        return out | {key: value[0] for key, value in block.items() if len(rows) and key in self.keys}

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (S, p)` of a public parameter dictionary; see `Gate.from_params`."""
        n = self._n_routed(n_experts)
        head = np.zeros((self._head, n_features))
        if self.n_shared:
            head[1:, 0] = read_entry(params, "shared_intercept", (self.n_shared,))
        if n and "block_intercept" in self.keys:
            head[0, 0] = read_entry(params, "block_intercept", ())
        if n and "block_coef" in self.keys and n_features > 1:
            head[0, 1:] = read_entry(params, "block_coef", (n_features - 1,))
        rows = self.inner.from_params(params, n, n_features) if n else np.zeros((0, self.inner.n_coef(n_features)))
        return np.asarray(self._stack(head, rows, 0.0))

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts | NestedParts | SharedParts:
        """`W`, the ω of the shared experts, and the routed gate's parts; see `with_shared`."""
        routed = self.inner.measure_parts(params, n) if (n := self._n_routed(n_experts)) else None
        if not self.n_shared:
            return routed or Parts(np.zeros(0), {}, "none")
        weight = {"half": 0.5, "free": float(expit(params.get("block_intercept", 0.0))), "gated": None}[self.weight]
        return with_shared(weight, log_softmax(params["shared_intercept"][:, None])[:, 0], routed)

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """Names of the coefficients: `block:…`, `shared[1]:…`, and those of the routed gate as `routed[1]:…`."""
        labels = ["block", *(f"shared[{i + 1}]" for i in range(self.n_shared))] if self.n_shared else []
        head = [[f"{label}:{term}" for term in terms] for label in labels]
        inner = self.inner.names(n, terms) if (n := self._n_routed(n_experts)) else []
        routed = [[name.replace("gate", "routed", 1) for name in row] for row in inner] if self.n_shared else inner
        return [row + [""] * (self.n_coef(len(terms)) - len(row)) for row in head + routed]
