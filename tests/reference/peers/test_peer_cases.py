"""Log-likelihoods of R packages: from its own starts moestat is never below the best of them (see README.md)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moestat.experts import GaussianExpert
from moestat.fitting import FittedMixture, fit_mixture
from moestat.gates import ConstantGate, SoftmaxGate
from moestat.mixture import ConditionalMixture

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {c["name"]: c for c in json.loads((HERE / "peers.json").read_text())["cases"]}
SINGLE_SIGMA_SPIKE = 1e-3  # an expert's scale relative to the response's below which a maximum is a spike


@cache
def load(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (every column but the last) and response."""
    table = np.genfromtxt(HERE / file, delimiter=",", skip_header=1)
    return table[:, :-1], table[:, -1]


@cache
def fit(data: str, n_experts: int, gate: str, degree: int, variance: str) -> FittedMixture:
    """One fit from moestat's own starts; cases on the same data and model share it."""
    X, y = load(data)
    gates = {"softmax": SoftmaxGate(), "constant": ConstantGate(), "equal": ConstantGate(equal=True)}
    return fit_mixture(
        X,
        y,
        n_experts=n_experts,
        gate=gates[gate],
        expert=GaussianExpert(degree=degree, variance=variance),
        rng=np.random.default_rng(2026),
    )


def fit_case(case: dict[str, Any]) -> FittedMixture:
    return fit(case["data"], case["n_experts"], case["gate"], case["degree"], case["variance"])


def reference_mixture(case: dict[str, Any]) -> ConditionalMixture:
    """The independent maximum as a mixture; peers put the reference gate first, any reference will do."""
    best, d = case["reference_best_known"], len(case["features"])
    gate, coef = np.array(best["gate"]), np.array(best["coef"])
    params = {
        "gate_intercept": gate[0],
        "gate_coef": gate[1:].T if len(gate) > 1 else np.zeros((gate.shape[1], d)),
        "expert_intercept": coef[0],
        "expert_coef": coef[1:].T,
        "expert_scale": np.array(best["sigma"]),
    }
    gate_object = ConstantGate() if case["gate"] == "constant" else SoftmaxGate()
    return ConditionalMixture(gate=gate_object, expert=GaussianExpert(degree=case["degree"]), params=params)


@pytest.mark.parametrize("name", CASES)
def test_loglik_is_at_least_the_best_peers(name: str) -> None:
    case = CASES[name]
    fitted = fit_case(case)
    X, y = load(case["data"])
    own = float(np.sum(fitted.mixture.log_density(X, y)))
    assert own == pytest.approx(fitted.result.loglik, rel=1e-12, abs=1e-9)
    assert own >= case["best_peer_loglik"] - 1e-6
    # and not by a spike: every expert's scale is well above the floor
    assert np.min(fitted.mixture.params["expert_scale"]) > SINGLE_SIGMA_SPIKE * np.std(y)


@pytest.mark.parametrize("name", CASES)
def test_score_vanishes(name: str) -> None:
    case = CASES[name]
    fitted = fit_case(case)
    X, y = load(case["data"])
    score = np.sum(fitted.mixture.scores(X, y), axis=0)
    assert np.max(np.abs(score)) <= 1e-6 * len(y)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.get("reference_best_known", {}).get("regular")])
def test_regular_maximum_is_certified_and_equals_the_independent_one(name: str) -> None:
    case = CASES[name]
    fitted = fit_case(case)
    assert fitted.result.certificate.certified
    assert fitted.result.certificate.rank == fitted.result.certificate.n_params
    assert fitted.result.loglik >= case["reference_best_known"]["loglik"] - 1e-7
    if "gate" in case["reference_best_known"] and fitted.result.loglik <= case["best_peer_loglik"] + 1e-3:
        X, y = load(case["data"])
        theirs = np.sort(reference_mixture(case).log_density(X, y))
        np.testing.assert_allclose(np.sort(fitted.mixture.log_density(X, y)), theirs, atol=2e-5)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "se" in c.get("reference_best_known", {})])
def test_curvature_gives_the_reference_standard_errors(name: str) -> None:
    case = CASES[name]
    X, y = load(case["data"])
    mixture = reference_mixture(case)
    # the reference pins the first gate; reversing the order pins it here as the last one
    k = mixture.n_experts
    reversed_mixture = mixture.permuted(list(range(k))[::-1]).canonical()
    covariance = np.linalg.inv(-reversed_mixture.hessian(X, y))
    names = reversed_mixture.free_names()
    own = dict(zip(names, np.sqrt(np.diag(covariance)), strict=True))
    q = len(np.array(case["reference_best_known"]["gate"]))
    p = len(np.array(case["reference_best_known"]["coef"]))
    gates = [own[n] for j in range(k - 1, 0, -1) for n in names if n.startswith(f"gate[{j}]")]
    experts = [own[n] for j in range(k, 0, -1) for n in names if n.startswith(f"expert[{j}]") and "log_scale" not in n]
    scales = [own[f"expert[{j}]:log_scale"] for j in range(k, 0, -1)]
    assert (len(gates), len(experts)) == (q * (k - 1), p * k)
    np.testing.assert_allclose([*gates, *experts, *scales], case["reference_best_known"]["se"], rtol=1e-4)
