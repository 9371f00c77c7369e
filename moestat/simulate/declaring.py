"""Help with declaring a scenario: a commented template, the JSON Schema, a dry run with predicted hours and disk."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .chunks import Group, Rows, group_of
from .inspecting import predict_seconds
from .plan import planned_cells
from .records import FAILURES
from .scenario import Cell, Scenario

__all__ = ["DryRun", "Forecast", "dry_run", "scenario_schema", "template"]

CHUNK_SECONDS = 3.0
# measured on parts of `softmax-gaussian-exact`: a small part, and a row more
PART_BYTES, ROW_BYTES = 3100, 40


@dataclass(frozen=True)
class Forecast:
    """What a preset will take."""

    preset: str
    cells: int
    seconds: float
    """Of one core."""
    bytes: float


@dataclass(frozen=True)
class DryRun:
    """Cells that were tried, with their seconds and first rows, and what the presets will take."""

    tried: list[tuple[Cell, float, Rows]]
    forecasts: list[Forecast]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The first failed row of every cell that failed."""
        found = []
        for _, _, rows in self.tried:
            found += [row for row in rows if row["status"] in FAILURES][:1]
        return found


def scenario_schema() -> dict[str, Any]:
    """JSON Schema of scenario files, with which editors complete keys and mark errors.

    Examples
    --------
    >>> sorted(scenario_schema()["properties"])[:3]
    ['against', 'budgets', 'claim']
    """
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def dry_run(
    scenario: Scenario, budget: float = 30.0, compute: Callable[[Scenario, Cell], Rows] | None = None
) -> DryRun:
    """Compute a replicate of every fit, and predict what the presets take.

    Every fit is tried at its cheapest size; within the budget so are its other numbers of experts and sizes, the cheap
    ones first. What was not tried is extrapolated by `predict_seconds`.

    Parameters
    ----------
    budget : float
        Seconds, after which nothing further is tried.
    """
    from threadpoolctl import threadpool_limits

    if compute is None:
        from .cells import run_cell

        compute = run_cell
    plans = {}
    for name in ("smoke", "quick", "full"):
        preset = getattr(scenario.presets, name)
        plans[name] = planned_cells(scenario, dict.fromkeys(preset.n, preset.reps), preset.max_experts)
    kinds: dict[Group, Cell] = {group_of(cell): cell for plan in plans.values() for cell in plan if cell.rep == 0}
    cells = sorted(kinds.values(), key=lambda cell: (scenario.cost(cell), cell))
    first = list({cell.fit: cell for cell in reversed(cells)}.values())[::-1]
    tried: list[tuple[Cell, float, Rows]] = []
    measured: dict[Group, float] = {}
    began = time.monotonic()
    with threadpool_limits(1):
        if first:
            compute(scenario, first[0])  # compiles
        for i, cell in enumerate([*first, *(cell for cell in cells if cell not in first)]):
            expected = predict_seconds(scenario, measured, [cell])
            if i >= len(first) and time.monotonic() - began + expected > budget:
                break
            start = time.perf_counter()
            rows = compute(scenario, cell)
            measured[group_of(cell)] = time.perf_counter() - start
            tried.append((cell, measured[group_of(cell)], rows))
    return DryRun(tried, [_forecast(scenario, name, plan, measured) for name, plan in plans.items()])


def _forecast(scenario: Scenario, preset: str, cells: list[Cell], measured: dict[Group, float]) -> Forecast:
    seconds = predict_seconds(scenario, measured, cells)
    parts, rows = 0.0, 0
    for group in {group_of(cell) for cell in cells}:
        mine = [cell for cell in cells if group_of(cell) == group]
        spent = predict_seconds(scenario, measured, mine)
        parts += min(len(mine), 2 + math.ceil(spent / CHUNK_SECONDS))
        rows += len(mine) * len(scenario.losses_of(group[0]))
    return Forecast(preset, len(cells), seconds, PART_BYTES * parts + ROW_BYTES * rows)


def template(name: str) -> str:
    """A commented scenario file, valid as it stands; ``name`` becomes its id.

    Raises
    ------
    ValueError
        If the name is no id: small letters, digits and hyphens.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"a scenario is called by small letters, digits and hyphens, got {name!r}")
    return _TEMPLATE.replace("NAME", name)


_TEMPLATE = """\
#:schema ./moestat-scenario.schema.json
# A scenario of moestat. `moestat check NAME.toml` tries it, `moestat simulate NAME.toml` runs it.
# `moestat schema > moestat-scenario.schema.json` writes the schema that editors use.
id = "NAME"
title = "Softmax-gated Gaussian mixture of two experts"
claim = "The maximum-likelihood estimate converges at n^(-1/2) in the Voronoi loss D1."
source = "who claims it, and where"
against = "what would count against it"
root_seed = 1 # of all random streams; a new one gives an independent run

[truth] # the density p(y|x) that data are drawn from
kind = "mixture"
gate = "softmax" # or with settings: { name = "topk", k = 2 }
expert = "gaussian"
# degree = 1 # of the experts' polynomials in x

[truth.params] # raw parameters, one entry an expert; expert_scale holds standard deviations
gate_coef = [[2.0], [0.0]]
gate_intercept = [0.5, 0.0]
expert_coef = [[-2.0], [2.0]]
expert_intercept = [1.0, -1.0]
expert_scale = [0.5, 0.7]

[x] # uniform on a box with one column an entry; { law = "joint" } takes x from the truth, a joint model
law = "uniform"
low = [-1.0]
high = [1.0]

[[fit]] # what is fitted; several [[fit]] tables are several fits of the same data
id = "exact"
n_experts = 2 # or a list; gate and expert are those of the truth unless given here
degree = 1

[fit.box] # half-widths of the compact parameter space around the truth; leave the table out for no box
gate_intercept = 3.0
gate_coef = 3.0
expert_coef = 3.0
expert_intercept = 3.0
log_variance = 2.0

[starts] # where the fits start
kind = "perturbed-truth" # or "default", moestat's own starts
radii = [0.15, 0.5]
per_radius = 2

# [solver]
# name = "auto"
# tol = 1e-8
# agree = 2 # starts that must reach the optimum for a fit to be certified

[[loss]] # what is measured
name = "D1" # a Voronoi loss, a gap such as "gap:expert_coef", or kl, hellinger, tv, l2
exponent = -0.5 # of n, as the theorem has it; leave it out where there is none
# bound = "at-most" # if the exponent only bounds the loss from above

[[loss]]
name = "kl"
exponent = -1.0
constant = "predicted" # regular models: n KL tends to p/2

[presets.smoke] # seconds: does it run?
n = [100, 200]
reps = 2

[presets.quick] # minutes
n = [100, 200, 400, 800, 1_600]
reps = 20

[presets.full] # as published
n = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600]
reps = 200
"""
