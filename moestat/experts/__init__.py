"""Experts: the conditional densities that a gate mixes."""

from moestat.experts.gaussian import GaussianExpert

__all__ = ["GaussianExpert"]
