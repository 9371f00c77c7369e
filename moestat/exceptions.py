"""Warnings of moestat; errors are ValueErrors."""

from __future__ import annotations

from sklearn.exceptions import ConvergenceWarning

__all__ = ["CollinearityWarning", "ConvergenceWarning", "DegeneracyWarning", "SeparationWarning"]


class CollinearityWarning(UserWarning):
    """Features are constant or linearly dependent; the minimum-norm estimate is returned."""


class DegeneracyWarning(ConvergenceWarning):  # type: ignore[misc]
    """An expert sits on the variance floor, or has lost all its weight."""


class SeparationWarning(UserWarning):
    """The features separate the experts; the gate's maximum-likelihood coefficients are infinite."""
