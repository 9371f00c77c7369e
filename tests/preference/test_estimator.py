"""The estimator: what it takes, what it tells, what does not matter, and what it says when data are bad."""

from __future__ import annotations

import warnings

import mpmath
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from moestat.exceptions import CollinearityWarning, ConvergenceWarning, DegeneracyWarning, SeparationWarning
from moestat.inference.results import InferenceWarning
from moestat.preference import PreferenceMoE
from moestat.solvers import Status

from .choices import plain_loglik, simulate

W = [[1.5, -1.0, 0.5], [-1.0, 0.5, 1.0]]
GATE = [[0.5, 1.5], [0.0, 0.0]]


@pytest.fixture(scope="module")
def data():
    return simulate(np.random.default_rng(0), W, GATE, n_annotators=120, n_each=8, m=2)


@pytest.fixture(scope="module")
def fitted(data):
    return PreferenceMoE(2, random_state=0).fit(data["sets"], data["chosen"], data["annotator"], data["U"])


def same(first, second, rtol=1e-7):
    assert_allclose(first.loglik_, second.loglik_, rtol=1e-12)
    assert_allclose(first.expert_coef_, second.expert_coef_, rtol=rtol, atol=1e-9)
    assert_allclose(first.gate_coef_, second.gate_coef_, rtol=rtol, atol=1e-9)
    assert_allclose(first.gate_intercept_, second.gate_intercept_, rtol=rtol, atol=1e-9)
    assert_allclose(first.inference().bse, second.inference().bse, rtol=1e-6)


# -- what it tells -------------------------------------------------------------------------------------------------


def test_parameters_are_recovered(data, fitted):
    """Within 3.5 standard errors of the truth, all nine of them; and every start agrees."""
    truth = np.concatenate([GATE[0], np.ravel(W)])
    results = fitted.inference()
    assert list(results.names[:3]) == ["gate[1]:Intercept", "gate[1]:u1", "expert[1]:phi1"]
    assert (np.abs(results.params - truth) < 3.5 * results.bse).all()
    assert fitted.converged_
    assert fitted.result_.certificate.decrement < 1e-15
    assert fitted.result_.certificate.n_agree == 10
    assert (np.diff(fitted.result_.trace) >= -1e-9).all()


def test_loglik_and_responsibilities_by_the_formula(data, fitted):
    gate = np.column_stack([fitted.gate_intercept_, fitted.gate_coef_])
    args = (data["sets"], data["chosen"].tolist(), data["annotator"].tolist(), data["U"])
    exact = plain_loglik(gate.tolist(), fitted.expert_coef_.tolist(), *args)
    assert_allclose(fitted.loglik_, float(exact), rtol=1e-13)
    assert_allclose(fitted.log_likelihood(*args[:2], data["annotator"]), fitted.loglik_, rtol=1e-13)
    assert_allclose(fitted.log_likelihood(*args[:2], data["annotator"], U=data["U"]), fitted.loglik_, rtol=1e-13)
    rewards = np.einsum("tmp,kp->tmk", data["sets"], fitted.expert_coef_)
    logp = rewards - np.log(np.exp(rewards).sum(axis=1, keepdims=True))
    chosen = logp[np.arange(len(logp)), data["chosen"]]
    joint = fitted.gate_proba(data["U"]) * np.exp(chosen.reshape(120, 8, 2).sum(axis=1))
    resp = joint / joint.sum(axis=1, keepdims=True)
    assert_allclose(fitted.responsibilities(), resp, rtol=1e-10, atol=1e-14)
    proba = fitted.predict_proba(data["sets"], data["annotator"])
    assert_allclose(proba, np.einsum("tmk,tk->tm", np.exp(logp), resp[data["annotator"]]), rtol=1e-10)
    loss = -np.log(proba[np.arange(len(proba)), data["chosen"]]).mean()
    assert_allclose(fitted.log_loss(data["sets"], data["chosen"], data["annotator"]), loss, rtol=1e-12)
    assert (fitted.predict(data["sets"], data["annotator"]) == proba.argmax(axis=1)).all()


