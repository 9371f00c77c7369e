"""Zero-inflated experts: counts with zeros of two kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit

from moestat.experts.base import Array, Scalar
from moestat.experts.counts import RARE, CountExpert
from moestat.experts.negative_binomial import NegativeBinomialExpert
from moestat.experts.poisson import PoissonExpert

ZERO = Scalar(
    "expert_zero_proba",
    "logit_zero",
    link="logit",
    low=float(-np.log(1e8)),
    high=float(np.log(1e8)),
    at_high="all its counts are zero",
)


@dataclass(frozen=True)
class ZeroModifiedExpert(CountExpert):
    """Counts whose zero has a probability of its own: `P(y) = (1 - ω) f(y)` for y > 0, with f the family `counts`.

    The predictors and scalars are those of `counts`, then the logit of `expert_zero_proba`.
    """

    counts: ClassVar[CountExpert]
    zero: ClassVar[Scalar]
    explained: ClassVar[float]  # share of the zeros that are left to `counts` where a search starts

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalars of the counts, and the logit of the zeros' probability."""
        return (*self.counts.scalars, self.zero)

    def inflation(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`ω = (P(0) - f(0)) / (1 - f(0))` and `1 - ω`."""
        raise NotImplementedError

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """With the counts' mean m and variance V: `(1 - ω) m` and `(1 - ω) (V + ω m²)`."""
        mean, variance = self.counts.moments(eta, extra[:-1])
        omega, rest = self.inflation(eta, extra)
        return rest * mean, rest * (variance + omega * mean * mean)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """As if only the share `explained` of the zeros came from the counts."""
        kept = np.where(y[:, 0] == 0.0, self.explained * weight, weight)
        taken = np.clip(1.0 - kept.sum() / weight.sum(), RARE, 1.0 - RARE)
        eta, extra = self.counts.origin(y, kept if kept.any() else weight)
        return eta, np.append(extra, np.log(taken / (1.0 - taken)))


@dataclass(frozen=True)
class ZeroInflatedExpert(ZeroModifiedExpert):
    """A zero with probability ω, otherwise a count: `P(0) = ω + (1 - ω) f(0)`."""

    explained: ClassVar[float] = 0.5

    def inflation(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """The scalar itself."""
        return expit(extra[-1]), expit(-extra[-1])

    def below(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= k)`."""
        return np.asarray(expit(extra[-1]) + expit(-extra[-1]) * self.counts.below(k, eta, extra[:-1]))

    def above(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k)`."""
        return np.asarray(expit(-extra[-1]) * self.counts.above(k, eta, extra[:-1]))

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log P(y)`."""
        log_f, u = self.counts.log_density(y, eta, extra[:-1]), extra[-1]
        return np.where(y[0] == 0.0, log_zero(log_f, u), log_expit(-u) + log_f)

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """By the probability ρ that the response is a count's, given what it is: `∂log P = ρ ∂log f` in the predictors of f."""
        zero, u, omega = y[0] == 0.0, extra[-1], expit(extra[-1])
        log_f = self.counts.log_density(np.zeros((1, 1)), eta, extra[:-1])
        first, second = self.counts.derivatives(y, eta, extra[:-1])
        log_p = log_zero(log_f, u)
        rho = np.where(zero, np.exp(log_expit(-u) + log_f - log_p), 1.0)
        rest = np.where(zero, np.exp(log_expit(u) - log_p), 0.0)  # 1 - ρ
        slope = np.where(zero, -rest * expit(-u) * np.expm1(log_f), -omega)
        curvature = np.where(zero, slope * (rho - omega), -omega * expit(-u))
        pairs = rho * second + rho * rest * products(first)
        return np.concatenate([rho * first, slope[None]]), np.concatenate([pairs, -rho * rest * first, curvature[None]])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One count for each column of `eta (1, B)`, `extra (c, B)`: `(1, B)`."""
        return np.where(rng.random(eta.shape) < expit(extra[-1]), 0.0, self.counts.sample(eta, extra[:-1], rng))


@dataclass(frozen=True)
class ZeroInflatedPoissonExpert(ZeroInflatedExpert):
    """Zero-inflated Poisson expert with a polynomial log mean.

    `P(0) = ω + (1 - ω) e^-μ`, `P(y) = (1 - ω) μ^y e^-μ / y!` for y > 0, `μ = exp η`: mean `(1 - ω) μ`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of log μ; 0 gives experts that do not depend on x.
    tied : bool, default False
        One ω for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log μ), and `expert_zero_proba` (ω). Lambert, Technometrics
    34 (1992), 1-14.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.zero_inflated import ZeroInflatedPoissonExpert
    >>> eta, logit_zero = np.full((1, 1, 1), np.log(2.0)), np.zeros((1, 1, 1))
    >>> float(ZeroInflatedPoissonExpert().cdf(np.zeros((1, 1)), eta, logit_zero).item())
    0.56767
    """

    name: ClassVar[str] = "zero_inflated_poisson"
    counts: ClassVar[CountExpert] = PoissonExpert()
    zero: ClassVar[Scalar] = ZERO._replace(at_low="its limit is the Poisson distribution")


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomialExpert(ZeroInflatedExpert):
    """Zero-inflated negative binomial expert with a polynomial log mean.

    `P(0) = ω + (1 - ω) f(0)`, `P(y) = (1 - ω) f(y)` for y > 0, with f the density of `NegativeBinomialExpert`: mean `(1 - ω) μ`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of log μ; 0 gives experts that do not depend on x.
    tied : bool, default False
        One dispersion and one ω for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log μ), `expert_dispersion` (α), and
    `expert_zero_proba` (ω). Greene, Accounting for excess zeros and sample selection in Poisson and negative binomial
    regression models (1994).

    Examples
    --------
    >>> from moestat.experts.zero_inflated import ZeroInflatedNegativeBinomialExpert
    >>> [scalar.key for scalar in ZeroInflatedNegativeBinomialExpert().scalars]
    ['expert_dispersion', 'expert_zero_proba']
    """

    name: ClassVar[str] = "zero_inflated_negative_binomial"
    counts: ClassVar[CountExpert] = NegativeBinomialExpert()
    zero: ClassVar[Scalar] = ZERO._replace(at_low="its limit is the negative binomial distribution")


def log_zero(log_f: Array, u: Array) -> Array:
    """`log(ω + (1 - ω) f)` with `ω = expit u`, also where it is near zero."""
    missing = -expit(-u) * np.expm1(log_f)
    near = missing < 0.5
    return np.where(near, np.log1p(-np.where(near, missing, 0.0)), np.logaddexp(log_expit(u), log_expit(-u) + log_f))


def products(first: Array) -> Array:
    """`first_i first_j` for the pairs `(i, j)`, `j <= i`, row by row."""
    rows, cols = np.tril_indices(len(first))
    return np.asarray(first[rows] * first[cols])
