"""Hierarchical gate: a tree whose leaves are the experts, with a softmax or a Laplace gate at every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.entries import read_entry
from moestat.gates.base import Array
from moestat.gates.laplace import LaplaceGate
from moestat.gates.masked import SoftmaxScores, check_number, log_softmax, numbered, softmax_curvature, softmax_jacobian
from moestat.gates.nonlinear import straight
from moestat.gates.parts import NestedParts, Parts
from moestat.gates.scores import ScoreGate
from moestat.gates.trees import Node, balanced_tree, freeze, leaves_of, nodes_of

SLOPES = {
    "softmax": "gate_coef",
    "laplace": "gate_location",
}  # the entry of the parameter dictionary beside the intercepts


@dataclass(frozen=True)
class HierarchicalGate(ScoreGate):
    """Hierarchical gate: `π_k(x) = Π_nodes on the way to k g_branch(x)`, any tree with the experts as leaves.

    At a node g is the softmax of `β0 + β1ᵀx` over its branches, or the Laplace gate, the softmax of `β0 - |W - x|`. With two levels
    `π_ij(x) = g_i(x) g_{j|i}(x)` (Jordan & Jacobs 1994; with Laplace gates Nguyen et al., "On expert estimation in hierarchical mixture of
    experts", 2024).

    Parameters
    ----------
    tree : nested sequences of int, optional
        `[[0, 1], [2, 3]]`: experts `0, 1, …, K - 1` as leaves, two or more branches at every node. Without it a balanced binary tree
        over the experts in their order.
    levels : {"softmax", "laplace"} or a sequence of these, default "softmax"
        The gate at the nodes; a sequence has one for each level, the root's first.
    smoothing : float, at least 0, default 1e-3
        That of the distances; see `LaplaceGate`.

    Raises
    ------
    ValueError
        If the tree is no tree of the experts, their number is not that of the leaves, or `levels` is not for the levels of the tree.

    Notes
    -----
    Parameters are `gate_intercept (S,)`, one number for each branch: those of the root, then of the nodes of the next level from left to
    right, and so on; and, for the branches of softmax nodes in that order, `gate_coef (S', d)`, for those of Laplace nodes
    `gate_location (S'', d)`. A shift inside a node changes nothing: its last branch is at zero, of a Laplace node in the intercept only.
    Coefficients are named by the path to the branch, from 1: `gate[1.2]:x1` is the slope of the second branch of the node that is
    the root's first branch, `gate[1.2]:location[x1]` its place.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.hierarchical import HierarchicalGate
    >>> gate = HierarchicalGate([[0, 1], 2], levels=("softmax", "laplace"))
    >>> gate.names(3, ["Intercept", "x1"])[1:3]
    [['gate[2]:Intercept', 'gate[2]:x1'], ['gate[1.1]:Intercept', 'gate[1.1]:location[x1]']]
    >>> np.exp(gate.log_prob(np.log([[3.0], [1.0], [1.0], [4.0]]))).ravel().round(4)
    array([0.15, 0.6 , 0.25])
    """

    name: ClassVar[str] = "hierarchical"

    tree: Sequence[Any] | None = None
    levels: str | Sequence[str] = "softmax"
    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        check_number("smoothing", self.smoothing, 0.0, np.inf, "[")
        if isinstance(self.levels, list):
            object.__setattr__(self, "levels", tuple(self.levels))
        known = isinstance(self.levels, (str, tuple)) and self._kinds and all(k in list(SLOPES) for k in self._kinds)
        if not known:
            raise ValueError(f"levels={self.levels!r} must be one of {list(SLOPES)}, or a sequence of these.")
        if self.tree is not None:
            frozen = freeze(self.tree)
            if frozen != self.tree:  # a tree of tuples is kept as the object it is
                object.__setattr__(self, "tree", frozen)
            found = leaves_of(frozen)
            if sorted(found) != list(range(len(found))):
                raise ValueError(
                    f"tree={self.tree!r} must have the leaves 0, 1, …, K - 1, each once; it has {sorted(found)}."
                )
            self.n_scores(len(found))

    @property
    def _kinds(self) -> tuple[str, ...]:
        """Kinds of node, each as often as `levels` has it."""
        return (self.levels,) if isinstance(self.levels, str) else tuple(self.levels)

    @property
    def raw_features(self) -> bool:  # type: ignore[override]
        """Distances need the user's own columns."""
        return "laplace" in self._kinds

    @property
    def scoring(self) -> bool:  # type: ignore[override]
        """Curvatures at kinks say nothing of the next step."""
        return self.raw_features

    # -- the tree -----------------------------------------------------------------------------------------------------

    def n_scores(self, n_experts: int) -> int:
        """The number of branches."""
        tree = balanced_tree(n_experts) if self.tree is None else self.tree
        if len(leaves_of(tree)) != n_experts:
            raise ValueError(f"tree={self.tree!r} has {len(leaves_of(tree))} leaves for {n_experts} experts.")
        *_, last = nodes_of(tree)
        depth = 1 + len(last.path)
        if not isinstance(self.levels, str) and len(self.levels) != depth:
            raise ValueError(
                f"levels={self.levels!r} has {len(self.levels)} entries; the tree {tree} has {depth} levels."
            )
        return int(last.rows.stop)

    def nodes(self, n_scores: int) -> tuple[Node, ...]:
        """The nodes for that number of scores; a binary tree of K leaves has 2 (K - 1)."""
        return nodes_of(balanced_tree(n_scores // 2 + 1) if self.tree is None else self.tree)

    def _kind(self, node: Node) -> str:
        return self.levels if isinstance(self.levels, str) else self.levels[len(node.path)]

    def _gate(self, node: Node) -> ScoreGate:
        """The gate over the branches of a node."""
        return LaplaceGate(self.smoothing) if self._kind(node) == "laplace" else SoftmaxScores()

    def _each(self, gamma: Array) -> Iterator[tuple[ScoreGate, Array]]:
        """The gate of every node with its rows of the coefficients."""
        return ((self._gate(node), gamma[node.rows]) for node in self.nodes(len(gamma)))

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """What every node's gate pins is pinned."""
        nodes = self.nodes(self.n_scores(n_experts))
        return numbered(np.concatenate([self._gate(n).index(len(n.leaves), n_features) >= 0 for n in nodes]))

    def for_information(self, n: float) -> ScoreGate:
        """Without the curvature of distances, unless `smoothing` rounds it over more than the gaps between rows, about `n^(-1/3)`."""
        return straight(self) if self.raw_features and self.smoothing < max(n, 1.0) ** (-1.0 / 3.0) else self

    # -- the map ------------------------------------------------------------------------------------------------------

    def scores(self, gamma: Array, z: Array) -> Array:
        """Scores `(S, B)`, those of every node's gate."""
        return np.concatenate([gate.scores(rows, z) for gate, rows in self._each(gamma)])

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores, in a Laplace node up to a common term, and log-probabilities."""
        scores = np.concatenate([gate.forward(rows, z)[0] for gate, rows in self._each(gamma)])
        return scores, self.log_prob(scores)

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`z`, and `(1, -u)` in Laplace nodes."""
        if not self.raw_features:
            return z[None]
        pieces = ((gate.score_jacobian(rows, z), rows) for gate, rows in self._each(gamma))
        return np.concatenate([np.broadcast_to(jac, (len(rows), *z.shape)) for jac, rows in pieces])

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array | None:
        """That of the distances."""
        if not self.raw_features:
            return None
        out = np.zeros((*gamma.shape, gamma.shape[1]))
        for node, (gate, rows) in zip(self.nodes(len(gamma)), self._each(gamma)):
            curved = gate.score_curvature(rows, z, weight[node.rows])
            out[node.rows] = 0.0 if curved is None else curved
        return out

    def start(self, resp: Array, z: Array) -> Array:
        """Every node's own start, from the responsibilities of its branches."""
        nodes = self.nodes(self.n_scores(len(resp)))
        sums = (np.stack([resp[list(leaves)].sum(axis=0) for leaves in node.leaves]) for node in nodes)
        return np.concatenate([self._gate(node).start(branches, z) for node, branches in zip(nodes, sums)])

    # -- the normaliser -----------------------------------------------------------------------------------------------

    def log_prob(self, scores: Array) -> Array:
        """The sum of the log-softmax along the path to each leaf, `(K, B)`."""
        nodes = self.nodes(len(scores))
        out = np.zeros((len(nodes[0].below), *scores.shape[1:]), dtype=scores.dtype)
        for node in nodes:
            for leaves, branch in zip(node.leaves, log_softmax(scores[node.rows])):
                out[list(leaves)] += branch
        return out

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`δ - branch probability` for the nodes on the path, zero elsewhere, `(K, S, B)`."""
        out = np.zeros((len(log_prob), *scores.shape))
        for node in self.nodes(len(scores)):
            for leaves, rows in zip(node.leaves, softmax_jacobian(log_softmax(scores[node.rows]))):
                out[list(leaves), node.rows] = rows
        return out

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """A softmax block for every node, with the weight of the leaves below it, `(S, S, B)`."""
        out = np.zeros((len(scores), *scores.shape))
        for node in self.nodes(len(scores)):
            local = log_softmax(scores[node.rows])
            out[node.rows, node.rows] = softmax_curvature(local, weight[node.below].sum(axis=0))
        return out

    # -- parameters ---------------------------------------------------------------------------------------------------

    def canonical(self, gamma: Array) -> Array:
        """The representative of every node's gate."""
        return np.concatenate([gate.canonical(rows) for gate, rows in self._each(gamma)])

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """Coefficients of the gate with its experts in another order, which must turn the tree into itself.

        Raises
        ------
        ValueError
            If it takes the leaves below a branch apart.
        """
        branches = [leaves for node in self.nodes(len(gamma)) for leaves in node.leaves]
        row = {frozenset(leaves): j for j, leaves in enumerate(branches)}
        moved = [row.get(frozenset(order[leaf] for leaf in leaves)) for leaves in branches]
        if None in moved:
            raise ValueError(f"order={list(order)} does not turn the tree of {self!r} into itself.")
        return self.canonical(gamma[np.array(moved, dtype=int)])

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return (*(entry for kind, entry in SLOPES.items() if kind in self._kinds), "gate_intercept")

    def n_inputs(self, params: Mapping[str, Any]) -> int:
        """Columns of `gate_coef` or `gate_location`."""
        return int(np.shape(params.get(self.keys[0], np.zeros((1, 0))))[-1])

    def _rows(self, n_scores: int) -> dict[str, list[int]]:
        """Branches whose slopes are in `gate_coef`, and those whose places are in `gate_location`."""
        out: dict[str, list[int]] = {entry: [] for entry in self.keys[:-1]}
        for node in self.nodes(n_scores):
            out[SLOPES[self._kind(node)]] += range(node.rows.start, node.rows.stop)
        return out

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """`gate_coef`, `gate_location` and `gate_intercept`."""
        return {e: gamma[rows, 1:] for e, rows in self._rows(len(gamma)).items()} | {"gate_intercept": gamma[:, 0]}

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (S, 1 + d)`."""
        s = self.n_scores(n_experts)
        gamma = np.zeros((s, n_features))
        gamma[:, 0] = read_entry(params, "gate_intercept", (s,))
        for entry, rows in self._rows(s).items():
            if n_features > 1:
                gamma[rows, 1:] = read_entry(params, entry, (len(rows), n_features - 1))
        return gamma

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> NestedParts:
        """Those of the root, and of each branch; a branch that is an expert is a node with one branch.

        Raises
        ------
        ValueError
            If the tree has more than two levels.
        """
        gamma = self.from_params(params, n_experts, 1 + self.n_inputs(params))
        root, *others = self.nodes(len(gamma))
        if any(len(node.path) > 1 for node in others):
            raise ValueError(f"{self!r} has more than two levels; the mixing measure of a hierarchy is one of two.")
        below, inner = {node.path[0]: node for node in others}, (others or [root])[0]

        def parts(node: Node | None) -> Parts:
            gate = self._gate(node or inner)
            rows = np.zeros((1, gamma.shape[1])) if node is None else gamma[node.rows]
            return gate.measure_parts(gate.to_params(rows, len(rows)), len(rows))  # type: ignore[return-value]

        children = tuple((list(leaves), parts(below.get(j + 1))) for j, leaves in enumerate(root.leaves))
        return NestedParts(parts(root), children)

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """Names of the coefficients by the path to the branch."""
        out = []
        for node in self.nodes(self.n_scores(n_experts)):
            for j, row in enumerate(self._gate(node).names(len(node.leaves), terms)):
                path = ".".join(str(step) for step in (*node.path, j + 1))
                out.append([name.replace(f"gate[{j + 1}]", f"gate[{path}]", 1) for name in row])
        return out
