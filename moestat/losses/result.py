"""The value of a loss, and how it is found for one pair of measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from moestat.losses.atomwise import LossKind
from moestat.losses.blocks import Array, Pairs
from moestat.losses.search import Optimum, best_voronoi, mass_terms
from moestat.losses.voronoi import VoronoiCells, cells_at, describe


@dataclass(frozen=True, eq=False)
class LossResult:
    """Value of a loss, with the cells and the translation at which it is attained.

    Attributes
    ----------
    value : float
        The loss in the units of the truth's weights; ``float(result)`` is the same. In the units of the estimate's weights
        it is ``value * exp(t1)``.
    kind : str
    cells : VoronoiCells
        Of composite measures those of the routed experts, or of the first level.
    t1 : float
        Translation of the intercepts: the mass of a cell is compared with ``exp(t1)`` times that of the truth's atom.
    t2 : ndarray (d,)
        Translation of the slopes: those of the estimate are compared with the truth's plus ``t2``. A quadratic gate's
        coefficients follow the linear ones, row by row.
    terms : mapping of str to float
        Contributions of ``"weights"`` and of the blocks, as ``"gate"``, ``"coef"``, ``"intercept"``, ``"variance"``; they add up
        to the value.
    parts : mapping of str to LossResult
        The losses of which a composite one consists: ``"shared"`` and ``"routed"``, one for each child of a hierarchy, or
        the measure of a deviated model.
    choice : tuple of int
        The true experts at which top-K has its maximum, or the place of the nearest of several truths.
    """

    value: float
    kind: str
    cells: VoronoiCells
    t1: float
    t2: Array
    terms: Mapping[str, float]
    parts: Mapping[str, LossResult] = field(default_factory=dict)
    choice: tuple[int, ...] = ()

    def __float__(self) -> float:
        return self.value


def optimal_loss(pairs: Pairs, rule: LossKind, kind: str, *, infimum: bool = True) -> LossResult:
    """The loss of its Voronoi cells at the best translation, or at none."""
    return describe_optimum(pairs, rule, kind, best_voronoi(pairs, rule) if infimum else untranslated(pairs))


def untranslated(pairs: Pairs) -> Optimum:
    """The cells at ``t1 = t2 = 0``."""
    t2 = np.zeros(pairs.gate.shape[2])
    return Optimum(cells_at(pairs, t2).assignment, t2, 1.0, np.nan)


def describe_optimum(pairs: Pairs, rule: LossKind, kind: str, best: Optimum) -> LossResult:
    """Value and terms at an assignment and a translation."""
    mass = mass_terms(pairs, rule, best.assignment[None, :], np.array([best.s]))[1]
    terms = {"weights": float(mass[0]), **rule.terms(pairs, best.assignment, best.t2)}
    terms = {name: value / best.s for name, value in terms.items()}
    cells = describe(pairs, best.assignment, best.t2)
    return LossResult(sum(terms.values()), kind, cells, float(np.log(best.s)), best.t2, terms)
