"""Divergences against brute force and closed forms, their errors, and the inequalities between them."""

import numpy as np
import pytest
from scipy import integrate

import moestat as ms
from moestat.distributions import Empirical, Normal, Uniform
from moestat.divergences import RegressionTruth, hellinger, kl, l2, total_variation
from moestat.divergences.integrands import kl_integrand

UNIT, BOX = Uniform(0.0, 1.0), Uniform(-1.0, 1.0)


def brute_force(truth, estimate, low, high, integrand, y=(-12.0, 12.0), nx=801, ny=12001):
    """Simpson's rule on a fine grid of x and y."""
    x, grid = np.linspace(low, high, nx), np.linspace(*y, ny)
    values = np.empty(nx)
    for place, point in enumerate(x):
        rows = np.full((ny, 1), point)
        log_p, log_q = truth.log_density(rows, grid), estimate.log_density(rows, grid)
        values[place] = integrate.simpson(np.exp(log_p) * integrand(log_q - log_p), x=grid)
    return integrate.simpson(values, x=x) / (high - low)


@pytest.mark.parametrize("size", [0.1, 3e-4])
def test_three_digits_at_any_size(sgb, nudge, size):
    """From KL of order 1e-2 to 1e-7."""
    estimate = nudge(sgb, size)
    exact = brute_force(sgb, estimate, -1.0, 1.0, kl_integrand, nx=201, ny=4001)
    found = kl(sgb, estimate, BOX)
    assert found.value == pytest.approx(exact, rel=1e-5)
    assert abs(found.value - exact) <= found.error + 1e-7 * exact
    exact = brute_force(sgb, estimate, -1.0, 1.0, lambda d: 0.5 * np.expm1(d / 2) ** 2, nx=201, ny=4001)
    assert hellinger(sgb, estimate, BOX).value ** 2 == pytest.approx(exact, rel=1e-5)
    exact = brute_force(sgb, estimate, -1.0, 1.0, lambda d: 0.5 * np.abs(np.expm1(d)), nx=201, ny=4001)
    assert total_variation(sgb, estimate, BOX).value == pytest.approx(exact, rel=3e-4)


def test_against_mpmath(sgb, nudge):
    """Thirty digits at one x: 'log q - log p' is then no cancellation at all."""
    import mpmath as mp

    estimate, point = nudge(sgb, 1e-4), 0.15

    def density(mixture):
        rows = np.array([[point]])
        parts = list(zip(mixture.gate_proba(rows)[0], mixture.expert_mean(rows)[0], mixture.expert_std(rows)[0]))
        return lambda y: mp.fsum(mp.mpf(g) * mp.npdf(y, mp.mpf(m), mp.mpf(s)) for g, m, s in parts)

    with mp.workdps(30):
        p, q = density(sgb), density(estimate)
        # Probabilities of p and q sum to one only to rounding: r - 1 - log r is what is compared.
        exact = mp.quad(lambda y: p(y) * (q(y) / p(y) - 1 - mp.log(q(y) / p(y))), mp.linspace(-5, 5, 11))
    found = kl(sgb, estimate, Empirical([[point]]))
    assert 1e-10 < found.value < 1e-6
    assert found.value == pytest.approx(float(exact), rel=1e-6)


