"""Figures: rates, approximation curves, fits. Every function takes axes and returns axes; global settings stay as they are."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experts import approximation_panels, plot_budget, plot_u_curves
    from .fits import plot_fit
    from .look import save_figure, style
    from .rates import plot_rate, plot_rates, rate_panels
    from .runs import run_figure

_HOMES = {
    "approximation_panels": "experts",
    "plot_budget": "experts",
    "plot_u_curves": "experts",
    "plot_fit": "fits",
    "plot_rate": "rates",
    "plot_rates": "rates",
    "rate_panels": "rates",
    "run_figure": "runs",
    "save_figure": "look",
    "style": "look",
}

__all__ = [
    "approximation_panels",
    "plot_budget",
    "plot_fit",
    "plot_rate",
    "plot_rates",
    "plot_u_curves",
    "rate_panels",
    "run_figure",
    "save_figure",
    "style",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
