"""The report of an audit: what is identified, how well, and other parameters of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from moestat.audit.curves import Curve
from moestat.audit.gauge import Gauge
from moestat.audit.rank import HiddenOrder, Rank
from moestat.mixture import ConditionalMixture

WIDTH = 118
MARGIN = 16
RELATIONS_SHOWN = 5
WORDS = {"strong": "strongly identifiable", "weak": "weakly identifiable", "none": "not identifiable"}


@dataclass(frozen=True)
class Twin:
    """Other parameters, and how far their density is from that of the model.

    Attributes
    ----------
    name : str
    gap : float
        `max |p - q| / max p` on the points of the audit, or the same of regression functions.
    exact : bool
        Whether that is rounding.
    scope : {"same", "more", "other"}
        With the same experts; with more of them; or with another known constant.
    model : ConditionalMixture or None
        The twin itself, where it can be written with such a gate.
    """

    name: str
    gap: float
    exact: bool
    scope: str = "more"
    model: ConditionalMixture | None = None


@dataclass(frozen=True)
class AtomReport:
    """Derivatives of one atom, expert and gate together.

    Attributes
    ----------
    expert : int
        From 0.
    names : tuple of str
        Its parameters: β the gate's slopes, a and b the expert's slopes and intercept, ν a variance.
    first, second : Rank
        Of the first derivatives; of the atom itself with its first and second ones.
    relations : tuple of str
        The dependences of the latter.
    hidden : HiddenOrder
        Which parameters split without a trace at second order.
    """

    expert: int
    names: tuple[str, ...]
    first: Rank
    second: Rank
    relations: tuple[str, ...]
    hidden: HiddenOrder

    @property
    def strength(self) -> str:
        """ "strong": nothing is hidden at second order; "weak": at first order only; "none"."""
        if not self.first.full:
            return "none"
        return "weak" if self.hidden.slow else "strong"


@dataclass(frozen=True)
class ComponentRate:
    """What to expect of the error of one kind of parameter, as a power of n.

    Attributes
    ----------
    exact : float
        In a cell of one atom; 0: not identified.
    law : str
        In a cell of m atoms.
    over : tuple of float
        In cells of 2, 3, … atoms, up to the largest that the fitted number allows; nan: slower than -1/4, the order is not known.
    """

    exact: float
    law: str
    over: tuple[float, ...]


@dataclass(frozen=True)
class IdentifiabilityReport:
    """What the parameters of a mixture of experts are identified by; `str(report)` is a table.

    Attributes
    ----------
    model : ConditionalMixture
    n_experts_fitted : int
    gauge : Gauge
        Exact invariances of the gate.
    extended : Twin or None
        Every expert split with the same gate pattern, where `n_experts_fitted >= 2 n_experts`.
    information : Rank
        That of the scores of all free parameters.
    curves : tuple of Curve
        The directions that the information does not see.
    atoms : tuple of AtomReport
    rates : mapping of str to ComponentRate
        By kind of parameter.
    twins : tuple of Twin
        All that were tried, exact or not.
    notes : tuple of str
    """

    model: ConditionalMixture
    n_experts_fitted: int
    gauge: Gauge
    extended: Twin | None
    information: Rank
    curves: tuple[Curve, ...]
    atoms: tuple[AtomReport, ...]
    rates: Mapping[str, ComponentRate]
    twins: tuple[Twin, ...]
    notes: tuple[str, ...] = ()

    @property
    def regular(self) -> bool:
        """Whether the information is regular, so that an exactly specified fit has the rate -1/2."""
        return self.information.full

    @property
    def strength(self) -> str:
        """The weakest of the atoms: "strong", "weak" or "none"; "unknown" where they were not examined."""
        order = ("none", "weak", "strong")
        return min((atom.strength for atom in self.atoms), key=order.index, default="unknown")

    @property
    def identified(self) -> bool:
        """Whether no other parameters of the same model were found at the fitted number of experts."""
        return self.regular and not any(twin.exact for twin in self._relevant)

    @property
    def _relevant(self) -> tuple[Twin, ...]:
        scopes = ("same", "more") if self.n_experts_fitted > self.model.n_experts else ("same",)
        return tuple(twin for twin in self.twins if twin.scope in scopes)

    def __str__(self) -> str:
        kind = "regression function" if hasattr(self.model, "noise_std") else "density"
        k, fitted = self.model.n_experts, self.n_experts_fitted
        lines = [
            f"Identifiability of a {kind}: gate {self.model.gate.name}, expert {self.model.expert.name}, k* = {k}, k = {fitted}",
            "-" * WIDTH,
            *_entry(
                "gauge",
                f"{self.gauge.dimension} exact invariances, {self.gauge.left} of them not pinned: {self.gauge.text}",
            ),
            *_entry("extended gauge", self._extended_text()),
            *_entry("information", self._information_text()),
        ]
        lines += [line for curve in self.curves for line in _entry("", _curve_text(curve))]
        lines += [line for atom in self._distinct() for line in _atom_lines(*atom)]
        lines += self._rate_lines()
        lines += [line for i, twin in enumerate(self.twins) for line in _entry("" if i else "twins", _twin_text(twin))]
        lines += [line for i, note in enumerate(self.notes) for line in _entry("" if i else "notes", note)]
        return "\n".join([*lines, *_entry("verdict", self.verdict)])

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.identified:
            return f"the parameters are identified{'' if self.strength == 'unknown' else f', {WORDS[self.strength]}'}."
        exact = [twin.name for twin in self._relevant if twin.exact]
        if exact:
            return f"the parameters are not identified: {'; '.join(exact)}."
        return "the information is singular here, but no other parameters of the same model were found."

    def _extended_text(self) -> str:
        if self.extended is not None:
            text = "every expert split in two with one gate pattern: " + _size(self.extended.gap)
            return text + (": the mixing measure is not identified" if self.extended.exact else ": another model")
        if self.n_experts_fitted < 2 * self.model.n_experts:
            return "none: with k < 2 k* some cell has one atom"
        return "not tried with this gate"

    def _information_text(self) -> str:
        found = self.information
        text = f"rank {found.rank} of {found.n_functions} free parameters (singular values: {found.smallest:.1e}"
        return text + (f", then {found.dropped:.1e})" if not found.full else " and more)")

    def _distinct(self) -> list[tuple[list[int], AtomReport]]:
        """Atoms with the same outcome together."""
        out: list[tuple[list[int], AtomReport]] = []
        for atom in self.atoms:
            same = (atom.first.rank, atom.second.rank, atom.hidden.slow)
            for numbers, other in out:
                if same == (other.first.rank, other.second.rank, other.hidden.slow):
                    numbers.append(atom.expert)
                    break
            else:
                out.append(([atom.expert], atom))
        return out

    def _rate_lines(self) -> list[str]:
        if not self.rates:
            return []
        largest = 1 + len(next(iter(self.rates.values())).over)
        sizes = "".join(f"{f'm = {m}':>9}" for m in range(2, largest + 1))
        head = f"{'rates':<{MARGIN}}{'exponent of n':<18}{'exact':>7}{sizes}   in a cell of m atoms"
        rows = [
            f"{'':<{MARGIN}}{name:<18}{_power(rate.exact):>7}{''.join(f'{_power(e):>9}' for e in rate.over)}   {rate.law}"
            for name, rate in self.rates.items()
        ]
        return [head, *rows]


def _entry(label: str, text: str) -> list[str]:
    pieces = wrap(text, WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{label:<{MARGIN}}{pieces[0]}", *(" " * MARGIN + piece for piece in pieces[1:])]


def _size(gap: float) -> str:
    return f"max|p - q|/max p = {gap:.1e}"


def _power(exponent: float) -> str:
    if np.isnan(exponent):
        return "slower"
    return "0" if exponent == 0.0 else f"-1/{round(-1.0 / exponent)}"


def _curve_text(curve: Curve) -> str:
    moved = ", ".join(f"{name} {value:+.2g}" for name, value in list(curve.direction.items())[:6])
    more = "" if len(curve.direction) <= 6 else ", …"
    if curve.exact:
        return f"not seen: {moved}{more}; a curve of the same model, {_size(curve.gap)} at its end"
    return f"not seen: {moved}{more}; no curve: the difference grows as the step to the {curve.order:.1f}, {_size(curve.gap)}"


def _twin_text(twin: Twin) -> str:
    return f"{twin.name}: {_size(twin.gap)}" + (" (the same model)" if twin.exact else " (another model)")


def _atom_lines(numbers: list[int], atom: AtomReport) -> list[str]:
    label = "expert " + ", ".join(str(k + 1) for k in numbers)
    doubt = "" if atom.first.clear and atom.second.clear else "; the singular values leave a doubt"
    counts = f"derivatives of order 1: {atom.first.rank} of {atom.first.n_functions} independent, up to order 2: "
    text = f"{counts}{atom.second.rank} of {atom.second.n_functions}; {WORDS[atom.strength]}{doubt}"
    lines = _entry(label, text)
    for line in atom.relations[:RELATIONS_SHOWN]:
        lines += _entry("", line)
    left = len(atom.relations) - RELATIONS_SHOWN
    return lines + ([f"{'':<{MARGIN}}and {left} more"] if left > 0 else [])
