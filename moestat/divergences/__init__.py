"""Divergences between conditional densities, averaged over a law of x, each with its error."""

from moestat.divergences.densities import ConditionalDensity, RegressionTruth
from moestat.divergences.divergence import Divergence, hellinger, kl, l2, total_variation

__all__ = ["ConditionalDensity", "Divergence", "RegressionTruth", "hellinger", "kl", "l2", "total_variation"]
