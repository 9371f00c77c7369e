"""Maps: from the user's columns to the features in which gate scores and expert predictors are linear."""

from moestat.maps.inputs import FeatureMap, InputMap, Inputs, make_map
from moestat.maps.polynomial import PolynomialMap

__all__ = ["FeatureMap", "InputMap", "Inputs", "PolynomialMap", "make_map"]
