"""Divergences and x: gates of every kind, and joint densities of (x, y)."""

import numpy as np
import pytest
from scipy import integrate

import moestat as ms
from moestat import gates
from moestat.distributions import Normal, Uniform
from moestat.divergences import RegressionTruth, hellinger, kl, l2, law_of_x, total_variation
from moestat.divergences.integrands import hellinger_integrand, kl_integrand, total_variation_integrand
from moestat.divergences.transitions import gate_transitions

EXPERTS = {"expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]}
JOINT = {"gate_weight": [0.6, 0.4], "gate_location": [[-0.5], [0.8]], "gate_covariance": [[[0.2]], [[0.1]]]}
UNIT = Uniform(0.0, 1.0)


def mixture(gate, **params):
    return ms.ConditionalMixture(
        gate=gate, params={k: np.asarray(v, dtype=float) for k, v in {**EXPERTS, **params}.items()}
    )


def joint(likelihood="joint", **params):
    return mixture(gates.GaussianGate(likelihood=likelihood), **{**JOINT, **params})


def test_hard_masks():
    """Two far experts, one at a time: between the two borders the estimate has the wrong one, elsewhere the right one."""
    gate = gates.TopKGate(1, ranking="scores")
    far = {"expert_coef": [[0.0], [0.0]], "expert_intercept": [0.0, 3.0], "expert_scale": [1.0, 1.0]}
    p = mixture(gate, gate_coef=[[1.0], [0.0]], gate_intercept=[-0.3, 0.0], **far)
    q = mixture(gate, gate_coef=[[1.0], [0.0]], gate_intercept=[-0.3 - 1e-3, 0.0], **far)
    found = kl(p, q, UNIT)
    assert found.value == pytest.approx(1e-3 * 4.5, rel=1e-4)
    assert abs(found.value - 1e-3 * 4.5) <= found.error


@pytest.mark.parametrize(
    ("gate", "params", "change"),
    [
        (gates.LaplaceGate(), {"gate_location": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]}, "gate_location"),
        (
            gates.QuadraticGate(),
            {"gate_coef": [[-60.0, 200.0], [0.0, 0.0]], "gate_intercept": [3.0, 0.0]},
            "gate_coef",
        ),
        (
            gates.NormalizedSigmoidGate(),
            {"gate_coef": [[9.0], [-2.0]], "gate_intercept": [-0.5, 0.5]},
            "gate_coef",
        ),
        (gates.GaussianGate("conditional"), JOINT, "gate_location"),
    ],
)
def test_every_gate(gate, params, change):
    """Against Simpson's rule on a fine grid."""
    p = mixture(gate, **params)
    moved = np.array(params[change], dtype=float)
    moved[0, 0] += 0.1
    q = mixture(gate, **{**params, change: moved})
    x, y = np.linspace(-1.0, 1.0, 801), np.linspace(-8.0, 8.0, 1601)
    rows, grid = np.repeat(x, y.size)[:, None], np.tile(y, x.size)
    log_p, log_q = (m.log_density(rows, grid).reshape(x.size, -1) for m in (p, q))
    for f, integrand, power in (
        (kl, kl_integrand, 1),
        (hellinger, hellinger_integrand, 2),
        (total_variation, total_variation_integrand, 1),
    ):
        values = integrand.weighted(log_p, log_q)[0]
        exact = integrate.simpson(integrate.simpson(values, x=y, axis=1), x=x) / 2.0
        assert f(p, q, Uniform(-1.0, 1.0)).value ** power == pytest.approx(exact, rel=2e-4)


def test_narrow_expert_between_the_points_of_any_grid():
    """An expert that is active on a ten-thousandth of the interval."""
    narrow = {"gate_weight": [0.5, 0.5], "gate_location": [[0.0], [0.3]], "gate_covariance": [[[1.0]], [[1e-8]]]}
    same = {"expert_coef": [[0.0], [0.0]], "expert_scale": [1.0, 1.0]}
    p = joint("conditional", **narrow, **same, expert_intercept=[0.0, 0.0])
    q = joint("conditional", **narrow, **same, expert_intercept=[0.0, 0.1])
    x = 0.3 + np.linspace(-1e-3, 1e-3, 4001)
    inner = integrate.simpson((p.mean(x) - q.mean(x)) ** 2, x=x)
    found = l2(p, q, Uniform(-5.0, 5.0))
    assert found.value**2 == pytest.approx(inner / 10.0, rel=1e-3)


def test_transitions():
    steep = mixture("softmax", gate_coef=[[2500.0], [0.0]], gate_intercept=[-800.0, 0.0])
    found = gate_transitions(steep)(0.0, 1.0)
    assert found.size <= 6
    assert np.abs(found - 0.32).min() < 1e-3
    # Jumps and kinks of any regression function.
    jump = gate_transitions(RegressionTruth(lambda X: np.where(X[:, 0] > 0.4321, 5.0, 0.0), 0.1))(0.0, 1.0)
    assert np.abs(jump - 0.4321).min() < 1e-7
    line = gate_transitions(RegressionTruth(lambda X: 50.0 * X[:, 0], 0.1))(0.0, 1.0)
    assert line.size == 0


