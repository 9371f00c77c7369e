r"""Losses of several measures at once, and of several sets of active experts::

    kind                measure              loss
    deepseek-D1 [1]     SharedMeasure        strong-D1 of the shared + strong-D1 of the routed experts
    deepseek-D2 [1]     SharedMeasure        shared D2sharp + routed topk-D2 (each block in its own norm): linear experts
    deepseek-D2sharp    SharedMeasure        the same, routed topk-D2sharp
    deepseek-D3 [1]     SharedMeasure        shared strong-D1 + routed sigmoid-L1 with |σ|: normalised sigmoid, sparse regime
    deepseek-D4 [1]     SharedMeasure        shared strong-D1 + routed sigmoid-L2 with |σ|: dense regime, several truths
    deepseek-D5 [1]     SharedMeasure        as deepseek-D1, the maximum over the K routed experts that are active
    hierarchical-D1     HierarchicalMeasure  Σ_j |W_j - s W*_j| + Σ_i w_i (|β_i| + D1 of the children)
    hierarchical-D2 [2] HierarchicalMeasure  the same with |β_i|² in over-specified cells and D2sharp of the children
    deviated-D2 [3]     DeviatedMeasure      |λ - λ*| + (λ + λ*) (D2sharp of the measures, each block in its own norm)

The known share of shared experts adds nothing; where it is estimated, ``|λ - λ*|``. Each gate has its own translation: that of the
routed experts, that of the first level, that of every child. ``hierarchical-D2`` and ``deviated-D2`` follow summaries of the papers,
not their text; the latter is for a g0 that is no mixture with the same atoms.

**Top-K.** The loss is the maximum over the sets of K true experts of the loss within their cells. In the region of x where a set
is active the density is a softmax over that set alone, so each set has the infimum over its own translation; with K = 1 nothing is
left of the gate, as the density wants it. Cells are taken at the translation at which D1 has its infimum. A fit needs at least as
many active experts as the largest number of atoms in K cells, otherwise the density does not converge.

1. Nguyen et al. (2025), On DeepSeekMoE: statistical benefits of shared experts and normalized sigmoid gating; theorems 1 to 5.
2. Nguyen et al. (2024), On expert estimation in hierarchical mixture of experts: beyond softmax gating functions.
3. Nguyen, Nguyen and Ho (2024), On parameter estimation in deviated Gaussian mixture of experts.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from moestat.losses.atomwise import AtomwiseLoss, LossKind, Norm
from moestat.losses.blocks import Index, Pairs
from moestat.losses.kinds import DENSE, LINEAR, LINEAR_PUBLISHED, LOSSES, SPARSE, STRONG
from moestat.losses.measures import DeviatedMeasure, HierarchicalMeasure, SharedMeasure
from moestat.losses.norms import always, apart
from moestat.losses.result import LossResult, describe_optimum, optimal_loss, untranslated
from moestat.losses.search import Optimum, best_voronoi, choose
from moestat.losses.voronoi import VoronoiCells


class SharedKind(NamedTuple):
    """Losses of the two parts; ``top_k``: the routed one is a maximum over sets of active experts."""

    shared: LossKind
    routed: LossKind
    top_k: bool = False


class NestedKind(NamedTuple):
    """Loss of the first level, whose block ``children`` holds the losses ``inner`` of the children."""

    outer: LossKind
    inner: str


_CHILDREN = Norm(("children",))
_OUTER = AtomwiseLoss(exact=(*apart("gate"), _CHILDREN), over=always((*apart("gate"), _CHILDREN)))

SHARED: dict[str, SharedKind] = {
    "deepseek-D1": SharedKind(STRONG, STRONG),
    "deepseek-D2": SharedKind(LINEAR, LINEAR_PUBLISHED),
    "deepseek-D2sharp": SharedKind(LINEAR, LINEAR),
    "deepseek-D3": SharedKind(STRONG, SPARSE),
    "deepseek-D4": SharedKind(STRONG, DENSE),
    "deepseek-D5": SharedKind(STRONG, STRONG, top_k=True),
}
HIERARCHICAL: dict[str, NestedKind] = {
    "hierarchical-D1": NestedKind(_OUTER, "D1"),
    "hierarchical-D2": NestedKind(replace(_OUTER, over=always((*apart("gate", power=2.0), _CHILDREN))), "D2sharp"),
}
DEVIATED: dict[str, LossKind] = {"deviated-D2": LINEAR}


def top_k_loss(pairs: Pairs, rule: LossKind, kind: str, n_active: int, *, infimum: bool = True) -> LossResult:
    """Maximum over the sets of ``n_active`` true experts of the loss within their cells.

    Raises
    ------
    ValueError
        If ``n_active`` is not between 1 and the number of true experts.
    """
    k_star = pairs.n_atoms[1]
    if not 1 <= n_active <= k_star:
        raise ValueError(f"n_active must lie between 1 and the {k_star} experts of the truth, got {n_active}.")
    whole = best_voronoi(pairs, LOSSES["D1"]) if infimum else untranslated(pairs)
    found = [
        (_within(pairs, rule, kind, whole.assignment, chosen, infimum), chosen)
        for chosen in combinations(range(k_star), n_active)
    ]
    worst, chosen = max(found, key=lambda pair: pair[0].value)
    cells = describe_optimum(pairs, rule, kind, whole).cells
    return replace(worst, cells=cells, choice=chosen)


def _within(
    pairs: Pairs, rule: LossKind, kind: str, assignment: Index, chosen: tuple[int, ...], infimum: bool
) -> LossResult:
    """The loss within the cells of some atoms of the truth."""
    atoms = np.flatnonzero(np.isin(assignment, chosen))
    part = pairs.take(atoms, chosen)
    own = np.searchsorted(np.asarray(chosen), assignment[atoms])
    if atoms.size == 0:
        mass = float(part.truth_weights.sum())
        zero = np.zeros(pairs.gate.shape[2])
        return LossResult(mass, kind, VoronoiCells(own, len(chosen), False), 0.0, zero, {"weights": mass})
    best = choose(part, rule, own[None, :]) if infimum else Optimum(own, np.zeros(pairs.gate.shape[2]), 1.0, np.nan)
    return describe_optimum(part, rule, kind, best)


def shared_loss(
    estimate: SharedMeasure, truth: SharedMeasure, kind: str, n_active: int | None, *, infimum: bool = True
) -> LossResult:
    """Sum of the losses of shared and of routed experts.

    Raises
    ------
    ValueError
        If a part does not suit its loss, or the number of active experts is missing.
    """
    rules = SHARED[kind]
    shared = optimal_loss(rules.shared.pairs(estimate.shared, truth.shared, kind), rules.shared, kind)
    pairs = rules.routed.pairs(estimate.routed, truth.routed, kind)
    if rules.top_k:
        routed = top_k_loss(pairs, rules.routed, kind, needed(n_active, kind), infimum=infimum)
    else:
        routed = optimal_loss(pairs, rules.routed, kind, infimum=infimum)
    terms = {"share": abs(estimate.weight - truth.weight)}
    parts = {"shared": shared, "routed": routed}
    terms |= {f"{name}.{block}": value for name, part in parts.items() for block, value in part.terms.items()}
    return replace(routed, value=sum(terms.values()), terms=terms, parts=parts)


def hierarchical_loss(
    estimate: HierarchicalMeasure, truth: HierarchicalMeasure, kind: str, *, infimum: bool = True
) -> LossResult:
    """Loss of the first level, with the losses between all children as one more block of its atoms.

    Raises
    ------
    ValueError
        If the measures are not of one family.
    """
    outer, inner = HIERARCHICAL[kind]
    rule = LOSSES[inner]
    children = [
        [optimal_loss(rule.pairs(left, right, inner), rule, inner, infimum=infimum) for right in truth.children]
        for left in estimate.children
    ]
    pairs = outer.pairs(estimate.outer, truth.outer, kind)
    losses = np.array([[found.value for found in row] for row in children])
    # The difference of this block is the loss itself, so that its norm is. It defines the cells of branches that have no gate.
    outside = pairs.outside if truth.gates.shape[1] else ()
    pairs = replace(pairs, blocks={**pairs.blocks, "children": losses}, outside=outside)
    found = optimal_loss(pairs, outer, kind, infimum=infimum)
    parts = {f"child {i}": children[i][j] for i, j in enumerate(found.cells.assignment)}
    return replace(found, parts=parts)


def deviated_loss(estimate: DeviatedMeasure, truth: DeviatedMeasure, kind: str) -> LossResult:
    """Distance of the shares, and the loss of the measures in proportion to them.

    Raises
    ------
    ValueError
        If the measures are not of one family.
    """
    rule = DEVIATED[kind]
    found = optimal_loss(rule.pairs(estimate.measure, truth.measure, kind), rule, kind)
    total = estimate.weight + truth.weight
    terms = {"share": abs(estimate.weight - truth.weight)}
    terms |= {name: total * value for name, value in found.terms.items()}
    return replace(found, value=sum(terms.values()), terms=terms, parts={"measure": found})


def needed(n_active: int | None, kind: str) -> int:
    """The number of active experts.

    Raises
    ------
    ValueError
        If it is not given.
    """
    if n_active is None:
        raise ValueError(f"{kind!r} is a maximum over the sets of active experts: give their number, as n_active=2.")
    return n_active
