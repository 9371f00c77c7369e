"""The continuous families written out in mpmath, with parameters ordinary and extreme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from moestat.experts.beta import BetaExpert
from moestat.experts.continuous import ContinuousExpert
from moestat.experts.gamma import GammaExpert
from moestat.experts.inverse_gaussian import InverseGaussianExpert
from moestat.experts.laplace import LaplaceExpert
from moestat.experts.lognormal import LognormalExpert
from moestat.experts.skew_normal import SkewNormalExpert
from moestat.experts.student_t import StudentTExpert

Point = tuple[float, ...]  # y, η, then the free values of the scalars


def student_t(y: Any, eta: Any, v: Any, w: Any) -> Any:
    nu, z = mp.exp(w), (y - eta) / mp.exp(v)
    head = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2 - v
    return head - (nu + 1) / 2 * mp.log1p(z * z / nu)


def laplace(delta: float) -> Callable[..., Any]:
    with mp.workdps(200):  # once: Bessel functions are slow
        constant = mp.log(2 * delta * mp.besselk(1, delta))

    def log_density(y: Any, eta: Any, v: Any) -> Any:
        d, z = mp.mpf(delta), (y - eta) / mp.exp(v)
        return -mp.sqrt(d * d + z * z) - v - constant

    return log_density


def skew_normal(y: Any, eta: Any, v: Any, alpha: Any) -> Any:
    z = (y - eta) / mp.exp(v)
    return mp.log(2) - v + mp.log(mp.npdf(z)) + mp.log(mp.erfc(-alpha * z / mp.sqrt(2)) / 2)


def gamma(y: Any, eta: Any, v: Any) -> Any:
    a = mp.exp(v)
    return a * (v - eta) + (a - 1) * mp.log(y) - a * y / mp.exp(eta) - mp.loggamma(a)


def lognormal(y: Any, eta: Any, v: Any) -> Any:
    return mp.log(mp.npdf((mp.log(y) - eta) / mp.exp(v))) - v - mp.log(y)


def inverse_gaussian(y: Any, eta: Any, v: Any) -> Any:
    mu, lam = mp.exp(eta), mp.exp(v)
    return mp.log(lam / (2 * mp.pi * y**3)) / 2 - lam * (y - mu) ** 2 / (2 * mu**2 * y)


def beta(y: Any, eta: Any, v: Any) -> Any:
    phi = mp.exp(v)
    a, b = phi / (1 + mp.exp(-eta)), phi / (1 + mp.exp(eta))
    head = mp.loggamma(phi) - mp.loggamma(a) - mp.loggamma(b)
    return head + (a - 1) * mp.log(y) + (b - 1) * mp.log1p(-y)


@dataclass(frozen=True)
class Family:
    """An expert, its log-density in mpmath, its SciPy counterpart, and points at which it is compared."""

    expert: ContinuousExpert
    log_density: Callable[..., Any]
    frozen: Callable[..., Any] | None
    ordinary: list[Point]
    extreme: list[Point] = field(default_factory=list)
    label: str = ""
    noise: float = 1e-60  # of derivatives that are small differences of larger terms

    @property
    def name(self) -> str:
        return self.label or self.expert.name


FAMILIES = [
    Family(
        StudentTExpert(),
        student_t,
        lambda eta, v, w: stats.t(np.exp(w), eta, np.exp(v)),
        [(0.3, 0.1, 0.2, 1.1), (-4.0, 1.0, -0.7, 2.5), (2.0, -3.0, 1.0, 0.9), (1.5, 0.2, 0.0, 4.0)],
        [
            (0.7, 0.0, 0.0, np.log(1e6)),
            (3.0, 0.0, 0.0, np.log(1e6)),
            (1e-7, 0.0, 0.0, 12.0),
            (60.0, 0.0, 0.0, 13.8),
            (1e30, 1.0, -2.0, 1.0),
            (1e8, 0.0, -10.0, np.log(0.2)),
            (0.0, 1.0, -20.0, np.log(0.2)),
            (2.0, 0.5, 0.1, np.log(24.01)),
            (2.0, 0.5, 0.1, np.log(23.99)),
        ],
    ),
    Family(
        StudentTExpert(df=4),
        lambda y, eta, v: student_t(y, eta, v, mp.log(4)),
        lambda eta, v: stats.t(4, eta, np.exp(v)),
        [(0.3, 0.1, 0.2), (-4.0, 1.0, -0.7)],
        [(1e50, 0.0, 1.0), (1e-3, 1.0, -30.0)],
        label="student_t_known",
    ),
    Family(
        LaplaceExpert(),
        laplace(1e-3),
        None,
        [(0.3, 0.1, 0.2), (-4.0, 1.0, -0.7), (0.1005, 0.1, 0.0)],
        [(1e12, 0.0, 0.0), (1e-9, 0.0, 0.3), (1.0 + 1e-9, 1.0, -20.0), (-1e5, 2.0, 3.0)],
    ),
    Family(
        LaplaceExpert(smoothing=20.0),
        laplace(20.0),
        None,
        [(0.3, 0.1, 0.2), (-30.0, 1.0, 0.7), (5.0, 0.1, 0.0)],
        [(1e12, 0.0, 0.0), (1e-9, 0.0, 0.3)],
        label="laplace_smooth",
    ),
    Family(
        SkewNormalExpert(),
        skew_normal,
        lambda eta, v, a: stats.skewnorm(a, eta, np.exp(v)),
        [(0.3, 0.1, 0.2, 1.5), (-2.0, 1.0, 0.7, -3.0), (1.9, 1.0, 0.3, 0.4), (0.9, 1.0, 0.3, 2.0)],
        [
            (-3.0, 1.0, 0.0, 1000.0),
            (-40.0, 0.0, 0.0, 5.0),
            (-1e6, 0.0, 0.0, 2.0),
            (37.0, 0.0, 0.0, -4.0),
            (30.0, 0.0, 0.0, 1.0),
            (-0.7, 0.0, 0.0, 7.0),
            (-0.8, 0.0, 0.0, 7.0),
            (0.001, 0.0, 0.0, 1000.0),
            (0.5, 0.2, -3.0, 0.0),
        ],
    ),
    Family(
        GammaExpert(),
        gamma,
        lambda eta, v: stats.gamma(np.exp(v), scale=np.exp(eta - v)),
        [(0.3, 0.1, 0.2), (4.0, 1.0, 2.7), (2.0, 3.0, -1.5)],
        [
            (1.0001, 0.0, 18.0),
            (1.5, 0.0, 30.0),
            (1e-300, 0.0, -5.0),
            (1e80, 2.0, 1.0),
            (5.0, -150.0, 1.0),
            (5.0, 700.0, -3.0),
            (3.0, 1.1, np.log(12.001)),
            (3.0, 1.1, np.log(11.999)),
            (2.0, 1.0, -12.0),
        ],
    ),
    Family(
        LognormalExpert(),
        lognormal,
        lambda eta, v: stats.lognorm(np.exp(v), scale=np.exp(eta)),
        [(0.3, 0.1, 0.2), (4.0, 1.0, -0.7)],
        [(1e-300, 5.0, 1.0), (1e80, 0.0, -3.0)],
    ),
    Family(
        InverseGaussianExpert(),
        inverse_gaussian,
        lambda eta, v: stats.invgauss(np.exp(eta - v), scale=np.exp(v)),
        [(0.3, 0.1, 0.2), (4.0, 1.0, 2.7), (2.0, 3.0, -1.5), (9.0, 0.5, 0.3)],
        [
            (1.0001, 0.0, 18.0),
            (1e-70, 0.0, -5.0),
            (1e40, 2.0, 1.0),
            (5.0, -60.0, 1.0),
            (5.0, 700.0, -3.0),
            (3.0, 1.1, 30.0),
            (3.0, 1.0, -40.0),
        ],
    ),
    Family(
        BetaExpert(),
        beta,
        lambda eta, v: stats.beta(np.exp(v) / (1 + np.exp(-eta)), np.exp(v) / (1 + np.exp(eta))),
        [(0.3, 0.1, 0.7), (0.9, 1.0, 2.7), (0.02, -3.0, 1.5), (0.6, 0.4, 5.0)],
        [
            (0.50001, 0.0, 20.0),
            (0.5001, 1e-5, 30.0),
            (1e-300, -30.0, 2.0),
            (1.0 - 2.0**-53, 30.0, 4.0),
            (1e-3, 200.0, 1.0),
            (0.4, -700.0, 5.0),
            (0.99, -3.0, 8.0),
            (0.4, 0.3, -12.0),
            (0.6, 5.0, 10.0),
            (0.98, 4.0, 3.2),
        ],
        noise=4e-15,
    ),
]


def arrays(point: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of an expert's formulas for one row and one component."""
    y, eta, *extra = point
    return np.array([[y]]), np.array([[[eta]]]), np.array(extra).reshape(len(extra), 1, 1)


every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
