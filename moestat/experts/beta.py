"""Beta experts: responses strictly between 0 and 1, as rates and proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, betaincc, betainccinv, betaincinv, expit, ndtri

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import ContinuousExpert, invert
from moestat.experts.special import (
    UNDERFLOW,
    expm1_excess,
    log1p_excess,
    log_decay,
    log_gamma_variates,
    log_tail_of,
    patch,
    stirling,
)

PRECISION = Scalar(
    "expert_precision",
    "log_precision",
    low=-12.0,
    high=36.0,
    at_low="its mass gathers at 0 and 1",
    at_high="its limit is a point mass",
    spike="high",
)
LARGE = 100.0  # SciPy's incomplete beta function loses digits when both shapes are large
LARGEST_LOGIT = 1e5  # derivatives take a larger |logit y - η| for this one: their products must stay finite


@dataclass(frozen=True)
class BetaExpert(ContinuousExpert):
    """Beta expert with a polynomial logit of the mean.

    `f(y | η, φ) = y^(μφ - 1) (1 - y)^((1 - μ)φ - 1) / B(μφ, (1 - μ)φ)`, 0 < y < 1, with mean `μ = 1/(1 + exp -η)` and variance
    `μ(1 - μ)/(1 + φ)` (Ferrari & Cribari-Neto, Journal of Applied Statistics 31 (2004), 799-815).

    Parameters
    ----------
    degree : int, default 1
        Total degree of the logit of the mean; 0 gives experts that do not depend on x.
    tied : bool, default False
        One precision for all experts.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (logit of the mean), `expert_precision` (φ, the sum of the two
    shapes). Responses equal to 0 or 1 have no density: a common remedy is `(y (n - 1) + 1/2)/n` (Smithson & Verkuilen,
    Psychological Methods 11 (2006), 54-71).

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.beta import BetaExpert
    >>> expert = BetaExpert()
    >>> float(expert.cdf(np.array([[0.2]]), np.zeros((1, 1, 1)), np.log([[[2.0]]])).item())  # shapes 1, 1: uniform
    0.2
    """

    name: ClassVar[str] = "beta"
    support: ClassVar[str] = "responses strictly between 0 and 1"
    ends: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log precision."""
        return (PRECISION,)

    def inner_log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`C(a) + C(b) - C(φ) - φ KL(μ ‖ y) - log y(1 - y)`; see `stirling` for C."""
        log_y, log_rest = np.log(y), np.log1p(-y)
        return _log_density_of_logit(log_y - log_rest, eta, extra[0]) - log_y - log_rest

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Derivatives in the logit of the mean and the log precision."""
        phi, mu, rest = np.exp(extra[0]), expit(eta[0]), expit(-eta[0])
        rho = np.clip(np.log(y[0]) - np.log1p(-y[0]) - eta[0], -LARGEST_LOGIT, LARGEST_LOGIT)
        log_a, log_b = _log_shapes(eta[0], extra[0])
        (_, a1, a2), (_, b1, b2), (_, c1, c2) = stirling(log_a), stirling(log_b), stirling(extra[0])
        pull, loss = phi * mu * rest * rho, phi * divergence(eta[0], rho)
        mixed = rest * a2 - mu * b2 + pull
        curve = rest * rest * a2 + mu * mu * b2 - mu * rest * (a1 + b1 + phi)
        return (
            np.stack([rest * a1 - mu * b1 + pull, a1 + b1 - c1 - loss]),
            np.stack([curve + (rest - mu) * pull, mixed, a2 + b2 - c2 - loss]),
        )

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean μ and variance `μ(1 - μ)/(1 + φ)`."""
        mu = np.asarray(expit(eta[0]))
        return mu, mu * expit(-eta[0]) / (1.0 + np.exp(extra[0]))

    def inner_log_tail(self, y: Array, eta: Array, extra: Array, upper: bool) -> Array:
        """By the incomplete beta function."""
        a, b = _shapes(eta, extra[0])
        lower_tail, upper_tail = betainc(a, b, y), betaincc(a, b, y)
        tail, rest = (upper_tail, lower_tail) if upper else (lower_tail, upper_tail)
        far = (tail < UNDERFLOW) | (np.minimum(a, b) > LARGE)
        out = np.where(tail < 0.5, np.log(np.where(far, 1.0, tail)), np.log1p(-np.where(far, 0.0, rest)))
        logit = np.log(y) - np.log1p(-y)
        return patch(out, far, lambda t, e, v: _log_tail(t, e, v, upper), logit, eta, extra[0])

    def inner_quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """By the inverse of the incomplete beta function."""
        a, b = _shapes(eta, extra[0])
        out = np.asarray(betaincinv(a, b, q) if q <= 0.5 else betainccinv(a, b, 1.0 - q))
        return patch(out, np.minimum(a, b) > LARGE, lambda e, v: _large_quantile(q, e, v), eta, extra[0])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column, `(1, B)`."""
        log_a, log_b = _log_shapes(eta, extra[:1])
        draw = expit(log_gamma_variates(log_a, rng) - log_gamma_variates(log_b, rng))
        return np.asarray(np.clip(draw, np.finfo(float).tiny, 1.0 - np.finfo(float).epsneg))

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """By the mean and the variance."""
        mean = float(np.average(y[:, 0], weights=weight))
        rest = float(np.average(1.0 - y[:, 0], weights=weight))
        share = float(np.average((y[:, 0] - mean) ** 2, weights=weight)) / (mean * rest)  # 1/(1 + φ)
        precision = max((1.0 - share) / max(share, 1e-12), 1e-2)
        return np.array([np.log(mean) - np.log(rest)]), np.array([np.log(precision)])


