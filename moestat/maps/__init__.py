"""Maps: from the user's columns to the features in which gate scores and expert predictors are linear."""

from moestat.maps.polynomial import PolynomialMap

__all__ = ["PolynomialMap"]
