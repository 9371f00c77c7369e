"""From derivatives to rates: which power of n the error of each kind of parameter has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moestat.audit.atoms import HEAT
from moestat.audit.cells import Examined
from moestat.audit.report import AtomReport, ComponentRate
from moestat.losses.rbar import rbar
from moestat.mixture import ConditionalMixture

LABELS = {"gate": "gate", "coef": "slopes a", "intercept": "intercepts b", "variance": "variances ν"}

# How a parameter stands in an over-specified cell, from fast to not identified.
PSEUDO, FAST, PARTNER, SLOW, UNKNOWN_PARTNER, UNKNOWN, LOST = range(7)
_LAWS = {
    PSEUDO: "-1/2, to a pseudo-true value",
    FAST: "-1/4",
    PARTNER: "-1/r̄(m), r̄(m) = 2m",
    SLOW: "-1/(2 r̄(m)), r̄(m) = 2m",
    UNKNOWN_PARTNER: "twice that of what it hides",
    UNKNOWN: "slower than -1/4, the order is not known",
    LOST: "not identified",
}


def component_rates(
    model: ConditionalMixture,
    examined: Sequence[Examined],
    *,
    unseen: frozenset[str],
    extended: bool,
    dense: bool,
    largest: int,
) -> Mapping[str, ComponentRate]:
    """Rates by kind of parameter, the slowest of all atoms.

    Parameters
    ----------
    unseen : frozenset
        Kinds that the information does not see.
    extended : bool
        Whether all experts can be split with one gate pattern.
    dense : bool
        Whether an over-specified fit tends to a pseudo-true measure.
    largest : int
        Atoms of the largest cell.
    """
    worst: dict[str, int] = {}
    needed = 2
    for atom, report, _, lost in examined:
        for i, kind in enumerate(atom.groups):
            state = PSEUDO if dense else _state(model, report, i)
            if report.names[i] in lost or (kind == "gate" and extended):
                state = LOST
            worst[kind] = max(worst.get(kind, PSEUDO), state)
        needed = max(needed, report.hidden.atoms)
    return {
        LABELS.get(kind, kind): _rate(state, 0.0 if kind in unseen else -0.5, needed, largest)
        for kind, state in worst.items()
    }


def _state(model: ConditionalMixture, atom: AtomReport, i: int) -> int:
    heat = model.expert.name in HEAT and atom.hidden.atoms == 2 and not hasattr(model, "noise_std")
    if i in atom.hidden.slow:
        return SLOW if heat else UNKNOWN
    if i in atom.hidden.partners:
        return PARTNER if heat else UNKNOWN_PARTNER
    return FAST


def _rate(state: int, exact: float, needed: int, largest: int) -> ComponentRate:
    def power(m: int) -> float:
        if state in (UNKNOWN, UNKNOWN_PARTNER):
            return -0.25 if m < needed else np.nan
        return {PSEUDO: -0.5, FAST: -0.25, PARTNER: -1.0 / rbar(m), SLOW: -0.5 / rbar(m), LOST: 0.0}[state]

    law = (
        _LAWS[state]
        if state not in (UNKNOWN, UNKNOWN_PARTNER) or needed == 2
        else f"-1/4 for m < {needed}; then {_LAWS[state]}"
    )
    return ComponentRate(exact, law, tuple(power(m) for m in range(2, largest + 1)))
