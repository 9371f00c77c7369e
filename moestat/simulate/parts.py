"""The tables of a scenario file: truth, law of x, fits, starts, solver, losses, presets."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .loss_names import LossName

__all__ = [
    "Component",
    "Fit",
    "JointLaw",
    "Loss",
    "MixtureTruth",
    "Preset",
    "Presets",
    "RegressionTruthSpec",
    "Rule",
    "SolverSpec",
    "Starts",
    "UniformLaw",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
_KEY = r"^(gate|expert|shared|block)_[a-z_]+$"


class Part(BaseModel):
    """A table: unknown keys are refused, and types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Options(BaseModel):
    """A gate or an expert with settings: ``{name = "topk", k = 2}``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str


Component = str | Options


def checked_params(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as finite numbers in rectangular lists, keys as those of a mixture; whether they suit a model is asked of the model itself.

    Raises
    ------
    ValueError
        Naming the entry.
    """
    for key, value in params.items():
        if not re.fullmatch(_KEY, key):
            raise ValueError(
                f"{key!r} is no parameter of a mixture; they are called gate_…, expert_…, shared_… or block_…"
            )
        if not _finite(value):
            raise ValueError(f"{key} must hold finite numbers, got {value!r}")
        if isinstance(value, list):
            _shape(key, value)
    sizes = {key: len(value) for key, value in params.items() if key.startswith("expert_") and isinstance(value, list)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"every parameter needs one entry an expert, got {sizes}")
    bad = [v for v in params.get("expert_scale", []) if not isinstance(v, list) and v <= 0]
    if bad:
        raise ValueError(f"expert_scale holds standard deviations, which are positive, got {bad[0]!r}")
    return params


Params = Annotated[dict[str, Any], AfterValidator(checked_params)]


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shape(key: str, value: list[Any]) -> tuple[int, ...]:
    if not any(isinstance(item, list) for item in value):
        return (len(value),)
    shapes = {_shape(key, item) if isinstance(item, list) else () for item in value}
    if len(shapes) > 1:
        raise ValueError(f"rows of {key} differ in length: {sorted(shapes)}")
    return (len(value), *shapes.pop())


class MixtureTruth(Part):
    """A mixture of experts with known parameters; with ``noise``, a regression function with normal noise."""

    kind: Literal["mixture"]
    gate: Component = "softmax"
    expert: Component = "gaussian"
    degree: int = Field(default=1, ge=0)
    noise: Positive | None = None
    trials: int = Field(default=1, ge=1, description="draws behind a row, of classes or successes")
    deviated: bool = Field(default=False, description="the first expert is a known density, the others deviate from it")
    params: Params

    @model_validator(mode="after")
    def _rectangular(self) -> MixtureTruth:
        if not any(isinstance(self.params.get(key), list) for key in ("expert_intercept", "expert_coef")):
            raise ValueError("params needs expert_intercept or expert_coef, with one entry an expert")
        return self

    @property
    def n_experts(self) -> int:
        atoms: list[Any] = self.params.get("expert_intercept") or self.params["expert_coef"]
        return len(atoms)


class RegressionTruthSpec(Part):
    """A Gaussian regression with known standard deviation; it is no mixture, and has only divergences as losses."""

    kind: Literal["regression"]
    function: Literal["cosine-series"]
    alpha: Positive = 2.0
    terms: int = Field(default=9, ge=1, le=40)
    amplitude: Positive = 1.5
    scale: Positive


class UniformLaw(Part):
    """Uniform on a box."""

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


class JointLaw(Part):
    """The law of x in the truth, a joint model of x and y; divergences are those of the joint densities."""

    law: Literal["joint"]
    n_features: int = Field(default=1, ge=1)


class Rule(Part):
    """The number of experts ``m(n) = ceil(c (n / log n)^(s / (2 beta + s)))`` that balances bias and variance."""

    c: Positive
    beta: Positive
    s: int = Field(default=1, ge=1)

    def n_experts(self, n: int) -> int:
        power: float = self.s / (2 * self.beta + self.s)
        return max(1, math.ceil(self.c * math.pow(n / math.log(n), power)))


