"""Gaussian experts: polynomial regression with free, tied or known (co)variance, for one or several responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import precision
from moestat.experts import multivariate
from moestat.experts.base import BaseExpert, check_degree
from moestat.experts.dictionary import Read, check_gaussian, read_gaussian, write_gaussian
from moestat.linalg import mirror, solve_psd

if TYPE_CHECKING:
    from moestat.blocks import Block

Array = NDArray[np.float64]

COVARIANCES = ("full", "diag", "spherical")


@dataclass(frozen=True, eq=False)
class GaussianExpert(BaseExpert):
    """Gaussian expert with a polynomial mean.

    `f_k(y|x) = N(y; a_kᵀφ(x) + b_k, σ_k²)`, `φ` the monomials of `x` up to total degree `degree`. With D responses the
    density is `N_D(y; A_k φ(x) + b_k, Σ_k)`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the mean; 0 gives experts that do not depend on x.
    variance : {"free", "tied"} or float or array, default "free"
        One (co)variance an expert, one for all, or known: a standard deviation, `(K,)` of them, or `(K, D)`.
    covariance : {"full", "diag", "spherical"}, default "full"
        Form of `Σ_k` when y has several columns.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Examples
    --------
    >>> from moestat.experts import GaussianExpert
    >>> GaussianExpert(degree=2, variance="tied")
    GaussianExpert(degree=2, variance='tied', covariance='full')
    """

    name: ClassVar[str] = "gaussian"
    location_scale: ClassVar[bool] = True
    closed_form: ClassVar[bool] = True

    degree: int = 1
    variance: Literal["free", "tied"] | float | ArrayLike = "free"
    covariance: Literal["full", "diag", "spherical"] = "full"

    def __post_init__(self) -> None:
        check_degree(self.degree)
        if self.covariance not in COVARIANCES:
            raise ValueError(f"covariance={self.covariance!r} is not known; give one of {list(COVARIANCES)}.")
        if isinstance(self.variance, str):
            if self.variance not in ("free", "tied"):
                raise ValueError(
                    f"variance={self.variance!r} is not known; give 'free', 'tied' or a known standard deviation."
                )
        else:
            known = np.asarray(self.variance, dtype=float)
            if not (np.isfinite(known).all() and (known > 0).all()):
                raise ValueError(
                    f"variance={self.variance!r} must be a positive, finite standard deviation (or an array of them)."
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GaussianExpert):
            return NotImplemented
        mine, theirs = np.asarray(self.variance), np.asarray(other.variance)
        return (self.degree, self.covariance) == (other.degree, other.covariance) and np.array_equal(mine, theirs)

    def __hash__(self) -> int:
        return hash((self.degree, self.covariance))  # equal variances may be written in several ways

    # -- parameters -------------------------------------------------------------------------------------------------

    @property
    def known_scale(self) -> Array | None:
        """The known standard deviation, or None."""
        return None if isinstance(self.variance, str) else np.asarray(self.variance, dtype=float)

    @property
    def can_spike(self) -> bool:
        """See `BaseExpert.can_spike`."""
        return isinstance(self.variance, str) and self.variance == "free"

    @property
    def spike_labels(self) -> tuple[str, ...]:
        """See `BaseExpert.spike_labels`."""
        return ("log_scale",)

    @property
    def tied(self) -> bool:
        """One (co)variance for all experts."""
        return isinstance(self.variance, str) and self.variance == "tied"

    def n_predictors(self, y: Array) -> int:
        """One mean a response."""
        return int(y.shape[1])

    def full(self, n_responses: int) -> bool:
        """Whether the covariance has off-diagonal parameters."""
        return n_responses > 1 and self.covariance == "full"

    def n_scale(self, n_responses: int) -> int:
        """Scale parameters of one expert before tying: the log standard deviations, or the precision's Cholesky factor."""
        return n_responses * (n_responses + 1) // 2 if self.full(n_responses) else n_responses

    def scale_index(self, n_experts: int, n_responses: int) -> NDArray[np.int64]:
        """For each scale parameter `(K, m)` the number of the free parameter it equals, or -1 where it is known."""
        m = self.n_scale(n_responses)
        index = np.arange(n_experts * m).reshape(n_experts, m)
        if self.known_scale is not None:
            index[:] = -1
            return index
        if self.covariance == "spherical" and n_responses > 1:
            index = np.repeat(np.arange(n_experts)[:, None], m, axis=1)
        if self.variance == "tied":
            index = np.repeat(index[:1], n_experts, axis=0)
        return index

    # -- predictions --------------------------------------------------------------------------------------------------

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Means and variances `(D, K, B)`."""
        variance = np.diagonal(self.covariances(extra[:, :, 0].T, len(eta)), axis1=1, axis2=2)  # (K, D)
        return eta, np.broadcast_to(variance.T[:, :, None], eta.shape)

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`, `(K, B)`, for one response."""
        from scipy.special import ndtr

        return np.asarray(ndtr((y[0] - eta[0]) * np.exp(-extra[0])))

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """Quantiles `(K, B)`, for one response."""
        from scipy.special import ndtri

        return np.asarray(eta[0] + np.exp(extra[0]) * ndtri(q))

    def sample_rows(self, eta: Array, scale: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """See `BaseExpert.sample_rows`."""
        noise = rng.standard_normal(eta.shape[::-1])
        # L⁻ᵀ noise has covariance (L Lᵀ)⁻¹
        inverse = np.linalg.inv(self.factors(scale, len(eta)))
        return np.asarray(eta + np.einsum("nji,nj->in", inverse[labels], noise))

    # -- one block of rows ------------------------------------------------------------------------------------------

    def forward(self, coef: Array, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType) -> None:
        """Fill the workspace's `log_density (K, B)` with log f and `kept (D, K, B)` with the residuals."""
        a, b, y = block.start, block.stop, block.y
        if len(y) == 1:
            kernels.gaussian_forward(
                coef[:, 0], scale[:, 0], block.expert_features, y[0], a, b, ws["log_density"], ws["kept"][0]
            )
        else:
            multivariate.forward(
                self.factors(scale, len(y)),
                coef,
                block.expert_features[:, a:b],
                y[:, a:b],
                ws["log_density"],
                ws["kept"],
            )

    def accumulators(self, n_experts: int, n_responses: int, q: int) -> dict[str, Array]:
        """Zero statistics of the M-step; they are additive over rows."""
        k, d = n_experts, n_responses
        return {
            "gram": np.zeros((k, q, q)),
            "cross": np.zeros((d, k, q)),
            "moments": np.zeros((k, 2)),
            "square": np.zeros((k, d, d)),
        }

    def add_statistics(
        self, acc: dict[str, Array], scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> None:
        """Add the block's `Σ r φφᵀ`, `Σ r φ e`, `Σ r` and `Σ r e eᵀ` (e: residual at the current coefficients)."""
        features, start, stop = block.expert_features, block.start, block.stop
        resp, residual, scratch = ws["resp"], ws["kept"], ws["scratch"]
        kernels.weighted_grams(features, resp, start, stop, acc["gram"])
        kernels.gaussian_moments(resp, residual[0], scratch, acc["moments"])
        kernels.weighted_moments(features, scratch, start, stop, acc["cross"][0])
        for a in range(1, len(residual)):
            weighted = resp * residual[a]
            kernels.weighted_moments(features, weighted, start, stop, acc["cross"][a])
            for b in range(a + 1):
                acc["square"][:, a, b] += (weighted * residual[b]).sum(axis=1)

    def maximise(
        self, coef: Array, scale: Array, acc: dict[str, Array], floor: Array, step: float = 1.0
    ) -> tuple[Array, Array]:
        """Closed-form weighted least squares and (co)variances, never below `floor (D,)` (standard deviations).

        Working with residuals at the current coefficients keeps the variances free of cancellation. An expert without
        responsibility keeps its parameters.
        """
        gram, cross = mirror(acc["gram"]), acc["cross"]
        mass = acc["moments"][:, 0]
        square = mirror(acc["square"])
        square[:, 0, 0] = acc["moments"][:, 1]
        live = mass > 1e-10 * max(float(mass.sum()), 1e-300)
        moment = cross.transpose(1, 2, 0)  # (K, q, D)
        delta = np.where(live[:, None, None], solve_psd(gram, moment), 0.0)
        coef = coef + delta.swapaxes(1, 2)
        square = square - delta.swapaxes(1, 2) @ moment
        if self.known_scale is not None:
            return coef, scale
        if self.variance == "tied":
            pooled = square[live].sum(axis=0) / mass[live].sum()
            covariance = np.repeat(pooled[None], len(mass), axis=0)
            live = np.ones_like(live)
        else:
            covariance = square / np.where(live, mass, 1.0)[:, None, None]
        scale = scale.copy()
        scale[live] = self.scale_parameters(covariance[live], floor)
        return coef, scale

    def weighted_derivatives(
        self, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> tuple[Array, Array]:
        """`resp · ∂log f` `(m, K, B)` and `resp · (∂²log f + ∂log f ∂log fᵀ)` for the lower-triangular pairs of predictors.

        The predictors are the D means, then the scale parameters; the workspace `ws` holds residuals and resp, and room.
        """
        residual, resp, first, second = ws["kept"], ws["resp"], ws["first"], ws["second"]
        n_responses = len(residual)
        if n_responses > 1:
            return multivariate.derivatives(self.factors(scale, n_responses), residual, resp, self.full(n_responses))
        kernels.gaussian_derivatives(residual[0], scale[:, 0], resp, first, second)
        return first, second

    def scale_limits(self, floor: Array) -> Array:
        """Lower bounds from the variance floor `(D,)`; a full covariance has them on the diagonal of the precision's factor."""
        d = len(floor)
        low = np.log(floor)
        if self.full(d):
            rows, cols = np.tril_indices(d)
            low = np.where(rows == cols, low[rows], -np.inf)
        return np.stack([low, np.full_like(low, np.inf)])

    def spikes(self, scale: Array, floor: Array) -> NDArray[np.bool_]:
        """Which experts sit on the variance floor."""
        return np.asarray((scale <= self.scale_limits(floor)[0] + 1e-6).any(axis=1))

    # -- dictionary ---------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("expert_coef", "expert_intercept", "expert_scale", "expert_covariance")

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`."""
        return read_gaussian(self, params, n_raw)

    def write(self, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
        """See `BaseExpert.write`."""
        return write_gaussian(self, coef, scale, vector_y)

    def check_consistent(self, free: Array, scale: Array, given: Mapping[str, Any]) -> None:
        """See `BaseExpert.check_consistent`."""
        check_gaussian(self, free, scale, given)

    def predictor_names(self, n_predictors: int, vector_y: bool) -> list[str]:
        """Nothing, or the response."""
        return [""] if vector_y else [f"y{d + 1}:" for d in range(n_predictors)]

    def scalar_names(self, n_predictors: int, vector_y: bool) -> list[str]:
        """Log standard deviations, or the entries of the precision's Cholesky factor."""
        if self.full(n_predictors):
            pairs = zip(*np.tril_indices(n_predictors), strict=True)
            return [f"log_scale[y{i + 1}]" if i == j else f"cholesky[y{i + 1},y{j + 1}]" for i, j in pairs]
        return ["log_scale"] if vector_y else [f"log_scale[y{d + 1}]" for d in range(n_predictors)]

    def scalar_links(self, n_predictors: int) -> list[str]:
        """Logarithms, and the factor's entries below its diagonal."""
        return ["cholesky" if name.startswith("cholesky") else "log" for name in self.scalar_names(n_predictors, False)]

    def box_scalars(
        self, n_predictors: int, vector_y: bool
    ) -> dict[str, tuple[list[tuple[int, str]], tuple[int, ...]]]:
        """See `BaseExpert.box_scalars`; the factor of a full covariance cannot be bounded."""
        if self.full(n_predictors):
            return {}
        return {"expert_scale": ([(j, "log") for j in range(n_predictors)], () if vector_y else (n_predictors,))}

    def rescale(self, coef: Array, scale: Array, center: Array, factor: Array) -> tuple[Array, Array]:
        """See `BaseExpert.rescale`."""
        d = coef.shape[1]
        moved = coef * factor[:, None]
        moved[:, :, 0] += center
        if self.full(d):
            rows, cols = np.tril_indices(d)
            return moved, np.where(rows == cols, scale + np.log(factor)[rows], scale / factor[rows])
        return moved, scale + np.log(factor)

    # -- (co)variances ------------------------------------------------------------------------------------------------

    def factors(self, scale: Array, n_responses: int) -> Array:
        """Lower-triangular `L (K, D, D)` with precision `L Lᵀ`."""
        return precision.factors(scale, n_responses, self.full(n_responses))

    def covariances(self, scale: Array, n_responses: int) -> Array:
        """Covariance matrices `(K, D, D)`."""
        return precision.covariances(self.factors(scale, n_responses))

    def scale_parameters(self, covariance: Array, floor: Array) -> Array:
        """Scale parameters `(K, m)` of the weighted normal likelihood's maximiser for sample covariances `(K, D, D)`.

        Variances below `floor**2 (D,)` are raised to it; see `precision.full_scale` for what that means in a full covariance.
        """
        n_responses = covariance.shape[1]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        if self.covariance == "spherical" and n_responses > 1:
            pooled = np.maximum(variance.mean(axis=1), np.mean(floor**2))
            return np.repeat(0.5 * np.log(pooled)[:, None], n_responses, axis=1)
        if not self.full(n_responses):
            return np.asarray(0.5 * np.log(np.maximum(variance, floor**2)))
        return precision.full_scale(covariance, floor)
