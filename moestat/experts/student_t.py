"""Student t experts: regression with heavy tails."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import betainc, betaincc, betainccinv, betaincinv, betaln

from moestat.experts.base import Array, Scalar
from moestat.experts.continuous import (
    SCALE,
    LocationScaleExpert,
    Standard,
    robust_spread,
    symmetric_log_sf,
    weighted_quantiles,
)
from moestat.experts.special import LOG_ROOT_2PI, UNDERFLOW, Triple, half_step, log_decay, patch
from moestat.kernels import plain
from moestat.kernels.functions import kernel, log1p

DF = Scalar(
    "expert_df",
    "log_df",
    low=float(np.log(0.2)),
    high=float(np.log(1e6)),
    at_low="its tails are so heavy that only the order of magnitude of y matters",
    at_high="its limit is the normal distribution",
)
START = 5.0  # degrees of freedom from which a search starts


@dataclass(frozen=True)
class StudentTExpert(LocationScaleExpert):
    """Student t expert with a polynomial location.

    `f(y | η, σ, ν) = Γ((ν+1)/2) / (Γ(ν/2) √(νπ) σ) · (1 + z²/ν)^(-(ν+1)/2)` with `z = (y - η)/σ`. σ is the scale: the standard
    deviation is `σ √(ν/(ν-2))`, and exists for ν > 2 only.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the location; 0 gives experts that do not depend on x.
    tied : bool, default False
        One scale, and one value of the degrees of freedom, for all experts.
    df : float, optional
        Known degrees of freedom ν; by default they are estimated, between 0.2 and 10⁶.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (location), `expert_scale` (σ), and `expert_df` (ν) where it is
    estimated. Likelihoods of mixtures with ν as a parameter: Peel & McLachlan, Statistics and Computing 10 (2000), 339-348;
    in mixtures of experts Chamroukhi, Neural Networks 79 (2016), 20-36.

    Examples
    --------
    >>> from moestat.experts.student_t import StudentTExpert
    >>> [scalar.label for scalar in StudentTExpert().scalars]
    ['log_scale', 'log_df']
    >>> [scalar.label for scalar in StudentTExpert(df=4).scalars]
    ['log_scale']
    """

    name: ClassVar[str] = "student_t"

    df: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        df: Any = self.df
        if df is not None and (isinstance(df, bool) or not isinstance(df, Real) or not 0.0 < float(df) < np.inf):
            raise ValueError(f"df={self.df!r} must be a positive, finite number, or None to estimate it.")

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The log scale, and the log degrees of freedom where they are estimated."""
        return (SCALE, DF) if self.df is None else (SCALE,)

    def _nu(self, shape: Array) -> Array:
        return np.exp(shape[0]) if self.df is None else np.asarray(float(self.df))

    def standard_log_density(self, z: Array, shape: Array) -> Array:
        """`g(z; log ν)`."""
        return log_density(z, self._nu(shape))

    def standard_derivatives(self, z: Array, shape: Array) -> Standard:
        """Derivatives of g in closed forms that cancel neither at ν = 10⁶ nor at a remote z."""
        nu = np.broadcast_to(np.ravel(self._nu(shape)), z.shape[:1])
        rows = np.empty((7, *z.shape))
        (kernel("student_t_rows", z) or plain.student_t_rows)(np.ascontiguousarray(z), np.ascontiguousarray(nu), rows)
        slope, bend, twist, score, in_shape, mixed, twice = rows
        if self.df is not None:
            return Standard(slope, bend, twist, score)
        _, first, second = _half_step_of(nu[:, None])
        return Standard(slope, bend, twist, score, (in_shape + first, mixed, twice + second))

    def standard_log_sf(self, z: Array, shape: Array) -> Array:
        """`log P(Z > z)`, by the incomplete beta function."""
        nu = self._nu(shape)
        return symmetric_log_sf(z, lambda size: log_tail(size, nu))

    def standard_quantile(self, q: float, shape: Array) -> Array:
        """Quantile of Z."""
        nu = self._nu(shape)
        both = 2.0 * min(q, 1.0 - q)
        p, rest = betainccinv(0.5, 0.5 * nu, both), betaincinv(0.5 * nu, 0.5, both)  # z²/(ν + z²), and its complement
        with np.errstate(over="ignore", divide="ignore"):
            size = np.sqrt(nu * np.where(p < 0.5, p, 1.0 - rest) / np.where(p < 0.5, 1.0 - p, rest))
            # where the complement underflows: P(|Z| > z) = z^-ν ν^(ν/2 - 1) 2/B(ν/2, 1/2)
            remote = np.exp((np.log(2.0 / nu) - betaln(0.5 * nu, 0.5) - np.log(both)) / nu + 0.5 * np.log(nu))
        size = np.where(rest < UNDERFLOW, remote, size)
        return np.asarray(np.copysign(size, q - 0.5))

    def standard_moments(self, shape: Array) -> tuple[Array, Array]:
        """Mean 0 where ν > 1 and variance `ν/(ν-2)` where ν > 2; nan and infinity below."""
        nu = self._nu(shape)
        mean = np.where(nu > 1.0, 0.0, np.nan)
        return mean, np.where(nu > 2.0, nu / np.where(nu > 2.0, nu - 2.0, 1.0), mean + np.inf)

    def standard_sample(self, shape: Array, size: int, rng: np.random.Generator) -> Array:
        """Draws of Z."""
        return rng.standard_t(self._nu(shape), size)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The median, and the scale that has the interquartile range."""
        shape = np.full((1, 1), np.log(START))
        spread = robust_spread(y[:, 0], weight, 0.75, 2.0 * float(self.standard_quantile(0.75, shape).item()))
        extra = [np.log(spread)] + ([np.log(START)] if self.df is None else [])
        return np.array(weighted_quantiles(y[:, 0], weight, (0.5,))), np.array(extra)


def _half_step_of(nu: Array) -> Triple:
    """`half_step(ν/2)`, kept from one block of rows to the next."""
    return _kept_half_step(nu.tobytes(), nu.shape)


@lru_cache(maxsize=8)
def _kept_half_step(nu: bytes, shape: tuple[int, ...]) -> Triple:
    return half_step(0.5 * np.frombuffer(nu).reshape(shape))


def log_density(z: Array, nu: Array) -> Array:
    """The standard log-density."""
    w = np.abs(z) / np.sqrt(nu)
    # log(1 + w²), also where w² is not a number any more
    log_term = log1p(np.square(np.minimum(w, 1e8)))
    log_term = patch(log_term, w > 1e8, lambda w: 2.0 * np.log(w), w)
    return _half_step_of(nu)[0] - LOG_ROOT_2PI - 0.5 * (nu + 1.0) * log_term


def log_tail(z: Array, nu: Array) -> Array:
    """`log P(Z > z)` for z >= 0."""
    u = z * z / nu
    q, p = 1.0 / (1.0 + u), u / (1.0 + u)
    tail = 0.5 * np.where(p < 0.5, betaincc(0.5, 0.5 * nu, p), betainc(0.5 * nu, 0.5, q))
    far = tail < UNDERFLOW
    return patch(np.log(np.where(far, 1.0, tail)), far, _far_log_tail, z, nu)


def _far_log_tail(z: Array, nu: Array) -> Array:
    """With `z = √ν sinh θ` the density of θ is log-concave: `cosh(θ)^-ν`."""
    tanh = z / np.sqrt(nu + z * z)
    decay = log_decay(
        lambda s: -nu * np.log1p(2.0 * np.sinh(0.5 * s) ** 2 + tanh * np.sinh(s)), nu * tanh, np.zeros(())
    )
    return np.asarray(log_density(z, nu) + 0.5 * np.log(nu + z * z) + decay)