def test_narrow_gate_transition(sg1, nudge):
    """beta1 = 25 on [0, 1], and a steeper one that a fixed rule would step over."""
    exact = brute_force(sg1, nudge(sg1, 0.1), 0.0, 1.0, kl_integrand, y=(-10.0, 20.0), nx=801, ny=8001)
    assert kl(sg1, nudge(sg1, 0.1), UNIT).value == pytest.approx(exact, rel=2e-5)
    params = {**sg1.params, "gate_coef": np.array([[2500.0], [0.0]]), "gate_intercept": np.array([-800.0, 0.0])}
    steep = ms.ConditionalMixture(gate="softmax", expert="gaussian", params=params)
    moved = {**params, "gate_intercept": np.array([-800.5, 0.0])}
    found = kl(steep, ms.ConditionalMixture(gate="softmax", expert="gaussian", params=moved), UNIT)
    # With z = 2500 x - 800: the integral over the transition of KL(Bernoulli(z), Bernoulli(z - 1/2)) / 2500.
    z = np.linspace(-60, 60, 200_001)
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(0.5 - z))
    bernoulli = p * np.log(p / q) + (1 - p) * (np.logaddexp(0, z - 0.5) - np.logaddexp(0, z))
    labelled = integrate.simpson(bernoulli, x=z) / 2500
    # Near x = 0.32 the experts are 8 standard deviations apart and more: labels are seen.
    assert found.value == pytest.approx(labelled, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_inequalities(sgb, nudge, seed):
    for size in (1e-3, 0.05, 0.5):
        estimate = nudge(sgb, size, seed)
        k, h, v = (f(sgb, estimate, BOX).value for f in (kl, hellinger, total_variation))
        assert h**2 <= v * (1 + 1e-6)
        assert v <= np.sqrt(2.0) * h * (1 + 1e-6)
        assert 2.0 * v**2 <= k * (1 + 1e-6)
        assert h**2 <= k / 2
        if size == 1e-3:
            assert h**2 == pytest.approx(k / 4, rel=0.01)


def test_closed_forms_of_one_gaussian():
    p = RegressionTruth(lambda X: X[:, 0], 0.5)
    q = RegressionTruth(lambda X: 1.3 * X[:, 0] + 0.2, 0.7)
    x = np.linspace(0.0, 1.0, 2001)
    gap = 0.3 * x + 0.2
    exact = np.log(0.7 / 0.5) + (0.25 + gap**2) / (2 * 0.49) - 0.5
    assert kl(p, q, UNIT).value == pytest.approx(integrate.simpson(exact, x=x), rel=1e-6)
    exact = 1 - np.sqrt(2 * 0.35 / 0.74) * np.exp(-(gap**2) / (4 * 0.74))
    assert hellinger(p, q, UNIT).value ** 2 == pytest.approx(integrate.simpson(exact, x=x), rel=1e-6)
    assert l2(p, q, UNIT).value ** 2 == pytest.approx(integrate.simpson(gap**2, x=x), rel=1e-9)
    from scipy.special import ndtr

    same = RegressionTruth(lambda X: X[:, 0] + 1e-3, 0.5)
    assert total_variation(p, same, UNIT).value == pytest.approx(2 * ndtr(1e-3) - 1, rel=1e-6)
    assert kl(p, same, UNIT).value == pytest.approx(1e-6 / 0.5, rel=1e-6)


def test_normal_and_empirical_laws_of_x(sgb, nudge, rng):
    estimate = nudge(sgb, 0.05)
    X = Normal(0.2, 0.25).sample(4000, rng)
    for f in (kl, hellinger, total_variation, l2):
        summed, integrated = f(sgb, estimate, Empirical(X)), f(sgb, estimate, Normal(0.2, 0.25))
        assert summed.value == pytest.approx(integrated.value, rel=0.06)


@pytest.mark.parametrize("d", [2, 5])
def test_more_features(d):
    """Sobol points and Monte Carlo: the density depends on the first feature only, so one feature is the reference."""

    def mixture(gate, coef, n):
        zeros = np.zeros((2, n - 1))
        return ms.ConditionalMixture(
            gate="softmax",
            expert="gaussian",
            params={
                "gate_coef": np.hstack([np.array(gate)[:, None], zeros]),
                "gate_intercept": np.array([0.3, 0.0]),
                "expert_coef": np.hstack([np.array(coef)[:, None], zeros]),
                "expert_intercept": np.array([1.0, -1.0]),
                "expert_scale": np.array([0.5, 0.4]),
            },
        )

    for f in (kl, hellinger, total_variation, l2):
        one = f(mixture([2.0, 0.0], [-1.0, 1.0], 1), mixture([2.1, 0.0], [-1.05, 1.0], 1), Uniform(-1.0, 1.0))
        box = Uniform(-np.ones(d), np.ones(d))
        many = f(mixture([2.0, 0.0], [-1.0, 1.0], d), mixture([2.1, 0.0], [-1.05, 1.0], d), box)
        assert abs(many.value - one.value) <= 2.0 * many.error + one.error
        assert 0.0 < many.error <= 0.01 * many.value


def test_many_polynomial_experts_against_a_regression_truth():
    """Sixteen linear experts of known variance against a rough regression function."""

    def h(X):
        return 1.5 * sum(4.0**-i * np.cos(2 * np.pi * 2**i * X[:, 0] + i) for i in range(9))

    k = 16
    centre = (np.arange(k) + 0.5) / k
    slope = (h(centre[:, None] + 1e-4) - h(centre[:, None] - 1e-4)) / 2e-4
    params = {
        "gate_coef": 8.0 * k * np.arange(k)[:, None],
        "gate_intercept": -np.cumsum(8.0 * np.arange(k)),
        "expert_coef": slope[:, None],
        "expert_intercept": h(centre[:, None]) - slope * centre,
        "expert_scale": np.full(k, 0.3),
    }
    estimate = ms.ConditionalMixture(gate="softmax", expert=ms.experts.GaussianExpert(variance=0.3), params=params)
    truth = RegressionTruth(h, 0.3)
    exact = brute_force(truth, estimate, 0.0, 1.0, kl_integrand, y=(-5.0, 5.0), nx=2001, ny=401)
    assert kl(truth, estimate, UNIT).value == pytest.approx(exact, rel=3e-4)


def test_far_component_is_not_overlooked():
    """The estimate has a component where the truth has no mass: the nodes about the truth alone would miss it."""
    p = RegressionTruth(lambda X: 0.0 * X[:, 0], 1.0)
    params = {
        "gate_coef": np.zeros((2, 1)),
        "gate_intercept": np.array([0.0, 0.0]),
        "expert_coef": np.zeros((2, 1)),
        "expert_intercept": np.array([0.0, 50.0]),
        "expert_scale": np.array([1.0, 1.0]),
    }
    q = ms.ConditionalMixture(gate="softmax", expert="gaussian", params=params)
    assert kl(p, q, UNIT).value == pytest.approx(np.log(2.0), rel=1e-8)
    assert total_variation(p, q, UNIT).value == pytest.approx(0.5, rel=1e-8)
    assert hellinger(p, q, UNIT).value ** 2 == pytest.approx(1.0 - np.sqrt(0.5), rel=1e-8)


def test_narrow_component():
    """Ratio of standard deviations 20: the quick rule is not taken."""
    p, q = RegressionTruth(lambda X: 0.0 * X[:, 0], 1.0), RegressionTruth(lambda X: 0.0 * X[:, 0], 0.05)
    found = kl(p, q, UNIT)
    assert found.value == pytest.approx(np.log(0.05) + 400.0 / 2 - 0.5, rel=1e-9)
    assert "panels" in found.method


def test_zero_and_refusal(sgb, nudge):
    for f in (kl, hellinger, total_variation, l2):
        assert f(sgb, sgb.permuted([1, 0]), BOX).value < 1e-14
    rough = RegressionTruth(lambda X: np.where(np.sin(1e5 * X[:, 0]) > 0, 1.0, 0.0), 0.5)
    with pytest.raises(ValueError, match="raise max_relative_error"):
        kl(rough, RegressionTruth(lambda X: 0.0 * X[:, 0], 0.5), UNIT, max_relative_error=1e-9)
    found = kl(sgb, nudge(sgb, 0.1), BOX, max_relative_error=np.inf)
    assert float(found) == found.value


def test_random_rules_are_reproducible():
    p, q = RegressionTruth(lambda X: X.sum(axis=1), 0.5, 3), RegressionTruth(lambda X: 1.1 * X.sum(axis=1), 0.5, 3)
    box = Uniform(np.zeros(3), np.ones(3))
    assert kl(p, q, box).value == kl(p, q, box).value
    first, second = (kl(p, q, box, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert first.value != second.value
    assert first.value == pytest.approx(second.value, rel=5e-3)


def test_regression_truth_contract(rng):
    truth = RegressionTruth(lambda X: X[:, 0] ** 2, lambda X: 0.5 + X[:, 0])
    X = np.array([[0.0], [1.0]])
    np.testing.assert_array_equal(truth.expert_std(X), [[0.5], [1.5]])
    np.testing.assert_array_equal(truth.gate_proba(X), [[1.0], [1.0]])
    np.testing.assert_allclose(truth.log_density(X, [0.0, 1.0]), -np.log([0.5, 1.5]) - 0.5 * np.log(2 * np.pi))
    draws = truth.sample(np.ones((20_000, 1)), rng)
    assert draws.mean() == pytest.approx(1.0, abs=0.05)
    assert draws.std() == pytest.approx(1.5, abs=0.05)
    with pytest.raises(ValueError, match=r"shape \(n,1\)"):
        truth.mean(np.ones((3, 2)))


def test_several_responses():
    """Two independent responses with one and the same expert: the divergences add."""

    def mixture(shift):
        params = {
            "gate_coef": np.zeros((2, 1)),
            "gate_intercept": np.zeros(2),
            "expert_coef": np.zeros((2, 2, 1)),
            "expert_intercept": np.full((2, 2), shift),
            "expert_covariance": np.stack([0.25 * np.eye(2)] * 2),
        }
        return ms.ConditionalMixture(gate="softmax", expert="gaussian", params=params)

    found = kl(mixture(0.0), mixture(0.1), UNIT)
    assert abs(found.value - 2 * 0.01 / 0.5) < 2.0 * found.error
    assert "Monte Carlo" in found.method
    assert l2(mixture(0.0), mixture(0.1), UNIT).value == pytest.approx(0.1 * np.sqrt(2.0))


@pytest.mark.parametrize("divergence", [kl, hellinger, total_variation, l2])
def test_a_fitted_estimator_stands_for_its_model(divergence, sgb, rng):
    X = rng.uniform(-1.0, 1.0, (300, 1))
    y = sgb.sample(X, rng)
    estimator = ms.MoERegressor(random_state=0)
    with pytest.raises(TypeError, match="MoERegressor is not fitted"):
        divergence(sgb, estimator, BOX)
    estimator.fit(X, y)
    assert divergence(sgb, estimator, BOX).value == divergence(sgb, estimator.model_, BOX).value
