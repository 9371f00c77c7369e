"""Standard errors of regular cases against those of an independent R implementation (finite-difference information)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from moestat.experts import GaussianExpert
from moestat.inference import infer
from moestat.mixture import ConditionalMixture

HERE = Path(__file__).parent
CASES = json.loads((HERE / "data" / "standard_errors.json").read_text(encoding="utf-8"))["cases"]


def _mixture(case, order):
    """The reference's maximum, its experts in the order given (the last one's gate becomes zero)."""
    gate, coef = np.atleast_2d(case["gate_coef"]).T[order], np.array(case["expert_coef"]).T[order]
    params = {
        "gate_intercept": gate[:, 0] - gate[-1, 0],
        "expert_intercept": coef[:, 0],
        "expert_coef": coef[:, 1:],
        "expert_scale": np.array(case["sigma"])[order],
    }
    if case["gate"] == "softmax":
        params["gate_coef"] = gate[:, 1:] - gate[-1, 1:]
    return ConditionalMixture(
        case["gate"], GaussianExpert(degree=case["degree"]), params, n_features=len(case["features"])
    )


def _data(case):
    frame = pd.read_csv(HERE.parent / "reference" / "peers" / case["data"])
    return frame[case["features"]].to_numpy(dtype=float), frame[case["response"]].to_numpy(dtype=float)


def _expected(case, order):
    """The reference's errors in moestat's order: gate by expert, coefficients by expert, log scales."""
    K, p = len(case["sigma"]), len(case["expert_coef"])
    q = len(np.atleast_2d(case["gate_coef"]))
    errors = np.array(case["se"])
    gate = errors[: q * (K - 1)].reshape(K - 1, q)[np.array(order[:-1]) - 1]
    coef = errors[q * (K - 1) : -K].reshape(K, p)[order]
    return np.r_[gate.ravel(), coef.ravel(), errors[-K:][order]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_observed_errors(case):
    K = len(case["sigma"])
    order = [*range(1, K), 0]  # the reference's first expert, whose gate it sets to zero, comes last
    X, y = _data(case)
    results = infer(_mixture(case, order), X, y)
    assert_allclose(results.llf, case["loglik"], atol=1e-8)
    assert_allclose(results.bse, _expected(case, order), rtol=1e-4)
    assert results.rank == results.df_model == len(case["se"])


@pytest.mark.parametrize("case", [CASES[-1]], ids=lambda case: case["name"])
def test_another_expert_as_reference_gives_contrasts_of_the_gate(case):
    """Changing the expert whose gate is zero is a linear map of the gate: its errors are those of contrasts."""
    X, y = _data(case)
    order = [1, 2, 3, 0]
    other = infer(_mixture(case, [0, 1, 2, 3]), X, y)
    contrasts = ["gate[2]:x1 - gate[1]:x1", "gate[3]:x1 - gate[1]:x1", "-gate[1]:x1"]
    assert_allclose(other.t_test(contrasts).sd, _expected(case, order)[[1, 7, 13]], rtol=1e-4)
    assert_allclose(infer(_mixture(case, order), X, y).bse[["gate[1]:x1"]], other.t_test(contrasts[0]).sd, rtol=1e-8)


@pytest.mark.parametrize(
    ("x_unit", "x_shift", "y_unit"),
    [(1e6, 0.0, 1.0), (1.0, 0.0, 1e-6), (1e-6, 0.0, 1e9), (3.0, 1e4, 1.0), (1e-3, 2e3, 1e-6)],
)
def test_errors_follow_the_units(x_unit, x_shift, y_unit):
    """x in other units and from another origin, y in other units: slopes, scales and log-odds change as they must."""
    case = next(case for case in CASES if case["name"] == "sim_gauss_n1e3_d1_k2")
    X, y = _data(case)
    plain = infer(_mixture(case, [1, 0]), X, y)
    moved = {**case, "sigma": (np.array(case["sigma"]) * y_unit).tolist()}
    gate, coef = np.array(case["gate_coef"]), np.array(case["expert_coef"]) * y_unit
    for table in (gate, coef):
        table[1] /= x_unit
        table[0] -= table[1] * x_shift
    moved["gate_coef"], moved["expert_coef"] = gate, coef
    results = infer(_mixture(moved, [1, 0]), X * x_unit + x_shift, y * y_unit)
    unit = {"gate[1]:x1": 1 / x_unit, "expert[1]:x1": y_unit / x_unit, "expert[2]:x1": y_unit / x_unit}
    unit |= {"expert[1]:log_scale": 1.0, "expert[2]:log_scale": 1.0}
    assert results.rank == 8
    for name, factor in unit.items():
        assert_allclose(results.bse[name], plain.bse[name] * factor, rtol=1e-6)
    # The old intercept is a contrast of the new parameters.
    back = results.t_test(f"expert[1]:Intercept + {x_shift} * expert[1]:x1")
    assert_allclose(back.sd[0], plain.bse["expert[1]:Intercept"] * y_unit, rtol=1e-6)
    assert_allclose(results.llf, plain.llf - len(y) * np.log(y_unit), rtol=1e-9)
