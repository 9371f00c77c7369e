"""Hurdle experts: zero or not first, and then how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import bernoulli, expit, factorial, log_expit

from moestat.experts.base import Array, Scalar
from moestat.experts.counts import CountExpert, smallest_count
from moestat.experts.negative_binomial import DISPERSION, NegativeBinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.experts.zero_inflated import ZERO, ZeroModifiedExpert, products

# log(s / (e^s - 1)) = -s/2 - Σ c_j s^2j, with Bernoulli numbers; for s < 1 the first neglected term is below 1e-17
EVEN = np.arange(2, 22, 2)
SERIES = bernoulli(20)[EVEN] / factorial(EVEN) / EVEN


@dataclass(frozen=True)
class HurdleExpert(ZeroModifiedExpert):
    """A zero with probability π, otherwise a count that is not zero: `P(0) = π`, `P(y) = (1 - π) f(y) / (1 - f(0))`."""

    zero: ClassVar[Scalar] = ZERO._replace(at_low="none of its counts is zero")
    explained: ClassVar[float] = 0.0

    def inflation(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`(π - f(0)) / (1 - f(0))`, which may be negative."""
        log_f, u = self._log_zero(eta, extra), extra[-1]
        positive = -np.expm1(log_f)
        return np.asarray((expit(u) - np.exp(log_f)) / positive), np.asarray(expit(-u) / positive)

    def below(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= k)`."""
        return np.asarray(expit(extra[-1]) + expit(-extra[-1]) * (1.0 - self._above_positive(k, eta, extra)))

    def above(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k)`."""
        return np.asarray(expit(-extra[-1]) * self._above_positive(k, eta, extra))

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log P(y)`."""
        s, u = -self._log_zero(eta, extra), extra[-1]
        one = self.counts.log_density(np.ones((1, 1)), eta, extra[:-1]) + self.counts.shortfall(eta, extra[:-1])[0]
        log_f = self.counts.log_density(y, eta, extra[:-1]) - np.where(s < 1.0, one, 0.0)
        return np.asarray(np.where(y[0] == 0.0, log_expit(u), log_expit(-u) + log_f + conditioning(s)[0]))

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Those of the logistic distribution in the last scalar, of the truncated one in the others."""
        counts, u, zero = extra[:-1], extra[-1], y[0] == 0.0
        first_zero, second_zero = self.counts.derivatives(np.zeros((1, 1)), eta, counts)
        s = -self._log_zero(eta, extra)
        _, in_s, in_s_twice = conditioning(s)
        first, second = (
            # the first difference first: it may be exactly zero, and the rest tiny
            np.where(zero, 0.0, here - np.where(s < 1.0, at_one, 0.0) - np.where(s < 1.0, nu, 0.0) + condition)
            for here, at_one, nu, condition in zip(
                self.counts.derivatives(y, eta, counts),
                self.counts.derivatives(np.ones((1, 1)), eta, counts),
                self.counts.shortfall(eta, counts)[1:],
                (-in_s * first_zero, in_s_twice * products(first_zero) - in_s * second_zero),
                strict=True,
            )
        )
        slope, curvature = np.where(zero, expit(-u), -expit(u)), np.broadcast_to(-expit(u) * expit(-u), s.shape)
        return np.concatenate([first, slope[None]]), np.concatenate([second, np.zeros_like(first), curvature[None]])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One count for each column of `eta (1, B)`, `extra (c, B)`: `(1, B)`. Where a draw of the counts is zero, it is by inversion."""
        positive, counts = rng.random(eta.shape[1]) >= expit(extra[-1]), extra[:-1]
        out = self.counts.sample(eta, counts, rng)
        again = positive & (out[0] == 0.0)
        at, level = (eta[:, again], extra[:, again]), 1.0 - rng.random(again.sum())
        found = smallest_count(lambda k: self._above_positive(k, *at) <= level, np.ones(len(level)))
        out[0, again] = np.maximum(found, 1.0)
        return np.where(positive, out, 0.0)

    def _above_positive(self, k: Array, eta: Array, extra: Array) -> Array:
        """`P(Y > k | Y > 0)`."""
        counts = extra[:-1]
        return self.counts.above(k, eta, counts) / self.counts.above(np.zeros(1), eta, counts)

    def _log_zero(self, eta: Array, extra: Array) -> Array:
        """`log f(0)`."""
        return self.counts.log_density(np.zeros((1, 1)), eta, extra[:-1])


