"""Nonlinear expert: Gaussian noise around an output weight times an activation of a linear predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import SCALE, positive_spread
from moestat.experts.normal import NormalExpert
from moestat.experts.ridge import NonlinearMean


@dataclass(frozen=True)
class NonlinearExpert(NormalExpert):
    """Gaussian expert with a ridge function as its mean: `f(y|x) = N(y; c φ(aᵀx + b), σ²)`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the polynomial inside φ; 0 gives experts that do not depend on x.
    tied : bool, default False
        One standard deviation for all experts.
    activation : str, default "tanh"
        φ: "identity", "relu" (`max(u, 0)`), "gelu" (`u Φ(u)`), "tanh", "sigmoid", "silu" (`u/(1 + exp(-u))`), or "power:p" (`u^p`, p = 2, 3, …).
    output : bool, default True
        Whether the output weight c is a parameter; otherwise `c = 1`, the normalised parametrisation.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_coef (K, d)` and `expert_intercept (K,)`, the a and b; `expert_output (K,)`, the c, unless
    `output=False`; `expert_scale (K,)`, the σ (not under least squares, which has one noise for all). These are the experts of
    Nguyen, Ho & Rinaldo ("On least squares estimation in softmax gating mixture of experts", 2024) and of "On DeepSeekMoE" (2025). With c a
    parameter and φ homogeneous (ReLU, powers) they have a scale that no data identify: see `degeneracies`.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.nonlinear import NonlinearExpert
    >>> expert = NonlinearExpert(activation="relu")
    >>> expert.keys
    ('expert_coef', 'expert_intercept', 'expert_output', 'expert_scale')
    >>> expert.degeneracies()[0][:65]
    'relu experts with an output weight have a scale that no data iden'
    """

    name: ClassVar[str] = "nonlinear"
    location_scale: ClassVar[bool] = False  # a shift of y is none of the mean's parameters

    activation: str = "tanh"
    output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mean_part()

    def mean_part(self) -> NonlinearMean:
        """The mean as a function, for least squares."""
        return NonlinearMean(self.degree, self.activation, self.output)

    def degeneracies(self, params: Mapping[str, Any] | None = None) -> list[str]:
        """See `NonlinearMean.degeneracies`."""
        return self.mean_part().degeneracies(params)

    def canonical(self, coef: Array, scale: Array) -> tuple[Array, Array]:
        """Raw coefficients and scalars in the canonical form of `NonlinearMean.canonical`."""
        coef, output = self.mean_part().canonical(coef, scale[:, :-1])
        return coef, np.concatenate([output, scale[:, -1:]], axis=1)

    # -- shape: the output weight, then the noise ---------------------------------------------------------------------

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The output weight, unless it is one, and the log standard deviation."""
        return (*self.mean_part().scalars, SCALE)

    def scale_index(self, n_experts: int, n_predictors: int) -> Any:
        """Only the standard deviation is tied."""
        index = np.arange(n_experts * len(self.scalars)).reshape(n_experts, -1)
        if self.tied:
            index[:, -1] = index[0, -1]
        return index

    def floor_unit(self, y: Array, weight: Array | None) -> Array:
        """The standard deviation of y."""
        center = np.average(y, axis=0, weights=weight)
        return np.asarray(np.sqrt(np.average((y - center) ** 2, axis=0, weights=weight)))

    # -- formulas: the normal ones at the mean ------------------------------------------------------------------------

    def _mean(self, eta: Array, extra: Array) -> Array:
        """`c φ(η)` for `eta (K, B)`."""
        return self.mean_part().mean(eta[None], extra)

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """The normal log-density at the mean."""
        return super().inner_log_density(y, self._mean(eta, extra), extra[-1:])

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """The chain rule, with u, v in (η, c) and the normal log-density ℓ of mean h: `ℓ_h h_u` and `ℓ_h h_uv + ℓ_hh h_u h_v`."""
        (slope, in_scale), (bend, mixed, twice) = super().derivatives(y, self._mean(eta[0], extra)[None], extra[-1:])
        first, second = self.mean_part().mean_derivatives(eta, extra[:-1])
        rows, columns = np.tril_indices(len(first))
        pairs = slope * second + bend * first[rows] * first[columns]
        return np.concatenate([slope * first, in_scale[None]]), np.concatenate([pairs, mixed * first, twice[None]])

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`c φ(η)` and `σ²`."""
        return super().moments(self._mean(eta[0], extra)[None], extra[-1:])

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """Of the normal distribution."""
        return super().inner_log_tail(y, self._mean(eta, extra), extra[-1:], upper)

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """`c φ(η) + σ Φ⁻¹(q)`."""
        return super().inner_quantile(q, self._mean(eta, extra), extra[-1:])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`."""
        return super().sample(self._mean(eta, extra[:, None]), extra[-1:], rng)

    # -- starts -------------------------------------------------------------------------------------------------------

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """See `NonlinearMean.first_coefficients`, and the standard deviation that is left."""
        coef, output = self.mean_part().first_coefficients(y, weight, phi)
        mean = self.mean_part().mean((coef @ phi)[:, None], output[:, None, None])[0]
        spread = np.sqrt(np.average((y[:, 0] - mean) ** 2, weights=weight))
        return coef, np.append(output, np.log(positive_spread(float(spread), float(np.abs(y).max(initial=0.0)))))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """About the best constant fit."""
        coef, scale = self.first_coefficients(y, weight, np.ones((1, len(y))))
        return coef[:, 0], scale
