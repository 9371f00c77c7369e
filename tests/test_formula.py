"""Formulas: the same fit as by hand, the same coding on new data, and errors that name rows and columns."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

import moestat as ms


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    n = 240
    x, z = rng.normal(size=n), rng.normal(size=n)
    group = rng.choice(["a", "b", "c"], size=n)
    first = rng.random(n) < 1 / (1 + np.exp(-z))
    mean = np.where(first, 2 + x, -2 - x + 0.5 * x**2) + 0.3 * (group == "b")
    return pd.DataFrame(
        {"y": mean + 0.3 * rng.normal(size=n), "x": x, "z": z, "group": group}, index=range(1000, 1000 + n)
    )


def test_same_as_by_hand(frame):
    model = ms.formula("y ~ x + I(x**2)", gate="~ z", data=frame, n_experts=2, random_state=0)
    X = np.column_stack([frame["x"], frame["x"] ** 2, frame["z"]])
    hand = ms.MoERegressor(2, expert_features=[0, 1], gate_features=[2], random_state=0).fit(X, frame["y"])
    assert_allclose(model.predict(frame), hand.predict(X), rtol=1e-12)
    assert_allclose(model.loglik_, hand.loglik_, rtol=1e-12)
    assert_allclose(model.log_density(frame), hand.log_density(X, frame["y"]), rtol=1e-12)
    assert_allclose(model.score(frame), hand.score(X, frame["y"]), rtol=1e-12)
    assert model.inference().params.index.tolist()[:4] == [
        "gate[1]:Intercept",
        "gate[1]:z",
        "expert[1]:Intercept",
        "expert[1]:x",
    ]
    assert_allclose(model.inference().bse, hand.inference(X, frame["y"]).bse, rtol=1e-8)


def test_bar_and_gate_argument_are_the_same(frame):
    bar = ms.formula("y ~ x | z", data=frame, random_state=0)
    argument = ms.formula("y ~ x", gate="~ z", data=frame, random_state=0)
    assert np.array_equal(bar.predict(frame), argument.predict(frame))
    assert bar.formula == argument.formula


def test_default_gate_uses_the_columns_of_the_experts(frame):
    model = ms.formula("y ~ x + z", data=frame, random_state=0)
    hand = ms.MoERegressor(2, random_state=0).fit(frame[["x", "z"]], frame["y"])
    assert_allclose(model.gate_proba(frame), hand.gate_proba(frame[["x", "z"]]), rtol=1e-12)


def test_gate_of_one_is_a_constant_gate(frame):
    model = ms.formula("y ~ x | 1", data=frame, random_state=0)
    proba = model.gate_proba(frame)
    assert np.ptp(proba, axis=0).max() == 0.0
    hand = ms.MoERegressor(2, gate="constant", random_state=0).fit(frame[["x"]], frame["y"])
    assert_allclose(model.loglik_, hand.loglik_, rtol=1e-10)


def test_experts_without_columns(frame):
    model = ms.formula("y ~ 1 | z", data=frame, random_state=0)
    assert np.ptp(model.model_.expert_mean(np.column_stack([frame["z"]])), axis=0).max() == 0.0


def test_categories_and_centres_are_those_of_the_fit(frame):
    model = ms.formula("y ~ center(x) + group | z", data=frame, random_state=0)
    whole = model.predict(frame)
    part = frame[frame["group"] == "b"].head(3)
    assert_allclose(model.predict(part), whole[frame.index.get_indexer(part.index)], rtol=1e-12)
    assert "group[T.b]" in model.feature_names_in_
    with pytest.raises(ValueError, match=r"has not seen.*'q'"):
        model.predict(part.assign(group="q"))


def test_without_data_it_uses_that_of_the_fit(frame):
    model = ms.formula("y ~ x | z", data=frame, random_state=0)
    assert model.log_likelihood() == pytest.approx(model.loglik_, rel=1e-12)
    assert np.array_equal(model.predict(), model.predict(frame))
    assert model.bic() == model.bic(frame)


def test_copies_and_names(frame):
    model = ms.formula("y ~ center(x) + group | z", data=frame, random_state=0)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(frame.head()), model.predict(frame.head()))
    assert {"predict", "inference", "loglik_"} <= set(dir(model))
    assert "center(x) + group | 1 + z" in repr(model)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        model.nonsense  # noqa: B018


def test_missing_rows_are_named(frame):
    holes = frame.copy()
    holes.loc[[1003, 1017], "x"] = np.nan
    holes.loc[1017, "group"] = None
    holes.loc[1020, "z"] = np.nan
    with pytest.raises(ValueError, match=r"2 of 240 rows have missing values in group, x \(rows 1003, 1017\)"):
        ms.formula("y ~ x + group", data=holes)
    with pytest.raises(ValueError, match=r"3 of 240 rows .* group, x, z \(rows 1003, 1017, 1020\)"):
        ms.formula("y ~ x + group | z", data=holes)
    dropped = ms.formula("y ~ x + group | z", data=holes, na_action="drop", random_state=0)
    complete = ms.formula("y ~ x + group | z", data=holes.dropna(), random_state=0)
    assert np.array_equal(dropped.gate_coef_, complete.gate_coef_)
    with pytest.raises(ValueError, match=r"rows 1003, 1017"):
        dropped.predict(holes.head(19))
    # A response that is not needed may be missing.
    assert dropped.predict(holes.dropna().drop(columns="y")).shape == (237,)


def test_missing_values_that_the_formula_makes(frame):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="computed by the formula"):
        ms.formula("y ~ np.log(x)", data=frame)
    with np.errstate(invalid="ignore"):
        model = ms.formula("y ~ np.log(x)", data=frame, na_action="drop", random_state=0)
    assert_allclose(model.bic(), ms.formula("y ~ np.log(x)", data=frame[frame["x"] > 0], random_state=0).bic())


def test_weights_and_groups_follow_dropped_rows(frame):
    holes = frame.assign(w=np.where(np.arange(len(frame)) % 2 == 0, 1.0, 2.0), id=np.arange(len(frame)) // 4)
    holes.loc[1003, "x"] = np.nan
    model = ms.formula("y ~ x | z", data=holes, sample_weight="w", na_action="drop", random_state=0)
    rest = holes.dropna()
    hand = ms.MoERegressor(2, gate_features=["z"], expert_features=["x"], random_state=0)
    hand.fit(rest[["x", "z"]], rest["y"], sample_weight=rest["w"])
    assert_allclose(model.loglik_, hand.loglik_, rtol=1e-12)
    weighted = hand.inference(
        rest[["x", "z"]], rest["y"], cov_type="cluster", groups=rest["id"], sample_weight=rest["w"]
    )
    assert_allclose(model.inference(cov_type="cluster", groups=holes["id"]).bse, weighted.bse, rtol=1e-8)
    by_name = model.inference(rest, cov_type="cluster", groups="id", sample_weight=rest["w"])
    assert_allclose(by_name.bse, weighted.bse, rtol=1e-8)
    with pytest.raises(ValueError, match="names a column"):
        model.inference(cov_type="cluster", groups="id")


def test_save_says_what_to_use(frame, tmp_path):
    model = ms.formula("y ~ x + group | z", data=frame, random_state=0)
    with pytest.raises(TypeError, match=r"estimator_\.save\(path\).*\(x, group\[T\.b\], group\[T\.c\], z\)"):
        model.save(tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []
    coded = np.column_stack([frame["x"], frame["group"] == "b", frame["group"] == "c", frame["z"]]).astype(float)
    columns = pd.DataFrame(coded, columns=model.estimator_.feature_names_in_)
    again = ms.load(model.estimator_.save(tmp_path / "m.json"))
    assert np.array_equal(again.predict(columns), model.predict(frame))


def test_polars_and_dictionaries(frame):
    pandas = ms.formula("y ~ x + group | z", data=frame, random_state=0)
    columns = {name: frame[name].to_numpy() for name in frame}
    for other in (columns, pl.DataFrame({name: values.tolist() for name, values in columns.items()})):
        model = ms.formula("y ~ x + group | z", data=other, random_state=0)
        assert np.array_equal(model.predict(other), pandas.predict(frame))


def test_several_responses(frame):
    both = frame.assign(y2=frame["y"] ** 2 + frame["x"])
    model = ms.formula("y + y2 ~ x | z", data=both, random_state=0)
    assert model.predict(both).shape == (240, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formula": "~ x"}, "no response"),
        ({"formula": "y ~ x - 1"}, "removes the intercept"),
        ({"formula": "y ~ x | 0 + z"}, "removes the intercept"),
        ({"formula": "y ~ x | z | x"}, "3 parts"),
        ({"formula": "y ~ x | z", "gate": "~ x"}, "gate= is given"),
        ({"formula": "y ~ x", "gate": "y ~ x"}, "left-hand side"),
        ({"formula": "y ~ dose"}, "no column dose; their columns are y, x, z, group"),
        ({"formula": "y ~ x", "na_action": "omit"}, "na_action must be"),
        ({"formula": "y ~ x", "sample_weight": "w"}, "is no column"),
        ({"formula": "y ~ x", "sample_weight": [1.0]}, "240 rows"),
    ],
)
def test_wrong_formulas(frame, arguments, message):
    with pytest.raises(ValueError, match=message):
        ms.formula(**arguments, data=frame)


def test_not_a_table():
    with pytest.raises(TypeError, match="data frame"):
        ms.formula("y ~ x", data=np.zeros((3, 2)))