@dataclass(frozen=True)
class HurdlePoissonExpert(HurdleExpert):
    """Hurdle expert with zero-truncated Poisson counts and a polynomial log μ.

    `P(0) = π`, `P(y) = (1 - π) μ^y / (y! (e^μ - 1))` for y > 0, `μ = exp η`: mean `(1 - π) μ / (1 - e^-μ)`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of log μ; 0 gives experts that do not depend on x.
    tied : bool, default False
        One π for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log μ), and `expert_zero_proba` (π). Mullahy, Journal of
    Econometrics 33 (1986), 341-365.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.hurdle import HurdlePoissonExpert
    >>> eta, logit_zero = np.full((1, 1, 1), np.log(2.0)), np.zeros((1, 1, 1))
    >>> float(HurdlePoissonExpert().moments(eta, logit_zero)[0].item())
    1.15652
    """

    name: ClassVar[str] = "hurdle_poisson"
    counts: ClassVar[CountExpert] = PoissonExpert()


@dataclass(frozen=True)
class HurdleNegativeBinomialExpert(HurdleExpert):
    """Hurdle expert with zero-truncated negative binomial counts and a polynomial log μ.

    `P(0) = π`, `P(y) = (1 - π) f(y) / (1 - f(0))` for y > 0, with f the density of `NegativeBinomialExpert`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of log μ; 0 gives experts that do not depend on x.
    tied : bool, default False
        One dispersion and one π for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log μ), `expert_dispersion` (α), and
    `expert_zero_proba` (π). As α → ∞ with αμ fixed the positive counts follow Fisher's logarithmic distribution. Mullahy, Journal of
    Econometrics 33 (1986), 341-365; Zeileis, Kleiber & Jackman, Journal of Statistical Software 27 (2008), 8.

    Examples
    --------
    >>> from moestat.experts.hurdle import HurdleNegativeBinomialExpert
    >>> [scalar.label for scalar in HurdleNegativeBinomialExpert().scalars]
    ['log_dispersion', 'logit_zero']
    """

    name: ClassVar[str] = "hurdle_negative_binomial"
    counts: ClassVar[CountExpert] = NegativeBinomialExpert()

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log dispersion and the logit of the zeros' probability."""
        return DISPERSION._replace(
            at_high="the limit of its positive counts is the logarithmic distribution"
        ), self.zero


def conditioning(s: Array) -> tuple[Array, Array, Array]:
    """What it adds to `log f` that the count is not zero, with `s = -log f(0)`, and its derivatives in s.

    `-log(1 - e^-s)`; for s < 1, where `f(1) = s e^-s e^-ν` is taken out of `f` before, `log(s / (e^s - 1))`.
    """
    small = s < 1.0
    near, far = np.where(small, s, 0.0), np.where(small, 1.0, s)
    square, sums = near * near, np.zeros((3, *np.shape(s)))
    for power, c in zip(EVEN[::-1], SERIES[::-1], strict=True):
        sums = sums * square + np.reshape([c, power * c, power * (power - 1) * c], (3, *[1] * np.ndim(s)))
    proba, odds = -np.expm1(-far), np.exp(-far) / -np.expm1(-far)
    return (
        np.where(small, -0.5 * near - square * sums[0], -np.log(proba)),
        np.where(small, -0.5 - near * sums[1], -odds),
        np.where(small, -sums[2], odds / proba),
    )
