"""What a fit asks of the continuous families: refusals, starts, scalars, settings."""

from __future__ import annotations

import numpy as np
import pytest

import moestat as ms
from moestat.experts import CensoredExpert, MixedExperts
from moestat.experts.continuous import invert, weighted_quantiles
from moestat.experts.gamma import GammaExpert
from moestat.experts.laplace import LaplaceExpert
from moestat.experts.skew_normal import SkewNormalExpert
from moestat.experts.student_t import StudentTExpert
from moestat.fitting import fit_mixture

from .continuous_families import Family, every_family


def draw(family: Family, n: int = 3000) -> np.ndarray:
    """A sample `(n, 1)` at the family's first ordinary point."""
    _, eta, *extra = family.ordinary[0]
    columns = np.repeat(np.array(extra)[:, None], n, axis=1)
    return family.expert.sample(np.full((1, n), eta), columns, np.random.default_rng(11)).T


def log_likelihood(family: Family, y: np.ndarray, eta: np.ndarray, extra: np.ndarray) -> float:
    """Average log-density."""
    return float(family.expert.log_density(y.T, eta.reshape(1, 1, 1), extra.reshape(-1, 1, 1)).mean())


@every_family
def test_responses_outside_the_support_are_named(family: Family) -> None:
    expert = family.expert
    inside = np.full((5, 1), 0.5)
    expert.check(inside)
    for value in (-np.inf, np.inf, np.nan, *expert.ends):
        y = inside.copy()
        y[[2, 4]] = value
        with pytest.raises(ValueError, match=rf"y is {value} in row 2; {expert.name} experts need {expert.support}\."):
            expert.check(y)
    with pytest.raises(ValueError, match=f"y has 2 columns; {expert.name} experts take one response"):
        expert.check(np.full((5, 2), 0.5))


