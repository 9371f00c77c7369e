"""Hierarchical gate: a tree whose leaves are the experts, with a softmax at every node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array
from moestat.gates.masked import log_softmax, numbered, softmax_curvature, softmax_jacobian
from moestat.gates.parts import NestedParts, Parts
from moestat.gates.scores import ScoreGate


class Node(NamedTuple):
    """A node of the tree: where the scores of its branches are, the leaves below each branch, and the path to it from the root."""

    rows: slice
    leaves: tuple[tuple[int, ...], ...]
    path: tuple[int, ...]

    @property
    def below(self) -> list[int]:
        """All leaves below it."""
        return [leaf for branch in self.leaves for leaf in branch]


@dataclass(frozen=True)
class HierarchicalGate(ScoreGate):
    """Hierarchical gate: `π_k(x) = Π_nodes on the way to k softmax_branch(β0 + β1ᵀx)`, any tree with the experts as leaves.

    With two levels `π_ij(x) = g_i(x) g_{j|i}(x)` (Jordan & Jacobs 1994; Nguyen et al., "On expert estimation in hierarchical mixture of
    experts", 2024).

    Parameters
    ----------
    tree : nested sequences of int, optional
        `[[0, 1], [2, 3]]`: experts `0, 1, …, K - 1` as leaves, two or more branches at every node. Without it a balanced binary tree
        over the experts in their order.
    levels : {"softmax"}, default "softmax"
        The normaliser of every node.

    Raises
    ------
    ValueError
        If the tree is no tree of the experts, or their number is not that of the leaves.

    Notes
    -----
    Parameters are `gate_intercept (S,)` and `gate_coef (S, d)`, a row for each branch: those of the root, then of the nodes of the next
    level from left to right, and so on. A shift inside a node changes nothing; the last branch of every node is at zero. Coefficients
    are named by the path to the branch, from 1: `gate[1.2]:x1` is the slope of the second branch of the node that is the root's first
    branch.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.hierarchical import HierarchicalGate
    >>> gate = HierarchicalGate([[0, 1], 2])
    >>> gate.names(3, ["Intercept"])
    [['gate[1]:Intercept'], ['gate[2]:Intercept'], ['gate[1.1]:Intercept'], ['gate[1.2]:Intercept']]
    >>> np.exp(gate.log_prob(np.log([[3.0], [1.0], [1.0], [4.0]]))).ravel().round(4)
    array([0.15, 0.6 , 0.25])
    """

    name: ClassVar[str] = "hierarchical"

    tree: Sequence[Any] | None = None
    levels: Literal["softmax"] = "softmax"

    def __post_init__(self) -> None:
        if self.levels != "softmax":
            raise ValueError(f"levels={self.levels!r} is not available; give 'softmax'.")
        if self.tree is not None:
            frozen = freeze(self.tree)
            if frozen != self.tree:  # a tree of tuples is kept as the object it is
                object.__setattr__(self, "tree", frozen)
            found = leaves_of(frozen)
            if sorted(found) != list(range(len(found))):
                raise ValueError(
                    f"tree={self.tree!r} must have the leaves 0, 1, …, K - 1, each once; it has {sorted(found)}."
                )

    # -- the tree -----------------------------------------------------------------------------------------------------

    def n_scores(self, n_experts: int) -> int:
        """The number of branches."""
        tree = balanced_tree(n_experts) if self.tree is None else self.tree
        if len(leaves_of(tree)) != n_experts:
            raise ValueError(f"tree={self.tree!r} has {len(leaves_of(tree))} leaves for {n_experts} experts.")
        return int(nodes_of(tree)[-1].rows.stop)

    def nodes(self, n_scores: int) -> tuple[Node, ...]:
        """The nodes for that number of scores; a binary tree of K leaves has 2 (K - 1)."""
        return nodes_of(balanced_tree(n_scores // 2 + 1) if self.tree is None else self.tree)

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """The last branch of every node is pinned."""
        rows = self.n_scores(n_experts)
        free = np.ones((rows, n_features), dtype=bool)
        for node in self.nodes(rows):
            free[node.rows.stop - 1] = False
        return numbered(free)

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
        """The last branch of every node subtracted from the node."""
        return np.concatenate([gamma[node.rows] - gamma[node.rows][-1] for node in self.nodes(len(gamma))])

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

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> NestedParts:
        """Those of the root, and of each branch; a branch that is an expert is a node with one branch.

        Raises
        ------
        ValueError
            If the tree has more than two levels.
        """
        root, *others = self.nodes(self.n_scores(n_experts))
        if any(len(node.path) > 1 for node in others):
            raise ValueError(f"{self!r} has more than two levels; the mixing measure of a hierarchy is one of two.")
        below = {node.path[0]: node.rows for node in others}

        def parts(rows: slice | None) -> Parts:
            if rows is None:
                return Parts(np.zeros(1), {"gate": np.zeros((1, params["gate_coef"].shape[1]))}, "softmax")
            return Parts(params["gate_intercept"][rows], {"gate": params["gate_coef"][rows]}, "softmax")

        children = tuple((list(leaves), parts(below.get(j + 1))) for j, leaves in enumerate(root.leaves))
        return NestedParts(parts(root.rows), children)

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """Names of the coefficients by the path to the branch."""
        paths = [
            ".".join(str(step) for step in (*node.path, j + 1))
            for node in self.nodes(self.n_scores(n_experts))
            for j in range(len(node.leaves))
        ]
        return [[f"gate[{path}]:{term}" for term in terms] for path in paths]


# -- trees as nested tuples -------------------------------------------------------------------------------------------


def freeze(tree: Any, root: bool = True) -> Any:
    """The tree as nested tuples; a ValueError if it is none, or a node has one branch (a tree of one leaf excepted)."""
    if isinstance(tree, (int, np.integer)) and not isinstance(tree, bool) and not root:
        return int(tree)
    if not isinstance(tree, (list, tuple)) or (len(tree) < 2 and not (root and list(tree) == [0])):
        raise ValueError(
            f"tree={tree!r} must be a nested sequence of integers, with two or more branches at every node."
        )
    return tuple(freeze(branch, root=False) for branch in tree)


def leaves_of(tree: Any) -> tuple[int, ...]:
    """The leaves from left to right."""
    return tuple(leaf for branch in tree for leaf in leaves_of(branch)) if isinstance(tree, tuple) else (tree,)


@lru_cache(maxsize=64)
def balanced_tree(n_leaves: int) -> tuple[Any, ...]:
    """The binary tree that splits its leaves in halves, the larger one first."""

    def build(low: int, high: int) -> Any:
        middle = (low + high + 1) // 2
        return low if high - low == 1 else (build(low, middle), build(middle, high))

    return (0,) if n_leaves == 1 else tuple(build(0, n_leaves))


@lru_cache(maxsize=64)
def nodes_of(tree: Any) -> tuple[Node, ...]:
    """The nodes, level by level from left to right."""
    out: list[Node] = []
    level: list[tuple[Any, tuple[int, ...]]] = [(tree, ())]
    start = 0
    while level:
        below = []
        for branches, path in level:
            rows = slice(start, start + len(branches))
            out.append(Node(rows, tuple(leaves_of(branch) for branch in branches), path))
            below += [(branch, (*path, j + 1)) for j, branch in enumerate(branches) if isinstance(branch, tuple)]
            start = rows.stop
        level = below
    return tuple(out)
