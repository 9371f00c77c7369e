"""What the information does not see at a model, and whether it is a curve of models that are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moestat.audit.rank import Rank, column_rank
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

# A relative difference of two densities below this is rounding.
SAME = 1e-11
STEP = 0.3  # along a null direction, in units of the parameters that it moves
SUBSTEPS = 4
CORRECTIONS = 12
SHOWN = 1e-6  # smallest share of a parameter in a direction that is named


@dataclass(frozen=True)
class Probe:
    """A model on points at which models are compared: densities `p(y|x)`, or regression functions `f(x)`.

    Attributes
    ----------
    model : ConditionalMixture or RegressionFunction
    X, y : ndarray (n, d), (n,) or (n, D)
    """

    model: ConditionalMixture
    X: Array
    y: Array

    @property
    def regression(self) -> bool:
        """Whether the model is a regression function."""
        return hasattr(self.model, "noise_std")

    def values(self, model: ConditionalMixture) -> Array:
        """`log p`, or f, of a model on the points."""
        return model.mean(self.X) if self.regression else model.log_density(self.X, self.y)

    def gradients(self, model: ConditionalMixture) -> Array:
        """`∂ log p`, or `∂f`, in the raw free parameters, `(n, P)`."""
        if not self.regression:
            return model.scores(self.X, self.y)
        variance = getattr(model, "noise_std", 1.0) ** 2
        return model.scores(self.X, model.mean(self.X) + variance)

    def gap(self, other: ConditionalMixture) -> float:
        """`max |p - q| / max p` on the points, or the same of regression functions."""
        left, right = self.values(self.model), self.values(other)
        if not self.regression:
            left, right = np.exp(left), np.exp(right)
        return float(np.abs(left - right).max() / np.abs(left).max())


@dataclass(frozen=True)
class Curve:
    """A direction that the information does not see, followed for a finite step with the other parameters adjusted.

    Attributes
    ----------
    direction : mapping of str to float
        Parameters that it moves, the largest share one.
    gap : float
        `max |p - q| / max p` at its end.
    exact : bool
        Whether the models along it are the same to rounding.
    order : float
        Power of the step in the difference that no adjustment removes; infinite on an exact curve. A regular parameter has one.
    model : ConditionalMixture
        The end of the step.
    """

    direction: Mapping[str, float]
    gap: float
    exact: bool
    order: float
    model: ConditionalMixture


def information_rank(probe: Probe) -> Rank:
    """Rank of the scores, or of the gradients of f: that of the information, to twice its digits."""
    gradients = probe.gradients(probe.model)
    largest = float(np.linalg.norm(gradients, axis=0).max(initial=0.0))
    return column_rank(gradients, np.full(gradients.shape[1], largest))


def follow(probe: Probe, vector: Array) -> Curve:
    """Go along a null direction `(P,)`; at every substep the others are adjusted by Gauss–Newton, the way along it kept."""
    model, theta = probe.model, probe.model.free_vector()
    vector = vector / np.abs(vector).max()
    moves = np.abs(vector) > SHOWN
    length = STEP * max(1.0, float(np.abs(theta[moves]).max()))
    named = {name: float(v) for name, v, shown in zip(model.free_names(), vector, moves) if shown}
    target = probe.values(model)
    with np.errstate(all="ignore"):  # a step that leaves the range of numbers is not taken
        return _followed(probe, vector, length, named, target)


def _followed(probe: Probe, vector: Array, length: float, named: Mapping[str, float], target: Array) -> Curve:
    model, theta = probe.model, probe.model.free_vector()
    at = theta
    for part in range(1, SUBSTEPS + 1):
        way = (theta + length * part / SUBSTEPS * vector - at) @ vector / (vector @ vector)
        at = _adjusted(probe, at + way * vector, vector, target)
    end = model.with_free_vector(at)
    gap = probe.gap(end)
    if gap <= SAME:
        return Curve(named, gap, True, np.inf, end)
    left = [_residual(probe, theta + h * length * vector, vector, target) for h in (0.1, 0.05)]
    order = float(np.log2(left[0] / left[1])) if left[1] > 1e-13 else np.inf
    return Curve(named, gap, False, order, end)


def _residual(probe: Probe, theta: Array, vector: Array, target: Array) -> float:
    model = probe.model.with_free_vector(_adjusted(probe, theta, vector, target))
    return float(np.linalg.norm(probe.values(model) - target) / np.sqrt(len(target)))


def _adjusted(probe: Probe, theta: Array, vector: Array, target: Array) -> Array:
    """The point nearest to the same model on the plane through theta across the direction."""
    best, size = theta, np.inf
    unit = vector / np.linalg.norm(vector)
    for _ in range(CORRECTIONS):
        model = probe.model.with_free_vector(theta)
        residual = probe.values(model) - target
        now = float(np.linalg.norm(residual))
        if not now < size:
            break
        best, size = theta, now
        gradients = probe.gradients(model)
        across = gradients - np.outer(gradients @ unit, unit)
        length = np.linalg.norm(across, axis=0)
        length = np.where(length > 1e-10 * length.max(initial=0.0), length, np.inf)
        move = np.linalg.lstsq(across / length, residual, rcond=1e-9)[0] / length
        theta = theta - (move - (move @ unit) * unit)
    return best