@every_family
def test_origin_is_about_the_best_constant_fit(family: Family) -> None:
    y = draw(family)
    eta, extra = family.expert.origin(y, np.ones(len(y)))
    assert eta.shape == (1,)
    assert extra.shape == (len(family.expert.scalars),)
    _, true_eta, *true_extra = family.ordinary[0]
    truth = log_likelihood(family, y, np.array(true_eta), np.array(true_extra))
    assert log_likelihood(family, y, eta, extra) > truth - 0.1
    # weights are repetitions
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    repeated = family.expert.origin(np.repeat(y, weight.astype(int), axis=0), np.ones(int(weight.sum())))
    for ours, theirs in zip(family.expert.origin(y, weight), repeated, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("kind", ["constant", "one", "outliers", "two values"])
@every_family
def test_origin_of_odd_samples_is_finite_and_allowed(family: Family, kind: str) -> None:
    low, high = family.expert.ends
    far = [min(1e60, high - 1e-12), max(-1e60, low + 1e-60)]
    y = {
        "constant": np.full(20, 0.3),
        "one": np.array([0.3]),
        "outliers": np.concatenate([np.linspace(0.2, 0.4, 50), far]),
        "two values": np.repeat([0.2, 0.7], [30, 2]),
    }[kind][:, None]
    eta, extra = family.expert.origin(y, np.ones(len(y)))
    assert np.isfinite(eta).all()
    for value, scalar in zip(extra, family.expert.scalars, strict=True):
        assert np.isfinite(value)
        assert scalar.low <= value <= scalar.high
    assert np.isfinite(log_likelihood(family, y[:1], eta, extra))


@pytest.mark.parametrize("expert", [StudentTExpert(), LaplaceExpert(), SkewNormalExpert()], ids=lambda e: e.name)
def test_location_scale_starts_move_with_y(expert) -> None:
    y, weight = np.random.default_rng(5).standard_normal((200, 1)) ** 3, np.ones(200)
    eta, extra = expert.origin(y, weight)
    moved, scaled = expert.origin(7.0 + 3.0 * y, weight)
    assert moved[0] == pytest.approx(7.0 + 3.0 * eta[0])
    assert scaled[0] == pytest.approx(extra[0] + np.log(3.0))
    np.testing.assert_allclose(scaled[1:], extra[1:])


def test_skew_start_is_away_from_the_normal_law() -> None:
    """At shape 0 with the moments of the sample the score vanishes: a search would stay there."""
    y = np.linspace(-1.0, 1.0, 101)[:, None]
    assert abs(SkewNormalExpert().origin(y, np.ones(101))[1][1]) > 0.3


@every_family
def test_starting_response_is_the_inverse_of_the_link(family: Family) -> None:
    y = np.array([[0.2], [0.7]])
    ours = family.expert.starting_response(y)
    expected = {-np.inf: y, 0.0: np.log(y)}[family.expert.ends[0]]
    if family.expert.ends[1] == 1.0:
        expected = np.log(y / (1.0 - y))
    np.testing.assert_allclose(ours, expected, rtol=1e-14)


@every_family
def test_scalars_have_text_at_their_bounds_and_round_trip(family: Family) -> None:
    value = np.array([0.4, -0.7, 1.3])
    for scalar in family.expert.scalars:
        np.testing.assert_allclose(scalar.from_raw(scalar.to_raw(value)), value, rtol=1e-14)
        for end, text in ((scalar.low, scalar.at_low), (scalar.high, scalar.at_high)):
            assert text or not np.isfinite(end)


def test_degrees_of_freedom() -> None:
    assert [s.key for s in StudentTExpert().scalars] == ["expert_scale", "expert_df"]
    assert [s.key for s in StudentTExpert(df=3).scalars] == ["expert_scale"]
    for bad in (0, -1.0, np.inf, np.nan, True, "4"):
        with pytest.raises(ValueError, match=r"df=.* must be a positive, finite number"):
            StudentTExpert(df=bad)


def test_smoothing() -> None:
    for bad in (0.0, -1.0, np.inf, np.nan, True, "1"):
        with pytest.raises(ValueError, match=r"smoothing=.* must be a number between"):
            LaplaceExpert(smoothing=bad)
    with pytest.raises(ValueError, match="degree=-1"):
        LaplaceExpert(degree=-1)
    with pytest.raises(ValueError, match="tied='yes'"):
        GammaExpert(tied="yes")


def test_weighted_quantiles() -> None:
    y, weight = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert weighted_quantiles(y, weight, (0.0, 0.5, 0.51, 0.75, 0.8, 1.0)) == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("start", [-1e4, -3.0, 0.0, 50.0])
@pytest.mark.parametrize("q", [1e-30, 0.3, 0.5, 0.99])
def test_inversion_from_remote_starts(q: float, start: float) -> None:
    """The logistic law, whose quantiles are logits."""
    ours = invert(
        lambda x, upper: -np.logaddexp(0.0, x if upper else -x),
        lambda x: -np.logaddexp(0.0, x) - np.logaddexp(0.0, -x),
        q,
        np.full(2, start),
    )
    np.testing.assert_allclose(ours, np.full(2, np.log(q) - np.log1p(-q)), rtol=1e-14, atol=1e-15)


SKEWED = {
    "gate_coef": [[1.2], [0.0]],
    "gate_intercept": [0.3, 0.0],
    "expert_coef": [[1.0], [-1.0]],
    "expert_intercept": [1.0, -2.0],
    "expert_scale": [1.0, 0.8],
    "expert_shape": [4.0, -3.0],
}


@pytest.mark.parametrize("seed", range(6))
def test_skew_search_leaves_the_normal_law(seed: int) -> None:
    """At α = 0 the likelihood is flat to third order: a search from the wrong side ended there, certified, tens of nats too low."""
    truth = ms.ConditionalMixture("softmax", "skew_normal", SKEWED)
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, (400, 1))
    y = truth.sample(X, rng)
    from_default = fit_mixture(X, y, 2, expert="skew_normal", n_init=3, rng=seed).result
    from_truth = fit_mixture(X, y, 2, expert="skew_normal", init=truth.params).result
    assert from_default.converged
    assert from_default.loglik >= from_truth.loglik - 1e-6


@pytest.mark.parametrize("seed", [0, 3])
def test_a_skew_member_of_a_mixture_of_families_leaves_it_too(seed: int) -> None:
    expert = MixedExperts(["skew_normal", "normal"])
    params = SKEWED | {"expert_shape": [4.0, np.nan]}
    truth = ms.ConditionalMixture("softmax", expert, params)
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, (400, 1))
    y = truth.sample(X, rng)
    wrong = params | {"expert_shape": [-0.5, np.nan], "expert_intercept": [1.8, -2.0]}
    ends = [fit_mixture(X, y, 2, expert=expert, init=init).result for init in (wrong, params)]
    assert ends[0].converged
    assert ends[0].loglik >= ends[1].loglik - 1e-6


def test_a_censored_skew_normal_has_the_alternatives_of_its_family() -> None:
    coef, scale = np.zeros((2, 1, 2)), np.array([[0.0, 0.1], [0.0, 3.0]])
    mine, theirs = (e.alternatives(coef, scale) for e in (CensoredExpert("skew_normal"), SkewNormalExpert()))
    assert len(mine) == 2
    for found, wanted in zip(mine, theirs, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
