"""Every gate with every expert, and every solver with either: simulated data give the truth back, as far as they can.

A fit of 4000 rows starts near the truth. Twice its log-likelihood above that of the truth is a chi-square number, whose degrees of freedom
are the identified parameters, and estimates are within five standard errors of the truth. Sparse gates have a likelihood that jumps
where an expert is switched off: a search from beside the truth does not come back to it. Theirs starts at the truth, and must not end below
it nor far above.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import permutations
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from scipy import stats

from moestat.fitting import FittedMixture, fit_mixture
from moestat.inference import InferenceWarning, infer
from moestat.mixture import ConditionalMixture
from moestat.registry import EXPERTS, GATES

Array = np.ndarray[Any, Any]
N = 4000
NONE = float("nan")
LIMIT = 3.2  # above which the responses of the censored experts are not observed
SOLVERS = ("auto", "em", "squarem", "newton", "lbfgs")
TRIALS = 10  # of binomial and multinomial responses

# The truth of each gate for two or more experts and two columns: hyperparameters, number of experts, parameters.
LINEAR = {"gate_intercept": [0.3, 0.0], "gate_coef": [[1.5, -1.0], [0.0, 0.0]]}
THREE = {"gate_intercept": [0.3, 0.5, 0.0], "gate_coef": [[1.5, -1.0], [-0.5, 1.0], [0.0, 0.0]]}
DIRECTIONS = {"gate_intercept": [0.2, 0.0], "gate_coef": [[0.8, -0.6], [0.2, 0.7]]}
PLACES = {"gate_location": [[0.8, 0.3], [-0.6, -0.5]]}
BLOBS = PLACES | {
    "gate_weight": [0.55, 0.45],
    "gate_covariance": [[[0.5, 0.1], [0.1, 0.4]], [[0.4, -0.1], [-0.1, 0.6]]],
}
TRUE_GATES: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "softmax": ({}, 2, LINEAR),
    "constant": ({}, 2, {"gate_intercept": [0.3, 0.0], "gate_coef": np.zeros((2, 0))}),
    "normalized_sigmoid": ({}, 2, {"gate_intercept": [0.5, -0.5], "gate_coef": [[2.0, -1.0], [-1.0, 1.5]]}),
    "quadratic": ({}, 2, {"gate_intercept": [0.4, 0.0], "gate_coef": [[0.8, -0.6, 0.7, -0.5, -0.8], [0.0] * 5]}),
    "quadratic_monomial": ({}, 2, {"gate_intercept": [0.2, 0.0], "gate_coef": [[0.9, -0.6, -0.8], [0.0] * 3]}),
    "laplace": ({}, 2, PLACES | {"gate_intercept": [0.4, 0.0]}),
    "gaussian": ({}, 2, BLOBS),
    "cosine": ({"temperature": 0.5}, 2, DIRECTIONS),
    "perturbed_cosine": ({"temperature": 0.3}, 2, DIRECTIONS),
    "activation": ({}, 2, LINEAR | {"gate_temperature": 0.4}),
    "hierarchical": (
        {"tree": ((0, 1), 2)},
        3,
        {"gate_intercept": [0.2, 0.0, 0.3, 0.0], "gate_coef": [[1.5, -0.5], [0.0, 0.0], [-1.2, 0.8], [0.0, 0.0]]},
    ),
    "shared": (
        {"n_shared": 1, "weight": "gated"},
        3,
        LINEAR | {"shared_intercept": [0.0], "block_intercept": -0.4, "block_coef": [0.7, 0.5]},
    ),
    "topk": ({"k": 2}, 3, THREE),
    "topp": ({"p": 0.8}, 3, THREE),
    "budget": ({"avg_active": 2.0, "threshold": 0.2}, 3, THREE),
    "hybrid": ({}, 3, THREE),
    "prototype": ({"n_prototypes": 1}, 2, LINEAR),
    "factorial": (
        {"sizes": (2, 1)},
        2,
        {"gate_intercept": [0.3, 0.0, 0.0], "gate_coef": [[1.5, -1.0], [0.0, 0.0], [0.0, 0.0]]},
    ),
}
SPARSE = ("topk", "topp", "budget", "hybrid", "prototype")  # the likelihood jumps where an expert is switched off

# Intercepts of the experts (the first two or three), their further entries; slopes are those of `SLOPES`.
SLOPES = [[0.8, -0.4], [-0.5, 0.3], [0.4, 0.6]]
TRUE_EXPERTS: dict[str, tuple[dict[str, Any], list[Any], dict[str, Any]]] = {
    "gaussian": ({}, [0.0, 3.0, -3.0], {"expert_scale": [0.5, 0.4, 0.6]}),
    "student_t": ({}, [0.0, 4.0, -4.0], {"expert_scale": [0.5, 0.4, 0.6], "expert_df": [4.0, 6.0, 5.0]}),
    "laplace": ({"smoothing": 0.3}, [0.0, 4.0, -4.0], {"expert_scale": [0.4, 0.3, 0.5]}),
    "skew_normal": ({}, [0.0, 4.0, -4.0], {"expert_scale": [0.8, 0.6, 0.7], "expert_shape": [4.0, -3.0, 5.0]}),
    "gamma": ({}, [0.0, 2.0, -2.0], {"expert_shape": [9.0, 6.0, 12.0]}),
    "lognormal": ({}, [0.0, 2.0, -2.0], {"expert_scale": [0.4, 0.3, 0.5]}),
    "inverse_gaussian": ({}, [0.0, 2.0, -2.0], {"expert_shape": [9.0, 40.0, 1.5]}),
    "beta": ({}, [0.0, 2.0, -2.0], {"expert_precision": [12.0, 15.0, 20.0]}),
    "multinomial": ({"n_classes": 3}, [[0.0, 1.0], [2.0, -1.0], [-1.0, -2.0]], {}),
    "binomial": ({}, [0.0, 2.0, -2.0], {}),
    "poisson": ({}, [1.0, 3.0, -1.0], {}),
    "negative_binomial": ({}, [1.5, 4.0, -0.5], {"expert_dispersion": [0.2, 0.1, 0.3]}),
    "zero_inflated_poisson": ({}, [1.5, 3.5, 0.2], {"expert_zero_proba": [0.2, 0.3, 0.4]}),
    "zero_inflated_negative_binomial": (
        {},
        [2.0, 4.5, 0.5],
        {"expert_dispersion": [0.2, 0.1, 0.3], "expert_zero_proba": [0.2, 0.3, 0.4]},
    ),
    "hurdle_poisson": ({}, [1.5, 3.5, 0.2], {"expert_zero_proba": [0.2, 0.3, 0.4]}),
    "hurdle_negative_binomial": (
        {},
        [2.0, 4.5, 0.5],
        {"expert_dispersion": [0.2, 0.1, 0.3], "expert_zero_proba": [0.2, 0.3, 0.4]},
    ),
    "normal": ({}, [0.0, 3.0, -3.0], {"expert_scale": [0.5, 0.4, 0.6]}),
    "mixed": (
        {"families": ["normal", "student_t", "skew_normal"]},
        [0.0, 4.0, -4.0],
        {"expert_scale": [0.5, 0.4, 0.7], "expert_df": [NONE, 5.0, NONE], "expert_shape": [NONE, NONE, 4.0]},
    ),
    "censored": ({"family": "normal"}, [0.0, 3.0, -3.0], {"expert_scale": [0.5, 0.4, 0.6]}),
    "factorial": ({}, [0.0, 3.0, -3.0], {"expert_scale": [0.5, 0.5, 0.5]}),
    "nonlinear": ({}, [0.3, 0.8, -0.5], {"expert_output": [2.0, 6.0, 5.0], "expert_scale": [0.5, 0.4, 0.6]}),
}
# Directions of the free parameters that no data identify; a gate of weights 1 or 0 has no gradient at all.
NULL = {"cosine": 2, "perturbed_cosine": 2, "prototype": 3}


@dataclass(frozen=True)
class Case:
    """A gate, an expert and a solver by their names."""

    gate: str
    expert: str
    solver: str

    def __str__(self) -> str:
        return f"{self.gate}-{self.expert}-{self.solver}"

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(crc32(f"{self.gate}-{self.expert}".encode()))


def truth(case: Case) -> ConditionalMixture:
    options, k, gate = TRUE_GATES[case.gate]
    expert_options, intercepts, scalars = TRUE_EXPERTS[case.expert]
    slopes = np.array(SLOPES[:k])
    if case.expert == "multinomial":
        slopes = np.stack([slopes, -slopes[:, ::-1]], axis=1)
    params = gate | {"expert_intercept": intercepts[:k], "expert_coef": slopes}
    params |= {key: value[:k] for key, value in scalars.items() if not np.isnan(value[:k]).all()}
    if case.expert == "mixed":
        expert_options = {"families": expert_options["families"][:k]}
    return ConditionalMixture(
        GATES[case.gate](**options), EXPERTS[case.expert](**expert_options), params, n_features=2
    )  # fmt: skip


def simulate(m: ConditionalMixture, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the model; a gate that models x draws it, and responses of classes and of trials are counts."""
    X = rng.uniform(-1.5, 1.5, (N, 2))
    if m.gate.joint:
        label = rng.choice(m.n_experts, N, p=m.params["gate_weight"])
        factor = np.linalg.cholesky(m.params["gate_covariance"])
        X = m.params["gate_location"][label] + np.einsum("nij,nj->ni", factor[label], rng.normal(size=(N, 2)))
    if m.expert.name == "censored":
        y = m.sample(X, rng)
        return X, np.column_stack([np.minimum(y, LIMIT), np.where(y < LIMIT, y, np.inf)])
    if m.expert.name not in ("binomial", "multinomial"):
        return X, m.sample(X, rng)
    label = (rng.random((N, 1)) > np.cumsum(m.gate_proba(X), axis=1)[:, :-1]).sum(axis=1)
    eta = np.moveaxis(np.atleast_3d(m.params["expert_intercept"]).reshape(m.n_experts, -1)[label], 0, -1)
    coef = m.params["expert_coef"].reshape(m.n_experts, -1, 2)[label]
    weight = np.exp(np.concatenate([eta.T + np.einsum("ndp,np->nd", coef, X), np.zeros((N, 1))], axis=1))
    counts = rng.multinomial(TRIALS, weight / weight.sum(axis=1, keepdims=True)).astype(float)
    return X, np.column_stack([counts[:, 0], np.full(N, TRIALS)]) if m.expert.name == "binomial" else counts


