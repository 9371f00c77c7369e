"""Figures: rates, approximation curves, fits. Every function takes axes and returns axes; global settings stay as they are."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experts import approximation_panels, plot_budget, plot_u_curves
    from .fits import plot_fit
    from .look import figure_svg, save_figure, style
    from .papers import paper_figure
    from .rates import plot_rate, plot_rates, rate_panels
    from .runs import run_figure
    from .stopping import plot_slopes_by_rule, stopping_figure

_HOMES = {
    "approximation_panels": "experts",
    "plot_budget": "experts",
    "plot_u_curves": "experts",
    "figure_svg": "look",
    "plot_fit": "fits",
    "paper_figure": "papers",
    "plot_rate": "rates",
    "plot_rates": "rates",
    "rate_panels": "rates",
    "plot_slopes_by_rule": "stopping",
    "run_figure": "runs",
    "stopping_figure": "stopping",
    "save_figure": "look",
    "style": "look",
}

__all__ = [
    "approximation_panels",
    "figure_svg",
    "paper_figure",
    "plot_budget",
    "plot_fit",
    "plot_rate",
    "plot_rates",
    "plot_slopes_by_rule",
    "plot_u_curves",
    "rate_panels",
    "run_figure",
    "save_figure",
    "stopping_figure",
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