def test_new_annotators_are_predicted_by_the_gate(data, fitted):
    sets = data["sets"][:3]
    u = np.array([[-1.0], [0.0], [2.0]])
    rewards = fitted.reward(sets.reshape(-1, 3)).reshape(3, 2, 2)
    each = np.exp(rewards) / np.exp(rewards).sum(axis=1, keepdims=True)
    expected = np.einsum("tmk,tk->tm", each, fitted.gate_proba(u))
    assert_allclose(fitted.predict_proba(sets, U=u), expected, rtol=1e-12)
    assert_allclose(fitted.predict_proba(sets, annotator=[900, 901, 902], U=u), expected, rtol=1e-12)
    assert_allclose(fitted.predict_proba(sets, [900, 901, 902], {900: -1.0, 901: 0.0, 902: 2.0}), expected, rtol=1e-12)
    mixed = fitted.predict_proba(sets, [900, 5, 902], {900: -1.0, 902: 2.0})
    assert_allclose(mixed[[0, 2]], expected[[0, 2]], rtol=1e-12)
    assert_allclose(mixed[1], fitted.predict_proba(sets[1:2], [5])[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"annotators \[900\] are not among the 120 of the fit"):
        fitted.predict_proba(sets[:1], annotator=[900])
    with pytest.raises(ValueError, match="give U, one row a choice set"):
        fitted.predict_proba(sets)
    with pytest.raises(ValueError, match="U has 2 covariates"):
        fitted.gate_proba(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="choice_sets has 2 features; the model was fitted with 3"):
        fitted.predict_proba(np.zeros((1, 2, 2)), [0])


def test_gate_is_in_the_gauge_and_experts_in_order(data, fitted):
    assert fitted.gate_intercept_[-1] == 0.0
    assert (fitted.gate_coef_[-1] == 0.0).all()
    shares = fitted.gate_proba().mean(axis=0)
    assert shares[0] >= shares[1]
    constant = PreferenceMoE(2, gate="constant", random_state=0).fit(
        data["sets"], data["chosen"], data["annotator"], data["U"]
    )
    assert constant.gate_coef_.shape == (2, 0)
    assert constant.loglik_ < fitted.loglik_ - 5.0
    assert_allclose(constant.gate_proba(np.zeros((5, 1))), constant.gate_proba()[:5])
    assert_allclose(constant.gate_proba()[0], constant.responsibilities().mean(axis=0), rtol=1e-8)


def test_inference_table(fitted):
    results = fitted.inference(feature_names=["price", "quality", "size"])
    frame = results.params_frame()
    assert list(frame.columns) == ["estimate", "std_err", "z", "p_value", "ci_lower", "ci_upper"]
    assert_allclose(frame.loc[("expert", 1, "price"), "estimate"], fitted.expert_coef_[0, 0])
    assert results.nobs == 120
    assert_allclose(results.bic, -2.0 * fitted.loglik_ + 8 * np.log(120))
    text = str(results.summary())
    assert "960 choices" in text
    assert "expert[2]:quality" in text
    assert results.t_test("expert[1]:price = expert[2]:price").pvalue < 1e-6
    ratio = fitted.inference("sandwich").bse / fitted.inference().bse
    assert ratio.between(0.7, 1.4).all()
    with pytest.raises(ValueError, match="cov_type must be one of observed, opg, sandwich; got 'hc1'"):
        fitted.inference("hc1")
    with pytest.raises(ValueError, match="feature_names has 1 names for 3"):
        fitted.inference(feature_names=["price"])


def test_scikit_learn_manners():
    est = PreferenceMoE(3, l2=0.5, gate="constant")
    assert repr(est) == "PreferenceMoE(gate='constant', l2=0.5, n_experts=3)"
    assert clone(est).set_params(n_experts=2).get_params()["l2"] == 0.5
    with pytest.raises(AttributeError, match="not fitted yet"):
        est.loglik_  # noqa: B018
    with pytest.raises(ValueError, match="not fitted"):
        est.responsibilities()


# -- what does not matter ------------------------------------------------------------------------------------------


def test_forms_of_the_same_data(data, fitted):
    sets, chosen, annotator, U = (data[name] for name in ("sets", "chosen", "annotator", "U"))
    names = np.array([f"a{a:03d}" for a in range(120)])
    frame = pd.DataFrame(U, index=names, columns=["age"]).sample(frac=1.0, random_state=0)
    forms = [
        ((sets[:, 0], sets[:, 1]), annotator, U[annotator]),
        (list(sets), annotator.tolist(), dict(enumerate(U))),
        (sets, pd.Series(names[annotator]), frame),
        (sets, names[annotator], frame["age"]),
        (sets, annotator.astype(float), U[:, 0]),
    ]
    for choice_sets, labels, covariates in forms:
        est = PreferenceMoE(2, random_state=0).fit(choice_sets, chosen, labels, covariates)
        same(est, fitted, rtol=1e-12)
    assert est.annotators_.tolist() == list(range(120))


def test_order_of_comparisons_and_of_alternatives(data, fitted):
    order = np.random.default_rng(1).permutation(len(data["chosen"]))
    flipped = data["sets"][order][:, ::-1]
    est = PreferenceMoE(2, random_state=1).fit(flipped, 1 - data["chosen"][order], data["annotator"][order], data["U"])
    same(est, fitted)


def test_weights_are_repetitions_and_zero_is_absence(data):
    weight = np.random.default_rng(2).integers(0, 3, size=len(data["chosen"]))
    weight[data["annotator"] == 7] = 0
    repeated = np.repeat(np.arange(len(weight)), weight)
    first = PreferenceMoE(2, random_state=0).fit(
        data["sets"], data["chosen"], data["annotator"], data["U"], sample_weight=weight
    )
    second = PreferenceMoE(2, random_state=0).fit(
        data["sets"][repeated],
        data["chosen"][repeated],
        data["annotator"][repeated],
        dict(enumerate(data["U"])),
    )
    same(first, second)
    assert 7 not in first.annotators_
    args = data["sets"], data["chosen"], data["annotator"], data["U"]
    absent = np.flatnonzero(~np.isin(np.arange(120), first.annotators_))
    assert_allclose(first.log_likelihood(*args, sample_weight=weight), first.loglik_, rtol=1e-12)
    assert len(absent) >= 1


def test_units_and_shifts(data, fitted):
    """Features in other units, and shifted within each choice set; covariates in other units."""
    unit, shift = np.array([1e-6, 1.0, 1e4]), np.random.default_rng(3).normal(size=(len(data["sets"]), 1, 3))
    est = PreferenceMoE(2, random_state=0).fit(
        (data["sets"] + shift) / unit, data["chosen"], data["annotator"], 100.0 + 1e3 * data["U"]
    )
    assert_allclose(est.loglik_, fitted.loglik_, rtol=1e-12)
    assert_allclose(est.expert_coef_, fitted.expert_coef_ * unit, rtol=1e-7)
    assert_allclose(est.gate_coef_, fitted.gate_coef_ / 1e3, rtol=1e-7)
    assert_allclose(est.gate_intercept_, fitted.gate_intercept_ - 0.1 * fitted.gate_coef_[:, 0], rtol=1e-7, atol=1e-9)
    assert_allclose(est.responsibilities(), fitted.responsibilities(), atol=1e-8)


def test_sets_of_different_sizes(data):
    """A set with a third alternative that nobody would take is a pair."""
    with_third = [np.vstack([phi, [-600.0, 400.0, 0.0]]) if t % 2 else phi for t, phi in enumerate(data["sets"])]
    est = PreferenceMoE(1).fit(data["sets"], data["chosen"], data["annotator"])
    again = PreferenceMoE(1).fit(with_third, data["chosen"], data["annotator"])
    assert est.expert_coef_[0] @ [600.0, -400.0, 0.0] > 100.0
    assert_allclose(again.expert_coef_, est.expert_coef_, rtol=1e-6)
    proba = again.predict_proba(with_third, data["annotator"])
    assert proba.shape == (960, 3)
    assert (proba[::2, 2] == 0.0).all()
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-14)


