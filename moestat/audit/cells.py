"""Over-specified cells: what the derivatives of an atom hide, and whether two atoms can stand in for one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.audit import twins
from moestat.audit.atoms import Atom, atom_of, one_expert
from moestat.audit.curves import SAME, Probe
from moestat.audit.points import N_POINTS, points_of
from moestat.audit.rank import HiddenOrder, Rank, column_rank, hidden_order, relation
from moestat.audit.report import AtomReport, Twin
from moestat.distributions import Law
from moestat.gates.sigmoid import SigmoidScores

Array = NDArray[np.float64]

N_COLUMNS = 1500  # more functions of an atom are not examined
NOTHING = 1e-6


class Examined(NamedTuple):
    """An atom, what was found of it, attempts to split it, and its parameters of which these show that they are not identified."""

    atom: Atom
    report: AtomReport
    tried: tuple[Twin, ...]
    lost: frozenset[str]


def examine(probe: Probe, law: Law, rng: np.random.Generator) -> list[Examined]:
    """All atoms of a model whose experts are of one family and linear in their coefficients; none of others."""
    model = probe.model
    phi = model.expert_map.raw_map().features(probe.X[:1])
    if not model.expert.exchangeable or model.expert.predictor_jacobian(one_expert(model, 0)[0], phi) is not None:
        return []
    out = []
    for k in range(model.n_experts):
        p = len(atom_of(model, k, *points_of(model, k, law, 2, rng)).names)
        size = 1 + p + p * (p + 1) // 2
        if size > N_COLUMNS:
            return []
        atom = atom_of(model, k, *points_of(model, k, law, max(N_POINTS, 100 + 2 * size), rng))
        report = _report(k, atom)
        if isinstance(model.gate, SigmoidScores):
            tried, lost = _added(probe, report)
        else:
            tried, lost = _split(probe, report, atom, law, rng)
        unseen = np.abs(report.first.null).max(axis=1, initial=0.0) > 0.0
        lost |= {name for name, gone in zip(atom.names, unseen) if gone}
        out.append(Examined(atom, report, tuple(tried), frozenset(lost)))
    return out


def _report(k: int, atom: Atom) -> AtomReport:
    columns, natural, names = atom.columns()
    p = len(atom.names)
    first = column_rank(columns[:, 1 : 1 + p], natural[1 : 1 + p])
    second = column_rank(columns, natural)
    share = np.abs(second.null) * natural[:, None]
    relations = []
    for vector, size in zip(second.null.T, share.T):
        high = size[1 + p :]
        lead = 1 + p + int(high.argmax()) if high.size and high.max() > NOTHING * size.max() else int(size.argmax())
        relations.append(relation(vector, names, lead))
    relations.sort(key=lambda text: (text.count("∂²"), len(text)))
    return AtomReport(k, atom.names, first, second, tuple(relations), _hidden(atom, first, second))


def _hidden(atom: Atom, first: Rank, second: Rank) -> HiddenOrder:
    """What is hidden at second order among the parameters that are seen at first order."""
    length = np.linalg.norm(atom.first, axis=1) / np.linalg.norm(atom.value)
    size = np.where(length > 0.0, length, 1.0)
    if first.full:
        return hidden_order(second.null, size)
    basis = _complement(first.null * size[:, None]) / size[:, None]
    part = atom.turned(basis)
    columns, natural, _ = part.columns()
    found = hidden_order(column_rank(columns, natural).null, np.ones(basis.shape[1]))
    slow, partners = (set(np.flatnonzero(np.abs(basis[:, list(of)]).max(axis=1, initial=0.0) * size > NOTHING).tolist())
                      for of in (found.slow, found.partners))  # fmt: skip
    directions = found.directions @ (basis * size[:, None]).T if len(found.directions) else np.zeros((0, len(size)))
    return HiddenOrder(tuple(sorted(slow)), tuple(sorted(partners - slow)), directions, found.atoms)


def _complement(null: Array) -> Array:
    """Orthonormal basis `(P, P - L)` of what is orthogonal to L directions; parameters that none of them moves stay themselves."""
    moved = np.abs(null).max(axis=1) > 0.0
    inside = np.linalg.svd(null[moved])[0][:, null.shape[1] :]
    n, m = int(moved.sum()), len(null)
    basis = np.zeros((m, m - null.shape[1]))
    basis[np.ix_(moved, np.arange(inside.shape[1]))] = inside
    basis[~moved, inside.shape[1] + np.arange(m - n)] = 1.0
    return basis


def _split(
    probe: Probe, report: AtomReport, atom: Atom, law: Law, rng: np.random.Generator
) -> tuple[list[Twin], set[str]]:
    """Attempts to split one expert in two without a trace, and the parameters along which one succeeded."""
    g, k = atom.n_gate, report.expert
    tried: list[Twin] = []
    lost: set[str] = set()
    for way in report.hidden.directions:
        if np.abs(way[:g]).max(initial=0.0) > NOTHING:
            continue
        cell = twins.Cell(probe, k, *points_of(probe.model, k, law, N_POINTS, rng))
        gap, moves, shares = cell.part(way[g:])
        names = [name for name, v in zip(report.names[g:], way[g:]) if abs(v) > 1e-3]
        model = twins.split_one(probe, k, moves, shares, cell) if gap <= SAME else None
        tried.append(
            Twin(
                f"expert {k + 1} split in two along {', '.join(names)}",
                gap if model is None else probe.gap(model),
                gap <= SAME,
                model=model,
            )
        )
        lost |= set(names) if gap <= SAME else set()
    return tried, lost


def _added(probe: Probe, report: AtomReport) -> tuple[list[Twin], set[str]]:
    """Under weights that need not sum to one: an expert as the sum of two behind its gate."""
    if not probe.regression or probe.model.gate.normalised:
        return [], set()
    model = twins.halved(probe.model, report.expert)
    if model is None:
        return [], set()
    gap = probe.gap(model)
    name = f"expert {report.expert + 1} as the sum of two behind its gate"
    outer = "output" if "output" in report.names else ("a", "b")
    lost = {n for n in report.names if n.startswith(outer)}
    return [Twin(name, gap, gap <= SAME, model=model)], lost if gap <= SAME else set()
