"""What must not change the fit: units, repetition as weights, labels, the gate's gauge, the order of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestat.experts import GaussianExpert
from moestat.fitting import FittedMixture, fit_mixture
from moestat.mixture import ConditionalMixture

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=15)


def data(seed: int, n: int = 150, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two lines with a soft gate, separated enough for one clear maximum."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, (n, d))
    first = X[:, 0] + 0.5 * rng.logistic(size=n) > 0
    y = np.where(first, 2.0 + X.sum(axis=1), -2.0 + 0.5 * X[:, 0]) + rng.normal(size=n) * np.where(first, 0.4, 0.6)
    return X, y


def start(d: int = 1) -> dict[str, np.ndarray]:
    return {
        "gate_intercept": np.array([0.1, 0.0]),
        "gate_coef": np.vstack([np.r_[1.0, np.zeros(d - 1)], np.zeros(d)]),
        "expert_intercept": np.array([1.5, -1.5]),
        "expert_coef": np.vstack([np.full(d, 0.8), np.r_[0.3, np.zeros(d - 1)]]),
        "expert_scale": np.array([0.7, 0.7]),
    }


def fit(X: Any, y: Any, **settings_: Any) -> FittedMixture:
    """A fit so tight that two paths to one maximum agree to rounding."""
    return fit_mixture(X, y, n_experts=2, tol=1e-14, rng=np.random.default_rng(5), **settings_)


def assert_same_density(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-6)


@FEW
@given(SEEDS, st.integers(1, 3), st.floats(-6.0, 6.0), st.floats(-1e3, 1e3))
def test_affine_maps_of_the_features(seed: int, d: int, log_scale: float, shift: float) -> None:
    X, y = data(seed, d=d)
    rng = np.random.default_rng(seed + 1)
    matrix = 10.0**log_scale * (np.eye(d) + 0.2 * rng.normal(size=(d, d)))
    moved = X @ matrix + shift * 10.0**log_scale
    plain, other = fit(X, y), fit(moved, y)
    assert other.result.loglik == pytest.approx(plain.result.loglik, abs=1e-7)
    assert_same_density(other.mixture.log_density(moved, y), plain.mixture.log_density(X, y))


@FEW
@given(SEEDS, st.floats(-8.0, 8.0), st.booleans(), st.floats(-1e3, 1e3))
def test_affine_maps_of_the_response(seed: int, log_scale: float, flip: bool, shift: float) -> None:
    X, y = data(seed)
    scale = (-1.0 if flip else 1.0) * 10.0**log_scale
    moved = scale * (y + shift)
    plain, other = fit(X, y), fit(X, moved)
    moved_loglik = other.result.loglik + len(y) * np.log(abs(scale))
    assert moved_loglik == pytest.approx(plain.result.loglik, abs=1e-6)
    expected = plain.mixture.log_density(X, y) - np.log(abs(scale))
    assert_same_density(other.mixture.log_density(X, moved), expected)


@FEW
@given(SEEDS, st.floats(-8.0, 8.0), st.sampled_from(["full", "diag", "spherical"]))
def test_units_of_two_responses(seed: int, log_scale: float, covariance: str) -> None:
    X, first = data(seed)
    y = np.column_stack([first, np.random.default_rng(seed).normal(size=len(first)) - X[:, 0]])
    unit = 10.0**log_scale
    expert = GaussianExpert(covariance=covariance)
    plain, other = fit(X, y, expert=expert), fit(X, unit * y, expert=expert)
    moved_loglik = other.result.loglik + y.size * np.log(unit)
    assert moved_loglik == pytest.approx(plain.result.loglik, abs=1e-6)
    # built again from its own parameters, the mixture is the same density
    again = ConditionalMixture(gate="softmax", expert=expert, params=other.mixture.params)
    np.testing.assert_allclose(again.log_density(X, unit * y), other.mixture.log_density(X, unit * y), atol=1e-9)
    assert_same_density(again.log_density(X, unit * y), plain.mixture.log_density(X, y) - 2.0 * np.log(unit))


@FEW
@given(SEEDS, st.sampled_from(["kmeans", "random", "given"]))
def test_weights_are_repetition(seed: int, init: str) -> None:
    X, y = data(seed, n=90)
    weight = np.random.default_rng(seed).integers(0, 4, size=len(y))
    chosen: Any = start() if init == "given" else init
    weighted = fit(X, y, sample_weight=weight, init=chosen)
    repeated = fit(np.repeat(X, weight, axis=0), np.repeat(y, weight), init=chosen)
    assert weighted.result.loglik == pytest.approx(repeated.result.loglik, rel=1e-10)
    for name, value in repeated.mixture.params.items():
        np.testing.assert_allclose(weighted.mixture.params[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@FEW
@given(SEEDS, st.floats(0.05, 20.0))
def test_a_common_weight_scales_the_loglik_only(seed: int, weight: float) -> None:
    X, y = data(seed)
    plain = fit(X, y, init=start())
    weighted = fit(X, y, init=start(), sample_weight=np.full(len(y), weight))
    assert weighted.result.loglik == pytest.approx(weight * plain.result.loglik, rel=1e-9)
    assert_same_density(weighted.mixture.log_density(X, y), plain.mixture.log_density(X, y))


@FEW
@given(SEEDS)
def test_labels_do_not_matter(seed: int) -> None:
    X, y = data(seed)
    swapped = {name: value[::-1].copy() for name, value in start().items()}
    swapped["gate_coef"] = swapped["gate_coef"] - swapped["gate_coef"][-1]
    swapped["gate_intercept"] = swapped["gate_intercept"] - swapped["gate_intercept"][-1]
    plain, other = fit(X, y, init=start()), fit(X, y, init=swapped)
    assert other.result.loglik == pytest.approx(plain.result.loglik, rel=1e-11)
    assert_same_density(other.mixture.log_density(X, y), plain.mixture.log_density(X, y))
    back = plain.mixture.permuted([1, 0])
    np.testing.assert_allclose(back.log_density(X, y), plain.mixture.log_density(X, y), rtol=1e-12, atol=1e-12)


@FEW
@given(SEEDS, st.floats(-50.0, 50.0), st.floats(-50.0, 50.0))
def test_the_gauge_of_the_gate_does_not_matter(seed: int, slope: float, intercept: float) -> None:
    X, y = data(seed)
    params = start()
    moved = params | {
        "gate_coef": params["gate_coef"] + slope,
        "gate_intercept": params["gate_intercept"] + intercept,
    }
    one = ConditionalMixture(gate="softmax", expert="gaussian", params=params)
    two = ConditionalMixture(gate="softmax", expert="gaussian", params=moved)
    np.testing.assert_allclose(two.log_density(X, y), one.log_density(X, y), atol=1e-12)
    np.testing.assert_allclose(two.canonical().params["gate_coef"], one.params["gate_coef"], atol=1e-12)
    assert fit(X, y, init=moved).result.loglik == pytest.approx(fit(X, y, init=params).result.loglik, rel=1e-11)


@FEW
@given(SEEDS)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    X, y = data(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    plain, other = fit(X, y), fit(X[order], y[order])
    assert other.result.loglik == pytest.approx(plain.result.loglik, rel=1e-11)
    for name, value in plain.mixture.params.items():
        np.testing.assert_allclose(other.mixture.params[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@FEW
@given(SEEDS, st.sampled_from(["float32", "int64", "bool", "fortran", "read-only"]))
def test_the_kind_of_array_does_not_matter(seed: int, kind: str) -> None:
    X, y = data(seed, d=2)
    X = (X > 0).astype(float) if kind == "bool" else np.round(4 * X)  # exact in every kind
    given_x: np.ndarray
    if kind == "fortran":
        given_x = np.asfortranarray(X)
    elif kind == "read-only":
        given_x = X.copy()
        given_x.setflags(write=False)
    else:
        given_x = X.astype(kind)
    untouched = given_x.copy()
    plain, other = fit(X, y, init=start(2)), fit(given_x, y, init=start(2))
    assert other.result.loglik == plain.result.loglik
    np.testing.assert_array_equal(given_x, untouched)
