"""Experts: the conditional densities that a gate mixes."""

from moestat.experts.gaussian import GaussianExpert, resolve_expert

__all__ = ["GaussianExpert", "resolve_expert"]
