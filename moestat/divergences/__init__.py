"""Divergences between conditional densities, averaged over a law of x, or between densities of (x, y), each with its error."""

from moestat.divergences.densities import ConditionalDensity, RegressionTruth
from moestat.divergences.divergence import Divergence, hellinger, kl, l2, total_variation
from moestat.divergences.joint import FeatureLaw, law_of_x

__all__ = [
    "ConditionalDensity",
    "Divergence",
    "FeatureLaw",
    "RegressionTruth",
    "hellinger",
    "kl",
    "l2",
    "law_of_x",
    "total_variation",
]