# -- fixed experts -------------------------------------------------------------------------------------------------


def test_fixed_rewards(data):
    """The features are the rewards at the true weights: only the gate is estimated, near the truth."""
    rewards = data["sets"] @ np.transpose(W)
    est = PreferenceMoE(2, experts="fixed", random_state=0).fit(rewards, data["chosen"], data["annotator"], data["U"])
    results = est.inference()
    assert list(results.names) == ["gate[1]:Intercept", "gate[1]:u1"]
    assert (np.abs(results.params - GATE[0]) < 3.0 * results.bse).all()
    assert_allclose(est.expert_coef_, np.eye(2))
    assert_allclose(est.reward(rewards[0]), rewards[0])
    swapped = PreferenceMoE(2, experts="fixed", random_state=0).fit(
        rewards[:, :, ::-1], data["chosen"], data["annotator"], data["U"]
    )
    assert_allclose(swapped.gate_coef_[0], -est.gate_coef_[0], rtol=1e-8)  # no reordering: expert k is reward k
    with pytest.raises(ValueError, match="choice_sets has 2 features and n_experts=3"):
        PreferenceMoE(3, experts="fixed").fit(rewards, data["chosen"], data["annotator"])


def test_single_fixed_reward_has_nothing_to_estimate(data):
    rewards = data["sets"] @ np.transpose(W[:1])
    est = PreferenceMoE(1, experts="fixed").fit(rewards, data["chosen"], data["annotator"])
    assert est.converged_
    assert est.inference().df_model == 0