def in_order_of(m: ConditionalMixture, other: ConditionalMixture) -> ConditionalMixture:
    """The mixture with its experts in the order of another one, as far as gate and experts allow it to be changed."""

    def distance(order: tuple[int, ...]) -> float:
        gap = m.params["expert_intercept"][list(order)] - other.params["expert_intercept"]
        return float(np.abs(gap).sum())

    identity = tuple(range(m.n_experts))
    if not m.expert.exchangeable:
        return m.canonical()
    for order in sorted(permutations(identity), key=distance):
        try:
            return m.permuted(order)
        except ValueError:
            assert order != identity
    raise AssertionError("no order is allowed")


@dataclass(frozen=True)
class Recovery:
    """What a fit says of the truth: twice the log-likelihood above it, and the identified parameters in standard errors from it."""

    fitted: FittedMixture
    ratio: float
    z: dict[str, float]

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return len(self.fitted.mixture.free_names())


def recover(case: Case) -> Recovery:
    """A fit from near the truth; the likelihood is that of x and y where the gate models x."""
    rng, m = case.rng(), truth(case)
    X, y = simulate(m, rng)
    away = 0.0 if case.gate in SPARSE else 0.03
    near = m.with_free_vector(m.free_vector() + away * rng.normal(size=len(m.free_vector())))
    fitted = fit_mixture(
        X, y, m.n_experts, gate=m.gate, expert=m.expert, init=near.params, solver=case.solver, max_iter=3000
    )
    estimate = fitted.mixture
    m = in_order_of(m, estimate)
    values = [objective.value(theta) for objective, theta in (estimate.objective(X, y), m.objective(X, y))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceWarning)
        errors = infer(estimate, X, y, active_bounds=fitted.result.active_bounds).bse
    z = (estimate.free_vector() - m.free_vector()) / errors
    return Recovery(fitted, 2.0 * (values[0] - values[1]), z.dropna().to_dict())