def divergence(eta: Array, rho: Array) -> Array:
    """`KL(μ ‖ y)` of the Bernoulli laws with logits η and η + ρ."""
    eta, rho = -np.abs(eta), np.where(eta > 0.0, -rho, rho)  # exchanging 0 and 1, so that μ <= 1/2
    mu = expit(eta)
    near = np.clip(rho, -1.0, 1.0)
    w = mu * np.expm1(near)
    far = np.logaddexp(0.0, eta + rho) - np.logaddexp(0.0, eta) - mu * rho
    return np.asarray(np.where(near == rho, mu * expm1_excess(near) - log1p_excess(w), far))


def _log_shapes(eta: Array, log_phi: Array) -> tuple[Array, Array]:
    return log_phi - np.logaddexp(0.0, -eta), log_phi - np.logaddexp(0.0, eta)


def _shapes(eta: Array, log_phi: Array) -> tuple[Array, Array]:
    log_a, log_b = _log_shapes(eta, log_phi)
    return np.exp(log_a), np.exp(log_b)


def _log_density_of_logit(logit: Array, eta: Array, log_phi: Array) -> Array:
    """Log-density of logit y: log-concave for all shapes."""
    log_a, log_b = _log_shapes(eta, log_phi)
    shapes = stirling(log_a)[0] + stirling(log_b)[0] - stirling(log_phi)[0]
    return shapes - np.exp(log_phi) * divergence(eta, logit - eta)


def _log_tail(logit: Array, eta: Array, log_phi: Array, upper: bool) -> Array:
    """Logarithm of a tail of logit Y by integration: for large shapes, and far out for all of them."""
    phi, sign, y = np.exp(log_phi), np.where(logit > eta, 1.0, -1.0), expit(logit)
    # φ |y - μ| without cancellation
    high, low = np.maximum(logit, eta), np.minimum(logit, eta)
    rate = -phi * expit(high) * expit(-low) * np.expm1(low - high)
    decay = log_decay(lambda s: -rate * s - phi * divergence(logit, sign * s), rate, phi * y * expit(-logit))
    return log_tail_of(_log_density_of_logit(logit, eta, log_phi) + decay, (logit > eta) == upper)


def _large_quantile(q: float, eta: Array, log_phi: Array) -> Array:
    """Quantile by inversion in logit y, from that of the normal approximation."""
    log_unit = -0.5 * (log_phi - np.logaddexp(0.0, -eta) - np.logaddexp(0.0, eta))
    unit = np.exp(log_unit)
    z = invert(
        lambda z, upper: _log_tail(eta + unit * z, eta, log_phi, upper),
        lambda z: _log_density_of_logit(eta + unit * z, eta, log_phi) + log_unit,
        q,
        np.full_like(eta, ndtri(q)),
    )
    return np.asarray(expit(eta + unit * z))
