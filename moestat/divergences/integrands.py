r"""Integrands of divergences, as functions of ``d = log q - log p``.

With ``r = q/p = exp d`` they are ``r - 1 - log r`` (Kullback-Leibler), ``(√r - 1)²/2`` (squared Hellinger distance) and ``|r - 1|/2``
(total variation), to be averaged over p. The first two are non-negative and quadratic in ``r - 1``, so that their relative error does not
grow when the divergence is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Where q is this many nats above p, its own density carries the integrand: no overflow, and nothing is lost to rounding.
_FAR = 80.0
_LARGEST = 700.0


@dataclass(frozen=True)
class Integrand:
    """An integrand over p.

    Attributes
    ----------
    formula : callable
        Its values from d and ``expm1(d)``.
    sampled : callable
        The same for Monte Carlo, an integrand of the same mean that is bounded where the other is not.
    noise : float
        Values below this are rounding: no relative error is asked of them.
    kinked : bool
        Whether it has a kink where ``d = 0``.
    """

    formula: Callable[[Array, Array], Array]
    sampled: Callable[[Array, Array], Array]
    noise: float = 1e-28
    kinked: bool = False

    def __call__(self, d: Array) -> Array:
        """Values at ``d = log q - log p``."""
        bounded = np.minimum(d, _LARGEST)
        return self.formula(bounded, np.expm1(bounded))

    def weighted(
        self, log_p: Array, log_q: Array, log_weight: Array | float = 0.0
    ) -> tuple[Array, Array, Array, Array]:
        """The integrand times p, the density p, the difference q - p (all three times the weight), and d."""
        with np.errstate(invalid="ignore"):
            d = log_q - log_p
        d = np.where(np.isnan(d), 0.0, d)  # both densities are zero
        far = d > _FAR
        weight = np.exp(np.where(far, log_q - _FAR, log_p) + log_weight)
        bounded = np.minimum(d, _FAR)
        rise = np.expm1(bounded)
        with np.errstate(invalid="ignore", over="ignore"):
            value = np.where(weight > 0.0, weight * self.formula(bounded, rise), 0.0)
        return value, np.where(far, 0.0, weight), weight * rise, d


def check_finite(values: Array) -> Array:
    """The values.

    Raises
    ------
    ValueError
        If one is infinite, as only those of the Kullback-Leibler divergence may be.
    """
    if np.isposinf(values).any():
        raise ValueError(
            "kl is infinite: the estimate gives no probability, or far too little, to responses that the truth has."
        )
    return values


def _kl(d: Array, rise: Array) -> Array:
    series = 0.5 * d**2 * (1.0 + d / 3.0 + d**2 / 12.0)
    return np.where(np.abs(d) < 1e-3, series, rise - d)


def _hellinger(d: Array, rise: Array) -> Array:
    # expm1(d/2) from expm1(d)
    root: Array = 0.5 * (rise / (1.0 + np.sqrt(1.0 + rise))) ** 2
    return root


def _total_variation(d: Array, rise: Array) -> Array:
    half: Array = 0.5 * np.abs(rise)
    return half


def _fall(d: Array, rise: Array) -> Array:
    """``(1 - r)_+``, bounded, whose mean is that of ``|r - 1|/2``."""
    return np.maximum(-rise, 0.0)


kl_integrand = Integrand(_kl, _kl)
hellinger_integrand = Integrand(_hellinger, _hellinger)
total_variation_integrand = Integrand(_total_variation, _fall, noise=1e-14, kinked=True)
