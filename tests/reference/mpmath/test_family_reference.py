"""Families and gates against mpmath at the default tol: nine digits of parameters, eight of errors, twelve of the log-likelihood."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moestat.fitting import FittedMixture, fit_mixture
from moestat.inference import infer
from moestat.registry import EXPERTS, GATES

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {c["name"]: c for c in json.loads((HERE / "family_cases.json").read_text())}
REFERENCE: dict[str, Any] = json.loads((HERE / "family_reference.json").read_text())
PARAMETER_DIGITS, ERROR_DIGITS, LOGLIK_DIGITS = 9, 8, 12


@cache
def fit(name: str, solver: str) -> FittedMixture:
    case = CASES[name]
    return fit_mixture(
        case["X"],
        case["y"],
        case["n_experts"],
        gate=GATES[case["gate"]](**case["gate_options"]),
        expert=EXPERTS[case["expert"]](**case["expert_options"]),
        init=case["init"],
        solver=solver,
    )


@pytest.mark.parametrize("solver", ["auto", "newton"])
@pytest.mark.parametrize("name", CASES)
def test_fit_reaches_the_maximiser(name: str, solver: str) -> None:
    maximum, fitted = REFERENCE[name], fit(name, solver)
    exact = np.array([float(value) for value in maximum["params"].values()])
    loglik = float(maximum["loglik"])
    assert fitted.result.certificate.certified
    assert abs(fitted.result.loglik - loglik) <= 10.0**-LOGLIK_DIGITS * abs(loglik)
    assert fitted.mixture.free_names() == list(maximum["params"])
    # nine digits, of the standard error where a parameter is nearly zero
    error = np.array([float(value) for value in maximum["errors"]])
    assert (
        np.abs(fitted.mixture.free_vector() - exact) <= 10.0**-PARAMETER_DIGITS * np.maximum(np.abs(exact), error)
    ).all()


@pytest.mark.parametrize("name", CASES)
def test_standard_errors_are_those_of_the_observed_information(name: str) -> None:
    """Of models with kinks by the Hessian itself: in `infer` other things stand in for it, see `without_kinks`."""
    m, X, y = fit(name, "newton").mixture, CASES[name]["X"], CASES[name]["y"]
    results = infer(m, X, y)
    errors = np.sqrt(np.diag(np.linalg.inv(-m.hessian(X, y)))) if "laplace" in name else results.bse
    assert ("laplace" in name) == any("kink" in note for note in results.notes)
    exact = np.array([float(value) for value in REFERENCE[name]["errors"]])
    np.testing.assert_allclose(errors, exact, rtol=10.0**-ERROR_DIGITS, atol=0.0)


@pytest.mark.parametrize("solver", ["em", "squarem", "lbfgs"])
@pytest.mark.parametrize("name", CASES)
def test_what_other_solvers_miss_is_what_they_say(name: str, solver: str) -> None:
    """First-order solvers end where tol says."""
    fitted, exact = fit(name, solver), REFERENCE[name]
    missing = float(exact["loglik"]) - fitted.result.loglik
    assert fitted.result.certificate.certified
    assert fitted.result.certificate.decrement <= 1e-8
    assert missing == pytest.approx(fitted.result.certificate.decrement, rel=0.05, abs=1e-11)
