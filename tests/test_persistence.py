"""Saved estimators: exact round trips, clear errors, and no code in files."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import moestat as ms
from moestat.experts import GaussianExpert
from moestat.fitting import Start
from moestat.gates import ConstantGate, SoftmaxGate
from moestat.persistence import SCHEMA, VERSION, PersistenceWarning, load, save

ENDINGS = [".json", ".npz"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 2))
    first = rng.random(120) < 1 / (1 + np.exp(-X[:, 0]))
    y = np.where(first, 1 + X[:, 0], -1 + X[:, 1]) + 0.2 * rng.normal(size=120)
    return X, y


@pytest.fixture(scope="module")
def fitted(data):
    return ms.MoERegressor(2, random_state=1).fit(*data)


def _same(one, two, X, y):
    """Bit-identical predictions and report."""
    for name in ("predict", "gate_proba", "predict_std", "predict_interval"):
        assert np.array_equal(getattr(one, name)(X), getattr(two, name)(X)), name
    for name in ("log_density", "responsibilities"):
        assert np.array_equal(getattr(one, name)(X, y), getattr(two, name)(X, y)), name
    for key, value in one.model_.params.items():
        assert np.array_equal(value, two.model_.params[key]), key
    assert one.result_.status is two.result_.status
    assert one.result_.loglik == two.result_.loglik
    assert np.array_equal(one.result_.trace, two.result_.trace)
    assert one.result_.certificate.decrement == two.result_.certificate.decrement
    assert one.n_features_in_ == two.n_features_in_


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: ms.MoERegressor(2, random_state=0),
        lambda: ms.MoERegressor(
            2, gate=ConstantGate(), expert=GaussianExpert(degree=2, variance="tied"), random_state=0
        ),
        lambda: ms.MoERegressor(2, gate=SoftmaxGate(), gate_features=[0], expert_features=slice(0, 1), random_state=0),
        lambda: ms.MoERegressor(2, expert=GaussianExpert(variance=[0.2, 0.3]), random_state=0),
        lambda: ms.PolynomialMoERegressor(2, degree=3, random_state=0),
        lambda: ms.GaussianMoERegressor(1),
    ],
    ids=["default", "components", "columns", "known", "polynomial", "one"],
)
def test_round_trip(make, ending, data, tmp_path):
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the fits; here only what is saved matters
        estimator = make().fit(X, y)
    path = estimator.save(tmp_path / f"model{ending}")
    again = ms.load(path)
    assert type(again) is type(estimator)
    _same(estimator, again, X, y)
    assert repr(clone(again)) == repr(clone(estimator))
    assert np.array_equal(again.inference(X, y).bse, estimator.inference(X, y).bse, equal_nan=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_frames_several_responses_and_start_values(ending, data, tmp_path):
    X, y = data
    frame = pd.DataFrame(X, columns=["dose", "âge"])
    both = np.column_stack([y, X[:, 1] - 2 * y**2])
    first = ms.MoERegressor(2, random_state=0).fit(frame, both)
    start = Start({key: value for key, value in first.model_.params.items() if key != "expert_scale"})
    estimator = ms.MoERegressor(2, init=[start]).fit(frame, both)
    again = load(save(estimator, tmp_path / f"m{ending}"))
    assert np.array_equal(estimator.predict(frame), again.predict(frame))
    assert again.feature_names_in_.tolist() == ["dose", "âge"]
    assert again.model_.free_names() == estimator.model_.free_names()
    assert np.array_equal(again.init[0].params["expert_covariance"], start.params["expert_covariance"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_that_json_has_no_words_for(fitted, data, ending, tmp_path):
    estimator = clone(fitted).fit(*data)
    estimator.set_params(tol=np.float64(0.1) + 2e-17, box={"expert_coef": (-np.inf, np.array([[np.inf], [1 / 3]]))})
    again = load(save(estimator, tmp_path / f"m{ending}"))
    assert again.tol == estimator.tol
    low, high = again.box["expert_coef"]
    assert low == -np.inf
    assert np.array_equal(high, [[np.inf], [1 / 3]])
    assert isinstance(again.box["expert_coef"], tuple)


def test_json_is_standard_json_and_says_what_it_is(fitted, tmp_path):
    path = fitted.save(tmp_path / "m.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert (document["schema"], document["version"], document["class"]) == (SCHEMA, VERSION, "MoERegressor")


def test_a_generator_is_saved_as_none_with_a_warning(data, tmp_path):
    estimator = ms.MoERegressor(2, random_state=np.random.default_rng(0)).fit(*data)
    with pytest.warns(PersistenceWarning, match="is a generator"):
        path = estimator.save(tmp_path / "m.json")
    assert load(path).random_state is None


def test_what_cannot_be_saved(fitted, data, tmp_path):
    with pytest.raises(NotFittedError):
        ms.MoERegressor().save(tmp_path / "m.json")
    with pytest.raises(ValueError, match=r"ends in '\.pkl'"):
        fitted.save(tmp_path / "m.pkl")
    strange = clone(fitted).fit(*data)
    strange.init = object()
    with pytest.raises(TypeError, match=r"params\['init'\] is a object"):
        strange.save(tmp_path / "m.json")
    strange.init = np.array([object()])
    with pytest.raises(TypeError, match="dtype object"):
        strange.save(tmp_path / "m.json")

    class Mine(ms.MoERegressor):
        pass

    with pytest.raises(TypeError, match="Cannot save a Mine"):
        Mine(2).fit(*data).save(tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No folder '.*absent' to save 'm.json' in") as caught:
        fitted.save(tmp_path / "absent" / "m.json")
    assert ".part" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = fitted.save(tmp_path / "m.json")
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        fitted.save(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["m.json"]


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file"):
        load(tmp_path / "none.json")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(ValueError, match="is empty"):
        load(tmp_path / "empty.npz")
    with pytest.raises(ValueError, match=r"ends in '\.txt'"):
        load(tmp_path / "model.txt")


@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_anywhere(fitted, ending, tmp_path):
    path = fitted.save(tmp_path / f"m{ending}")
    content = path.read_bytes()
    for length in np.linspace(1, len(content) - 3, 40).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged or cut short"):
            load(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_flipped_bytes_raise_value_errors_only(fitted, ending, tmp_path):
    path = fitted.save(tmp_path / f"m{ending}")
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    failures = 0
    for position in rng.integers(0, len(content), size=150):
        changed = content.copy()
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            load(path)
        except ValueError:
            failures += 1
    assert failures > 20


def _edited(fitted, tmp_path, change):
    path = fitted.save(tmp_path / "m.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="other/thing"), "has schema 'other/thing'"),
        (lambda d: d.update(version=VERSION + 1), rf"version {VERSION + 1} .* reads versions up to {VERSION}"),
        (lambda d: d.update(version="1"), "version '1'"),
        (lambda d: d.update({"class": "os.system"}), "class 'os.system'"),
        (lambda d: d.update({"class": ["MoERegressor"]}), "class "),
        (lambda d: d.pop("state"), "lacks state"),
        (lambda d: d["state"].pop("mixture"), "not the right content"),
        (lambda d: d["params"].update(surprise=1), "not the right content"),
        (lambda d: d["params"].update(gate={"$component": "Popen", "fields": {"args": "ls"}}), "names a class 'Popen'"),
    ],
)
def test_wrong_content(fitted, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load(_edited(fitted, tmp_path, change))


def test_no_json_object(tmp_path):
    (tmp_path / "m.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="schema None"):
        load(tmp_path / "m.json")


def test_pickles_are_not_opened(fitted, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "m.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "m.npz")
    path = fitted.save(tmp_path / "n.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    with (tmp_path / "trap.npy").open("wb") as stream:
        np.save(stream, trap, allow_pickle=True)
    for name in members:
        if name != "document.npy":
            members[name] = (tmp_path / "trap.npy").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="damaged"):
        load(path)
    assert not (tmp_path / "sprung").exists()
