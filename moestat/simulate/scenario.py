"""The declaration of a scenario: a TOML file, checked as a whole before anything is computed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .loss_names import LossName, compares_parameters

__all__ = [
    "Cell",
    "Fit",
    "Loss",
    "Preset",
    "Scenario",
    "ScenarioError",
    "cross_errors",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class ScenarioError(ValueError):
    """A scenario that cannot be used; the message lists every error with its place."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TruthParams(_Part):
    """Raw parameters of the true mixture: the dictionary of ``ConditionalMixture``."""

    gate_coef: list[list[Finite]]
    gate_intercept: list[Finite]
    expert_coef: list[list[Finite]]
    expert_intercept: list[Finite]
    expert_scale: list[Positive]

    @model_validator(mode="after")
    def _same_number_of_experts(self) -> TruthParams:
        sizes = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"every parameter needs one entry an expert, got {sizes}")
        for name in ("gate_coef", "expert_coef"):
            widths = {len(row) for row in getattr(self, name)}
            if len(widths) > 1:
                raise ValueError(f"rows of {name} differ in length: {sorted(widths)}")
        return self


class MixtureTruth(_Part):
    """A mixture of experts with known parameters."""

    kind: Literal["mixture"]
    gate: Literal["softmax", "constant"] = "softmax"
    expert: Literal["gaussian"] = "gaussian"
    degree: int = Field(default=1, ge=0)
    params: TruthParams

    @property
    def n_experts(self) -> int:
        return len(self.params.gate_intercept)


class RegressionTruthSpec(_Part):
    """A Gaussian regression with known standard deviation; it is no mixture, and has only divergences as losses."""

    kind: Literal["regression"]
    function: Literal["cosine-series"]
    alpha: Positive = 2.0
    terms: int = Field(default=9, ge=1, le=40)
    amplitude: Positive = 1.5
    scale: Positive


class UniformLaw(_Part):
    law: Literal["uniform"]
    low: list[Finite] = Field(min_length=1)
    high: list[Finite] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> UniformLaw:
        if len(self.low) != len(self.high) or any(a >= b for a, b in zip(self.low, self.high, strict=False)):
            raise ValueError(f"low must lie below high in every column, got low={self.low}, high={self.high}")
        return self

    @property
    def n_features(self) -> int:
        return len(self.low)


class Box(_Part):
    """Half-widths of the compact parameter space around each split of the truth."""

    gate_intercept: Positive
    gate_coef: Positive
    expert_coef: Positive
    expert_intercept: Positive
    log_variance: Positive


class Rule(_Part):
    """The number of experts ``m(n) = ceil(c (n / log n)^(s / (2 beta + s)))`` that balances bias and variance."""

    c: Positive
    beta: Positive
    s: int = Field(default=1, ge=1)

    def n_experts(self, n: int) -> int:
        power: float = self.s / (2 * self.beta + self.s)
        return max(1, math.ceil(self.c * math.pow(n / math.log(n), power)))


class Fit(_Part):
    """A fitted model, or a family of them when ``n_experts`` is a list or follows a rule."""

    id: Name
    n_experts: int | list[int] = Field(default_factory=list)
    rule: Rule | None = None
    degree: int = Field(default=1, ge=0, le=10)
    gate: Literal["softmax", "constant"] = "softmax"
    variance: Literal["free", "tied"] | Positive = "free"
    box: Box | None = None

    @model_validator(mode="after")
    def _some_experts(self) -> Fit:
        grid = [self.n_experts] if isinstance(self.n_experts, int) else self.n_experts
        if not grid and self.rule is None:
            raise ValueError("give n_experts (a number or a list) or a rule")
        if any(m < 1 for m in grid) or len(set(grid)) < len(grid):
            raise ValueError(f"n_experts must be distinct and at least 1, got {grid}")
        return self

    def experts_at(self, n: int, limit: int | None = None) -> list[int]:
        """Numbers of experts fitted at sample size ``n``, ascending, none above ``limit``."""
        grid = {self.n_experts} if isinstance(self.n_experts, int) else set(self.n_experts)
        if self.rule is not None:
            grid.add(self.rule.n_experts(n))
        return sorted(m for m in grid if limit is None or m <= limit)


class Starts(_Part):
    """Where the fits start.

    ``perturbed-truth``: every split of the truth, at every radius. ``equal-cells``: gates that cut the range of x
    into equal cells with ``steepness * m`` as logit increment, experts by local least squares.
    """

    kind: Literal["perturbed-truth", "equal-cells"]
    radii: list[Positive] = Field(default_factory=lambda: [0.15, 0.4, 0.8])
    per_radius: int = Field(default=2, ge=1)
    steepness: list[Positive] = Field(default_factory=lambda: [8.0])
    rounds: int = Field(default=1, ge=1, description="rounds of starts, until enough of them agree")
    default: int = Field(default=0, ge=0, description="further starts from moestat's own default")


class SolverSpec(_Part):
    name: Literal["auto", "newton", "em", "squarem", "lbfgs"] = "auto"
    tol: Positive = 1e-8
    max_iter: int = Field(default=1000, ge=1)
    agree: int = Field(default=2, ge=1, description="starts that must reach the optimum for a cell to be certified")


class Preset(_Part):
    n: list[Annotated[int, Field(ge=2)]] = Field(min_length=1)
    reps: int = Field(ge=1)
    max_experts: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ascending(self) -> Preset:
        if any(a >= b for a, b in zip(self.n, self.n[1:], strict=False)):
            raise ValueError(f"n must ascend, got {self.n}")
        return self


class Presets(_Part):
    smoke: Preset
    quick: Preset
    full: Preset


class Loss(_Part):
    """A loss and what the theorem says of it.

    ``bound = "at-most"`` marks an exponent that bounds the error from above: a steeper slope agrees with it.
    ``at`` says which fits of a family enter the slope: its ``rule``, or the ``best`` number of experts at each n.
    """

    name: LossName
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:@()._-]*$")] | None = None
    fit: Name | None = None
    exponent: Finite | None = None
    bound: Literal["equal", "at-most"] = "equal"
    constant: Positive | Literal["predicted"] | None = None
    at: Literal["all", "rule", "best"] = "all"

    @property
    def label(self) -> str:
        return self.id or self.name


@dataclass(frozen=True, order=True)
class Cell:
    """The unit of work: one fit of one replicate."""

    fit: str
    n_experts: int
    n: int
    rep: int


class Scenario(_Part):
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
    x: UniformLaw
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
    if width and isinstance(rows, list) and rows and isinstance(rows[0], list) and len(rows[0]) != width:
        errors.append(("truth.params.gate_coef", f"has {len(rows[0])} columns, the law of x has {width}"))
    n_true = len(params["gate_intercept"]) if isinstance(params.get("gate_intercept"), list) else 0
    if truth.get("kind") == "regression":
        if starts.get("kind") == "perturbed-truth":
            errors.append(("starts.kind", "a regression truth has no parameters to perturb; use equal-cells"))
        errors += [(f"fit[{i}].box", "needs a mixture as truth") for i, fit in enumerate(fits) if "box" in fit]
    elif starts.get("kind") == "perturbed-truth":
        for i, fit in enumerate(fits):
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
