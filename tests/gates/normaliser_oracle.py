"""An independent account of the gates' weights in mpmath, point by point."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np

from moestat.gates.hierarchical import HierarchicalGate
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.prototype import GroupedSoftmax
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidGate


def mp_softmax(s: list[Any], active: Any = None) -> list[Any]:
    total = mp.fsum(mp.exp(v) for j, v in enumerate(s) if active is None or j in active)
    return [v - mp.log(total) for v in s]


def mp_sigmoid(s: Any) -> Any:
    return -mp.log(1 + mp.exp(-s))


def mp_tree(tree: Any, s: list[Any], out: dict[int, Any]) -> None:
    """Recursive, by levels: scores are taken off the list in the order that the docstring gives."""
    level = [(tree, mp.mpf(0))]
    rest = list(s)
    while level:
        below = []
        for branches, so_far in level:
            local, rest = mp_softmax(rest[: len(branches)]), rest[len(branches) :]
            for branch, value in zip(branches, local):
                if isinstance(branch, int):
                    out[branch] = so_far + value
                else:
                    below.append((branch, so_far + value))
        level = below


def mp_log_prob(gate: Any, s: list[Any], active: set[int]) -> list[Any]:
    """log π of the active experts, anything at the others."""
    if isinstance(gate, NormalizedSigmoidGate):
        return mp_softmax([mp_sigmoid(v) for v in s])
    if isinstance(gate, SigmoidGate):
        return [mp_sigmoid(v) for v in s]
    if isinstance(gate, GroupedSoftmax):
        ends = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(len(s)), gate.n_prototypes)])
        within = [v for a, b in pairwise(ends) for v in mp_softmax(s[a:b])]
        share = -mp.log(gate.n_prototypes)
        return {"mean": within, "average": [share] * len(s), None: [v + share for v in within]}[
            getattr(gate, "combine", None)
        ]
    if isinstance(gate, HierarchicalGate):
        out: dict[int, Any] = {}
        mp_tree(gate.tree or (((0, 1), 2), (3, 4)), s, out)
        return [out[k] for k in sorted(out)]
    if isinstance(gate, SharedExperts):
        m, h = gate.n_shared, 1 + gate.n_shared if gate.n_shared else 0
        routed = mp_log_prob(gate.inner, s[h:], {k - m for k in active}) if len(s) > h else []
        if not m:
            return routed
        w, v = (mp_sigmoid(s[0]), mp_sigmoid(-s[0])) if routed else (0, 0)
        return [w + omega for omega in mp_softmax(s[1:h])] + [v + value for value in routed]
    return mp_softmax(s, active)
