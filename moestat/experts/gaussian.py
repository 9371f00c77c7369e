"""Gaussian experts: polynomial regression with free, tied or known (co)variance, for one or several responses."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.experts import multivariate
from moestat.linalg import mirror, solve_psd

Array = NDArray[np.float64]

COVARIANCES = ("full", "diag", "spherical")


@dataclass(frozen=True, eq=False)
class GaussianExpert:
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

    degree: int = 1
    variance: Literal["free", "tied"] | float | ArrayLike = "free"
    covariance: Literal["full", "diag", "spherical"] = "full"

    def __post_init__(self) -> None:
        degree: Any = self.degree
        if isinstance(degree, bool) or not isinstance(degree, Integral) or degree < 0:
            raise ValueError(f"degree={self.degree!r} must be a non-negative integer.")
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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name (scikit-learn's protocol: `GridSearchCV` reaches them as `expert__…`)."""
        return {"degree": self.degree, "variance": self.variance, "covariance": self.covariance}

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

    # -- one block of rows ------------------------------------------------------------------------------------------

    def forward(
        self, coef: Array, scale: Array, features: Array, y: Array, start: int, stop: int, out: Array, residual: Array,
        kernels: ModuleType,
    ) -> None:  # fmt: skip
        """Fill `out (K, B)` with log f and `residual (D, K, B)` of the rows from `start` to `stop`."""
        if len(y) == 1:
            kernels.gaussian_forward(coef[:, 0], scale[:, 0], features, y[0], start, stop, out, residual[0])
        else:
            multivariate.forward(
                self.factors(scale, len(y)), coef, features[:, start:stop], y[:, start:stop], out, residual
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
        self, acc: dict[str, Array], features: Array, start: int, stop: int, resp: Array, residual: Array, scratch: Array,
        kernels: ModuleType,
    ) -> None:  # fmt: skip
        """Add the block's `Σ r φφᵀ`, `Σ r φ e`, `Σ r` and `Σ r e eᵀ` (e: residual at the current coefficients)."""
        kernels.weighted_grams(features, resp, start, stop, acc["gram"])
        kernels.gaussian_moments(resp, residual[0], scratch, acc["moments"])
        kernels.weighted_moments(features, scratch, start, stop, acc["cross"][0])
        for a in range(1, len(residual)):
            weighted = resp * residual[a]
            kernels.weighted_moments(features, weighted, start, stop, acc["cross"][a])
            for b in range(a + 1):
                acc["square"][:, a, b] += (weighted * residual[b]).sum(axis=1)

    def maximise(self, coef: Array, scale: Array, acc: dict[str, Array], floor: Array) -> tuple[Array, Array]:
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

    def derivatives(self, scale: Array, ws: dict[str, Array], kernels: ModuleType) -> tuple[Array, Array]:
        """`resp · ∂log f` `(m, K, B)` and `resp · (∂²log f + ∂log f ∂log fᵀ)` for the lower-triangular pairs of predictors.

        The predictors are the D means, then the scale parameters; the workspace `ws` holds residuals and resp, and room.
        """
        residual, resp, first, second = ws["residual"], ws["resp"], ws["first"], ws["second"]
        n_responses = len(residual)
        if n_responses > 1:
            return multivariate.derivatives(self.factors(scale, n_responses), residual, resp, self.full(n_responses))
        kernels.gaussian_derivatives(residual[0], scale[:, 0], resp, first, second)
        return first, second

    # -- (co)variances ----------------------------------------------------------------------------------------------

    def factors(self, scale: Array, n_responses: int) -> Array:
        """Lower-triangular `L (K, D, D)` with precision `L Lᵀ`."""
        k = len(scale)
        out = np.zeros((k, n_responses, n_responses))
        if self.full(n_responses):
            rows, cols = np.tril_indices(n_responses)
            out[:, rows, cols] = scale
        else:
            rows = np.arange(n_responses)
            out[:, rows, rows] = scale
        diagonal = np.arange(n_responses)
        out[:, diagonal, diagonal] = np.exp(-out[:, diagonal, diagonal])
        return out

    def covariances(self, scale: Array, n_responses: int) -> Array:
        """Covariance matrices `(K, D, D)`."""
        inverse = np.linalg.inv(self.factors(scale, n_responses))
        return np.asarray(np.swapaxes(inverse, 1, 2) @ inverse)

    def scale_parameters(self, covariance: Array, floor: Array) -> Array:
        """Scale parameters `(K, m)` of the weighted normal likelihood's maximiser for sample covariances `(K, D, D)`.

        Variances below `floor**2 (D,)` are raised to it. For full covariances the floor is one on the conditional standard
        deviations `1/L_jj` (of response j given the later ones): the likelihood is a sum over the columns of L, of which
        `L_jj` gives the size and the regression of response j on the later ones the direction, so that the constrained
        maximiser is the free one with the columns cut to size.
        """
        n_responses = covariance.shape[1]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        if self.covariance == "spherical" and n_responses > 1:
            pooled = np.maximum(variance.mean(axis=1), np.mean(floor**2))
            return np.repeat(0.5 * np.log(pooled)[:, None], n_responses, axis=1)
        if not self.full(n_responses):
            return np.asarray(0.5 * np.log(np.maximum(variance, floor**2)))
        # variances below 1e-18 of the diagonal are rounding; an exact fit may leave a negative one
        tiny = np.maximum(1e-150, 1e-9 * np.maximum(floor, np.sqrt(np.maximum(variance.max(axis=0), 0.0))))
        values, vectors = np.linalg.eigh(covariance / np.outer(tiny, tiny))
        # precision = rootᵀ root; its Cholesky factor by QR, which stands singular matrices
        root = np.swapaxes(vectors / tiny[:, None], 1, 2) / np.sqrt(np.maximum(values, 1.0))[:, :, None]
        upper = np.linalg.qr(root, mode="r")
        diagonal = np.arange(n_responses)
        signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
        factor = np.swapaxes(upper * signs[:, :, None], 1, 2).copy()
        factor /= np.maximum(factor[:, diagonal, diagonal] * floor, 1.0)[:, None, :]
        factor[:, diagonal, diagonal] = -np.log(factor[:, diagonal, diagonal])
        rows, cols = np.tril_indices(n_responses)
        return np.asarray(factor[:, rows, cols])
