"""Clone, repr, pickle, and files: a component, a mixture and an estimator come back as they were."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import moestat as ms
from moestat.registry import EXPERTS, GATES

from . import models
from .models import Model, every_model


@every_model
def test_components_come_back_from_repr_pickle_and_params(model: Model) -> None:
    names = {cls.__name__: cls for table in (GATES, EXPERTS) for cls in table.values()} | {"array": np.array}
    for component in (model.gate, model.expert):
        assert eval(repr(component), names) == component
        assert pickle.loads(pickle.dumps(component)) == component
        assert copy.deepcopy(component) == component
        assert type(component)(**component.get_params()) == component
        assert hash(component) == hash(copy.deepcopy(component))


@every_model
def test_mixture_comes_back_from_pickle_bit_for_bit(model: Model) -> None:
    m = models.mixture(model)
    X, y = models.data(model, 30)
    again = pickle.loads(pickle.dumps(m))
    np.testing.assert_array_equal(again.log_density(X, y), m.log_density(X, y))
    assert repr(again) == repr(m)
    assert again.free_names() == m.free_names()
    rebuilt = ms.ConditionalMixture(
        m.gate,
        m.expert,
        m.params,
        gate_features=model.gate_features,
        expert_features=model.expert_features,
        n_features=2,
    )
    np.testing.assert_allclose(rebuilt.log_density(X, y), m.log_density(X, y), rtol=1e-13, atol=1e-13)


@every_model
@pytest.mark.parametrize("ending", ["json", "npz"])
def test_estimator_comes_back_from_a_file_bit_for_bit(model: Model, ending: str, tmp_path: Path) -> None:
    X, y = models.data(model, 60)
    arguments = model.fit_arguments
    arguments["n_experts"] = 2 if model.expert.known_scale is None or np.ndim(model.expert.variance) == 0 else 3
    estimator = ms.MoERegressor(**arguments, n_init=1, max_iter=2, random_state=0)
    again = clone(estimator)
    assert repr(again) == repr(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    for other in (pickle.loads(pickle.dumps(estimator)), ms.load(estimator.save(tmp_path / f"fit.{ending}"))):
        assert repr(other) == repr(estimator)
        np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
        np.testing.assert_array_equal(other.log_density(X, y), estimator.log_density(X, y))
        np.testing.assert_array_equal(other.gate_proba(X), estimator.gate_proba(X))
        np.testing.assert_array_equal(other.sample(X, random_state=3), estimator.sample(X, random_state=3))
        assert other.result_.status is estimator.result_.status
        assert other.loglik_ == estimator.loglik_
        for name, value in estimator.model_.params.items():
            np.testing.assert_array_equal(other.model_.params[name], value)
