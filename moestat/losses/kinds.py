r"""The losses as data, one row a theorem: norms and powers in exact and in over-specified cells.

Δ is the difference of an atom and its atom of the truth (for slopes of gauge "softmax" minus the translation t2), ``|.|`` the
Euclidean norm, w the weight of the atom of the estimate, m the number of atoms in the cell and ``r = r̄(m) = 2m``. An atom adds w
times its norms, a cell ``|Σ w_i - e^{t1} w*_j|``. ``β`` is the block ``gate`` (joined with ``gate_quadratic`` if there is one), ``a``
``coef``, ``b`` ``intercept``, ``σ`` the variance, ``η`` all blocks of an expert but the variance. The Δ are left out::

    kind: setting                         gauge    exact cell                       over-specified cell
    D1: any [1]                           any      |(β,η,σ)|                        the same
    D2: softmax Gaussian [1]              any      |(β,a,b,σ)|                      |(β,b)|^r + |(a,σ)|^(r/2)
    D2sharp: the same, k < 2k*            any      |(β,a,b,σ)|                      |β|² + |a|² + |b|^r + |σ|^(r/2)
    merged: moments of cells              any      see MergedLoss                   see MergedLoss
    strong-D1: strongly identifiable      any      |β| + |η| + |σ|                  squares of these
    multinomial-D1: regime 1 [2]          softmax  |β| + Σ_l (|a_l| + |b_l|)        squares of these
    multinomial-D2r: regime 2 [2]         softmax  powers r of these, r given       the same
    topk-D1: top-K, exact [3]             softmax  |β| + |a| + |b| + |σ|            the same
    topk-D2: top-K [3]                    softmax  as topk-D1                       |β|^r + |a|^(r/2) + |b|^r + |σ|^(r/2)
    topk-D2sharp: the same                softmax  as topk-D1                       as D2sharp
    temperature-D1: β/τ in place of β     softmax  as D1                            as D1
    temperature-D2sharp: the same         softmax  as D2sharp                       as D2sharp
    temperature-D2r: τ compared [4]       softmax  powers r of β, τ, a, b, σ        the same
    activation-D2: s(β'x) + β0 [4]        weights  |β| + |τ| + |a| + |b| + |σ|      as D2sharp, and |τ|²
    lse-L1: least squares [5]             any      |β| + |η|                        squares of these
    lse-L2r: polynomial experts [5]       any      powers r of these                the same
    sigmoid-L1: regime 1 [6]              none     |β| + |β0| + |η|, w = 1          |β|² + |η|², w = 1
    sigmoid-L2: regime 2 [6]              none     as sigmoid-L1, no masses         as sigmoid-L2
    cosine-L1r: cosine router [7]         weights  powers r of |β|, |η|             the same
    cosine-L2: β/|β| in place of β        weights  as lse-L1                        as lse-L1
    perturbed-cosine-L2 [7]               weights  as lse-L1                        as lse-L1
    gaussian-gate-D1: exact [8]           none     |c| + |Γ| + |a| + |b| + |σ|      the same
    gaussian-gate-D2: types I, II [8]     none     as gaussian-gate-D1              |c|^r + |Γ|^(r/2) + |a|² + |b|^r + |σ|^(r/2),
                                                                                    where c* = 0 |a|^(r/2) in place of |a|²
    gaussian-gate-D2sharp: the same       none     as gaussian-gate-D1              |a|^(r/2) in every cell
    quadratic-monomial-D2 [9]             softmax  as D2sharp                       as D2sharp
    quadratic-polynomial-D2 [9]           softmax  as D2                            as D2
    quadratic-polynomial-D2sharp          softmax  as D2sharp                       as D2sharp
    laplace-D1: exact [10]                weights  |β| + |a| + |b| + |σ|            the same
    laplace-D2 [10]                       weights  as laplace-D1                    as D2sharp

Weights are exp(β0) (exp(β0/τ) with a temperature), the probabilities of a Gaussian gate, σ(β0) of a sigmoid gate. Blocks besides:
``temperature`` τ, ``gate_intercept`` β0 of a sigmoid gate, ``gate_location`` c and ``gate_covariance`` Γ of a Gaussian gate. The β of a
Laplace gate is its location; nonlinear experts have blocks of any names; multinomial ones a row of ``coef`` (K,C-1,p) and of
``intercept`` (K,C-1) for each class l but the last. Least squares leaves the variance out. ``sigmoid-L1`` compares masses in cells
that have not exactly one atom; ``sigmoid-L2`` takes the least value over the pseudo-true measures given as truths.

The powers of ``D2sharp`` and its like are those that the slopes have in truth while some cell has one atom (k < 2k*). The published
power 2 of ``a`` for a Gaussian gate is too small where m >= 3: the joint density does not see where x has its origin. The power 2 of
``quadratic-polynomial-D2sharp`` for the linear part of the gate is too small as well: its x² absorbs a split in x up to the fourth
order (`moestat.simulate.population_exponent`), so that the rate -1/2 does not follow; fits up to n = 32 000 do not contradict it either.
Modified softmax gates, of β'M(x), have the losses of the softmax. Top-K takes the maximum over the K true experts that may be active
(`moestat.losses.composite`), where the losses of shared experts, hierarchies and deviated models are, too. The rows
``activation-D2`` and ``quadratic-…`` follow summaries of the papers, not their text.

1. Nguyen, Nguyen and Ho (2023), Demystifying softmax gating function in Gaussian mixture of experts.
2. Nguyen et al. (2024), A general theory for softmax gating multinomial logistic mixture of experts.
3. Nguyen et al. (2024), Statistical perspective of top-K sparse softmax gating mixture of experts.
4. Nguyen, Akbarian and Ho (2024), Is temperature sample efficient for softmax Gaussian mixture of experts?
5. Nguyen, Ho and Rinaldo (2024), On least square estimation in softmax gating mixture of experts.
6. Nguyen, Ho and Rinaldo (2024), Sigmoid gating is more sample efficient than softmax gating in mixture of experts.
7. Nguyen et al. (2024), Statistical advantages of perturbing cosine router in mixture of experts.
8. Nguyen et al. (2024), Towards convergence rates for parameter estimation in Gaussian-gated mixture of experts.
9. Akbarian et al. (2024), Quadratic gating functions in mixture of experts: a statistical insight.
10. Han et al. (2024), FuseMoE: mixture-of-experts transformers for fleximodal fusion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from moestat.losses import norms as of
from moestat.losses.atomwise import AtomwiseLoss, LossKind
from moestat.losses.merged import MergedLoss
from moestat.losses.norms import GAUSSIAN, JOINT, always, apart

_GAUSSIAN_GATE = ("gate_location", "gate_covariance", "coef", "intercept", "variance")


def _same(family: of.Family, r: float, **options: Any) -> AtomwiseLoss:
    """The same powers in every cell."""
    return AtomwiseLoss(exact=family(r), over=always(family(r)), **options)


def _squares(family: of.Family, **options: Any) -> AtomwiseLoss:
    """First powers in exact cells, squares in the others."""
    return AtomwiseLoss(exact=family(1.0), over=always(family(2.0)), **options)


_D1 = AtomwiseLoss(exact=JOINT, over=always(JOINT))
_D2 = AtomwiseLoss(exact=JOINT, over=of.published, blocks=GAUSSIAN)
_D2SHARP = replace(_D2, over=of.sharp)
_TEMPERATURE: dict[str, Any] = {
    "gauges": ("softmax",), "needs": ("gate", "temperature"), "view": of.by_temperature
}  # fmt: skip
_GATED = AtomwiseLoss(
    exact=apart(*_GAUSSIAN_GATE),
    over=always(apart(*_GAUSSIAN_GATE)),
    gauges=("none",),
    blocks=_GAUSSIAN_GATE,
    needs=("gate_location",),
)

# Parts of the losses of composite measures.
STRONG = _squares(of.strong)
LINEAR = AtomwiseLoss(exact=apart(*GAUSSIAN), over=of.sharp, blocks=GAUSSIAN)
LINEAR_PUBLISHED = replace(LINEAR, over=of.published_apart)
LINEAR_EXACT = replace(LINEAR, over=always(apart(*GAUSSIAN)))
SPARSE = AtomwiseLoss(
    exact=apart("gate", "gate_intercept", "*", "variance"),
    over=always(of.strong(2.0)),
    gauges=("none",),
    needs=("gate_intercept",),
    mass="inexact",
    weighted=False,
)
DENSE = replace(SPARSE, over=always(SPARSE.exact), mass="none", outside=())

# A new loss is one row here. Kinds with a power r of the user's choice are functions of it; top-K also needs the number K.
LOSSES: dict[str, LossKind] = {
    "D1": _D1,
    "D2": _D2,
    "D2sharp": _D2SHARP,
    "merged": MergedLoss(),
    "strong-D1": STRONG,
    "multinomial-D1": _squares(of.classes, gauges=("softmax",), blocks=GAUSSIAN[:3]),
    "temperature-D1": replace(_D1, **_TEMPERATURE),
    "temperature-D2sharp": replace(_D2SHARP, **_TEMPERATURE),
    "activation-D2": AtomwiseLoss(
        exact=of.tempered(1.0), over=of.sharp_tempered, gauges=("weights",), blocks=(*GAUSSIAN, "temperature")
    ),
    "lse-L1": _squares(of.regression, view=of.without_variance),
    "sigmoid-L1": replace(SPARSE, view=of.without_variance),
    "sigmoid-L2": replace(DENSE, view=of.without_variance),
    "cosine-L2": _squares(of.regression, gauges=("weights",), needs=("gate",), view=of.directions),
    "perturbed-cosine-L2": _squares(of.regression, gauges=("weights",), view=of.without_variance),
    "gaussian-gate-D1": _GATED,
    "gaussian-gate-D2": replace(_GATED, over=of.type_one, at_zero=("gate_location", of.type_two)),
    "gaussian-gate-D2sharp": replace(_GATED, over=of.type_two),
    "quadratic-monomial-D2": replace(_D2SHARP, gauges=("softmax",)),
    "quadratic-polynomial-D2": replace(_D2, gauges=("softmax",)),
    "quadratic-polynomial-D2sharp": replace(_D2SHARP, gauges=("softmax",)),
    "laplace-D1": replace(LINEAR_EXACT, gauges=("weights",)),
    "laplace-D2": replace(LINEAR, gauges=("weights",)),
}
POWERS: dict[str, Callable[[float], LossKind]] = {
    "multinomial-D2r": partial(_same, of.classes, gauges=("softmax",), blocks=GAUSSIAN[:3]),
    "temperature-D2r": partial(_same, of.tempered, gauges=("softmax",), blocks=(*GAUSSIAN, "temperature")),
    "lse-L2r": partial(_same, of.regression, view=of.without_variance),
    "cosine-L1r": partial(_same, of.regression, gauges=("weights",), view=of.without_variance),
}
TOP_K: dict[str, AtomwiseLoss] = {
    "topk-D1": replace(LINEAR_EXACT, gauges=("softmax",)),
    "topk-D2": replace(LINEAR_PUBLISHED, gauges=("softmax",)),
    "topk-D2sharp": replace(LINEAR, gauges=("softmax",)),
}


def rule_of(kind: str, r: float) -> LossKind:
    """The loss of a kind, with power r where the kind asks for one.

    Raises
    ------
    ValueError
        If ``r`` is less than 1 (the infimum would not be convex), or there is no such kind.
    """
    if kind in POWERS:
        if not r >= 1.0:
            raise ValueError(f"r must be at least 1, got {r}.")
        return POWERS[kind](float(r))
    known = LOSSES | TOP_K
    if kind not in known:
        raise ValueError(f"kind must be one of {[*known, *POWERS]}, got {kind!r}.")
    return known[kind]
