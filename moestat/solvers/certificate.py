"""Evidence that a point is a maximiser: Newton decrement, scaled score, spectrum and rank of the information."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective

Array = NDArray[np.float64]

RANK_TOLERANCE = 1e-10  # on the eigenvalues of the information scaled to a unit diagonal


@dataclass(frozen=True)
class Certificate:
    """What supports the claim that a fit is a maximiser.

    Attributes
    ----------
    decrement : float
        Newton decrement `½ gᵀ(-H)⁻¹g` on the free parameters: nats of the whole sample still to be gained.
    scaled_score : float
        Largest `|g_i| / sqrt(-H_ii)`.
    eigenvalues : array
        Spectrum of the information scaled to a unit diagonal, ascending.
    rank, n_params : int
        Numerical rank of that information and number of parameters that are not at a bound.
    tol : float
        The tolerance (nats) that was asked for.
    n_starts, n_agree : int
        Starts that were run, and how many of those followed to the end reached the same optimum.
    rule : str
        Which rule stopped the iteration.
    certified : bool
        Decrement below tol, and no direction in which the likelihood curves upwards.
    """

    decrement: float
    scaled_score: float
    eigenvalues: Array = field(repr=False)
    rank: int
    n_params: int
    tol: float
    certified: bool
    n_starts: int = 1
    n_agree: int = 1
    rule: str = ""

    @property
    def min_eigenvalue(self) -> float:
        """Smallest eigenvalue of the scaled information."""
        return float(self.eigenvalues[0]) if self.eigenvalues.size else np.inf

    @property
    def singular(self) -> bool:
        """Whether the information does not have full numerical rank."""
        return self.rank < self.n_params

    def __str__(self) -> str:
        state = "certified" if self.certified else "not certified"
        return (
            f"{state}: Newton decrement {self.decrement:.1e} nats (tol {self.tol:.0e}), largest scaled score {self.scaled_score:.1e}, "
            f"information of rank {self.rank} of {self.n_params} (smallest scaled eigenvalue {self.min_eigenvalue:.1e}), "
            f"optimum reached from {self.n_agree} of {self.n_starts} starts"
        )


def active_set(objective: Objective, theta: Array, gradient: Array) -> NDArray[np.bool_]:
    """Parameters at a bound whose score points out of the box."""
    low, high = objective.bounds
    at_low = (theta <= low) & (gradient <= 0.0)
    at_high = (theta >= high) & (gradient >= 0.0)
    return np.asarray(at_low | at_high)


def scaled_information(hessian: Array) -> tuple[Array, Array]:
    """Information divided by the roots of its diagonal, and those roots."""
    diagonal = np.abs(np.diag(hessian))
    largest = float(diagonal.max(initial=0.0))
    d = np.sqrt(np.where(diagonal > 1e-14 * largest, diagonal, max(largest, 1e-300)))
    return -hessian / d / d[:, None], d


def certify(
    objective: Objective, theta: Array, tol: float, derivatives: tuple[float, Array, Array] | None = None
) -> Certificate:
    """The certificate of a point."""
    _, gradient, hessian = objective.derivatives(theta) if derivatives is None else derivatives
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        return Certificate(np.inf, np.inf, np.zeros(0), 0, len(theta), tol, False)
    free = ~active_set(objective, theta, gradient)
    if not free.any():
        return Certificate(0.0, 0.0, np.zeros(0), 0, 0, tol, True)
    information, d = scaled_information(hessian[np.ix_(free, free)])
    score = gradient[free] / d
    values, vectors = np.linalg.eigh(information)
    cut = RANK_TOLERANCE * max(float(values[-1]), 1e-300)
    along = vectors.T @ score
    decrement = 0.5 * float(np.sum(along**2 / np.maximum(np.abs(values), cut)))
    upward = bool(values[0] < -_curvature_noise(objective, cut))
    certified = decrement <= tol and not upward
    return Certificate(
        decrement, float(np.abs(score).max()), values, int((values > cut).sum()), int(free.sum()), tol, certified
    )


def _curvature_noise(objective: Objective, cut: float) -> float:
    """Negative curvature below this is rounding: it could not raise the likelihood by 1e-8 nats within a unit of theta."""
    return max(100.0 * cut, 1e-8)
