"""What an estimator takes: frames and names, column selections, several responses, starts, seeds, nested parameters, pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import moestat as ms
from moestat.exceptions import ConvergenceWarning
from moestat.experts import GaussianExpert
from moestat.gates import ConstantGate, SoftmaxGate


def data(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two lines in the first column, a soft gate in the second, a third that does nothing."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, (n, 3))
    first = 3.0 * X[:, 1] + rng.logistic(size=n) > 0.0
    return X, np.where(first, 2.0 + X[:, 0], -2.0 - X[:, 0]) + 0.5 * rng.normal(size=n)


def test_frames_of_pandas_and_polars_give_the_fit_of_the_array() -> None:
    X, y = data()
    names = ["dose", "age", "noise"]
    plain = ms.MoERegressor(random_state=0).fit(X, y)
    for frame in (pd.DataFrame(X, columns=names), pl.DataFrame(X, schema=names)):
        est = ms.MoERegressor(random_state=0).fit(
            frame, pd.Series(y) if isinstance(frame, pd.DataFrame) else pl.Series(y)
        )
        np.testing.assert_array_equal(est.predict(frame), plain.predict(X))
        assert est.feature_names_in_.tolist() == names
        assert est.model_.free_names()[:4] == ["gate[1]:Intercept", "gate[1]:dose", "gate[1]:age", "gate[1]:noise"]
        with pytest.raises(ValueError, match="feature names"):
            est.predict(pd.DataFrame(X[:, ::-1], columns=names[::-1]))
    assert not hasattr(plain, "feature_names_in_")


@pytest.mark.parametrize(
    ("gate_features", "expert_features"),
    [
        (["age"], ["dose"]),
        ([1], [0]),
        (slice(1, 2), slice(0, 1)),
        ([False, True, False], [True, False, False]),
        ("age", "dose"),
    ],
)
def test_columns_by_name_number_slice_or_mask(gate_features: Any, expert_features: Any) -> None:
    X, y = data()
    frame = pd.DataFrame(X, columns=["dose", "age", "noise"])
    est = ms.MoERegressor(gate_features=gate_features, expert_features=expert_features, random_state=0).fit(frame, y)
    assert est.gate_coef_.shape == est.expert_coef_.shape == (2, 1)
    moved = frame.assign(noise=99.0)
    np.testing.assert_array_equal(est.predict(moved), est.predict(frame))
    np.testing.assert_array_equal(est.gate_proba(frame.assign(dose=0.3)), est.gate_proba(frame))


@pytest.mark.parametrize("bad", [["nobody"], [7], [True, False]])
def test_columns_that_do_not_exist_are_errors(bad: Any) -> None:
    X, y = data(50)
    with pytest.raises(ValueError, match="gate_features"):
        ms.MoERegressor(gate_features=bad).fit(pd.DataFrame(X, columns=["a", "b", "c"]), y)


def test_names_without_a_frame_are_an_error() -> None:
    X, y = data(50)
    with pytest.raises(ValueError, match="no column names"):
        ms.MoERegressor(gate_features=["a"]).fit(X, y)


def test_grid_search_over_components_and_numbers() -> None:
    X, y = data(200)
    grid = {"gate__equal": [True, False], "expert__degree": [0, 1], "n_experts": [1, 2]}
    est = ms.MoERegressor(gate=ConstantGate(), expert=GaussianExpert(), n_init=2, random_state=0)
    search = GridSearchCV(est, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.gate == ConstantGate(equal=search.best_params_["gate__equal"])
    assert best.expert.degree == search.best_params_["expert__degree"]
    assert est.gate == ConstantGate()  # the object that was given is not changed


def test_nested_parameters() -> None:
    gate = ConstantGate()
    est = ms.MoERegressor(gate=gate, expert=GaussianExpert())
    est.set_params(gate__equal=True, expert__degree=3, n_experts=4)
    assert (est.gate, est.expert.degree, est.n_experts) == (ConstantGate(equal=True), 3, 4)
    assert gate == ConstantGate()
    assert est.get_params()["expert__degree"] == 3
    est.set_params(gate=SoftmaxGate())
    for wrong in ({"gate__equal": True}, {"expert__nothing": 1}, {"nothing": 1}, {"n_experts__x": 1}):
        with pytest.raises(ValueError, match="parameter"):
            est.set_params(**wrong)
    with pytest.raises(ValueError, match="component object"):
        ms.MoERegressor(gate="constant").set_params(gate__equal=True)


def test_pipeline_and_cross_validation() -> None:
    X, y = data()
    plain = ms.GaussianMoERegressor(random_state=0).fit(X, y)
    piped = make_pipeline(StandardScaler(), ms.GaussianMoERegressor(random_state=0)).fit(X, y)
    np.testing.assert_allclose(piped.predict(X), plain.predict(X), rtol=1e-6, atol=1e-6)
    scores = cross_val_score(piped, X, y, cv=3)
    assert (scores > 0.3).all()


def test_sample_weight_is_routed() -> None:
    X, y = data(120)
    weight = np.random.default_rng(1).integers(0, 3, 120)
    with sklearn.config_context(enable_metadata_routing=True):
        est = ms.MoERegressor(random_state=0).set_fit_request(sample_weight=True)
        routed = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), est).fit(
            X, y, sample_weight=weight
        )
    scaler = StandardScaler().fit(X)
    direct = ms.MoERegressor(random_state=0).fit(scaler.transform(X), y, sample_weight=weight)
    np.testing.assert_allclose(routed.predict(X), direct.predict(scaler.transform(X)))


def test_warm_start_begins_at_the_last_fit() -> None:
    X, y = data()
    est = ms.MoERegressor(random_state=0, warm_start=True).fit(X, y)
    first, steps = est.loglik_, est.n_iter_
    est.fit(X, y)
    assert est.result_.certificate.n_starts == 1
    assert est.n_iter_ < steps or est.n_iter_ <= 2
    assert est.loglik_ == pytest.approx(first, rel=1e-12)
    one = est.set_params(n_experts=1).fit(X, y)  # the last fit is no start: as without warm_start
    assert one.loglik_ == ms.MoERegressor(1, random_state=0).fit(X, y).loglik_


@pytest.mark.parametrize(
    "make", [lambda: 3, lambda: np.int64(3), lambda: np.random.default_rng(3), lambda: np.random.RandomState(3)]
)
def test_kinds_of_random_state(make: Any) -> None:
    X, y = data(100)
    one, two = (ms.MoERegressor(random_state=make(), n_init=3).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    np.testing.assert_array_equal(one.sample(X, random_state=make()), two.sample(X, random_state=make()))


def test_global_randomness_is_neither_used_nor_changed() -> None:
    X, y = data(100)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    est = ms.MoERegressor().fit(X, y)
    est.sample(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert not np.array_equal(est.sample(X), est.sample(X))


@pytest.mark.parametrize("bad", ["seed", 1.5, -1])
def test_bad_random_state_is_an_error(bad: Any) -> None:
    X, y = data(60)
    with pytest.raises(ValueError, match="random_state"):
        ms.MoERegressor(random_state=bad).fit(X, y)


def test_column_response_keeps_its_shape() -> None:
    X, y = data(200)
    flat = ms.MoERegressor(random_state=0).fit(X, y)
    column = ms.MoERegressor(random_state=0).fit(X, y[:, None])
    assert column.predict(X).shape == (200, 1)
    np.testing.assert_allclose(column.predict(X)[:, 0], flat.predict(X), rtol=1e-6, atol=1e-8)
    assert column.loglik_ == pytest.approx(flat.loglik_, rel=1e-10)
    np.testing.assert_allclose(
        column.predict_quantile(X, [0.1, 0.9]), flat.predict_quantile(X, [0.1, 0.9]), rtol=1e-6, atol=1e-6
    )


def test_several_responses() -> None:
    X, y = data(300)
    Y = np.column_stack([y, 3.0 * y + np.random.default_rng(2).normal(size=300)])
    est = ms.GaussianMoERegressor(random_state=0).fit(X, Y)
    assert est.predict(X).shape == est.predict_std(X).shape == est.sample(X).shape == (300, 2)
    assert est.expert_coef_.shape == (2, 2, 3)
    assert est.log_density(X, Y).shape == (300,)
    assert est.log_density(X, Y).sum() == pytest.approx(est.loglik_, rel=1e-10)
    assert 0.3 < est.score(X, Y) < 1.0
    with pytest.raises(ValueError, match="one response"):
        est.predict_quantile(X, 0.5)


def test_start_from_parameters_and_from_responsibilities() -> None:
    X, y = data()
    reference = ms.MoERegressor(random_state=0).fit(X, y)
    swapped = reference.model_.permuted([1, 0])
    again = ms.MoERegressor(init=swapped.params).fit(X, y)
    assert again.result_.certificate.n_starts == 1
    assert again.loglik_ == pytest.approx(reference.loglik_, rel=1e-12)
    np.testing.assert_allclose(again.predict(X), reference.predict(X), rtol=1e-6, atol=1e-8)
    soft = ms.MoERegressor(init=reference.responsibilities(X, y)).fit(X, y)
    assert soft.loglik_ == pytest.approx(reference.loglik_, rel=1e-12)
    for bad in ({"gate_coef": 1.0}, np.ones((3, 2)), -np.ones((300, 2)), "nothing"):
        with pytest.raises(ValueError, match=r"init|params"):
            ms.MoERegressor(init=bad).fit(X, y)


def test_iteration_limit_warns_with_what_to_do() -> None:
    X, y = data()
    with pytest.warns(ConvergenceWarning, match=r"max_iter.*Newton decrement"):
        est = ms.MoERegressor(max_iter=1, solver="em", n_init=1, random_state=0).fit(X, y)
    assert not est.converged_
    assert np.isfinite(est.predict(X)).all()


def test_threads_do_not_change_the_fit() -> None:
    X, y = data(20_000)
    one, two = (ms.MoERegressor(random_state=0, n_jobs=n, n_init=2).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    assert one.loglik_ == two.loglik_
    with pytest.raises(ValueError, match="n_jobs"):
        ms.MoERegressor(n_jobs=0).fit(X[:50], y[:50])


def test_box_is_kept() -> None:
    X, y = data()
    est = ms.MoERegressor(box={"expert_scale": (0.6, 5.0)}, random_state=0).fit(X, y)
    assert (est.expert_scale_ >= 0.6 - 1e-12).all()
    assert est.result_.active_bounds == ("expert[1]:log_scale", "expert[2]:log_scale")
    assert est.converged_


def test_unfitted_estimators_say_so() -> None:
    X, y = data(20)
    est = ms.MoERegressor()
    for call in (
        lambda: est.predict(X),
        lambda: est.sample(X),
        lambda: est.log_density(X, y),
        lambda: est.mixing_measure_,
    ):
        with pytest.raises(Exception, match="not fitted"):
            call()
    with pytest.raises(AttributeError, match="not fitted"):
        est.gate_coef_  # noqa: B018
