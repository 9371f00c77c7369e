"""Gates that are not linear in their coefficients: examples, and their scores again in mpmath, from the formulas alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

from moestat.gates.activation import ActivationGate
from moestat.gates.cosine import CosineGate, PerturbedCosineGate
from moestat.gates.gaussian import GaussianGate
from moestat.gates.laplace import LaplaceGate


class Case(NamedTuple):
    gate: Any
    params: dict[str, Any]
    score: Callable[[list[Any], list[Any]], Any]  # (row of γ, x) -> score

    @property
    def size(self) -> tuple[int, int]:
        """K and d."""
        entry = self.params.get("gate_location", self.params.get("gate_coef"))
        return np.shape(entry)

    @property
    def gamma(self) -> np.ndarray:
        k, d = self.size
        return self.gate.from_params(self.params, k, 1 + d)


def norm(v):
    return mp.sqrt(mp.fsum(a * a for a in v))


def dot(u, v):
    return mp.fsum(a * b for a, b in zip(u, v, strict=True))


def laplace(smoothing="0"):
    return lambda row, x: row[0] - norm([*(w - a for w, a in zip(row[1:], x, strict=True)), mp.mpf(smoothing)])


def cosine(t1=0, t2=0, tau=1):
    return lambda row, x: (
        row[0] + dot(row[1:], x) / ((norm(row[1:]) + mp.mpf(t1)) * (norm(x) + mp.mpf(t2))) / mp.mpf(tau)
    )


def activation(function, tau=1):
    return lambda row, x: (function(dot(row[1:-1], x)) + row[0]) / (mp.mpf(tau) * mp.exp(row[-1]))


def gaussian(row, x):
    d = len(x)
    factor = mp.matrix(d, d)
    entries = iter(row[1 + d :])
    for i in range(d):
        for j in range(i + 1):
            value = next(entries)
            factor[i, j] = mp.exp(-value) if i == j else value
    covariance = (factor * factor.T) ** -1
    gap = mp.matrix([a - c for a, c in zip(x, row[1 : 1 + d], strict=True)])
    square = (gap.T * covariance**-1 * gap)[0]
    return row[0] - square / 2 - mp.log(mp.det(covariance) * (2 * mp.pi) ** d) / 2


def logistic(u):
    return 1 / (1 + mp.exp(-u))


def gelu(u):
    return u * mp.ncdf(u)


COEF = np.array([[1.5, -0.7], [-0.4, 0.9], [0.0, 0.0]])
FREE = np.array([[1.5, -0.7], [-0.4, 0.9], [0.3, 0.8]])
INTERCEPT = np.array([0.3, -0.6, 0.0])
COVARIANCES = np.array([[[0.5, 0.2], [0.2, 0.3]], [[1.0, -0.4], [-0.4, 0.4]], [[0.2, 0.0], [0.0, 2.0]]])

CASES = {
    "laplace-1": Case(LaplaceGate(0.0), {"gate_location": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]}, laplace()),
    "laplace-2": Case(LaplaceGate(0.0), {"gate_location": FREE, "gate_intercept": INTERCEPT}, laplace()),
    "laplace-smooth-1": Case(
        LaplaceGate(1e-3), {"gate_location": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]}, laplace(1e-3)
    ),
    "laplace-smooth-2": Case(LaplaceGate(0.25), {"gate_location": FREE, "gate_intercept": INTERCEPT}, laplace("0.25")),
    "cosine": Case(CosineGate(0.5), {"gate_coef": 2.0 * FREE, "gate_intercept": INTERCEPT}, cosine(tau=0.5)),
    "perturbed": Case(
        PerturbedCosineGate(0.2, 0.4), {"gate_coef": FREE, "gate_intercept": INTERCEPT}, cosine("0.2", "0.4")
    ),
    "perturbed-1": Case(
        PerturbedCosineGate(0.2, 0.4, 0.5),
        {"gate_coef": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]},
        cosine("0.2", "0.4", "0.5"),
    ),
    "activation-1": Case(
        ActivationGate(),
        {"gate_coef": [[1.5], [0.0]], "gate_intercept": [0.2, 0.0], "gate_temperature": 0.5},
        activation(mp.tanh),
    ),
    "sigmoid-2": Case(
        ActivationGate("sigmoid", reference=False),
        {"gate_coef": FREE, "gate_intercept": INTERCEPT, "gate_temperature": 0.3},
        activation(logistic),
    ),
    "gelu-2": Case(
        ActivationGate("gelu", temperature=0.25),
        {"gate_coef": COEF, "gate_intercept": INTERCEPT},
        activation(gelu, "0.25"),
    ),
    "gaussian-1": Case(
        GaussianGate(),
        {"gate_weight": [0.6, 0.4], "gate_location": [[-0.5], [0.8]], "gate_covariance": [[[0.2]], [[0.1]]]},
        gaussian,
    ),
    "gaussian-2": Case(
        GaussianGate("conditional"),
        {"gate_weight": [0.2, 0.5, 0.3], "gate_location": FREE, "gate_covariance": COVARIANCES},
        gaussian,
    ),
}


def points(d: int, n: int = 5) -> np.ndarray:
    """Features `(1 + d, n)` of fixed random x."""
    x = np.random.default_rng(20240 + d).normal(size=(d, n))
    return np.vstack([np.ones(n), x])


def exact(values) -> list[Any]:
    return [mp.mpf(float(v)) for v in values]
