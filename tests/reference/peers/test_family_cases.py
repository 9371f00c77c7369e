"""R packages on counts and classes: moestat's own starts are never below the best of them (see README.md)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moestat.experts import MultinomialExpert, PoissonExpert
from moestat.fitting import FittedMixture, fit_mixture
from moestat.inference import infer
from moestat.mixture import ConditionalMixture
from moestat.solvers.base import Status

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {c["name"]: c for c in json.loads((HERE / "families.json").read_text())["cases"]}
EXPERTS = {"poisson": PoissonExpert(), "multinomial": MultinomialExpert(n_classes=3)}
REFERENCES = [
    (name, key) for name, case in CASES.items() for key in case if key.startswith("reference") and "se" in case[key]
]


@cache
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and response of a case. Classes are numbered backwards, as R's reference class is the first and ours the last."""
    case = CASES[name]
    table = np.genfromtxt(HERE / case["data"], delimiter=",", names=True)
    y = table[case["response"]]
    return np.column_stack([table[c] for c in case["features"]]), y if case["expert"] == "poisson" else y.max() - y


def model(case: dict[str, Any]) -> dict[str, Any]:
    features = {key: case[key] for key in ("gate_features", "expert_features")}
    return {"gate": case["gate"], "expert": EXPERTS[case["expert"]], **features}


@cache
def fit(name: str, seed: int = 2026) -> FittedMixture:
    """One fit from moestat's own starts."""
    X, y = load(name)
    case = CASES[name]
    return fit_mixture(X, y, case["n_experts"], **model(case), rng=np.random.default_rng(seed))


def reference_mixture(name: str, key: str) -> ConditionalMixture:
    """An independent maximum as a mixture; its experts backwards, so that the gate that R sets to zero is ours as well."""
    case = CASES[name]
    gate, coef = (np.moveaxis(np.array(case[key][part]), (0, -1), (-1, 0))[::-1] for part in ("gate", "coef"))
    coef = coef[:, ::-1] if coef.ndim == 3 else coef  # (K, p), or classes (K, C - 1, p) backwards
    return ConditionalMixture(
        **model(case),
        params={
            "gate_intercept": gate[:, 0],
            "gate_coef": gate[:, 1:],
            "expert_intercept": coef[..., 0],
            "expert_coef": coef[..., 1:],
        },
        n_features=len(case["features"]),
    )


def reference_errors(name: str, key: str) -> np.ndarray:
    """The reference's standard errors in the order of `reference_mixture`."""
    case = CASES[name]
    errors, k = np.array(case[key]["se"]), case["n_experts"]
    q = len(case[key]["gate"])
    gate, coef = errors[: q * (k - 1)].reshape(k - 1, q)[::-1], errors[q * (k - 1) :]
    coef = coef.reshape(k, *np.array(case[key]["coef"]).shape[-2:0:-1], -1)[::-1]
    return np.concatenate([gate.ravel(), (coef[:, ::-1] if coef.ndim == 3 else coef).ravel()])


@pytest.mark.parametrize("name", CASES)
def test_loglik_is_at_least_the_best_peers(name: str) -> None:
    fitted, case = fit(name), CASES[name]
    X, y = load(name)
    own = float(fitted.mixture.log_density(X, y).sum())
    assert own == pytest.approx(fitted.result.loglik, rel=1e-12)
    assert own >= case["best_peer_loglik"] - 1e-6
    assert np.abs(fitted.mixture.scores(X, y).sum(axis=0)).max() <= 1e-6 * len(y)
    if "published" in case:
        assert own >= case["published"]["loglik"] - 1e-4
    if case.get("reference_best_known", {}).get("regular"):
        assert fitted.result.certificate.certified
        assert own == pytest.approx(case["reference_best_known"]["loglik"], abs=1e-9)


def test_where_the_best_peer_is_on_its_way_to_infinity_moestat_says_so() -> None:
    """The peer's best run of the multinomial case has no maximum: a class of one expert is separated from the others."""
    for seed in range(3):
        fitted = fit("sim_mnl_n1e3_d2_k2_c3_rand", seed)
        assert fitted.result.loglik >= CASES["sim_mnl_n1e3_d2_k2_c3_rand"]["best_peer_loglik"] - 1e-6
        assert fitted.result.status is Status.SEPARATED or not fitted.result.converged
        assert any("infinite coefficients" in message for message in fitted.result.messages)


@pytest.mark.parametrize(("name", "key"), REFERENCES)
def test_independent_maxima_are_maxima_with_the_same_errors(name: str, key: str) -> None:
    X, y = load(name)
    case, reference = CASES[name], reference_mixture(name, key)
    assert reference.log_density(X, y).sum() == pytest.approx(case[key]["loglik"], abs=1e-9)
    fitted = fit_mixture(X, y, case["n_experts"], **model(case), init=reference.params)
    assert fitted.result.certificate.certified
    assert fitted.result.loglik == pytest.approx(case[key]["loglik"], abs=1e-9)
    results = infer(reference, X, y)
    # theirs are by differences of the score
    np.testing.assert_allclose(results.bse, reference_errors(name, key), rtol=2e-5)


def test_the_given_start_leads_to_its_own_maximum() -> None:
    """Multinomial experts from nine tenths of the given labels: flexmix's basin, and its maximum."""
    name = "sim_mnl_n1e3_d2_k2_c3_near"
    X, y = load(name)
    label = np.genfromtxt(HERE / CASES[name]["data"], delimiter=",", names=True)["init_near"]
    resp = np.where(label[:, None] == [1, 2], 0.9, 0.1)
    fitted = fit_mixture(X, y, 2, **model(CASES[name]), init=resp)
    assert fitted.result.certificate.certified
    assert fitted.result.loglik == pytest.approx(CASES[name]["reference_from_given_start"]["loglik"], abs=1e-9)
