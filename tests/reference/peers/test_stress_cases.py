"""Hostile inputs on which R packages crash, drop experts or climb spikes (``stress`` in peers.json)."""

from __future__ import annotations

import json
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moestat.fitting import FittedMixture, fit_mixture
from moestat.mixture import ConditionalMixture

HERE = Path(__file__).parent
STRESS: dict[str, dict[str, Any]] = {c["name"]: c for c in json.loads((HERE / "peers.json").read_text())["stress"]}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    table = np.genfromtxt(HERE / STRESS[name]["data"], delimiter=",", skip_header=1)
    return table[:, :1], table[:, 1]


@cache
def fit(name: str) -> tuple[FittedMixture, str]:
    """The default softmax fit and everything it said: messages, status, warnings."""
    X, y = load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit_mixture(X, y, n_experts=STRESS[name]["n_experts"], rng=np.random.default_rng(7))
    said = [*map(str, fitted.result.messages), str(fitted.result.status.value), *(str(w.message) for w in caught)]
    return fitted, " | ".join(said)


def best_peer(name: str) -> float:
    return max(v for v in STRESS[name]["peers"].values() if isinstance(v, float))


def assert_finite(fitted: FittedMixture, X: np.ndarray, y: np.ndarray) -> None:
    assert np.isfinite(fitted.result.loglik)
    for key, value in fitted.mixture.params.items():
        assert np.all(np.isfinite(value)), key
    assert np.all(np.isfinite(fitted.mixture.log_density(X, y)))


@pytest.mark.parametrize("name", ["NA_in_x", "NA_in_y"])
def test_missing_values_are_a_clear_error(name: str) -> None:
    X, y = load(name)
    with pytest.raises(ValueError, match=r"(?i)nan|missing"):
        fit_mixture(X, y, n_experts=2)


@pytest.mark.parametrize("name", ["baseline", "separable_gate", "unscaled_x_1e6", "tiny_scale_y_1e6"])
def test_loglik_is_at_least_the_best_peers(name: str) -> None:
    fitted, _ = fit(name)
    assert_finite(fitted, *load(name))
    # the packages' own figures for these are printed before their last step; 1e-6 of a nat is what they can carry
    assert fitted.result.loglik >= best_peer(name) - 1e-6


def test_scale_of_the_features_does_not_matter() -> None:
    assert fit("unscaled_x_1e6")[0].result.loglik == pytest.approx(fit("baseline")[0].result.loglik, abs=1e-7)


def test_scale_of_the_response_shifts_the_loglik() -> None:
    shift = len(load("baseline")[1]) * np.log(1e6)
    assert fit("tiny_scale_y_1e6")[0].result.loglik - shift == pytest.approx(fit("baseline")[0].result.loglik, abs=1e-7)


def test_outlier_keeps_both_experts_and_the_peers_higher_value_is_a_spike() -> None:
    fitted, said = fit("outlier_y_1000")
    X, y = load("outlier_y_1000")
    assert_finite(fitted, X, y)
    assert fitted.result.floored
    assert "floor" in said
    # without the floor there is no maximum: one line for all, and an ever narrower spike on the outlier
    outlier = int(np.argmax(y))
    slope, intercept = np.polyfit(np.delete(X[:, 0], outlier), np.delete(y, outlier), 1)
    residual = np.delete(y - intercept - slope * X[:, 0], outlier)
    logliks = []
    for width in (1e-3, 1e-9, 1e-30):
        params = {
            "gate_intercept": [np.log(len(y) - 1.0), 0.0],
            "gate_coef": [[0.0], [0.0]],
            "expert_intercept": [intercept, y[outlier]],
            "expert_coef": [[slope], [0.0]],
            "expert_scale": [np.std(residual), width],
        }
        logliks.append(np.sum(ConditionalMixture(params=params).log_density(X, y)))
    assert np.all(np.diff(logliks) > 10.0)
    assert logliks[-1] > best_peer("outlier_y_1000")


def test_fewer_rows_than_parameters_is_an_error_or_is_named() -> None:
    X, y = load("tiny_n12_K4")
    try:
        fitted, said = fit("tiny_n12_K4")
    except ValueError as refusal:
        message = str(refusal)
    else:
        assert_finite(fitted, X, y)
        assert not fitted.result.certificate.certified or "floor" in said
        message = said
    assert re.search(r"rows|floor", message)


def test_separated_gate_is_reported_with_its_direction() -> None:
    fitted, said = fit("separable_gate")
    X, y = load("separable_gate")
    assert "separat" in said
    assert "gate_l2" in said
    assert np.max(np.abs(fitted.mixture.params["gate_coef"])) < 1e6
    direction = fitted.result.separation
    assert direction is not None
    assert direction.shape == (2, 2)
    # further along the direction the likelihood never falls, and what it gains in all is below the tolerance
    logliks = [
        np.sum(along(fitted.mixture, length * direction / np.max(np.abs(direction))).log_density(X, y))
        for length in (0.0, 1.0, 10.0, 100.0)
    ]
    assert np.all(np.diff(logliks) >= -1e-10)
    assert logliks[-1] - logliks[0] <= 1e-6


def along(mixture: ConditionalMixture, gate_change: np.ndarray) -> ConditionalMixture:
    """The mixture with ``gate_change`` (K, 1 + d), intercept first, added to its gate."""
    params = mixture.params | {
        "gate_intercept": mixture.params["gate_intercept"] + gate_change[:, 0],
        "gate_coef": mixture.params["gate_coef"] + gate_change[:, 1:],
    }
    return ConditionalMixture(gate=mixture.gate, expert=mixture.expert, params=params)


def test_points_exactly_on_a_line_name_the_expert_on_the_floor() -> None:
    fitted, said = fit("points_exactly_on_a_line")
    X, y = load("points_exactly_on_a_line")
    assert_finite(fitted, X, y)
    scale = fitted.mixture.params["expert_scale"]
    expert = int(np.argmin(scale)) + 1
    assert scale[expert - 1] < 1e-2 * np.std(y)
    assert expert in fitted.result.floored
    assert "floor" in said
    assert str(expert) in said


def test_six_experts_on_two_lines() -> None:
    fitted, _ = fit("overspecified_K6")
    X, y = load("overspecified_K6")
    assert_finite(fitted, X, y)
    assert fitted.mixture.n_experts == 6  # none is dropped silently
    assert fitted.result.loglik >= STRESS["overspecified_K6"]["peers"]["depmixS4"] - 1e-6
    assert fitted.result.loglik >= fit("baseline")[0].result.loglik


def test_six_experts_from_local_lines_beat_every_peer() -> None:
    X, y = load("overspecified_K6")
    fitted = fit_mixture(X, y, n_experts=6, init="lines", n_init=100, rng=np.random.default_rng(1))
    assert not fitted.result.floored
    assert fitted.result.loglik >= best_peer("overspecified_K6") - 1e-6