def check(case: Case) -> None:
    found = recover(case)
    assert all(abs(z) <= 5.0 for z in found.z.values()), found.z
    low, high = stats.chi2.ppf([1e-4, 1.0 - 1e-4], found.n_free - NULL.get(case.gate, 0))
    if case.gate in SPARSE:
        assert -1e-8 <= found.ratio <= high
        return
    assert low <= found.ratio <= high
    assert found.fitted.result.certificate.certified
    assert any(name.startswith("expert") for name in found.z)


def pairs() -> list[Case]:
    """Every gate with every expert, the solvers in turn: each of them with every gate and with every expert."""
    out = []
    for i, gate in enumerate(TRUE_GATES):
        # quasi-Newton line searches take minutes on a likelihood that jumps
        solvers = [s for s in SOLVERS if gate not in SPARSE or s != "lbfgs"]
        out += [Case(gate, expert, solvers[(i + j) % len(solvers)]) for j, expert in enumerate(TRUE_EXPERTS)]
    return out


QUICK = [
    Case("hierarchical", "gamma", "auto"),
    Case("quadratic", "student_t", "em"),
    Case("shared", "multinomial", "squarem"),
    Case("gaussian", "zero_inflated_poisson", "newton"),
    Case("laplace", "beta", "auto"),
    Case("activation", "negative_binomial", "lbfgs"),
]


def test_every_density_has_a_truth() -> None:
    assert set(TRUE_EXPERTS) == set(EXPERTS)
    assert set(TRUE_GATES) == {name for name, gate in GATES.items() if gate().normalised}


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_a_few_pairs_are_recovered(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", pairs(), ids=str)
def test_every_pair_is_recovered(case: Case) -> None:
    check(case)
