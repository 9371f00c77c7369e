"""Estimators under the scikit-learn contract."""

from moestat.estimators.classifier import MoEClassifier, MultinomialMoEClassifier
from moestat.estimators.regressor import GaussianMoERegressor, MoERegressor, PolynomialMoERegressor
from moestat.estimators.sigmoid import SigmoidMoERegressor

__all__ = [
    "GaussianMoERegressor",
    "MoEClassifier",
    "MoERegressor",
    "MultinomialMoEClassifier",
    "PolynomialMoERegressor",
    "SigmoidMoERegressor",
]
