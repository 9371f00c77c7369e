"""Trees of experts as nested tuples: checks, balanced trees, and the nodes level by level."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np


class Node(NamedTuple):
    """A node of the tree: where the scores of its branches are, the leaves below each branch, and the path to it from the root."""

    rows: slice
    leaves: tuple[tuple[int, ...], ...]
    path: tuple[int, ...]

    @property
    def below(self) -> list[int]:
        """All leaves below it."""
        return [leaf for branch in self.leaves for leaf in branch]


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
