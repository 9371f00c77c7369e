"""What a conditional mixture predicts: gate, means, densities, distribution function, quantiles, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.blocks import NONE, Block
from moestat.experts.formula_blocks import extra_of
from moestat.kernels import plain as _plain

if TYPE_CHECKING:
    from moestat.layout import Layout, Parameters
    from moestat.maps import FeatureMap

Array = NDArray[np.float64]
plain: Any = _plain  # the NumPy twin: prediction needs no compiler, and no compile time


class MixturePredictions:
    """Evaluation of a mixture from its layout, maps and internal parameters (the base of `ConditionalMixture`)."""

    layout: Layout
    internal: Parameters
    gate_map: FeatureMap
    expert_map: FeatureMap
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
        allowed = self.layout.expert.columns(self.layout.n_predictors, self.layout.n_responses)
        if out.ndim == 0:
            out = np.full(n, float(out))
        if out.ndim == 1 and 1 in allowed:
            out = out[:, None]
        if out.ndim != 2 or len(out) != n or out.shape[1] not in allowed:
            shapes = " or ".join(f"({n}, {d})" if d > 1 else f"({n},)" for d in allowed)
            raise ValueError(f"y has shape {np.shape(y)}; expected {shapes}.")
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
        gate: Any = self.layout.gate
        if gate.general:
            return np.asarray(gate.forward(self.internal.gate, z)[1])
        log_prob, prob = np.empty((2, self.layout.n_experts, z.shape[1]))
        plain.softmax_forward(self.internal.gate, z, 0, z.shape[1], log_prob, prob)
        return log_prob

    def _eta(self, phi: Array, offset: Array | None = None) -> Array:
        """Predictors `(d, K, n)` of the experts."""
        eta: Array = self.layout.expert.predictors(self.internal.coef, phi)
        if offset is not None:
            eta[0] += offset
        return eta

    def _each(self, X: ArrayLike, function: Callable[[Array, slice], Array], offset: ArrayLike | None = None) -> Array:
        """`function(eta, rows)`, `(…, K, B)`, of the predictors of all rows, as `(n, K, …)`."""
        n = len(self.check_X(X))
        shift = None if offset is None else check_offset(offset, n)
        parts = []
        for _, phi, rows in self._rows(X):
            out = function(self._eta(phi, None if shift is None else shift[rows]), rows)
            parts.append(np.moveaxis(out, (-1, -2), (0, 1)))
        return np.concatenate(parts)

    def log_gate(self, X: ArrayLike) -> Array:
        """`log π_k(x)`, `(n, K)`."""
        return self._collect(X, (self.layout.n_experts,), lambda z, phi, rows: self._log_gate(z).T)

    def gate_proba(self, X: ArrayLike) -> Array:
        """`π_k(x)`, `(n, K)`; rows sum to one."""
        return np.exp(self.log_gate(X))

    def expert_mean(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Mean of each expert, `(n, K)`, or `(n, K, D)` with several responses (for classes: their probabilities)."""
        expert, scale = self.layout.expert, self.internal.scale
        return self._squeezed(self._each(X, lambda eta, rows: expert.moments(eta, extra_of(scale))[0], offset))

    def expert_covariance(self) -> Array:
        """Covariance of each Gaussian expert, `(K, D, D)`.

        Raises
        ------
        ValueError
            If the experts are not Gaussian.
        """
        expert: Any = self.layout.expert
        if not hasattr(expert, "covariances"):
            raise ValueError(
                f"expert_covariance is defined for Gaussian experts; these are {expert.name}. Use expert_std."
            )
        return np.asarray(expert.covariances(self.internal.scale, self.layout.n_responses))

    def expert_std(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Standard deviation of each expert, `(n, K)`, or `(n, K, D)` with several responses."""
        expert, scale = self.layout.expert, self.internal.scale
        return np.sqrt(self._squeezed(self._each(X, lambda eta, rows: expert.moments(eta, extra_of(scale))[1], offset)))

    def _squeezed(self, values: Array) -> Array:
        return values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 and self.vector_y else values

    def _log_density(self, phi: Array, target: Array, offset: Array | None = None) -> Array:
        """`log f`, `(K, n)`."""
        layout, n = self.layout, phi.shape[1]
        ws = {
            "log_density": np.empty((layout.n_experts, n)),
            "kept": np.empty((layout.n_predictors, layout.n_experts, n)),
        }
        shift = NONE if offset is None else offset
        block = Block(NONE, phi, np.ascontiguousarray(target.T), NONE, shift, 0, n, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            layout.expert.forward(self.internal.coef, self.internal.scale, block, ws, plain)
        return ws["log_density"]

    def expert_log_density(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`log f_k(y|x)`, `(n, K)`."""
        n = len(self.check_X(X))
        target, shift = self.check_y(y, n), None if offset is None else check_offset(offset, n)
        return self._collect(
            X,
            (self.layout.n_experts,),
            lambda z, phi, rows: self._log_density(phi, target[rows], None if shift is None else shift[rows]).T,
        )

    def _posterior(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> tuple[Array, Array]:
        X = self.check_X(X)
        target, shift = self.check_y(y, len(X)), None if offset is None else check_offset(offset, len(X))
        loglik, resp = np.empty(len(X)), np.empty((len(X), self.layout.n_experts))
        for z, phi, rows in self._rows(X):
            out = np.empty((self.layout.n_experts, phi.shape[1]))
            log_density = self._log_density(phi, target[rows], None if shift is None else shift[rows])
            plain.e_step(self._log_weight(z), log_density, out, loglik[rows])
            resp[rows] = out.T
        return loglik, resp

    def log_density(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`log p(y|x)`, `(n,)`; of a joint model `log p(x, y)`."""
        return self._posterior(X, y, offset)[0]

    def responsibilities(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Posterior probability of each expert given `(x, y)`, `(n, K)`."""
        return self._posterior(X, y, offset)[1]

    def _log_weight(self, z: Array) -> Array:
        """What stands before the densities in the likelihood: `log π`, in a joint model with the density of x."""
        gate: Any = self.layout.gate
        if not gate.joint:
            return self._log_gate(z)
        return np.asarray(gate.log_weight(self.internal.gate, gate.scores(self.internal.gate, z)))

    def mean(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`E[y|x] = Σ_k π_k(x) μ_k(x)`, `(n,)` or `(n, D)`; with classes their probabilities `(n, C)`."""
        proba = self.gate_proba(X)
        return np.asarray(np.einsum("nk,nk...->n...", proba, self.expert_mean(X, offset)))

    def std(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Standard deviation of `y` given `x` (within and between experts), `(n,)` or `(n, D)`."""
        proba, mean, sd = self.gate_proba(X), self.expert_mean(X, offset), self.expert_std(X, offset)
        center = np.einsum("nk,nk...->n...", proba, mean)
        spread = sd**2 + (mean - center[:, None]) ** 2
        return np.asarray(np.sqrt(np.einsum("nk,nk...->n...", proba, spread)))

    def _need_vector(self, what: str) -> None:
        if self.layout.n_responses > 1 and not self.layout.expert.intervals:
            raise ValueError(f"{what} is defined for one response; this mixture has {self.layout.n_responses}.")

    def cdf(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`P(Y <= y | x)`, `(n,)`."""
        self._need_vector("cdf")
        n = len(self.check_X(X))
        target = np.broadcast_to(np.asarray(y, dtype=float), (1, n)) if np.ndim(y) < 2 else self.check_y(y, n).T
        expert, extra = self.layout.expert, extra_of(self.internal.scale)
        parts = self._each(X, lambda eta, rows: expert.cdf(target[:, rows], eta, extra), offset)
        return np.asarray(np.einsum("nk,nk->n", self.gate_proba(X), parts))

    def quantile(self, X: ArrayLike, q: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Exact quantiles of the mixture, by inversion of its distribution function: `(n,)`, or `(n, len(q))`.

        Of counts: the smallest number whose distribution function reaches the level.

        Raises
        ------
        ValueError
            If a level is outside (0, 1), or the response is not one number.
        """
        from moestat.quantiles import formula_quantile, gaussian_quantile

        self._need_vector("quantile")
        levels = np.asarray(q, dtype=float)
        if levels.ndim > 1 or levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q={q!r} must be one level or a list of levels strictly between 0 and 1.")
        n, proba = len(self.check_X(X)), self.gate_proba(X)
        expert, extra = self.layout.expert, extra_of(self.internal.scale)
        if expert.name == "gaussian":
            mean, sd = self.expert_mean(X, offset).reshape(n, -1), self.expert_std(X, offset).reshape(n, -1)
            columns = [gaussian_quantile(proba, mean, sd, float(level)) for level in np.atleast_1d(levels)]
        else:
            eta = np.moveaxis(self._each(X, lambda eta, rows: eta, offset), (0, 1), (-1, -2))
            columns = [formula_quantile(expert, proba.T, eta, extra, float(level)) for level in np.atleast_1d(levels)]
        return columns[0] if levels.ndim == 0 else np.column_stack(columns)

    def sample(
        self,
        X: ArrayLike,
        rng: np.random.Generator | int | None = None,
        *,
        offset: ArrayLike | None = None,
        return_labels: bool = False,
    ) -> Array | tuple[Array, NDArray[np.int64]]:
        """Draw one response for each row: `(n,)` or `(n, D)`; with `return_labels` also the experts that made them."""
        generator = np.random.default_rng(rng)
        proba = self.gate_proba(X)
        n = len(proba)
        u = generator.random(n)
        cumulated = np.cumsum(proba, axis=1)
        labels = np.minimum((u[:, None] > cumulated[:, :-1]).sum(axis=1), self.layout.n_experts - 1)
        eta = self._each(X, lambda eta, rows: eta, offset)[np.arange(n), labels].T  # (d, n)
        out = self.layout.expert.sample_rows(eta, self.internal.scale, labels, generator).T
        y = out[:, 0] if self.vector_y else out
        return (y, labels) if return_labels else y


def check_offset(offset: ArrayLike, n: int) -> Array:
    """An offset `(n,)`.

    Raises
    ------
    ValueError
        If it has another shape or is not finite.
    """
    out = np.asarray(offset, dtype=float)
    if out.ndim == 0:
        out = np.full(n, float(out))
    if out.shape != (n,) or not np.isfinite(out).all():
        raise ValueError(f"offset must be {n} finite numbers, one a row; got shape {out.shape}.")
    return out
