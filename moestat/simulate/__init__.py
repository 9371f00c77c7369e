"""From a theorem to its measured rate: scenarios, records, rates."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import run_cell
    from .claims import estimate_rates
    from .collecting import collect
    from .comparison import compare_runs
    from .declaring import dry_run, scenario_schema
    from .files import WriteError
    from .inspecting import failure_groups, run_status
    from .library import list_scenarios, load_scenario
    from .loop import TimeIsUp
    from .models import build_law, build_truth
    from .population import PopulationExponent, population_exponent
    from .rates import RateEstimate, estimate_rate
    from .regimes import RegimeComparison, compare_regimes
    from .replaying import Replay, replay
    from .runner import Interrupted, Progress, Run, run
    from .scenario import Cell, Scenario, ScenarioError
    from .seeds import stream
    from .store import ChangedScenarioError, Store

_HOMES = {
    "run_cell": "cells",
    "WriteError": "files",
    "TimeIsUp": "loop",
    "run_status": "inspecting",
    "failure_groups": "inspecting",
    "scenario_schema": "declaring",
    "dry_run": "declaring",
    "collect": "collecting",
    "list_scenarios": "library",
    "load_scenario": "library",
    "PopulationExponent": "population",
    "population_exponent": "population",
    "build_law": "models",
    "build_truth": "models",
    "RateEstimate": "rates",
    "estimate_rate": "rates",
    "estimate_rates": "claims",
    "RegimeComparison": "regimes",
    "compare_regimes": "regimes",
    "compare_runs": "comparison",
    "Replay": "replaying",
    "replay": "replaying",
    "Interrupted": "runner",
    "Progress": "runner",
    "Run": "runner",
    "run": "runner",
    "Cell": "scenario",
    "Scenario": "scenario",
    "ScenarioError": "scenario",
    "stream": "seeds",
    "ChangedScenarioError": "store",
    "Store": "store",
}

__all__ = [
    "Cell",
    "ChangedScenarioError",
    "Interrupted",
    "PopulationExponent",
    "Progress",
    "RateEstimate",
    "RegimeComparison",
    "Replay",
    "Run",
    "Scenario",
    "ScenarioError",
    "Store",
    "TimeIsUp",
    "WriteError",
    "build_law",
    "build_truth",
    "collect",
    "compare_regimes",
    "compare_runs",
    "dry_run",
    "estimate_rate",
    "estimate_rates",
    "failure_groups",
    "list_scenarios",
    "load_scenario",
    "population_exponent",
    "replay",
    "run",
    "run_cell",
    "run_status",
    "scenario_schema",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
