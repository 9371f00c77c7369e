"""Poisson experts: counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import gammainc, gammaincc

from moestat.experts.base import Array
from moestat.experts.counts import CountExpert, is_count, log_excess, log_peak, mean_of, weighted_moments

LARGEST_DRAW = 9e18  # NumPy draws Poisson numbers up to about this mean; above, they equal their mean to nine digits


@dataclass(frozen=True)
class PoissonExpert(CountExpert):
    """Poisson expert with a polynomial log mean.

    `f(y | η) = μ^y e^-μ / y!`, `μ = exp η`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the log mean; 0 gives experts that do not depend on x.
    tied : bool, default False
        Without effect: there is no scalar to tie.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log mean). The M-step is iteratively reweighted least
    squares: McCullagh & Nelder, Generalized Linear Models (1989), section 2.5. Mixtures of Poisson regressions: Wang,
    Puterman, Cockburn & Le, Biometrics 52 (1996), 381-400.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.poisson import PoissonExpert
    >>> eta = np.full((1, 1, 1), np.log(2.0))
    >>> float(np.exp(PoissonExpert().log_density(np.array([[1.0]]), eta, np.empty((0, 1, 1)))).item())
    0.27067
    """

    name: ClassVar[str] = "poisson"

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`y η - exp η - log y!`, as the peak at μ = y less half the deviance, so that large counts do not cancel."""
        valid = is_count(y[0])
        k, mu = np.where(valid, y[0], 0.0), mean_of(eta[0])
        out = log_peak(k) - k * log_excess(np.maximum(k, 1.0), eta[0], mu) + (k - mu)
        return out if valid.all() else np.where(valid, out, -np.inf)

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`y - μ` and `-μ`."""
        mu = mean_of(eta)
        return y - mu, -mu

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`μ`, twice."""
        mu = mean_of(eta[0])
        return mu, mu

    def below(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= k)`, an incomplete gamma function."""
        return np.asarray(gammaincc(k + 1.0, mean_of(eta[0])))

    def above(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k)`, an incomplete gamma function."""
        return np.asarray(gammainc(k + 1.0, mean_of(eta[0])))

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One count for each column of `eta (1, B)`: `(1, B)`."""
        return draw(mean_of(eta), rng)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The logarithm of the mean."""
        return np.log([weighted_moments(y[:, 0], weight)[0]]), np.zeros(0)


def draw(mean: Array, rng: np.random.Generator) -> Array:
    """Poisson numbers with any mean."""
    return np.where(mean > LARGEST_DRAW, mean, rng.poisson(np.minimum(mean, LARGEST_DRAW)))
