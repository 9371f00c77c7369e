"""The figure of a whole run: rate panels, or approximation panels where the number of experts varies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .experts import approximation_panels
from .rates import rate_panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..simulate.rates import RateEstimate
    from ..simulate.scenario import Scenario

__all__ = ["run_figure"]


def run_figure(frame: pd.DataFrame, scenario: Scenario, rates: Mapping[str, RateEstimate]) -> Figure:
    """Draw a run: its scenario's declared losses, and curves over the number of experts if that varies."""
    if any(frame.loc[frame["fit"] == fit.id, "n_experts"].nunique() > 1 for fit in scenario.fit):
        return approximation_panels(frame, scenario, dict(rates))
    return rate_panels(rates, title=scenario.title)
