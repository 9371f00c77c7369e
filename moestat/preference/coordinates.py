"""Coordinates of a fit: features in which the differences of alternatives and the covariates are uncorrelated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from moestat.inference.information import sparse_basis
from moestat.linalg import TOLERANCE, orthonormal_root
from moestat.preference.data import CONSTANT, Array


@dataclass(frozen=True, eq=False)
class Whitening:
    """Directions in which the rows of a matrix have unit second moments, and those in which they do not vary.

    Attributes
    ----------
    root : (p, r) array
        `X @ root` has the second moment I (with a ridge: less).
    null : (p, p - rank) array
        Coefficients that no row sees: `X @ null = 0`.
    size : (p,) array
        Root mean square of the columns, one for zero columns.
    """

    root: Array
    null: Array
    size: Array

    @classmethod
    def of(cls, X: Array, ridge: float = 0.0) -> Whitening:
        """Whitening of `XᵀX/n + ridge I`; a positive ridge leaves no direction out of `root`."""
        largest = np.abs(X).max(axis=0, initial=0.0)
        largest[largest == 0.0] = 1.0  # squares of what follows neither overflow nor vanish
        scaled = X / largest
        gram = scaled.T @ scaled / len(X)
        root = orthonormal_root(gram + np.diag(ridge / largest**2)) if X.shape[1] else np.zeros((0, 0))
        size = np.sqrt(gram.diagonal())
        size[size == 0.0] = 1.0
        values, vectors = np.linalg.eigh(gram / size / size[:, None])
        null = vectors[:, values <= TOLERANCE * max(float(values.max(initial=0.0)), 1e-300)]
        size = size * largest
        return cls(root / largest[:, None], sparse_basis(null) / size[:, None], size)

    @property
    def dependent(self) -> list[int]:
        """Columns that take part in a combination that no row sees."""
        return [int(j) for j in np.flatnonzero((np.abs(self.null * self.size[:, None]) > 1e-8).any(axis=1))]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """From the free vector of a search to raw coefficients: `gate (K-1) × q`, then `experts K × r` unless they are fixed.

    Attributes
    ----------
    n_experts : int
    center : (d,) array
        Mean of the covariates over annotators.
    covariates, rewards : Whitening
        Of centred covariates, and of differences of alternatives.
    fixed : bool
        Experts are the features themselves.
    """

    n_experts: int
    center: Array
    covariates: Whitening
    rewards: Whitening
    fixed: bool = False

    @classmethod
    def of(cls, n_experts: int, U: Array, differences: Array, l2: float, fixed: bool) -> Coordinates:
        """Coordinates for covariates `U (A, d)` and differences `(N, p)`."""
        center = U.mean(axis=0)
        centred = U - center
        centred[:, np.abs(centred).max(axis=0, initial=0.0) <= CONSTANT * np.abs(U).max(axis=0, initial=0.0)] = 0.0
        p = differences.shape[1]
        if fixed:
            return cls(
                n_experts, center, Whitening.of(centred), Whitening(np.eye(p), np.zeros((p, 0)), np.ones(p)), True
            )
        return cls(n_experts, center, Whitening.of(centred), Whitening.of(differences, l2 / len(differences)))

    @property
    def gate_matrix(self) -> Array:
        """`(1 + d, q)`: raw gate coefficients, intercept first, of internal ones."""
        root = self.covariates.root
        out = block_diag(1.0, root)
        out[0, 1:] = -self.center @ root
        return np.asarray(out)

    @property
    def sizes(self) -> tuple[int, int]:
        """Free parameters of the gate and of the experts."""
        q, r = 1 + self.covariates.root.shape[1], self.rewards.root.shape[1]
        return (self.n_experts - 1) * q, 0 if self.fixed else self.n_experts * r

    def gate_features(self, U: Array) -> Array:
        """Internal features of the gate `(A, q)`, the constant first."""
        return np.column_stack([np.ones(len(U)), (U - self.center) @ self.covariates.root])

    def unpack(self, theta: Array) -> tuple[Array, Array]:
        """Internal gate `(K, q)`, the last row zero, and experts `(K, r)`."""
        n_gate = self.sizes[0]
        gate = theta[:n_gate].reshape(self.n_experts - 1, 1 + self.covariates.root.shape[1])
        coef = np.eye(self.n_experts) if self.fixed else theta[n_gate:].reshape(self.n_experts, -1)
        return np.vstack([gate, np.zeros((1, gate.shape[1]))]), coef

    def reordered(self, theta: Array, order: list[int]) -> Array:
        """The free vector of the same mixture with its experts in another order."""
        gate, coef = self.unpack(theta)
        gate = gate[order]
        return np.concatenate([(gate - gate[-1])[:-1].ravel(), [] if self.fixed else coef[order].ravel()])

    def raw(self, theta: Array) -> tuple[Array, Array]:
        """Raw gate `(K, 1 + d)` and raw rewards `(K, p)`."""
        gate, coef = self.unpack(theta)
        return gate @ self.gate_matrix.T, coef @ self.rewards.root.T

    def penalty(self, l2: float, gate_l2: float) -> Array:
        """Matrix M `(P, P)` of the penalty `½ θᵀMθ = l2/2 Σ_k |w_k|² + gate_l2/2 Σ_k |γ_k - γ̄|²`."""
        k, n_gate = self.n_experts, self.sizes[0]
        out = np.zeros((sum(self.sizes),) * 2)
        slopes = np.diag([0.0] + [1.0] * self.covariates.root.shape[1])
        out[:n_gate, :n_gate] = gate_l2 * np.kron(np.eye(k - 1) - 1.0 / k, slopes)
        if not self.fixed:
            out[n_gate:, n_gate:] = l2 * np.kron(np.eye(k), self.rewards.root.T @ self.rewards.root)
        return out

    def jacobian(self) -> Array:
        """Derivative `(P', P)` of the raw free vector (intercept first in each gate) with respect to the internal one."""
        blocks = [self.gate_matrix] * (self.n_experts - 1)
        blocks += [] if self.fixed else [self.rewards.root] * self.n_experts
        return _block_diagonal(blocks)

    def invisible(self) -> Array:
        """Moves of the raw free vector `(P', r)` that change no choice probability in the data."""
        gate = np.vstack([-self.center @ self.covariates.null, self.covariates.null])
        blocks = [gate] * (self.n_experts - 1) + ([] if self.fixed else [self.rewards.null] * self.n_experts)
        return _block_diagonal(blocks)

    def feature_size(self) -> Array:
        """Root mean square of each raw parameter's feature."""
        gate = np.r_[1.0, np.hypot(self.covariates.size, self.center)]
        return np.concatenate(
            [np.tile(gate, self.n_experts - 1), [] if self.fixed else np.tile(self.rewards.size, self.n_experts)]
        )


def _block_diagonal(blocks: list[Array]) -> Array:
    return np.asarray(block_diag(*blocks)) if blocks else np.zeros((0, 0))
