"""Mixtures of Bradley-Terry and conditional-logit experts for choices of annotators."""

from moestat.preference.estimator import PreferenceMoE

__all__ = ["PreferenceMoE"]
