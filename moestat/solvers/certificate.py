"""Evidence that a point is a maximiser: Newton decrement, scaled score, spectrum and rank of the information."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from moestat.flat import flat_directions
from moestat.objective import Objective

Array = NDArray[np.float64]

RANK_TOLERANCE = 1e-10  # on the eigenvalues of the information scaled to a unit diagonal


@dataclass(frozen=True)
class Certificate:
    """What supports the claim that a fit is a maximiser.

    The scores are those of the estimate; the information may be that of a point so close that it differs by
    less than a percent.

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
    n_starts, n_followed, n_agree : int
        Starts, searches followed to the end (starts and split-and-merge moves), and how many of those reached this optimum.
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
    n_followed: int = 1
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
            f"optimum reached by {self.n_agree} of {self.n_followed} searches to the end ({self.n_starts} starts and their split-and-merge moves)"
        )


def active_set(objective: Objective, theta: Array, gradient: Array) -> NDArray[np.bool_]:
    """Parameters at a bound whose score points out of the box."""
    low, high = objective.bounds
    at_low = (theta <= low) & (gradient <= 0.0)
    at_high = (theta >= high) & (gradient >= 0.0)
    return np.asarray(at_low | at_high)


def scaled_information(hessian: Array, raw: bool = False) -> tuple[Array, Array]:
    """Information divided by the roots of its diagonal, and those roots.

    In orthonormal coordinates a diagonal entry 14 orders below the largest is rounding (an idle expert); in the user's own
    coordinates (`raw`, under a box) it may be the unit of a column.
    """
    diagonal = np.abs(np.diag(hessian))
    largest = float(diagonal.max(initial=0.0))
    d = np.sqrt(np.where(diagonal > (1e-40 if raw else 1e-14) * largest, diagonal, max(largest, 1e-300)))
    return -hessian / d / d[:, None], d


@dataclass(frozen=True, eq=False)
class LocalModel:
    """Quadratic model of the log-likelihood at a point, diagonalised on the parameters that are free to move.

    In the scaled step `p = d · step` and the eigenvectors' coordinates the gain is `Σ along_i p_i - ½ values_i p_i²`.
    """

    value: float
    gradient: Array
    hessian: Array
    free: NDArray[np.bool_]
    d: Array
    values: Array
    vectors: Array
    along: Array

    @cached_property
    def finite(self) -> bool:
        """Whether value and derivatives are finite."""
        return bool(np.isfinite(self.value) and self.values.size == self.free.sum())

    @cached_property
    def cut(self) -> float:
        """Eigenvalues below it are numerically zero."""
        return RANK_TOLERANCE * max(float(self.values[-1]), 1e-300) if self.values.size else 0.0

    @cached_property
    def curves_upwards(self) -> bool:
        """Whether the likelihood curves upwards in some direction by more than rounding."""
        return bool(self.values.size and self.values[0] < -max(100.0 * self.cut, 1e-8))

    @cached_property
    def decrement(self) -> float:
        """Newton decrement in nats."""
        if not self.finite:
            return np.inf
        return 0.5 * float(np.sum(self.along**2 / np.maximum(np.abs(self.values), max(self.cut, 1e-300))))

    def moved(self, value: float, gradient: Array) -> LocalModel:
        """The model with a new value and gradient, and the old Hessian."""
        return replace(self, value=value, gradient=gradient, along=self.vectors.T @ (gradient[self.free] / self.d))


def local_model(objective: Objective, theta: Array) -> LocalModel:
    """Derivatives at a point and their diagonalisation."""
    return diagonalised(objective, theta, *objective.derivatives(theta))


def diagonalised(
    objective: Objective,
    theta: Array,
    value: float,
    gradient: Array,
    hessian: Array,
    among: NDArray[np.bool_] | None = None,
) -> LocalModel:
    """The quadratic model of these derivatives, on the parameters (`among` some of them) that are free to move."""
    if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        free = np.ones(len(theta), dtype=bool)
        none = np.zeros(0)
        return LocalModel(value, gradient, hessian, free, none, none, np.zeros((0, 0)), none)
    free = ~active_set(objective, theta, gradient)
    if among is not None:
        free &= among
    part = hessian if free.all() else hessian[np.ix_(free, free)]
    information, d = scaled_information(part, objective.raw)
    try:
        values, vectors = np.linalg.eigh(information) if free.any() else (np.zeros(0), np.zeros((0, 0)))
    except np.linalg.LinAlgError:  # entries too far apart for the iteration: as if they had overflowed
        none = np.zeros(0)
        return LocalModel(value, gradient, hessian, np.ones(len(theta), dtype=bool), none, none, np.zeros((0, 0)), none)
    return LocalModel(value, gradient, hessian, free, d, values, vectors, vectors.T @ (gradient[free] / d))


def complement(model: LocalModel, flat: Array) -> LocalModel:
    """The model without what it says along directions `(P, r)` that are flat for certain: their eigenvalues are zero."""
    flat = flat[:, (flat[~model.free] == 0.0).all(axis=0)][model.free]
    if not (model.finite and flat.shape[1]):
        return model
    known = np.linalg.qr(model.d[:, None] * flat)[0]
    rest = np.eye(len(known)) - known @ known.T
    values, vectors = np.linalg.eigh(rest @ (model.vectors * model.values) @ model.vectors.T @ rest)
    return replace(model, values=values, vectors=vectors, along=vectors.T @ (model.gradient[model.free] / model.d))


def certify(objective: Objective, theta: Array, tol: float, model: LocalModel | None = None) -> Certificate:
    """The certificate of a point."""
    m = local_model(objective, theta) if model is None else model
    m = complement(m, flat_directions(objective, theta))
    if not m.finite:
        return Certificate(np.inf, np.inf, np.zeros(0), 0, len(theta), tol, False)
    score = np.abs(m.gradient[m.free] / m.d)
    rank = int((m.values > m.cut).sum())
    certified = m.decrement <= tol and not m.curves_upwards
    return Certificate(m.decrement, float(score.max(initial=0.0)), m.values, rank, int(m.free.sum()), tol, certified)
