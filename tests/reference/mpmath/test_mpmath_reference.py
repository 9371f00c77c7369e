"""Small fits against mpmath: maximiser, log-likelihood, gradient and Hessian (numbers by ``make_reference.py``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.mixture import ConditionalMixture

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in json.loads((HERE / "cases.json").read_text())}
REFERENCE: dict[str, dict[str, Any]] = json.loads((HERE / "reference.json").read_text())
ONE_RESPONSE = [name for name, case in CASES.items() if case["n_outputs"] == 1]
PARAMETER_DIGITS, LOGLIK_DIGITS, DERIVATIVE_ERROR = 9, 12, 1e-10
TIGHT = 1e-20  # a decrement of 1e-20 nats leaves parameters 1e-10 standard errors from the maximiser


def arrays(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, response (one column: flat) and weights of a case."""
    y = np.array(case["y"])
    return np.array(case["X"]), y[:, 0] if case["n_outputs"] == 1 else y, np.array(case["sample_weight"])


def start(case: dict[str, Any]) -> dict[str, np.ndarray]:
    params = {name: np.array(value, dtype=float) for name, value in case["start"].items()}
    if "expert_covariance" in params:
        params["expert_scale"] = np.sqrt(np.diagonal(params["expert_covariance"], axis1=1, axis2=2))
    return params


def expert(case: dict[str, Any]) -> GaussianExpert:
    return GaussianExpert(degree=case["degree"], variance="tied" if case["tied"] else "free")


def numbers(nested: Any) -> np.ndarray:
    """Nested lists of decimal strings as doubles."""
    return np.array(nested, dtype=float)


def free_names(case: dict[str, Any]) -> list[str]:
    """The reference's order of the free parameters in the public names."""
    gate_columns = [] if case["gate"] == "constant" else [f"x{j + 1}" for j in range(case["n_features"])]
    size = len(case["start"]["expert_coef"][0])
    names = [f"gate[{k}]:{c}" for k in range(1, case["n_experts"]) for c in ["Intercept", *gate_columns]]
    for k in range(1, case["n_experts"] + 1):
        names += [f"expert[{k}]:Intercept", *(f"expert[{k}]:slope{j}" for j in range(size))]
        names += [] if case["tied"] else [f"expert[{k}]:log_scale"]
    return names + (["tied:log_scale"] if case["tied"] else [])


@pytest.mark.parametrize("solver", ["auto", "newton", "squarem"])
@pytest.mark.parametrize("name", CASES)
def test_fit_reaches_the_maximiser(name: str, solver: str) -> None:
    case, maximum = CASES[name], REFERENCE[name]["maximum"]
    X, y, weight = arrays(case)
    fitted = fit_mixture(
        X,
        y,
        n_experts=case["n_experts"],
        gate=case["gate"],
        expert=expert(case),
        sample_weight=weight,
        init=start(case),
        solver=solver,
        # EM's extrapolation converges linearly and stops where tol says; Newton's last steps reach rounding at any tol
        tol=TIGHT if solver == "squarem" else 1e-8,
    )
    exact = float(maximum["loglik"])
    assert fitted.result.certificate.certified
    assert abs(fitted.result.loglik - exact) <= 10.0**-LOGLIK_DIGITS * abs(exact)
    own = float(weight @ fitted.mixture.log_density(X, y))
    assert abs(own - exact) <= 10.0**-LOGLIK_DIGITS * abs(exact)
    order = matching_order(fitted.mixture, maximum["params"])
    found = fitted.mixture.permuted(order).canonical().params
    for key, text in maximum["params"].items():
        value = numbers(text)
        if key == "gate_coef" and case["gate"] == "constant":
            assert not np.any(found[key])
            continue
        np.testing.assert_allclose(found[key], value, rtol=10.0**-PARAMETER_DIGITS, atol=0.0, err_msg=key)


@pytest.mark.parametrize("solver", ["auto", "newton", "em", "squarem", "lbfgs"])
@pytest.mark.parametrize("name", CASES)
def test_what_the_certificate_says_is_missing_is_missing(name: str, solver: str) -> None:
    case, exact = CASES[name], float(REFERENCE[name]["maximum"]["loglik"])
    X, y, weight = arrays(case)
    fitted = fit_mixture(
        X,
        y,
        n_experts=case["n_experts"],
        gate=case["gate"],
        expert=expert(case),
        sample_weight=weight,
        init=start(case),
        solver=solver,
    )
    certificate = fitted.result.certificate
    assert certificate.certified
    assert certificate.decrement <= 1e-8
    assert exact - fitted.result.loglik == pytest.approx(certificate.decrement, rel=0.05, abs=1e-12)


def matching_order(mixture: ConditionalMixture, params: dict[str, Any]) -> list[int]:
    """The fitted expert next to each reference expert, by intercept and slopes."""
    k = mixture.n_experts
    flat = [np.c_[p["expert_intercept"].reshape(k, -1), p["expert_coef"].reshape(k, -1)]
            for p in (mixture.params, {key: numbers(value) for key, value in params.items()})]  # fmt: skip
    distance = np.linalg.norm(flat[0][None] - flat[1][:, None], axis=2)
    order = [int(j) for j in np.argmin(distance, axis=1)]
    assert sorted(order) == list(range(k))
    return order


def reference_positions(case: dict[str, Any], names: list[str]) -> list[int]:
    """Where the free parameters of the mixture are in the reference; every one of them, once."""
    stated, slopes = free_names(case), dict.fromkeys(range(1, case["n_experts"] + 1), 0)
    positions = []
    for name in names:
        if name.startswith("expert[") and "Intercept" not in name and "log_scale" not in name:
            expert_number = int(name[len("expert[")])
            name = f"expert[{expert_number}]:slope{slopes[expert_number]}"
            slopes[expert_number] += 1
        positions.append(stated.index("tied:log_scale" if name == "expert:log_scale" else name))
    assert sorted(positions) == list(range(len(stated)))
    return positions


@pytest.mark.parametrize("name", ONE_RESPONSE)
def test_loglik_gradient_and_hessian_at_the_start(name: str) -> None:
    case, exact = CASES[name], REFERENCE[name]["start"]
    X, y, weight = arrays(case)
    mixture = ConditionalMixture(gate=case["gate"], expert=expert(case), params=start(case))
    value = float(weight @ mixture.log_density(X, y))
    assert abs(value - float(exact["loglik"])) <= 1e-13 * abs(value)
    order = reference_positions(case, mixture.free_names())
    exact_gradient, exact_hessian = numbers(exact["gradient"])[order], numbers(exact["hessian"])[np.ix_(order, order)]
    gradient = weight @ mixture.scores(X, y)
    np.testing.assert_allclose(gradient, exact_gradient, rtol=DERIVATIVE_ERROR, atol=1e-12)
    hessian = mixture.hessian(X, y, sample_weight=weight)
    np.testing.assert_allclose(hessian, exact_hessian, rtol=DERIVATIVE_ERROR, atol=1e-11)


def test_two_responses_loglik_at_the_start() -> None:
    case, exact = CASES["k2_d1_two_responses"], REFERENCE["k2_d1_two_responses"]["start"]
    X, y, _ = arrays(case)
    mixture = ConditionalMixture(gate=case["gate"], expert=expert(case), params=start(case))
    value = float(np.sum(mixture.log_density(X, y)))
    assert abs(value - float(exact["loglik"])) <= 1e-13 * abs(value)
