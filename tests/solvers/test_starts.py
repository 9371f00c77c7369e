"""Starting values: functions of the weighted empirical measure, reproducible, robust."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestat.solvers.kmeans import fill_empty, standardised
from moestat.solvers.starts import (
    START_KINDS,
    canonical_sample,
    draw_rows,
    initial_responsibilities,
    start_plan,
    weighted_kmeans,
)


def integer_data(seed: int, n: int = 15, d: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data with ties in the response and weights 0 ... 4, some of them zero."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.integers(0, 3, size=n).astype(float), rng.integers(0, 5, size=n).astype(float)


def brute_force_sample(X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> list[tuple[tuple[float, ...], float]]:
    """Merged and sorted rows by a dictionary."""
    rows: dict[tuple[float, ...], float] = {}
    for xi, yi, wi in zip(X, y.reshape(len(y), -1), weight, strict=True):
        if wi > 0:
            rows[(*yi, *xi)] = rows.get((*yi, *xi), 0.0) + wi
    return sorted(rows.items())


@pytest.mark.parametrize("responses", [1, 2])
def test_canonical_sample_is_the_sorted_merged_measure(responses: int) -> None:
    rng = np.random.default_rng(1)
    X = rng.integers(0, 3, size=(200, 2)).astype(float)
    y = rng.integers(0, 3, size=(200, responses)).astype(float)
    weight = rng.integers(0, 4, size=200).astype(float)
    X_s, y_s, w_s = canonical_sample(X, y, weight)
    expected = brute_force_sample(X, y, weight)
    assert [(*yi, *xi) for xi, yi in zip(X_s, y_s, strict=True)] == [row for row, _ in expected]
    assert w_s.tolist() == [w for _, w in expected]


@pytest.mark.parametrize("size", [4, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_weight_is_repetition_and_order_does_not_matter(seed: int, size: int) -> None:
    X, y, weight = integer_data(seed, n=40, d=3)
    X[20:] = X[:20]  # repeated rows in the data themselves
    y[20:] = y[:20]
    reference = canonical_sample(X, y, weight, size)
    repeated = np.repeat(np.arange(40), weight.astype(int))
    shuffled = np.random.default_rng(seed).permutation(repeated)
    for rows in (repeated, shuffled):
        other = canonical_sample(X[rows], y[rows], np.ones(rows.size), size)
        for a, b in zip(reference, other, strict=True):
            assert np.array_equal(a, b)
    order = np.random.default_rng(seed).permutation(40)
    for a, b in zip(reference, canonical_sample(X[order], y[order], weight[order], size), strict=True):
        assert np.array_equal(a, b)


def test_subsample_is_the_inverse_distribution_function() -> None:
    rng = np.random.default_rng(2)
    y = rng.permutation(1000).astype(float)
    X_s, y_s, w_s = canonical_sample(y[:, None] + 0.5, y, np.full(1000, 0.1), size=100)
    # Strata of ten rows: position (j + 1/2) / 100 is the boundary between rows 10 j + 4 and 10 j + 5.
    assert y_s.ravel().tolist() == [10.0 * j + 5.0 for j in range(100)]
    assert np.array_equal(X_s, y_s + 0.5)
    assert np.allclose(w_s, 1.0, rtol=1e-12)


def test_subsample_keeps_the_moments() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(50_000, 2))
    y = X[:, 0] + rng.normal(size=50_000)
    weight = rng.gamma(2.0, size=50_000)
    X_s, y_s, w_s = canonical_sample(X, y, weight, size=2000)
    assert len(X_s) <= 2000
    assert w_s.sum() == pytest.approx(weight.sum(), rel=1e-12)
    # Stratified in y, so the error of its mean is far below the 1/sqrt(2000) of a plain sample.
    assert np.average(y_s[:, 0], weights=w_s) == pytest.approx(np.average(y, weights=weight), abs=2e-3)
    assert np.average(X_s[:, 1], weights=w_s) == pytest.approx(0.0, abs=0.1)


def test_draw_rows_skips_zero_weight_and_follows_the_weights() -> None:
    weight = np.array([0.0, 2.0, 0.0, 1.0, 0.0])
    rows = draw_rows(weight, (np.arange(300) + 0.5) / 300)
    assert np.bincount(rows, minlength=5).tolist() == [0, 200, 0, 100, 0]
    assert draw_rows(weight, np.array([0.0, np.nextafter(1.0, 0.0)])).tolist() == [1, 3]


def test_draws_on_a_boundary_do_not_depend_on_rounding() -> None:
    u = np.arange(10) / 10
    for scale in (1.0, 0.1, 1 / 3, 1e-12, 1e12):
        assert draw_rows(np.full(10, scale), u).tolist() == list(range(10))


def test_all_zero_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="weight is zero on all 2 rows"):
        canonical_sample(np.ones((2, 1)), np.ones(2), np.zeros(2))


@pytest.mark.parametrize("kind", START_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_responsibilities_are_functions_of_the_measure(kind: str, seed: int) -> None:
    X, y, weight = integer_data(seed)
    rows = np.random.default_rng(seed).permutation(np.repeat(np.arange(15), weight.astype(int)))
    answers = [
        initial_responsibilities(kind, *canonical_sample(X[r], y[r], w), 2, np.random.default_rng(7))
        for r, w in ((np.arange(15), weight), (rows, np.ones(rows.size)), (np.arange(15)[::-1], 0.3 * weight[::-1]))
    ]
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])  # the same measure up to its total mass


@pytest.mark.parametrize("kind", START_KINDS)
def test_labels_do_not_turn_on_rounding(kind: str) -> None:
    X, y, w = canonical_sample(*integer_data(11, n=200, d=2))
    X = np.round(X, 1)  # many exact ties in the distances
    noisy = w * (1.0 + 1e-13 * np.random.default_rng(0).normal(size=w.size))
    first = initial_responsibilities(kind, X, y, w, 4, np.random.default_rng(3))
    second = initial_responsibilities(kind, X, y, noisy, 4, np.random.default_rng(3))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", START_KINDS)
def test_responsibilities_are_reproducible_and_soft(kind: str) -> None:
    rng = np.random.default_rng(5)
    X, y, w = canonical_sample(rng.normal(size=(300, 2)), rng.normal(size=(300, 2)), np.ones(300))
    resp = [initial_responsibilities(kind, X, y, w, 3, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert np.array_equal(resp[0], resp[1])
    assert not np.array_equal(resp[0], resp[2])
    assert resp[0].min() > 0
    assert np.allclose(resp[0].sum(axis=0), 1.0, rtol=1e-14)
    assert np.all(np.bincount(resp[0].argmax(axis=0), minlength=3) > 0)


def test_kmeans_finds_separated_clusters_and_its_cost_is_that_of_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(6)
    Z = np.vstack([rng.normal(c, 0.3, size=(60, 2)) for c in ([0, 0], [4, 0], [0, 4], [4, 4])])
    weight = rng.gamma(3.0, size=240)
    reference = KMeans(4, n_init=5, random_state=0).fit(Z, sample_weight=weight)
    labels = weighted_kmeans(Z, weight, 4, np.random.default_rng(0))
    centres = np.array([np.average(Z[labels == k], axis=0, weights=weight[labels == k]) for k in range(4)])
    assert weight @ np.sum((Z - centres[labels]) ** 2, axis=1) == pytest.approx(reference.inertia_, rel=1e-8)


def test_lines_find_crossing_lines() -> None:
    rng = np.random.default_rng(8)
    x = rng.uniform(-1, 1, size=400)
    line = rng.integers(2, size=400)
    X, y, w = canonical_sample(
        x[:, None], np.where(line, 1.5 * x, -1.5 * x) + 0.02 * rng.normal(size=400), np.ones(400)
    )
    truth = X[:, 0] * y[:, 0] > 0
    agreement = [
        abs(np.mean((initial_responsibilities("lines", X, y, w, 2, np.random.default_rng(s))[0] > 0.5) == truth) - 0.5)
        for s in range(10)
    ]
    assert max(agreement) > 0.4


def test_residual_kind_takes_a_given_residual() -> None:
    X = np.zeros((40, 1))
    residual = np.r_[np.zeros(20), np.ones(20)]
    resp = initial_responsibilities(
        "residuals", X, np.arange(40.0), np.ones(40), 2, np.random.default_rng(0), residual=residual
    )
    assert np.array_equal(resp[0] > 0.5, (residual == residual[0])) or np.array_equal(resp[0] > 0.5, residual == 1)


def test_too_few_distinct_rows_is_an_error() -> None:
    X, y, w = canonical_sample(np.ones((9, 1)), np.repeat([0.0, 1.0, 2.0], 3), np.ones(9))
    for kind in START_KINDS:
        with pytest.raises(ValueError, match="3 distinct rows of positive weight for 4 experts"):
            initial_responsibilities(kind, X, y, w, 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 distinct rows"):
        weighted_kmeans(X, w, 4, np.random.default_rng(0))


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="'spectral'"):
        initial_responsibilities("spectral", np.ones((2, 1)), np.ones(2), np.ones(2), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="'spectral'"):
        start_plan("spectral", 3)
    with pytest.raises(ValueError, match="n_init is 0"):
        start_plan("kmeans", 0)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(START_KINDS),
    n=st.integers(1, 12),
    d=st.integers(0, 4),
    K=st.integers(1, 5),
    exponent=st.sampled_from([-300, -8, 0, 8, 300]),
    constant=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_odd_data_give_finite_responsibilities_or_a_clear_error(
    kind: str, n: int, d: int, K: int, exponent: int, constant: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, size=(n, d)) * 10.0**exponent
    y = np.full(n, 3.0) if constant else rng.integers(-1, 2, size=n) * 10.0**exponent
    X_s, y_s, w_s = canonical_sample(X, y, rng.choice([1e-200, 1.0, 1e6], size=n))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if len(X_s) < K:
            with pytest.raises(ValueError, match="distinct rows"):
                initial_responsibilities(kind, X_s, y_s, w_s, K, rng)
            return
        resp = initial_responsibilities(kind, X_s, y_s, w_s, K, rng)
    assert resp.shape == (K, len(X_s))
    assert np.allclose(resp.sum(axis=0), 1.0)
    assert np.all(np.bincount(resp.argmax(axis=0), minlength=K) > 0)


def test_standardised_has_unit_moments_and_zero_constants() -> None:
    rng = np.random.default_rng(9)
    values = np.column_stack([1e200 * rng.normal(size=50), 1e8 + rng.normal(size=50), np.full(50, 0.1)])
    weight = rng.gamma(2.0, size=50)
    z = standardised(values, weight)
    assert np.average(z, axis=0, weights=weight) == pytest.approx(0.0, abs=1e-7)
    assert np.average(z**2, axis=0, weights=weight) == pytest.approx([1.0, 1.0, 0.0], rel=1e-6)


def test_fill_empty_leaves_no_label_unused() -> None:
    labels = fill_empty(np.array([0, 0, 0, 0, 2]), np.full(5, 0.2), 4)
    assert np.bincount(labels, minlength=4).tolist() == [1, 2, 1, 1]


def test_plan_is_diverse_only_for_kmeans() -> None:
    plan = start_plan("kmeans", 10)
    assert plan[0] == "kmeans"
    assert len(plan) == 10
    assert set(plan) == set(START_KINDS)
    assert start_plan("random", 3) == ["random"] * 3


def test_fill_empty_splits_a_cluster_of_negligible_weight() -> None:
    labels = fill_empty(np.array([0, 1, 1]), np.array([1.0, 1e-200, 1e-200]), 3)
    assert np.bincount(labels, minlength=3).tolist() == [1, 1, 1]
