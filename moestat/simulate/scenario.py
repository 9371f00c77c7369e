"""The declaration of a scenario: a TOML file, checked as a whole before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from .loss_names import compares_parameters
from .parts import (
    Component,
    Fit,
    JointLaw,
    Loss,
    MixtureTruth,
    Name,
    Part,
    Preset,
    Presets,
    RegressionTruthSpec,
    Rule,
    SolverSpec,
    Starts,
    UniformLaw,
)

__all__ = [
    "Cell",
    "Component",
    "Fit",
    "JointLaw",
    "Loss",
    "MixtureTruth",
    "Preset",
    "RegressionTruthSpec",
    "Rule",
    "Scenario",
    "ScenarioError",
    "SolverSpec",
    "Starts",
    "UniformLaw",
    "cross_errors",
]


class ScenarioError(ValueError):
    """A scenario that cannot be used; the message lists every error with its place."""


@dataclass(frozen=True, order=True)
class Cell:
    """The unit of work: one fit of one replicate."""

    fit: str
    n_experts: int
    n: int
    rep: int


class Scenario(Part):
    """A theorem's claim as an experiment: truth, law of x, fits, losses, sizes.

    Attributes
    ----------
    claim, source, against : str
        What is claimed, by whom, and what would count against it.
    root_seed : int
        Root of all random streams.
    """

    id: Name
    title: str
    claim: str
    source: str
    against: str
    root_seed: int = Field(ge=0)
    truth: Annotated[MixtureTruth | RegressionTruthSpec, Field(discriminator="kind")]
    x: Annotated[UniformLaw | JointLaw, Field(discriminator="law")]
    fit: list[Fit] = Field(min_length=1)
    starts: Starts
    solver: SolverSpec = SolverSpec()
    budgets: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list, description="m (k+1) to compare degrees at"
    )
    loss: list[Loss] = Field(min_length=1)
    presets: Presets

    def declaration(self) -> dict[str, Any]:
        """The part that determines the records: no prose, no sizes, no theory."""
        whole = self.model_dump(mode="json")
        kept = {key: whole[key] for key in ("id", "root_seed", "truth", "x", "fit", "starts", "solver")}
        return kept | {"losses": sorted({(loss.fit or self.fit[0].id, loss.name) for loss in self.loss})}

    def fingerprint(self) -> str:
        """Hash of the canonical declaration; records of one folder share it."""
        text = json.dumps(self.declaration(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def fit_by_id(self, fit: str) -> Fit:
        for candidate in self.fit:
            if candidate.id == fit:
                return candidate
        raise KeyError(f"scenario {self.id} has no fit {fit!r}; it has {', '.join(f.id for f in self.fit)}")

    def fit_of(self, loss: Loss) -> Fit:
        return self.fit_by_id(loss.fit) if loss.fit else self.fit[0]

    def starts_of(self, fit: Fit) -> Starts:
        """Where a fit starts: as it says itself, or as all do."""
        return fit.starts or self.starts

    def solver_of(self, fit: Fit) -> SolverSpec:
        """The solver of a fit: its own, or that of all."""
        return fit.solver or self.solver

    def losses_of(self, fit: str) -> list[str]:
        """Names of the losses computed for one fit, each once, in declared order."""
        return list(dict.fromkeys(loss.name for loss in self.loss if self.fit_of(loss).id == fit))

    def cells(self, n_grid: Iterable[int], reps: int, max_experts: int | None = None) -> list[Cell]:
        """Every cell of a grid of sample sizes and replicates."""
        return [
            Cell(fit.id, m, int(n), rep)
            for fit in self.fit
            for n in n_grid
            for m in fit.experts_at(int(n), max_experts)
            for rep in range(reps)
        ]

    def cost(self, cell: Cell) -> float:
        """Relative cost of a cell, used to order the work only."""
        size = cell.n_experts * (2 + self.fit_by_id(cell.fit).degree + self.x.n_features)
        return (200.0 + cell.n) * size**2


def cross_errors(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Errors between parts, found on the raw table so that they are listed together with all others.

    Returns
    -------
    list of (place, message)
    """

    def table(value: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else {}

    def tables(value: Any) -> list[dict[str, Any]]:
        return [table(item) for item in value] if isinstance(value, list) else []

    errors: list[tuple[str, str]] = []
    truth, starts = table(raw.get("truth")), table(raw.get("starts"))
    fits = tables(raw.get("fit"))
    ids = [fit.get("id") for fit in fits]
    errors += [(f"fit[{i}].id", f"{x!r} is used twice") for i, x in enumerate(ids) if x is not None and x in ids[:i]]
    params = table(truth.get("params"))
    width = len(table(raw.get("x")).get("low", [])) if isinstance(table(raw.get("x")).get("low"), list) else 0
    rows = params.get("gate_coef")
    linear = truth.get("gate", "softmax") == "softmax"
    if linear and width and isinstance(rows, list) and rows and isinstance(rows[0], list) and len(rows[0]) != width:
        errors.append(("truth.params.gate_coef", f"has {len(rows[0])} columns, the law of x has {width}"))
    n_true = len(params["expert_intercept"]) if isinstance(params.get("expert_intercept"), list) else 0
    if truth.get("kind") == "regression":
        if starts.get("kind") == "perturbed-truth":
            errors.append(("starts.kind", "a regression truth has no parameters to perturb; use equal-cells"))
        errors += [(f"fit[{i}].box", "needs a mixture as truth") for i, fit in enumerate(fits) if "box" in fit]
    elif starts.get("kind") == "perturbed-truth":
        for i, fit in enumerate(fits):
            if fit.get("centres"):
                continue
            grid = fit.get("n_experts")
            sizes = grid if isinstance(grid, list) else [grid]
            if any(isinstance(m, int) and m < n_true for m in sizes):
                errors.append((f"fit[{i}].n_experts", f"must be at least the truth's {n_true}, got {grid}"))
    seen: list[Any] = []
    for i, loss in enumerate(tables(raw.get("loss"))):
        name, label = loss.get("name"), loss.get("id", loss.get("name"))
        if label in seen:
            errors.append((f"loss[{i}]", f"{label!r} is used twice; give one of them an id"))
        seen.append(label)
        if "fit" in loss and loss["fit"] not in ids:
            errors.append((f"loss[{i}].fit", f"unknown fit {loss['fit']!r}; declared: {ids}"))
        if truth.get("kind") == "regression" and compares_parameters(name):
            errors.append((f"loss[{i}].name", f"{name} compares parameters; a regression truth has none"))
        if loss.get("at") == "rule":
            fit = fits[ids.index(loss["fit"])] if loss.get("fit") in ids else (fits[0] if fits else {})
            if "rule" not in fit:
                errors.append((f"loss[{i}].at", "is 'rule', but its fit declares no rule"))
    return errors
