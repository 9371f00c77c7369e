"""The models of the compiled route in all their forms, random parameters for them, and a density written out from names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from moestat.experts import GaussianExpert
from moestat.maps.polynomial import exponents
from moestat.mixture import ConditionalMixture
from moestat.registry import GATES

Array = np.ndarray[Any, Any]

# Hyperparameters in which a registered component is tried; one that is not listed is tried with its defaults.
GATE_OPTIONS: dict[str, list[dict[str, Any]]] = {"constant": [{}, {"equal": True}]}
EXPERT_OPTIONS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "gaussian": [
        (1, {}),
        (1, {"degree": 0}),
        (1, {"degree": 2, "variance": "tied"}),
        (1, {"degree": 3}),
        (1, {"variance": "tied"}),
        (1, {"variance": 0.7}),
        (1, {"variance": [0.7, 0.4, 1.1]}),
        (2, {}),
        (2, {"degree": 2, "variance": "tied"}),
        (2, {"covariance": "diag"}),
        (2, {"covariance": "diag", "variance": "tied"}),
        (2, {"covariance": "spherical"}),
        (2, {"covariance": "spherical", "variance": "tied", "degree": 0}),
        (2, {"covariance": "diag", "variance": 0.8}),
        (3, {}),
    ]
}
SUBSETS: list[tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = [((1,), None), (None, (0,)), ((0,), (1,))]
N_FEATURES = 2


@dataclass(frozen=True)
class Model:
    """A gate, an expert, a number of responses, and the columns that each uses."""

    gate: Any
    expert: Any
    n_responses: int
    gate_features: tuple[int, ...] | None = None
    expert_features: tuple[int, ...] | None = None
    n_experts: int = 3

    @property
    def name(self) -> str:
        columns = f" columns {self.gate_features}/{self.expert_features}" if self.subset else ""
        return f"{self.gate!r} {self.expert!r} D={self.n_responses}{columns}"

    @property
    def subset(self) -> bool:
        return self.gate_features is not None or self.expert_features is not None

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """Arguments of `fit_mixture`."""
        columns = {"gate_features": self.gate_features, "expert_features": self.expert_features}
        return {"n_experts": self.n_experts, "gate": self.gate, "expert": self.expert, **columns}


def _models() -> list[Model]:
    gates = [GATES[name](**options) for name in ("softmax", "constant") for options in GATE_OPTIONS.get(name, [{}])]
    experts = [(d, GaussianExpert(**options)) for d, options in EXPERT_OPTIONS["gaussian"]]
    out = [Model(gate, expert, d) for gate in gates for d, expert in experts]
    return out + [Model(gates[0], experts[2][1], 1, *columns) for columns in SUBSETS]


MODELS = _models()
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
one_response = pytest.mark.parametrize("model", [m for m in MODELS if m.n_responses == 1], ids=lambda m: m.name)


def columns(features: Sequence[int] | None) -> list[int]:
    return list(range(N_FEATURES) if features is None else features)


def mixture(model: Model, seed: int = 0) -> ConditionalMixture:
    """The model with random parameters."""
    rng = np.random.default_rng(seed)
    k, d = model.n_experts, model.n_responses
    tail = () if d == 1 else (d,)
    p = len(exponents(len(columns(model.expert_features)), model.expert.degree)) - 1
    params = {
        "expert_intercept": rng.normal(size=(k, *tail)) * 2.0,
        "expert_coef": rng.normal(size=(k, *tail, p)),
        "gate_intercept": np.zeros(k),
        "gate_coef": np.zeros((k, len(columns(model.gate_features)) if model.gate.degree else 0)),
    }
    if (model.gate.index(k, 1) >= 0).any():
        params["gate_intercept"][:-1] = rng.normal(size=k - 1)
        params["gate_coef"][:-1] = 1.5 * rng.normal(size=params["gate_coef"][:-1].shape)
    sd = np.exp(0.4 * rng.normal(size=(k, d)))
    if model.expert.known_scale is not None:
        known = np.asarray(model.expert.known_scale)
        sd = np.broadcast_to(known[:, None] if known.ndim == 1 else known, (k, d)).copy()
    if model.expert.covariance == "spherical":
        sd[:] = sd[:, :1]
    if isinstance(model.expert.variance, str) and model.expert.variance == "tied":
        sd[:] = sd[0]
    if d > 1 and model.expert.full(d):
        turn = np.linalg.qr(rng.normal(size=(k, d, d)))[0]
        turn[:] = turn[0] if model.expert.variance == "tied" else turn
        params["expert_covariance"] = np.einsum("kij,kj,klj->kil", turn, sd**2, turn)
    else:
        params["expert_scale"] = sd[:, 0] if d == 1 else sd
    return ConditionalMixture(
        model.gate,
        model.expert,
        params,
        gate_features=model.gate_features,
        expert_features=model.expert_features,
        n_features=N_FEATURES,
    )


def data(model: Model, n: int, seed: int = 1) -> tuple[Array, Array]:
    """Rows of features, and a draw from the model with the parameters of `mixture(model)`."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.5, 1.5, (n, N_FEATURES))
    return X, mixture(model).sample(X, rng)