def test_reward_that_nobody_follows(data):
    one = simulate(np.random.default_rng(4), W[:1], [[0.0]], n_annotators=60, n_each=12)
    rewards = one["sets"] @ np.transpose([*W[:1], [-2.0, 2.0, 0.0]])
    with pytest.warns(DegeneracyWarning, match=r"Expert 2 has no responsibility .* Leave its reward out"):
        est = PreferenceMoE(2, experts="fixed", random_state=0).fit(rewards, one["chosen"], one["annotator"])
    assert est.converged_
    assert est.gate_proba()[0, 1] < 1e-9
    with pytest.warns(InferenceWarning, match="rank 0 of 1"):
        assert np.isnan(est.inference().bse).all()


# -- trouble -------------------------------------------------------------------------------------------------------


def test_constant_feature_is_named(data):
    sets = np.concatenate([data["sets"], np.broadcast_to(data["U"][data["annotator"]][:, None], (960, 2, 1))], axis=2)
    with pytest.warns(CollinearityWarning, match=r"The features phi4 are constant .* within every choice set"):
        est = PreferenceMoE(1).fit(sets, data["chosen"], data["annotator"])
    assert est.expert_coef_[0, 3] == 0.0
    with pytest.warns(InferenceWarning, match=r"rank 3 of 4. Not identified: expert\[1\]:phi4"):
        results = est.inference()
    assert np.isnan(results.bse["expert[1]:phi4"])
    assert np.isfinite(results.bse.iloc[:3]).all()
    assert results.df_model == 3
    plain = PreferenceMoE(1).fit(data["sets"], data["chosen"], data["annotator"])
    assert_allclose(results.bse.iloc[:3], plain.inference().bse, rtol=1e-8)


def test_collinear_features_and_covariates(data):
    sets = np.concatenate([data["sets"], data["sets"][:, :, :1] - data["sets"][:, :, 1:2]], axis=2)
    U = np.column_stack([data["U"], np.full(120, 3.0)])
    with pytest.warns(CollinearityWarning) as caught:
        est = PreferenceMoE(2, random_state=0).fit(sets, data["chosen"], data["annotator"], U)
    said = sorted(str(w.message) for w in caught)
    assert "The covariates u2 are constant" in said[0]
    assert "The features phi1, phi2, phi4 are" in said[1]
    plain = PreferenceMoE(2, random_state=0).fit(data["sets"], data["chosen"], data["annotator"], data["U"])
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-12)
    assert est.gate_coef_[0, 1] == pytest.approx(0.0, abs=1e-9)
    with pytest.warns(InferenceWarning, match="Not identified"):
        results = est.inference()
    # an identified contrast keeps its standard error
    contrast = results.t_test("expert[1]:phi1 + expert[1]:phi4 = 0")
    assert_allclose(contrast.effect, plain.expert_coef_[0, 0], rtol=1e-8)
    assert_allclose(contrast.sd.item(), plain.inference().bse["expert[1]:phi1"], rtol=1e-6)


