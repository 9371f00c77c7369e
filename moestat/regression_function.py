"""Regression functions: sums of weighted experts with normal noise of one variance, the models of least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from moestat.blocks import Rows
from moestat.experts.base import BaseExpert
from moestat.experts.means import MeanExpert, mean_of
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.least_squares import LeastSquaresObjective, check_gate
from moestat.maps import FeatureMap
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective
from moestat.registry import resolve_expert, resolve_gate

if TYPE_CHECKING:
    pass

Array = NDArray[np.float64]


class RegressionFunction(ConditionalMixture):
    """A regression function `f(x) = Σ_k g_k(x) h_k(x)` with normal noise: `y = f(x) + ε`, `ε ~ N(0, noise_std²)`.

    The density of y given x is `N(y; f(x), noise_std²)`, not a mixture of the experts' densities; otherwise it answers as
    `ConditionalMixture` does.

    Parameters
    ----------
    gate, expert : str or object
        Any gate whose weights depend on x, also one whose weights do not sum to one (`"sigmoid"`); `"gaussian"` (means that are
        polynomials), `"nonlinear"`, or an object.
    params : dict
        Raw parameters: those of the gate, `expert_coef (K, p)`, `expert_intercept (K,)`, and `expert_output (K,)` for nonlinear experts.
    noise_std : float, default 1.0
        Standard deviation of the noise.
    gate_features, expert_features, n_features, feature_names
        As of `ConditionalMixture`.

    Raises
    ------
    ValueError
        If a key, shape or value is wrong.

    Examples
    --------
    >>> import moestat as ms
    >>> f = ms.RegressionFunction(gate="sigmoid", params={
    ...     "gate_coef": [[4.0], [-4.0]], "gate_intercept": [0.0, 0.0], "expert_coef": [[2.0], [-2.0]], "expert_intercept": [0.0, 0.0]})
    >>> f.mean([[0.0], [1.0]]).round(4)
    array([0.    , 1.9281])
    """

    expert: MeanExpert
    noise_std: float

    def __init__(
        self,
        gate: str | Gate = "softmax",
        expert: str | BaseExpert = "gaussian",
        params: Mapping[str, Any] | None = None,
        noise_std: float = 1.0,
        *,
        gate_features: Sequence[int] | None = None,
        expert_features: Sequence[int] | None = None,
        n_features: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        gate = resolve_gate(gate)
        check_gate(gate)
        super().__init__(
            gate,
            mean_of(resolve_expert(expert)),
            params,
            gate_features=gate_features,
            expert_features=expert_features,
            n_features=n_features,
            feature_names=feature_names,
        )
        self.noise_std = _checked_noise(noise_std)

    @classmethod
    def of(cls, mixture: ConditionalMixture, noise_std: float) -> RegressionFunction:
        """The function with the weights and means of a mixture whose experts are means."""
        maps = (mixture.gate_map, mixture.expert_map)
        out = cls._from_internal(
            mixture.layout, mixture.internal, maps, mixture.n_features, True, mixture.feature_names
        )
        assert isinstance(out, cls)
        out.noise_std = noise_std
        return out

    def __repr__(self) -> str:
        return (
            f"RegressionFunction(gate={self.gate!r}, expert={self.expert!r}, n_experts={self.n_experts}, "
            f"n_features={self.n_features}, noise_std={self.noise_std:.6g})"
        )

    # -- parameters ---------------------------------------------------------------------------------------------------

    def _moved(self, layout: Layout, internal: Parameters, maps: tuple[FeatureMap, FeatureMap]) -> RegressionFunction:
        return RegressionFunction.of(super()._moved(layout, internal, maps), self.noise_std)

    def _objective(self, rows: Rows, layout: Layout) -> Objective:
        return LeastSquaresObjective(rows, layout, noise=self.noise_std)

    # -- predictions --------------------------------------------------------------------------------------------------

    def gate_weights(self, X: ArrayLike) -> Array:
        """Weights `g_k(x)`, `(n, K)`; those of a sigmoid gate do not sum to one."""
        return self.gate_proba(X)

    def responsibilities(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Share of each expert in the weights, `g_k(x)/Σ_j g_j(x)`, `(n, K)`; y has no part in it."""
        weight = self.gate_proba(X)
        return np.asarray(weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300))

    def log_density(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`log N(y; f(x), noise_std²)`, `(n,)`."""
        z = self._standardised(X, y, offset)
        return np.asarray(-0.5 * z * z - np.log(self.noise_std) - 0.5 * np.log(2.0 * np.pi))

    def std(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Standard deviation of y given x, `(n,)`: that of the noise."""
        return np.full(len(self.check_X(X)), self.noise_std)

    def cdf(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`P(Y <= y | x)`, `(n,)`."""
        return np.asarray(ndtr(self._standardised(X, y, offset)))

    def quantile(self, X: ArrayLike, q: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Quantiles of y given x, `(n,)`, or `(n, len(q))`.

        Raises
        ------
        ValueError
            If a level is not strictly between 0 and 1.
        """
        levels = np.asarray(q, dtype=float)
        if levels.ndim > 1 or levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q={q!r} must be one level or a list of levels strictly between 0 and 1.")
        mean = self.mean(X, offset)
        return np.asarray((mean if levels.ndim == 0 else mean[:, None]) + self.noise_std * ndtri(levels))

    def sample(
        self,
        X: ArrayLike,
        rng: np.random.Generator | int | None = None,
        *,
        offset: ArrayLike | None = None,
        return_labels: bool = False,
    ) -> Array:
        """Draw one response for each row, `(n,)`; no expert makes it alone, so that there are no labels."""
        if return_labels:
            self._no_components("labels of draws")
        mean = self.mean(X, offset)
        return np.asarray(mean + self.noise_std * np.random.default_rng(rng).standard_normal(len(mean)))

    def expert_std(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """None: the noise is of the sum.

        Raises
        ------
        ValueError
            Always.
        """
        self._no_components("standard deviations of the experts")

    def expert_log_density(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """None: the noise is of the sum.

        Raises
        ------
        ValueError
            Always.
        """
        self._no_components("densities of the experts")

    @staticmethod
    def _no_components(what: str) -> NoReturn:
        raise ValueError(
            f"there are no {what}: the noise of a regression function is that of the weighted sum. Use std or log_density."
        )

    def _standardised(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None) -> Array:
        mean = self.mean(X, offset)
        return np.asarray((self.check_y(y, len(mean))[:, 0] - mean) / self.noise_std)


def _checked_noise(noise_std: Any) -> float:
    try:
        out = float(noise_std)
    except (TypeError, ValueError):
        out = np.nan
    if not (np.isfinite(out) and out > 0.0):
        raise ValueError(f"noise_std={noise_std!r} must be a positive, finite standard deviation.")
    return out