# -- the density written out from the names of the free parameters ---------------------------------------------------


def _monomial(term: str, X: Array) -> Array:
    out = np.ones(len(X))
    for factor in [] if term == "Intercept" else term.split(" "):
        column, _, power = factor.partition("^")
        out = out * X[:, int(column[1:]) - 1] ** int(power or 1)
    return out


def joint(m: ConditionalMixture, theta: Array, X: Array, y: Array) -> Array:
    """`log π_k + log f_k`, `(n, K)`, at the free vector `theta`, which may be complex; nothing but its names is used.

    `expert[k]:log_scale` is the log standard deviation, or in a full covariance minus the log diagonal of the lower
    Cholesky factor of the precision, whose off-diagonal entries are `cholesky[yi,yj]`.
    """
    n, k, d = len(X), m.n_experts, m.n_responses
    y = y.reshape(n, d)
    kind = np.result_type(theta, float)
    score, mean = np.zeros((n, k), kind), np.zeros((n, k, d), kind)
    factor = np.zeros((k, d, d), kind)
    factor[:] = np.stack([np.diag(row) for row in 1.0 / m.params["expert_scale"].reshape(k, d)])
    for name, value in zip(m.free_names(), theta, strict=True):
        part, term = name.split(":", 1)
        head, number = re.fullmatch(r"(gate|expert)(?:\[(\d+)\])?", part).groups()  # type: ignore[union-attr]
        which = slice(None) if number is None else slice(int(number) - 1, int(number))
        entry = re.fullmatch(r"(log_scale|cholesky)(?:\[y(\d+)(?:,y(\d+))?\])?", term)
        if head == "gate":
            score[:, which] += value * _monomial(term, X)[:, None]
        elif entry is None:
            response, _, monomial = term.rpartition(":")
            mean[:, which, int(response[1:] or 1) - 1 if response else 0] += value * _monomial(monomial, X)[:, None]
        elif entry[1] == "cholesky":
            factor[which, int(entry[2]) - 1, int(entry[3]) - 1] = value
        else:
            for i in range(d) if entry[2] is None else [int(entry[2]) - 1]:
                factor[which, i, i] = np.exp(-value)
    top = score.real.max(axis=1, keepdims=True)
    log_gate = score - top - np.log(np.exp(score - top).sum(axis=1, keepdims=True))
    z = np.einsum("kij,nki->nkj", factor, y[:, None] - mean)
    log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    return log_gate + log_det - 0.5 * (z * z).sum(axis=2) - 0.5 * d * np.log(2.0 * np.pi)


def log_density(m: ConditionalMixture, theta: Array, X: Array, y: Array) -> Array:
    """`log p(y|x)`, `(n,)`, at `theta`, which may be complex."""
    terms = joint(m, theta, X, y)
    top = terms.real.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(terms - top).sum(axis=1)))


def complex_step(function: Any, theta: Array) -> Array:
    """Derivative `(…, P)` of a function that takes complex arguments; exact to rounding."""
    h = 1e-40
    unit = np.eye(len(theta))
    return np.stack([function(theta + 1j * h * e).imag / h for e in unit], axis=-1)


def difference(gradient: Any, theta: Array, h: float = 1e-3) -> Array:
    """Matrix of second derivatives from a gradient, by central differences of eighth order."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    unit = h * np.eye(len(theta))
    rows = [sum(w * (gradient(theta + j * e) - gradient(theta - j * e)) for j, w in weights.items()) / h for e in unit]
    out = np.array(rows)
    return 0.5 * (out + out.T)