# -- joint densities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.05, 1e-3])
def test_joint_density_against_a_grid(size, nudge):
    p = joint()
    q = nudge(p, size)
    x, y = np.linspace(-5.0, 5.0, 601), np.linspace(-14.0, 14.0, 1401)
    rows, grid = np.repeat(x, y.size)[:, None], np.tile(y, x.size)
    log_p, log_q = (m.log_density(rows, grid).reshape(x.size, -1) for m in (p, q))
    for f, integrand, power in (
        (kl, kl_integrand, 1),
        (hellinger, hellinger_integrand, 2),
        (total_variation, total_variation_integrand, 1),
    ):
        exact = integrate.simpson(integrate.simpson(integrand.weighted(log_p, log_q)[0], x=y, axis=1), x=x)
        found = f(p, q)
        assert found.value**power == pytest.approx(exact, rel=1e-4)
        assert found.method.endswith("joint density of x and y")


def test_chain_rule_of_joint_densities():
    """KL of (x, y) is that of x and that of y given x; parts that one density has alone are not lost."""
    p, q = joint(), joint(gate_location=[[-0.5], [6.0]], gate_weight=[0.5, 0.5], expert_intercept=[1.1, -1.0])
    law = law_of_x(p)
    x = np.linspace(-5.0, 12.0, 20_001)
    log_p, log_q = (law_of_x(m).log_density(x[:, None]) for m in (p, q))
    marginal = integrate.simpson(kl_integrand.weighted(log_p, log_q)[0], x=x)
    conditional = kl(p, q, law)
    assert "joint" not in conditional.method
    assert kl(p, q).value == pytest.approx(marginal + conditional.value, rel=1e-4)
    # In x alone the two differ by at least this much.
    assert total_variation(p, q).value >= 0.5 * integrate.simpson(np.abs(np.exp(log_p) - np.exp(log_q)), x=x)
    assert l2(p, q).value == pytest.approx(l2(p, q, law).value, rel=1e-9)


def test_joint_density_of_several_columns(rng):
    """Monte Carlo, against the closed form of two normal laws of x with the same y."""

    def model(shift):
        return mixture(
            gates.GaussianGate(),
            gate_weight=[0.5, 0.5],
            gate_location=[[shift, 0.0]] * 2,
            gate_covariance=[[[0.5, 0.1], [0.1, 0.4]]] * 2,
            expert_coef=[[-2.0, 0.0], [2.0, 0.0]],
        )

    p, q = model(0.0), model(0.1)
    exact = 0.5 * 0.01 * np.linalg.inv([[0.5, 0.1], [0.1, 0.4]])[0, 0]
    found = kl(p, q)
    assert abs(found.value - exact) <= 2.0 * found.error
    assert found.error <= 0.01 * found.value
    assert kl(p, model(0.1), law_of_x(p)).value < 1e-12
    law = law_of_x(p)
    draws = law.sample(20_000, rng)
    np.testing.assert_allclose(np.cov(draws.T), [[0.5, 0.1], [0.1, 0.4]], atol=0.03)


def test_joint_or_not():
    p, q = joint(), joint("conditional")
    with pytest.raises(ValueError, match="x is missing"):
        kl(p, q)
    with pytest.raises(ValueError, match="x is missing"):
        kl(q, p)
    # The conditional densities are the same.
    assert kl(p, q, law_of_x(p)).value < 1e-14
    assert kl(p, q, Normal(0.0, 1.0)).value < 1e-14
    one_column = ms.ConditionalMixture(
        gate=gates.GaussianGate(),
        gate_features=[1],
        params={
            **{k: np.asarray(v) for k, v in JOINT.items()},
            "expert_coef": np.zeros((2, 2)),
            "expert_intercept": np.zeros(2),
            "expert_scale": np.ones(2),
        },
    )
    with pytest.raises(ValueError, match="no law of the others"):
        law_of_x(one_column)


def test_log_density_of_x_is_that_of_the_model():
    p = joint()
    x = np.linspace(-2.0, 2.0, 9)[:, None]
    y = np.zeros(9)
    given = np.logaddexp.reduce(p.log_gate(x) + p.expert_log_density(x, y), axis=1)
    np.testing.assert_allclose(law_of_x(p).log_density(x), p.log_density(x, y) - given, atol=1e-13)


def test_the_accuracy_asked_of_several_features_is_kept_with_fewer_points():
    def rough(shift):
        return RegressionTruth(
            lambda X: np.cos(40.0 * X[:, 0]) + np.abs(X[:, 1] - 0.37) + shift * X[:, 0] ** 3, 0.5, n_features=2
        )

    square = Uniform([0.0, 0.0], [1.0, 1.0])
    exact = 0.3**2 / 7.0 / (2.0 * 0.5**2)  # E (0.3 x³)² / (2 σ²)
    for rtol in (1e-3, 3e-3, 1e-2):
        found = kl(rough(0.0), rough(0.3), square, rtol=rtol)
        assert found.error <= rtol * found.value
        assert abs(found.value - exact) <= 2.0 * found.error
    points = [kl(rough(0.0), rough(0.3), square, rtol=rtol).method for rtol in (1e-3, 1e-2)]
    assert points[0] != points[1]
