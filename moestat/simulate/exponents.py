"""Population exponents of a scenario beside the theorem's: its over-specified fit, its atoms, its component losses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .loss_names import gap_of
from .models import build_law, build_truth, gate_of
from .parts import MixtureTruth
from .population import PopulationExponent, population_exponent
from .splits import CannotSplit

if TYPE_CHECKING:
    from .scenario import Scenario

__all__ = ["ScenarioExponent", "scenario_exponents", "stored_exponents"]

# blocks of component gaps -> what is split
_COMPONENTS = {
    "gate": "gate", "gate_location": "gate", "gate_coef": "gate", "gate_covariance": "gate_scale", "coef": "coef",
    "intercept": "intercept", "variance": "scale",
}  # fmt: skip
_DEFAULT = ("gate", "coef", "intercept", "scale")


@dataclass(frozen=True)
class ScenarioExponent:
    """A population exponent of one atom, and the exponent of n that the scenario declares for the same component.

    ``split`` is the atom, from 0. ``declared`` is None if the scenario has no loss of this component; it may bound the error from
    above only.
    """

    component: str
    split: int
    found: PopulationExponent
    declared: float | None

    @property
    def agrees(self) -> bool | None:
        """Whether the implied rate is the declared one, to 0.02; None if there is nothing to compare or the slopes are unsteady."""
        if self.declared is None or (self.found.identified and not self.found.steady):
            return None
        return abs(self.found.rate - self.declared) <= 0.02


def scenario_exponents(
    scenario: Scenario,
    *,
    components: Sequence[str] | None = None,
    splits: Sequence[int] | None = None,
    atoms: int | None = None,
) -> Iterator[ScenarioExponent]:
    """Population exponents of a scenario, one by one, as each takes seconds.

    Parameters
    ----------
    components : sequence of str, optional
        Default: those of the component losses, or gate, coef, intercept and scale.
    splits : sequence of int, optional
        Atoms to split, from 0; default: each in turn that can be split.
    atoms : int, optional
        Default: one more than the experts, shared or routed ones as the one that is split, that the largest fit has too many. With
        1 nothing is split; see `population_exponent`.

    Raises
    ------
    ValueError
        If the truth is no mixture with two experts or more, or none of the experts can be split in any of the components (see
        `population_exponent`).
    """
    spec = scenario.truth
    if not isinstance(spec, MixtureTruth) or spec.n_experts < 2:
        raise ValueError(f"{scenario.id}: population exponents need a mixture of two experts or more as truth")
    truth, law = build_truth(scenario), build_law(scenario)
    declared = _declared(scenario)
    known, done = (0,) if spec.deviated else (), False
    refusal: CannotSplit | None = None
    for component in components or tuple(declared) or _DEFAULT:
        for split in splits if splits is not None else range(truth.n_experts):
            count = atoms if atoms is not None else _atoms(scenario, truth, split)
            trials = min(spec.trials, 2 * count - 1)  # so many identify as many atoms; further ones sharpen it only
            try:
                found = population_exponent(
                    truth, x=law, component=component, split=split, atoms=count, known=known, trials=trials
                )
            except CannotSplit as error:
                refusal = refusal or error
                continue
            yield ScenarioExponent(component, split, found, declared.get(component) if count > 1 else None)
            done = True
    if refusal is not None and not done:
        raise refusal


def _atoms(scenario: Scenario, truth: Any, split: int) -> int:
    """One more than the largest fit has too many of such experts, at least two."""
    shared, extra = getattr(truth.gate, "n_shared", 0), 1
    for fit in scenario.fit:
        more = max(fit.experts_at(10_000)) - truth.n_experts
        if shared:
            beside = getattr(gate_of(scenario, fit), "n_shared", 0) - shared
            more = beside if split < shared else more - beside
        extra = max(extra, more)
    return extra + 1


def _declared(scenario: Scenario) -> dict[str, float]:
    """Exponents of the component losses by what they are of."""
    found: dict[str, float] = {}
    for loss in scenario.loss:
        gap = gap_of(loss.name)
        if gap is not None and isinstance(loss.exponent, float) and gap[1] in _COMPONENTS:
            found.setdefault(_COMPONENTS[gap[1]], loss.exponent)
    return found


def stored_exponents(scenario: Scenario, folder: Path, compute: bool = False) -> list[dict[str, Any]]:
    """What ``<folder>/exponents.json`` holds of the component losses; with ``compute`` it is made if it is missing.

    Returns
    -------
    list of dict
        ``component``, ``expert`` (from 1), ``atoms``, ``exponent`` (None if infinite), ``rate``, ``floor``, ``declared``, ``steady``,
        ``agrees``. Nothing if no component losses are declared, or the experts of the truth cannot be split.
    """
    from .files import write_text

    path = folder / "exponents.json"
    if compute and not path.exists():
        rows: list[dict[str, Any]] = []
        try:
            rows = [_stored(row) for row in scenario_exponents(scenario)] if _declared(scenario) else []
        except ValueError:  # a truth whose experts cannot be split
            rows = []
        write_text(path, json.dumps(rows, indent=1) + "\n")
    if not path.exists():
        return []
    content: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _stored(row: ScenarioExponent) -> dict[str, Any]:
    found = row.found
    return {
        "component": row.component, "expert": row.split + 1, "atoms": found.atoms,
        "exponent": round(found.exponent, 4) if found.identified else None, "rate": round(found.rate, 5), "floor": found.floor,
        "declared": row.declared, "steady": found.steady, "agrees": row.agrees,
    }  # fmt: skip
