"""One-to-one matchings of atoms in the place of Voronoi cells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment

from moestat.losses.atomwise import AtomwiseLoss
from moestat.losses.blocks import Array, Index, Pairs
from moestat.losses.kinds import TOP_K, rule_of
from moestat.losses.result import LossResult, describe_optimum, optimal_loss
from moestat.losses.search import Optimum, choose, starts
from moestat.mixing_measure import MixingMeasure

# Up to this number of atoms all matchings are compared.
_MOST_PERMUTED = 6


@dataclass(frozen=True, eq=False)
class MatchedLoss:
    """A loss of matched atoms beside that of the Voronoi cells; ``float(result)`` is the former.

    Attributes
    ----------
    matched, voronoi : LossResult
        With the best one-to-one matching, and with the cells.
    pattern : tuple of int
        Sizes of the Voronoi cells.
    agree : bool
        Every cell has one atom, that with which it is matched: the two losses are one.
    """

    matched: LossResult
    voronoi: LossResult

    @property
    def value(self) -> float:
        """The loss of the matching."""
        return self.matched.value

    @property
    def pattern(self) -> tuple[int, ...]:
        """Sizes of the Voronoi cells."""
        return self.voronoi.cells.pattern

    @property
    def agree(self) -> bool:
        """Whether matching and cells are the same."""
        return bool(np.array_equal(self.matched.cells.assignment, self.voronoi.cells.assignment))

    def __float__(self) -> float:
        return self.value


def hungarian_loss(estimate: MixingMeasure, truth: MixingMeasure, kind: str = "D1", *, r: float = 2.0) -> MatchedLoss:
    """A loss with every atom of the truth matched to one atom of the estimate, and the same loss with Voronoi cells.

    Where an atom of the truth has no atom near it, the Voronoi loss counts its mass and a matching forces a distance on it.

    Parameters
    ----------
    estimate, truth : MixingMeasure
        With equal numbers of atoms.
    kind : str
        A kind of `voronoi_loss` for single measures that sums over atoms; its norms in exact cells are taken.
    r : float
        The power of the kinds that end in ``r``.

    Raises
    ------
    ValueError
        If the numbers of atoms differ, or the kind does not suit.

    Examples
    --------
    >>> truth = MixingMeasure([1.0, 2.0], {"intercept": [-1.0, 1.0]}, gauge="none")
    >>> found = hungarian_loss(MixingMeasure([1.0, 2.0], {"intercept": [2.0, 1.0]}, gauge="none"), truth)
    >>> found.value, found.voronoi.value, found.pattern, found.agree
    (3.0, 3.0, (0, 2), False)
    """
    rule = rule_of(kind, r)
    if kind in TOP_K or not isinstance(rule, AtomwiseLoss):
        raise ValueError(f"{kind!r} is no sum over atoms; it has no matching.")
    pairs = rule.pairs(estimate, truth, kind)
    matched = describe_optimum(pairs, rule, kind, best_matching(pairs, rule))
    return MatchedLoss(matched, optimal_loss(pairs, rule, kind))


def best_matching(pairs: Pairs, kind: AtomwiseLoss) -> Optimum:
    """Infimum over t1, t2 and one-to-one matchings.

    All of them are compared for k <= 6. For more atoms and without slopes to translate, an assignment problem for every ratio
    of two weights (one of which is exp(t1)) is as exact; with slopes the assignment is improved from every translation that
    joins two atoms, and the best one found is taken.

    Raises
    ------
    ValueError
        If the numbers of atoms differ.
    """
    k, k_star = pairs.n_atoms
    if k != k_star:
        raise ValueError(f"a matching needs as many atoms in the estimate as in the truth, got {k} and {k_star}.")
    if k <= _MOST_PERMUTED:
        return choose(pairs, kind, np.array(list(permutations(range(k))), dtype=np.int64))
    if pairs.gate.shape[2] == 0:
        matches = np.unique([_match(pairs, kind, np.zeros(0), s) for s in _factors(pairs)], axis=0)
        return choose(pairs, kind, matches)
    total = float(pairs.estimate_weights.sum() / pairs.truth_weights.sum())
    seen: set[tuple[int, ...]] = set()
    best: Optimum | None = None
    for t in starts(pairs):
        s = total
        while True:
            match = _match(pairs, kind, t, s)
            if tuple(match.tolist()) in seen:
                break
            seen.add(tuple(match.tolist()))
            found = choose(pairs, kind, match[None, :])
            best = found if best is None or found.value < best.value else best
            t, s = found.t2, found.s
    assert best is not None
    return best


def _factors(pairs: Pairs) -> Array:
    if pairs.gauge == "none":
        return np.ones(1)
    weighty = pairs.truth_weights[pairs.truth_weights > 0.0]
    return np.unique(pairs.estimate_weights[:, None] / weighty)


def _match(pairs: Pairs, kind: AtomwiseLoss, t2: Array, s: float) -> Index:
    costs = kind.matching_costs(pairs, t2)
    if kind.mass == "all":
        costs = costs + np.abs(pairs.estimate_weights[:, None] - s * pairs.truth_weights)
    return np.asarray(linear_sum_assignment(costs)[1], dtype=np.int64)
