"""Voronoi losses between mixing measures, the order r̄(m), and constants predicted by the Fisher information."""

from moestat.losses.fisher import (
    PredictedConstant,
    fisher_information,
    predicted_kl_constant,
    predicted_loss_constant,
)
from moestat.losses.loss import KINDS, ComponentGaps, LossResult, component_gaps, voronoi_cells, voronoi_loss
from moestat.losses.rbar import measure_rbar, rbar, rbar_residual
from moestat.losses.voronoi import VoronoiCells

__all__ = [
    "KINDS",
    "ComponentGaps",
    "LossResult",
    "PredictedConstant",
    "VoronoiCells",
    "component_gaps",
    "fisher_information",
    "measure_rbar",
    "predicted_kl_constant",
    "predicted_loss_constant",
    "rbar",
    "rbar_residual",
    "voronoi_cells",
    "voronoi_loss",
]
