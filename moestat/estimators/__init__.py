"""Estimators under the scikit-learn contract."""

from moestat.estimators.regressor import GaussianMoERegressor, MoERegressor, PolynomialMoERegressor

__all__ = ["GaussianMoERegressor", "MoERegressor", "PolynomialMoERegressor"]
