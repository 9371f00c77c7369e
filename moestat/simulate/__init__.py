"""From a theorem to its measured rate: scenarios, records, rates."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import run_cell
    from .claims import estimate_rates
    from .library import list_scenarios, load_scenario
    from .rates import RateEstimate, estimate_rate
    from .replaying import Replay, replay
    from .runner import Interrupted, Progress, Run, run
    from .scenario import Cell, Scenario, ScenarioError
    from .seeds import stream
    from .store import ChangedScenarioError, Store

_HOMES = {
    "run_cell": "cells",
    "list_scenarios": "library",
    "load_scenario": "library",
    "RateEstimate": "rates",
    "estimate_rate": "rates",
    "estimate_rates": "claims",
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
    "Progress",
    "RateEstimate",
    "Replay",
    "Run",
    "Scenario",
    "ScenarioError",
    "Store",
    "estimate_rate",
    "estimate_rates",
    "list_scenarios",
    "load_scenario",
    "replay",
    "run",
    "run_cell",
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