class Starts(Part):
    """Where the fits start.

    ``perturbed-truth``: every split of the truth, at every radius. ``equal-cells``: gates that cut the range of x
    into equal cells with ``steepness * m`` as logit increment, experts by local least squares. ``default``: moestat's own.
    """

    kind: Literal["perturbed-truth", "equal-cells", "default"]
    radii: list[NonNegative] = Field(default_factory=lambda: [0.15, 0.4, 0.8])
    power: Finite = Field(default=0.0, le=0.0, description="radii are multiplied by n^power, as in published protocols")
    per_radius: int = Field(default=2, ge=1)
    steepness: list[Positive] = Field(default_factory=lambda: [8.0])
    rounds: int = Field(default=1, ge=1, description="rounds of starts, until enough of them agree")
    default: int = Field(default=0, ge=0, description="further starts from moestat's own default")


class SolverSpec(Part):
    """The solver of the fits, and when it has finished.

    ``stop = "relative"`` ends EM as published code does, when a step changes the log-likelihood by less than ``tol`` of itself; such fits
    are not certified.
    """

    name: Literal["auto", "newton", "em", "squarem", "lbfgs", "lm"] = "auto"
    tol: Positive = 1e-8
    stop: Literal["certified", "relative"] = "certified"
    max_iter: int = Field(default=1000, ge=1)
    agree: int = Field(default=2, ge=1, description="starts that must reach the optimum for a cell to be certified")

    @model_validator(mode="after")
    def _of_em(self) -> SolverSpec:
        if self.stop == "relative" and self.name != "em":
            raise ValueError(f"stop = 'relative' is a rule for name = 'em', got {self.name!r}")
        return self


class Fit(Part):
    """A fitted model, or a family of them when ``n_experts`` is a list or follows a rule.

    ``gate`` and ``expert`` are those of the truth unless they are given. ``centres`` are the places, in raw parameters, around which starts
    and boxes lie; without them every way to split the experts of the truth is one. ``starts`` and ``solver`` replace the scenario's, as for
    the protocol of a paper.
    """

    id: Name
    n_experts: int | list[int] = Field(default_factory=list)
    rule: Rule | None = None
    degree: int = Field(default=1, ge=0, le=10)
    gate: Component | None = None
    expert: Component | None = None
    variance: Literal["free", "tied"] | Positive = "free"
    box: dict[str, NonNegative | list[NonNegative]] | None = None
    centres: list[Params] = Field(default_factory=list)
    starts: Starts | None = None
    solver: SolverSpec | None = None

    @model_validator(mode="after")
    def _some_experts(self) -> Fit:
        grid = [self.n_experts] if isinstance(self.n_experts, int) else self.n_experts
        if not grid and self.rule is None:
            raise ValueError("give n_experts (a number or a list) or a rule")
        if any(m < 1 for m in grid) or len(set(grid)) < len(grid):
            raise ValueError(f"n_experts must be distinct and at least 1, got {grid}")
        unknown = [key for key in self.box or {} if key != "log_variance" and not key.startswith(("gate_", "expert_"))]
        if unknown:
            raise ValueError(f"box has half-widths of gate_…, expert_… and log_variance, got {unknown[0]!r}")
        return self

    def experts_at(self, n: int, limit: int | None = None) -> list[int]:
        """Numbers of experts fitted at sample size ``n``, ascending, none above ``limit``."""
        grid = {self.n_experts} if isinstance(self.n_experts, int) else set(self.n_experts)
        if self.rule is not None:
            grid.add(self.rule.n_experts(n))
        return sorted(m for m in grid if limit is None or m <= limit)


class Preset(Part):
    """Sample sizes and replicates."""

    n: list[Annotated[int, Field(ge=2)]] = Field(min_length=1)
    reps: int = Field(ge=1)
    max_experts: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ascending(self) -> Preset:
        if any(a >= b for a, b in zip(self.n, self.n[1:], strict=False)):
            raise ValueError(f"n must ascend, got {self.n}")
        return self


class Presets(Part):
    """From seconds to hours."""

    smoke: Preset
    quick: Preset
    full: Preset


class Loss(Part):
    """A loss and what the theorem says of it.

    ``bound = "at-most"`` marks an exponent that bounds the error from above: a steeper slope agrees with it. An exponent of 0 says that the
    loss does not vanish: what it compares is not identified. ``at`` says which fits of a family enter the slope: its ``rule``, or the
    ``best`` number of experts at each n. ``uncertified``: a slope is given even if the fits are not certified, as of a protocol that stops
    before the maximum.
    """

    name: LossName
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:@()._/-]*$")] | None = None
    fit: Name | None = None
    exponent: Finite | Literal["log"] | None = None
    bound: Literal["equal", "at-most"] = "equal"
    constant: Positive | Literal["predicted"] | None = None
    at: Literal["all", "rule", "best"] = "all"
    uncertified: bool = False

    @property
    def label(self) -> str:
        return self.id or self.name