def test_separable_expert_is_reported_and_the_ridge_cures_it():
    data = simulate(np.random.default_rng(3), [[-2.0, 1.0]], [[0.0]], n_annotators=60, n_each=10)
    first = data["annotator"] % 2 == 0
    chosen = np.where(first, data["sets"][:, 1, 0] > data["sets"][:, 0, 0], data["chosen"])
    with pytest.warns(
        SeparationWarning, match=r"choices of expert \d are separable: .* the reward \+1·phi1.*Give l2 > 0"
    ):
        est = PreferenceMoE(2, random_state=0).fit(data["sets"], chosen, data["annotator"])
    assert est.result_.status is Status.SEPARATED
    assert est.converged_
    with pytest.warns(InferenceWarning, match="singular"):
        results = est.inference()
    assert np.isfinite(results.bse["gate[1]:Intercept"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge = PreferenceMoE(2, l2=0.1, random_state=0).fit(data["sets"], chosen, data["annotator"])
    assert np.abs(ridge.expert_coef_).max() < 30.0
    assert ridge.result_.penalised == pytest.approx(ridge.loglik_ - 0.05 * np.sum(ridge.expert_coef_**2), rel=1e-12)


def test_separated_gate_is_reported_and_the_penalty_cures_it():
    rng = np.random.default_rng(5)
    data = simulate(rng, [[4.0, 0.0], [-4.0, 1.0]], [[0.0, 60.0], [0.0, 0.0]], n_annotators=60, n_each=12)
    args = data["sets"], data["chosen"], data["annotator"], data["U"]
    with pytest.warns(SeparationWarning, match=r"Give gate_l2 > 0 .* Direction: gate\[1\]: .*1·u1"):
        est = PreferenceMoE(2, random_state=0).fit(*args)
    assert est.converged_
    assert est.result_.separation.shape == (2, 2)
    ridge = PreferenceMoE(2, gate_l2=1.0, random_state=0).fit(*args)
    assert ridge.result_.status is Status.CERTIFIED
    assert np.abs(ridge.gate_coef_).max() < 10.0


def test_iteration_limit_is_said(data):
    with pytest.warns(ConvergenceWarning, match="iteration limit"):
        est = PreferenceMoE(2, max_iter=1, n_init=1, random_state=0).fit(
            data["sets"], data["chosen"], data["annotator"], data["U"]
        )
    assert not est.converged_


def test_equal_alternatives_share_their_probability(data):
    """A duplicate of an alternative is a third alternative; the likelihood is the formula's."""
    sets = np.concatenate([data["sets"], data["sets"][:, :1]], axis=1)[:40]
    args = sets, data["chosen"][:40], data["annotator"][:40]
    est = PreferenceMoE(1, l2=0.1).fit(*args)
    exact = plain_loglik(
        [[mpmath.mpf(0)]], est.expert_coef_.tolist(), sets, args[1].tolist(), args[2].tolist(), np.zeros((5, 0))
    )
    assert_allclose(est.loglik_, float(exact), rtol=1e-13)
    proba = est.predict_proba(sets)
    assert_allclose(proba[:, 0], proba[:, 2], rtol=1e-14)
    indifferent = np.concatenate([sets, np.zeros((5, 3, 3))])
    again = PreferenceMoE(1, l2=0.1).fit(indifferent, np.r_[args[1], np.zeros(5, int)], np.r_[args[2], np.arange(5)])
    assert_allclose(again.expert_coef_, est.expert_coef_, rtol=1e-8)
    assert_allclose(again.loglik_, est.loglik_ - 5.0 * np.log(3.0), rtol=1e-12)


def bad(**changes):
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(6, 2, 2))
    base = {
        "choice_sets": sets,
        "chosen": np.array([0, 1, 1, 0, 1, 0]),
        "annotator": np.array([0, 0, 1, 1, 2, 2]),
        "U": np.array([0.0, 1.0, 2.0]),
    }
    return base | changes


def nan_at(t, i, j):
    sets = bad()["choice_sets"].copy()
    sets[t, i, j] = np.nan
    return sets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choice_sets": nan_at(3, 1, 0)}, "contains nan in set 3, alternative 1, feature 0"),
        ({"choice_sets": [*np.zeros((5, 2, 2)), np.full((3, 2), np.inf)]}, "contains inf in set 5, alternative 0"),
        ({"choice_sets": np.zeros((6, 2))}, r"shape \(6, 2\); expected \(T, m, p\)"),
        ({"choice_sets": (np.zeros((6, 2)), np.zeros((5, 2)))}, r"for pairs give \(A, B\), both \(T, p\)"),
        ({"choice_sets": (np.zeros((6, 2)),) * 3}, "Sets of different sizes go into a list"),
        ({"choice_sets": np.zeros((6, 1, 2))}, "choice set 0 has 1 alternatives; a choice needs at least two"),
        ({"choice_sets": [*np.zeros((5, 2, 2)), np.zeros((1, 2))]}, "choice set 5 has 1 alternatives"),
        ({"choice_sets": [*np.zeros((5, 2, 2)), np.zeros((2, 3))]}, r"choice_sets\[5\] has shape \(2, 3\)"),
        ({"choice_sets": [["a"]] * 6}, "must be numeric"),
        ({"choice_sets": np.zeros((0, 2, 2))}, "0 sets and 2 features"),
        ({"choice_sets": np.ones((6, 2, 2))}, "in every choice set all alternatives have the same features"),
        ({"chosen": [0, 1, 2, 0, 1, 0]}, r"chosen\[2\] is 2, but set 2 has 2 alternatives: it must be 0 … 1"),
        ({"chosen": [0, 1, -1, 0, 1, 0]}, r"chosen\[2\] is -1"),
        ({"chosen": [0, 1, 0.5, 0, 1, 0]}, "a whole number from 0"),
        ({"chosen": [0, 1, np.nan, 0, 1, 0]}, "a whole number from 0"),
        ({"chosen": [True, False] * 3}, "type bool; it must hold the index"),
        ({"chosen": [0, 1]}, r"chosen has shape \(2,\); expected one index a choice set, \(6,\)"),
        ({"annotator": [0, 1]}, r"annotator has shape \(2,\)"),
        ({"annotator": ["a", "a", None, "b", "b", "c"]}, r"1 missing labels \(first in row 2\)"),
        ({"annotator": [0, 0, 1, 1, np.nan, 2]}, r"1 missing labels \(first in row 4\)"),
        ({"annotator": np.array(["a", "a", 1, 1, 2, 2], dtype=object)}, "labels of several types"),
        ({"U": {0: 1.0, 1: 2.0}}, r"U has no key for 1 annotators \(2\)"),
        ({"U": pd.DataFrame({"age": [1.0, 2.0]}, index=[0, 2])}, r"U has no row for 1 annotators \(1\)"),
        ({"U": pd.DataFrame({"age": [1.0, 2.0, 3.0]}, index=[0, 1, 1])}, "repeated labels in its index"),
        ({"U": pd.DataFrame({"age": np.arange(6.0)})}, r"give U.to_numpy\(\) for rows of comparisons"),
        ({"U": np.zeros(4)}, "U has 4 rows; expected 3 .* or 6"),
        ({"U": np.array([0.0, np.nan, 1.0])}, "U contains nan at row 1"),
        (
            {"U": np.array([0.0, 1.0, 1.0, 1.0, 2.0, 2.0])},
            "U differs between comparisons of annotator .*0.* \\(row 1\\)",
        ),
        ({"U": np.zeros((3, 1, 1))}, r"U has shape \(3, 1, 1\)"),
        ({"annotator": [3, 0, 1, 2, 5, 4], "U": np.zeros(6)}, "ambiguous here"),
        ({"sample_weight": np.zeros(6)}, "positive for at least one"),
        ({"sample_weight": [1.0, 1.0, -1.0, 1.0, 1.0, 1.0]}, "must not be negative"),
        ({"sample_weight": np.ones(3)}, r"sample_weight has shape \(3,\)"),
    ],
)
def test_bad_data(changes, message):
    with pytest.raises(ValueError, match=message):
        PreferenceMoE(2).fit(**bad(**changes))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_experts": 0}, "n_experts=0 must be a positive integer"),
        ({"n_experts": 4}, "there are 3 annotators for n_experts=4"),
        ({"experts": "neural"}, "experts='neural' is not known; give one of linear, fixed"),
        ({"gate": "sparse"}, "gate='sparse' is not known; give one of softmax, constant"),
        ({"l2": -1.0}, "l2=-1.0 must be a finite number"),
        ({"gate_l2": np.inf}, "gate_l2=inf must be a finite number"),
        ({"n_init": 0}, "n_init=0 must be a positive integer"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        PreferenceMoE(**parameters).fit(**bad())
