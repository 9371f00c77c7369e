"""Every gate and every expert of the registry in its forms, random parameters for them, and pairs that cover all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from moestat import gates as g
from moestat.layout import Layout
from moestat.maps import make_map
from moestat.mixture import ConditionalMixture
from moestat.registry import EXPERTS, GATES, resolve_expert

Array = np.ndarray[Any, Any]

N_FEATURES = 2
K = 3

# Forms in which a registered gate is tried; one that is not listed is tried with its defaults.
GATE_FORMS: dict[str, list[dict[str, Any]]] = {
    "constant": [{}, {"equal": True}],
    "softmax": [{}, {"temperature": 0.5}, {"transform": "tanh"}],
    "normalized_sigmoid": [{}, {"degree": 2}],
    "budget": [{"threshold": 0.3}],  # a fit sets it: see tests/gates/test_budget_fit.py
    "topk": [{"k": 2}, {"k": 2, "ranking": "scores"}],
    "prototype": [{"n_prototypes": 2}],
    "hierarchical": [{"tree": [[0, 1], 2]}, {"tree": [[0, 1], 2], "levels": ("laplace", "softmax")}],
    "factorial": [{}, {"sizes": [1, 3]}],
    "shared": [{"n_shared": 1, "weight": w} for w in ("half", "free", "gated")],
    "activation": [{}, {"activation": "gelu", "temperature": 0.7, "reference": False}],
    "gaussian": [{}, {"likelihood": "conditional"}],
}
# Predictors d and columns of y of an expert, where they are not (1, 1).
EXPERT_FORMS: dict[str, list[tuple[dict[str, Any], int, int]]] = {
    "gaussian": [({}, 1, 1), ({"degree": 2, "variance": "tied"}, 1, 1), ({}, 2, 2)],
    "factorial": [({}, 1, 1), ({"sizes": (1, 3), "degree": 2}, 1, 1)],
    "laplace": [({"smoothing": 0.3}, 1, 1)],  # a kink that differences can resolve
    "censored": [({"family": "normal"}, 1, 2)],
    "mixed": [
        ({"families": ["poisson", "negative_binomial", "hurdle_poisson"]}, 1, 1),
        ({"families": ["normal", "student_t", "skew_normal"]}, 1, 1),
        ({"families": ["gamma", "lognormal", "inverse_gaussian"]}, 1, 1),
    ],
    "multinomial": [({"n_classes": 3}, 2, 1), ({"n_classes": 2, "degree": 2}, 1, 1)],
    "student_t": [({}, 1, 1), ({"df": 4.0, "tied": True}, 1, 1)],
    "negative_binomial": [({}, 1, 1), ({"tied": True}, 1, 1)],
    "binomial": [({}, 1, 1), ({"trials": 7}, 1, 1)],
}
# Size of the random intercepts and slopes, where the link asks for small ones.
SIZES = {
    "multinomial": 1.5,
    "binomial": 1.0,
    "gaussian": 2.0,
    "student_t": 2.0,
    "laplace": 2.0,
    "skew_normal": 2.0,
    "factorial": 2.0,
}


@dataclass(frozen=True)
class Case:
    """A gate and an expert."""

    gate: Any
    expert: Any
    n_predictors: int = 1
    n_responses: int = 1

    def __str__(self) -> str:
        return f"{self.gate!r}-{self.expert!r}-{self.n_responses}"

    @property
    def seed(self) -> int:
        return zlib.crc32(str(self).encode())

    @property
    def smooth(self) -> bool:
        """Whether the log-likelihood is smooth in the gate's parameters: no expert is switched off."""
        return not hasattr(self.gate, "mask") and getattr(self.gate, "smoothing", 1.0) > 0.0

    @property
    def one_number(self) -> bool:
        """Whether the response is one number with a distribution function."""
        return self.n_responses == 1 and self.expert.name != "multinomial"


def _gates() -> list[Any]:
    out = []
    for name, cls in GATES.items():
        forms = [cls(**options) for options in GATE_FORMS.get(name, [{}])]
        out += [form for form in forms if form.normalised]
    return out


def _experts() -> list[tuple[Any, int, int]]:
    out = []
    for name in EXPERTS:
        for options, d, cols in EXPERT_FORMS.get(name, [({}, 1, 1)]):
            cls = EXPERTS[name]
            out.append((cls(**options), d, cols))
    return out


GATE_LIST = _gates()
EXPERT_LIST = _experts()


def _cases() -> list[Case]:
    """Each gate with Gaussian experts, each expert with the softmax gate, and each expert with one more gate in turn."""
    gaussian = resolve_expert("gaussian")
    out = [Case(gate, gaussian) for gate in GATE_LIST]
    out += [Case(g.SoftmaxGate(), *expert) for expert in EXPERT_LIST]
    others = [gate for gate in GATE_LIST if gate.name not in ("softmax", "constant")]
    out += [Case(others[i % len(others)], *expert) for i, expert in enumerate(EXPERT_LIST)]
    return list({str(case): case for case in out}.values())


CASES = _cases()
every_case = pytest.mark.parametrize("case", CASES, ids=str)
smooth_cases = pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=str)


def mixture(case: Case, seed: int = 0, spread: float = 1.0) -> ConditionalMixture:
    """The model with random parameters, in raw coordinates."""
    rng = np.random.default_rng(case.seed + seed)
    gate, expert, d = case.gate, case.expert, case.n_predictors
    maps = (
        make_map(gate.degree, range(N_FEATURES if gate.degree else 0), inputs=gate.inputs()),
        make_map(expert.degree, range(N_FEATURES if expert.degree else 0)),
    )
    c = expert.n_scale(d)
    known = np.zeros((K, c))
    layout = Layout(gate, expert, K, d, case.n_responses, maps[0].n_features, maps[1].n_features, known)
    theta = spread * rng.normal(size=layout.n_params)
    params = layout.unpack(theta)
    size = SIZES.get(expert.name, 0.5)
    coef = 0.6 * size * rng.normal(size=params.coef.shape)
    coef[:, :, 0] += size * np.linspace(-1.0, 1.0, K)[:, None]
    scale = 0.3 * params.scale
    clipped = np.clip(scale, *expert.scale_limits(np.full(case.n_responses, 1e-3))) if c else scale
    internal = params._replace(gate=gate.canonical(1.2 * params.gate), coef=coef, scale=clipped)
    return ConditionalMixture._from_internal(layout, internal, maps, N_FEATURES, case.n_responses == 1)


def data(case: Case, n: int, seed: int = 1) -> tuple[Array, Array]:
    """Rows of features, and a draw from the model with the parameters of `mixture(case)`."""
    rng = np.random.default_rng(case.seed + seed)
    X = rng.uniform(-1.5, 1.5, (n, N_FEATURES))
    return X, mixture(case).sample(X, rng)


def at(m: ConditionalMixture, theta: Array) -> ConditionalMixture:
    """The mixture with another raw free vector."""
    return m.with_free_vector(theta)


def difference(function: Any, theta: Array, h: float = 2e-3) -> Array:
    """Derivatives `(…, P)` of a function of the free vector by central differences of eighth order."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    columns = []
    for j in range(len(theta)):
        unit = np.zeros(len(theta))
        unit[j] = h
        columns.append(
            sum(w * (function(theta + i * unit) - function(theta - i * unit)) for i, w in weights.items()) / h
        )
    return np.stack(columns, axis=-1)


__all__ = ["CASES", "Case", "at", "data", "difference", "every_case", "mixture", "replace", "smooth_cases"]
