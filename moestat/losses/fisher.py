"""Constants that the Fisher information predicts for exactly specified models: of n KL and of √n times a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.distributions import Law
from moestat.divergences.densities import Components, ConditionalDensity, gate_transitions
from moestat.divergences.expectation import expect
from moestat.divergences.families import family_of, support_of
from moestat.losses.loss import voronoi_loss
from moestat.losses.measures import Measure

Array = NDArray[np.float64]

_HERMITE_NODES = 40
_NORMAL = ("gaussian", "normal", "nonlinear")
# Draws are pushed through the loss at this distance from the truth, where it is still linear and rounding is far away.
_SMALL = 1e-4
_CONDITION = 1e-13


class ParametricMixture(ConditionalDensity, Protocol):
    """What the predictions need of a `ConditionalMixture` beyond a conditional density."""

    def free_vector(self) -> Array:
        """Values of the free parameters (P,)."""

    def with_free_vector(self, theta: Any) -> ParametricMixture:
        """The mixture with other free parameters."""

    def scores(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Scores of the rows (n,P)."""

    def mixing_measure(self) -> Measure:
        """Its mixing measure."""


@dataclass(frozen=True, eq=False)
class PredictedConstant:
    """Predicted limit of a scaled loss; ``float(result)`` is the mean.

    Attributes
    ----------
    value, error : float
        Mean of the limit law and its standard error over the draws.
    draws : ndarray
        Draws from the limit law, for its quantiles.
    """

    value: float
    error: float
    draws: Array

    def __float__(self) -> float:
        return self.value


def fisher_information(
    mixture: ParametricMixture, x: Law, *, rtol: float = 1e-6, rng: np.random.Generator | None = None
) -> Array:
    r"""Expected information of one observation, ``E s s'`` (P,P) with the score s of the free parameters.

    Quadrature: Gauss-Hermite about each normal component in y, or a sum over classes; the rules of `moestat.divergences` in x.

    Parameters
    ----------
    mixture : ConditionalMixture
    x : Uniform, Normal or Empirical
    rtol : float
        Accuracy of the integral over x, relative to the largest entry.
    rng : numpy.random.Generator, optional
        For more than one feature; a fixed source by default.

    Raises
    ------
    ValueError
        If the experts are neither normal nor of classes.
    """
    support, name = support_of(mixture), getattr(family_of(mixture), "name", "gaussian")
    if support.kind != "classes" and name not in _NORMAL:
        raise ValueError(f"expected information is known for normal experts and for classes, not for expert={name!r}.")
    nodes, weights = np.polynomial.hermite_e.hermegauss(_HERMITE_NODES)
    weights = weights / weights.sum()

    def responses(rows: Array) -> tuple[Array, Array]:
        """Points in y and their weights."""
        if support.kind == "classes":
            y = np.broadcast_to(np.arange(float(support.size[0])), (len(rows), support.size[0]))
            return y, np.exp(mixture.log_density(np.repeat(rows, y.shape[1], axis=0), y.ravel())).reshape(y.shape)
        parts = Components.of(mixture, rows)
        y = (parts.mean[:, :, None] + parts.std[:, :, None] * nodes).reshape(rows.shape[0], -1)
        return y, (np.exp(parts.log_gate)[:, :, None] * weights).reshape(y.shape)

    def outer_products(rows: Array) -> Array:
        y, share = responses(rows)
        scores = np.asarray(mixture.scores(np.repeat(rows, y.shape[1], axis=0), y.ravel()))
        scores = scores.reshape(*y.shape, -1)
        products = np.swapaxes(scores, 1, 2) @ (share[:, :, None] * scores)
        flat: Array = products.reshape(rows.shape[0], -1)
        return flat

    breaks = gate_transitions(mixture) if x.n_features == 1 else None
    size = mixture.free_vector().size
    information = expect(outer_products, x, breaks=breaks, rtol=rtol, rng=rng).value.reshape(size, size)
    return 0.5 * (information + information.T)


def predicted_kl_constant(mixture: ParametricMixture) -> float:
    """Limit of ``n E KL`` at the maximum likelihood estimate of a regular model: half the number of free parameters (Wilks)."""
    return 0.5 * mixture.free_vector().size


def predicted_loss_constant(
    mixture: ParametricMixture,
    x: Law,
    kind: str = "D1",
    *,
    rng: np.random.Generator,
    n_draws: int = 1000,
    **options: Any,
) -> PredictedConstant:
    r"""Limit of ``√n E loss(estimate, truth)`` in an exactly specified regular model.

    The estimate is drawn as ``θ* + ε N(0, I^{-1})`` with a small ε in the place of ``1/√n``; the loss is divided by ε.

    Parameters
    ----------
    mixture : ConditionalMixture
        The truth.
    x : Law
    kind : str
        A kind of `voronoi_loss` that is of first order in an exact cell.
    rng : numpy.random.Generator
    n_draws : int
    **options
        Further options of `voronoi_loss`, as ``n_active``.

    Raises
    ------
    ValueError
        If the Fisher information is singular (the model is not regular at this truth).
    """
    information = fisher_information(mixture, x)
    scale = np.sqrt(np.diag(information))
    if not np.all(scale > 0.0):
        raise ValueError(
            f"the Fisher information has no entry for the parameters {np.flatnonzero(scale == 0.0).tolist()}."
        )
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if values[0] < _CONDITION * values[-1]:
        raise ValueError(
            f"the Fisher information is singular (scaled eigenvalues {values[0]:.3g} to {values[-1]:.3g}): the model is not "
            "regular at this truth, so no constant is predicted."
        )
    root = (vectors / np.sqrt(values)) / scale[:, None]
    theta, truth = mixture.free_vector(), mixture.mixing_measure()
    # The largest standard error is moved by _SMALL.
    step = _SMALL / float(np.sqrt((root**2).sum(axis=1).max()))
    moves = rng.standard_normal((n_draws, theta.size)) @ root.T
    estimates = (mixture.with_free_vector(theta + step * u).mixing_measure() for u in moves)
    draws = np.array([voronoi_loss(estimate, truth, kind, **options).value for estimate in estimates])
    draws /= step
    return PredictedConstant(float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(n_draws)), draws)
