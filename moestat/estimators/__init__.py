"""Estimators under the scikit-learn contract."""

from moestat.estimators.classifier import MoEClassifier, MultinomialMoEClassifier
from moestat.estimators.regressor import GaussianMoERegressor, MoERegressor, PolynomialMoERegressor

__all__ = [
    "GaussianMoERegressor",
    "MoEClassifier",
    "MoERegressor",
    "MultinomialMoEClassifier",
    "PolynomialMoERegressor",
]
