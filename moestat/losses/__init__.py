"""Losses between mixing measures and between expert functions, the order r̄(m), and constants predicted by Fisher information."""

from moestat.losses.assembly import measure_of
from moestat.losses.fisher import (
    PredictedConstant,
    fisher_information,
    predicted_kl_constant,
    predicted_loss_constant,
)
from moestat.losses.functions import FunctionLoss, expert_function_loss
from moestat.losses.loss import KINDS, ComponentGaps, component_gaps, voronoi_cells, voronoi_loss
from moestat.losses.matching import MatchedLoss, hungarian_loss
from moestat.losses.measures import DeviatedMeasure, HierarchicalMeasure, SharedMeasure
from moestat.losses.rbar import measure_rbar, rbar, rbar_residual
from moestat.losses.result import LossResult
from moestat.losses.voronoi import VoronoiCells

__all__ = [
    "KINDS",
    "ComponentGaps",
    "DeviatedMeasure",
    "FunctionLoss",
    "HierarchicalMeasure",
    "LossResult",
    "MatchedLoss",
    "PredictedConstant",
    "SharedMeasure",
    "VoronoiCells",
    "component_gaps",
    "expert_function_loss",
    "fisher_information",
    "hungarian_loss",
    "measure_of",
    "measure_rbar",
    "predicted_kl_constant",
    "predicted_loss_constant",
    "rbar",
    "rbar_residual",
    "voronoi_cells",
    "voronoi_loss",
]
