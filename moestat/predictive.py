"""What a conditional mixture predicts: gate, means, densities, distribution function, quantiles, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.kernels import plain as _plain

if TYPE_CHECKING:
    from moestat.layout import Layout, Parameters
    from moestat.maps import PolynomialMap

Array = NDArray[np.float64]
plain: Any = _plain  # the NumPy twin: prediction needs no compiler, and no compile time


class MixturePredictions:
    """Evaluation of a mixture from its layout, maps and internal parameters (the base of `ConditionalMixture`)."""

    layout: Layout
    internal: Parameters
    gate_map: PolynomialMap
    expert_map: PolynomialMap
    n_features: int
    vector_y: bool

    def _rows(self, X: ArrayLike) -> Iterator[tuple[Array, Array, slice]]:
        raise NotImplementedError

    def check_X(self, X: ArrayLike) -> Array:
        """`X` as a finite float array `(n, d)`.

        Raises
        ------
        ValueError
            If it has another shape or is not finite.
        """
        out = np.asarray(X, dtype=float)
        if out.ndim == 1 and self.n_features == 1:
            out = out[:, None]
        if out.ndim != 2 or out.shape[1] != self.n_features:
            raise ValueError(f"X has shape {out.shape}; expected (n, {self.n_features}).")
        if not np.isfinite(out).all():
            raise ValueError("X contains NaN or infinity; remove or impute those rows.")
        return out

    def check_y(self, y: ArrayLike, n: int) -> Array:
        """`y` as an array `(n, D)`.

        Raises
        ------
        ValueError
            If it has another shape or contains NaN.
        """
        out = np.asarray(y, dtype=float)
        d = self.layout.n_responses
        if out.ndim == 0:
            out = np.full(n, float(out))
        if out.ndim == 1 and d == 1:
            out = out[:, None]
        if out.shape != (n, d):
            raise ValueError(f"y has shape {np.shape(y)}; expected ({n},)" + (f" or ({n}, {d})." if d > 1 else "."))
        if np.isnan(out).any():
            raise ValueError("y contains NaN; remove or impute those rows.")
        return out

    def _collect(self, X: ArrayLike, shape: tuple[int, ...], value: Callable[[Array, Array, slice], Array]) -> Array:
        n = len(self.check_X(X))
        out = np.empty((n, *shape))
        for z, phi, rows in self._rows(X):
            out[rows] = value(z, phi, rows)
        return out

    def _log_gate(self, z: Array) -> Array:
        log_prob, prob = np.empty((2, self.layout.n_experts, z.shape[1]))
        plain.softmax_forward(self.internal.gate, z, 0, z.shape[1], log_prob, prob)
        return log_prob

    def log_gate(self, X: ArrayLike) -> Array:
        """`log π_k(x)`, `(n, K)`."""
        return self._collect(X, (self.layout.n_experts,), lambda z, phi, rows: self._log_gate(z).T)

    def gate_proba(self, X: ArrayLike) -> Array:
        """`π_k(x)`, `(n, K)`; rows sum to one."""
        return np.exp(self.log_gate(X))

    def expert_mean(self, X: ArrayLike) -> Array:
        """Mean of each expert, `(n, K)`, or `(n, K, D)` with several responses."""
        k, d = self.layout.n_experts, self.layout.n_responses
        out = self._collect(X, (k, d), lambda z, phi, rows: (self.internal.coef @ phi).transpose(2, 0, 1))
        return out[:, :, 0] if self.vector_y else out

    def expert_covariance(self) -> Array:
        """Covariance of each expert, `(K, D, D)`."""
        return self.layout.expert.covariances(self.internal.scale, self.layout.n_responses)

    def expert_std(self, X: ArrayLike) -> Array:
        """Standard deviation of each expert, `(n, K)`, or `(n, K, D)` with several responses."""
        n = len(self.check_X(X))
        sd = np.sqrt(np.diagonal(self.expert_covariance(), axis1=1, axis2=2))
        out = np.broadcast_to(sd, (n, *sd.shape))
        return out[:, :, 0].copy() if self.vector_y else out.copy()

    def _log_density(self, phi: Array, target: Array) -> Array:
        k, d, n = self.layout.n_experts, self.layout.n_responses, phi.shape[1]
        out, residual = np.empty((k, n)), np.empty((d, k, n))
        with np.errstate(over="ignore", invalid="ignore"):
            self.layout.expert.forward(
                self.internal.coef, self.internal.scale, phi, np.ascontiguousarray(target.T), 0, n, out, residual, plain
            )
        return out

    def expert_log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """`log f_k(y|x)`, `(n, K)`."""
        target = self.check_y(y, len(self.check_X(X)))
        return self._collect(X, (self.layout.n_experts,), lambda z, phi, rows: self._log_density(phi, target[rows]).T)

    def _posterior(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        X = self.check_X(X)
        target = self.check_y(y, len(X))
        loglik, resp = np.empty(len(X)), np.empty((len(X), self.layout.n_experts))
        for z, phi, rows in self._rows(X):
            out = np.empty((self.layout.n_experts, phi.shape[1]))
            plain.e_step(self._log_gate(z), self._log_density(phi, target[rows]), out, loglik[rows])
            resp[rows] = out.T
        return loglik, resp

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """`log p(y|x)`, `(n,)`."""
        return self._posterior(X, y)[0]

    def responsibilities(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Posterior probability of each expert given `(x, y)`, `(n, K)`."""
        return self._posterior(X, y)[1]

    def mean(self, X: ArrayLike) -> Array:
        """`E[y|x] = Σ_k π_k(x) μ_k(x)`, `(n,)` or `(n, D)`."""
        proba = self.gate_proba(X)
        return np.asarray(np.einsum("nk,nk...->n...", proba, self.expert_mean(X)))

    def std(self, X: ArrayLike) -> Array:
        """Standard deviation of `y` given `x` (within and between experts), `(n,)` or `(n, D)`."""
        proba, mean, sd = self.gate_proba(X), self.expert_mean(X), self.expert_std(X)
        center = np.einsum("nk,nk...->n...", proba, mean)
        spread = sd**2 + (mean - center[:, None]) ** 2
        return np.asarray(np.sqrt(np.einsum("nk,nk...->n...", proba, spread)))

    def _need_vector(self, what: str) -> None:
        if self.layout.n_responses > 1:
            raise ValueError(f"{what} is defined for one response; this mixture has {self.layout.n_responses}.")

    def cdf(self, X: ArrayLike, y: ArrayLike) -> Array:
        """`P(Y <= y | x)`, `(n,)`."""
        from scipy.special import ndtr

        self._need_vector("cdf")
        n = len(self.check_X(X))
        target = self.check_y(y, n)
        mean, sd = self.expert_mean(X).reshape(n, -1), self.expert_std(X).reshape(n, -1)
        return np.asarray(np.einsum("nk,nk->n", self.gate_proba(X), ndtr((target - mean) / sd)))

    def quantile(self, X: ArrayLike, q: ArrayLike) -> Array:
        """Exact quantiles of the mixture, by inversion of its distribution function: `(n,)`, or `(n, len(q))`.

        Raises
        ------
        ValueError
            If a level is outside (0, 1).
        """
        from scipy.special import ndtri

        from moestat.quantiles import mixture_quantile

        self._need_vector("quantile")
        levels = np.asarray(q, dtype=float)
        if levels.ndim > 1 or levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q={q!r} must be one level or a list of levels strictly between 0 and 1.")
        n = len(self.check_X(X))
        proba = self.gate_proba(X)
        mean, sd = self.expert_mean(X).reshape(n, -1), self.expert_std(X).reshape(n, -1)
        columns = [
            mixture_quantile(proba, mean, sd, float(level), float(ndtri(level))) for level in np.atleast_1d(levels)
        ]
        return columns[0] if levels.ndim == 0 else np.column_stack(columns)

    def sample(
        self, X: ArrayLike, rng: np.random.Generator | int | None = None, *, return_labels: bool = False
    ) -> Array | tuple[Array, NDArray[np.int64]]:
        """Draw one response for each row: `(n,)` or `(n, D)`; with `return_labels` also the experts that made them."""
        generator = np.random.default_rng(rng)
        proba = self.gate_proba(X)
        n, d = len(proba), self.layout.n_responses
        u = generator.random(n)
        cumulated = np.cumsum(proba, axis=1)
        labels = np.minimum((u[:, None] > cumulated[:, :-1]).sum(axis=1), self.layout.n_experts - 1)
        noise = generator.standard_normal((n, d))
        mean = self.expert_mean(X).reshape(n, -1, d)[np.arange(n), labels]
        # L⁻ᵀ noise has covariance (L Lᵀ)⁻¹
        inverse = np.linalg.inv(self.layout.expert.factors(self.internal.scale, d))
        out = mean + np.einsum("nji,nj->ni", inverse[labels], noise)
        y = out[:, 0] if self.vector_y else out
        return (y, labels) if return_labels else y
