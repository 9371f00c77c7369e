"""Lognormal experts: positive responses whose logarithm is normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moestat.experts.base import Array
from moestat.experts.continuous import positive_spread
from moestat.experts.normal import NormalExpert


@dataclass(frozen=True)
class LognormalExpert(NormalExpert):
    """Lognormal expert with a polynomial mean of log y.

    `log y ~ N(η, σ²)`: `f(y | η, σ) = φ((log y - η)/σ) / (σ y)`, y > 0. The median of y is `exp η`, the mean `exp(η + σ²/2)`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the mean of log y; 0 gives experts that do not depend on x.
    tied : bool, default False
        One standard deviation for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (mean of log y), `expert_scale` (σ, the standard deviation of log
    y). It is the Gaussian expert for log y, but a density of y: log-likelihoods and information criteria compare with those of
    gamma and inverse Gaussian experts (Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1, 1994, chapter 14).

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.lognormal import LognormalExpert
    >>> mean, variance = LognormalExpert().moments(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
    >>> float(mean.item()), float(variance.item())
    (1.6487, 4.6708)
    """

    name: ClassVar[str] = "lognormal"
    support: ClassVar[str] = "positive responses"
    ends: ClassVar[tuple[float, float]] = (0.0, np.inf)
    location_scale: ClassVar[bool] = False  # of log y, not of y

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """The normal log-density of log y, less log y."""
        log_y = np.log(y)
        return super().inner_log_density(log_y, eta, extra) - log_y

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in the mean and the log standard deviation of log y."""
        return super().derivatives(np.log(y), eta, extra)

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean `exp(η + σ²/2)` and variance `(exp σ² - 1) exp(2η + σ²)`."""
        square = np.exp(2.0 * extra[0])
        with np.errstate(over="ignore"):
            mean = np.exp(eta[0] + 0.5 * square)
            return mean, np.expm1(square) * np.square(mean)

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """Of log y."""
        return super().inner_log_tail(np.log(y), eta, extra, upper)

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """`exp(η + σ Φ⁻¹(q))`."""
        return np.exp(super().inner_quantile(q, eta, extra))

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`."""
        return np.exp(eta + np.exp(extra[:1]) * rng.standard_normal(eta.shape[1]))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of log y, the best constant fit."""
        log_y = np.log(y[:, 0])
        mean = float(np.average(log_y, weights=weight))
        spread = np.sqrt(np.average((log_y - mean) ** 2, weights=weight))
        return np.array([mean]), np.array([np.log(positive_spread(float(spread), 1.0))])
