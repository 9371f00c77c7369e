"""Prototype gate: groups of experts, and the first of each group (k top-1); its dense form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array, Gate
from moestat.gates.masked import (
    Mask,
    SoftmaxScores,
    check_count,
    jump_messages,
    log_softmax,
    numbered,
    ranks,
    softmax_curvature,
    softmax_jacobian,
)
from moestat.gates.parts import NestedParts, Parts


@dataclass(frozen=True)
class GroupedSoftmax(SoftmaxScores):
    """Softmax inside each of P groups of equal weight: `π_k(x) = g_k(x)/P`; see `PrototypeGate`, whose dense form it is."""

    scoring: ClassVar[bool] = False

    n_prototypes: int = 2

    def __post_init__(self) -> None:
        check_count("n_prototypes", self.n_prototypes, 1)

    def groups(self, n_experts: int) -> Iterator[slice]:
        """The experts of each group."""
        if n_experts < self.n_prototypes:
            raise ValueError(f"n_prototypes={self.n_prototypes} exceeds the number of experts, {n_experts}.")
        size, larger = divmod(n_experts, self.n_prototypes)
        ends = accumulate(size + (p < larger) for p in range(self.n_prototypes))
        return (slice(a, b) for a, b in pairwise([0, *ends]))

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """The last row of every group is pinned."""
        free = np.ones((n_experts, n_features), dtype=bool)
        for group in self.groups(n_experts):
            free[group.stop - 1] = False
        return numbered(free)

    def within(self, scores: Array) -> Array:
        """`log g`, the softmax inside every group, `(K, B)`."""
        return np.concatenate([log_softmax(scores[group]) for group in self.groups(len(scores))])

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`."""
        return np.asarray(self.within(scores) - np.log(self.n_prototypes))

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`δ_kj - g_j` inside a group."""
        out = np.zeros((len(scores), *scores.shape))
        for group in self.groups(len(scores)):
            out[group, group] = softmax_jacobian(log_softmax(scores[group]))
        return out

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`-(diag g - ggᵀ) Σ_k weight_k` inside a group."""
        out = np.zeros((len(scores), *scores.shape))
        for group in self.groups(len(scores)):
            out[group, group] = softmax_curvature(log_softmax(scores[group]), weight[group].sum(axis=0))
        return out

    def canonical(self, gamma: Array) -> Array:
        """The last row of every group subtracted from the group."""
        return np.concatenate([gamma[group] - gamma[group][-1] for group in self.groups(len(gamma))])

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """Coefficients of the gate with its experts in another order, which must keep groups together.

        Raises
        ------
        ValueError
            If it takes a group apart.
        """
        groups = [set(range(group.start, group.stop)) for group in self.groups(len(gamma))]
        for group in groups:
            if {order[i] for i in group} not in groups:
                raise ValueError(f"order={list(order)} takes a group of prototypes apart; the groups are {groups}.")
        return self.canonical(gamma[list(order)])

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> NestedParts:
        """Groups of equal weight, with a softmax inside each."""
        p = self.n_prototypes
        branches = Parts(np.full(p, -np.log(p)), {"gate": np.zeros((p, 0))}, "none")
        groups = [list(range(group.start, group.stop)) for group in self.groups(n_experts)]
        blocks = [{"gate": params["gate_coef"][group]} for group in groups]
        parts = (Parts(params["gate_intercept"][g], b, "softmax") for g, b in zip(groups, blocks))
        return NestedParts(branches, tuple(zip(groups, parts)))


@dataclass(frozen=True)
class PrototypeGate(GroupedSoftmax):
    """Prototypes (k top-1): the experts are split into P groups, with a softmax and one active expert in each.

    The groups are runs of consecutive experts, as even as `numpy.array_split` makes them. With the softmax `g_k(x)` inside the group of
    expert k and the winner `j_p(x)` of group p, the weight of `j_p` is

    * `combine="average"`: `1/P`, the average of P top-1 mixtures: a density, whose gate has no gradient;
    * `combine="mean"`: `g_{j_p}(x)`, for least squares on `Σ_p g_{j_p} f_{j_p}`, the layer of Yang et al., "M6-T: exploring sparse expert
      models and beyond" (2021); the weights do not sum to one, and the gate has a gradient since they are below one.

    The third reading, independent choices whose means add with noise around the sum, is a density with as many experts as there are joint
    choices: `FactorialGate` with `FactorialExpert`.

    Parameters
    ----------
    n_prototypes : int, default 2
        Groups P; at most the number of experts.
    combine : {"average", "mean"}, default "average"

    Raises
    ------
    ValueError
        If a parameter is outside its range or there are more groups than experts.

    Notes
    -----
    Parameters are those of the softmax gate: `gate_intercept (K,)`, `gate_coef (K, d)`; a shift inside a group changes nothing, and the last
    expert of each group is at zero. Ties go to the lower index. `kept_mass` is the average over groups of the winner's `g`.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.prototype import PrototypeGate
    >>> scores = np.log([[1.0], [3.0], [4.0], [1.0]])
    >>> np.exp(PrototypeGate(2).log_prob(scores)).ravel()
    array([0. , 0.5, 0.5, 0. ])
    >>> np.exp(PrototypeGate(2, combine="mean").log_prob(scores)).ravel().round(4)
    array([0.  , 0.75, 0.8 , 0.  ])
    """

    name: ClassVar[str] = "prototype"

    combine: Literal["average", "mean"] = "average"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combine not in ("average", "mean"):
            raise ValueError(
                f"combine={self.combine!r} is not known; give 'average' (a density) or 'mean' (least squares). The factorial "
                "reading, independent choices whose means add, is FactorialGate with FactorialExpert."
            )

    @property
    def normalised(self) -> bool:  # type: ignore[override]
        """Whether the weights sum to one."""
        return self.combine == "average"

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """For `"average"` the weights are those of the winners: the common length of the coefficients of every group of two or more."""
        sizes = (group.stop - group.start for group in self.groups(n_experts))
        return sum(size > 1 for size in sizes) if self.combine == "average" else 0

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """See `jump_messages`."""
        return jump_messages(self, active == n_experts, certified, flat=self.combine == "average")

    def reading(self, n_experts: int) -> str:
        """See `Gate.reading`."""
        return "Gate: log-odds against the last expert of a group; errors are those of gates with the same active experts at every row."

    def mask(self, scores: Array) -> Mask:
        """The first of every group."""
        return np.concatenate([ranks(scores[group]) == 0 for group in self.groups(len(scores))])

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`; `-inf` where an expert is not the first of its group."""
        weight = self.within(scores) if self.combine == "mean" else -np.log(self.n_prototypes)
        return np.asarray(np.where(self.mask(scores.real), weight, -np.inf))

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`δ_kj - g_j` inside a group for `"mean"`; zero for `"average"`."""
        if self.combine == "mean":
            return super().jacobian(scores, log_prob)
        return np.zeros((len(scores), *scores.shape))

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`-(diag g - ggᵀ) Σ_k weight_k` inside a group for `"mean"`; zero for `"average"`."""
        if self.combine == "mean":
            return super().curvature(scores, log_prob, weight)
        return np.zeros((len(scores), *scores.shape))

    def kept_mass(self, gamma: Array, z: Array) -> Array:
        """Average over groups of the winner's `g`, `(B,)`."""
        scores = self.scores(gamma, z)
        return np.asarray(np.where(self.mask(scores), np.exp(self.within(scores)), 0.0).sum(axis=0) / self.n_prototypes)

    def dense(self) -> Gate:
        """Softmax inside the groups, each of weight 1/P."""
        return GroupedSoftmax(self.n_prototypes)
