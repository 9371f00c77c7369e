"""Predicted constants: the information against Monte Carlo and closed forms, the loss against the linear theory."""

import numpy as np
import pytest

import moestat as ms
from moestat.distributions import Empirical, Normal, Uniform
from moestat.losses import fisher_information, predicted_kl_constant, predicted_loss_constant


def test_information_is_the_mean_outer_product_of_scores(sgb, rng):
    x = Uniform(-1.0, 1.0)
    information = fisher_information(sgb, x)
    X = x.sample(200_000, rng)
    scores = sgb.scores(X, sgb.sample(X, rng))
    scale = np.sqrt(np.outer(np.diag(information), np.diag(information)))
    np.testing.assert_allclose(scores.T @ scores / len(X) / scale, information / scale, atol=0.02)


def test_information_of_an_almost_single_expert_is_that_of_least_squares(sg1):
    """In SG-1 expert 2 is used left of 8/25 with a nearly hard gate: weighted least squares on a fine grid."""
    information = fisher_information(sg1, Uniform(0.0, 1.0))
    names = sg1.free_names()
    rows = [names.index("expert[2]:Intercept"), names.index("expert[2]:x1")]
    x = np.linspace(0.0, 1.0, 20001)
    weight = 1.0 / (1.0 + np.exp(25.0 * x - 8.0)) / 0.4**2
    gram = np.array([[np.trapezoid(weight * x ** (i + j), x) for j in range(2)] for i in range(2)])
    # Where the experts cross the labels are lost, so a little less is known.
    np.testing.assert_allclose(information[np.ix_(rows, rows)], gram, rtol=0.04)
    assert np.all(np.linalg.eigvalsh(gram - information[np.ix_(rows, rows)]) > -1e-9)


def test_information_under_other_laws(sgb, rng):
    sample = rng.uniform(-1.0, 1.0, size=4000)
    np.testing.assert_allclose(
        fisher_information(sgb, Empirical(sample)), fisher_information(sgb, Uniform(-1.0, 1.0)), atol=0.3
    )
    assert np.linalg.eigvalsh(fisher_information(sgb, Normal(0.0, 0.5)))[0] > 0.0


def test_constants_of_sg1(sg1, rng):
    assert predicted_kl_constant(sg1) == 4.0
    found = predicted_loss_constant(sg1, Uniform(0.0, 1.0), rng=rng, n_draws=200)
    assert found.draws.shape == (200,)
    # The linear theory by hand: expert 2 has weight 1, expert 1 and the mass weight exp(-8).
    covariance = np.linalg.inv(fisher_information(sg1, Uniform(0.0, 1.0)))
    move = dict(zip(sg1.free_names(), rng.multivariate_normal(np.zeros(8), covariance, size=200_000).T))
    weight = np.exp(-8.0)
    by_hand = np.sqrt(
        move["expert[2]:Intercept"] ** 2 + move["expert[2]:x1"] ** 2 + (2 * 0.16 * move["expert[2]:log_scale"]) ** 2
    ) + weight * (
        np.sqrt(
            move["gate[1]:x1"] ** 2
            + move["expert[1]:Intercept"] ** 2
            + move["expert[1]:x1"] ** 2
            + (2 * 0.09 * move["expert[1]:log_scale"]) ** 2
        )
        + np.abs(move["gate[1]:Intercept"])
    )
    assert by_hand.mean() == pytest.approx(5.62, abs=0.05)
    assert abs(float(found) - by_hand.mean()) < 4.0 * found.error


def test_singular_information_is_refused(sgb):
    params = {name: value[[0, 0, 1]] for name, value in sgb.params.items()}
    over = ms.ConditionalMixture(gate="softmax", expert="gaussian", params=params)
    with pytest.raises(ValueError, match="singular"):
        predicted_loss_constant(over, Uniform(-1.0, 1.0), rng=np.random.default_rng(0), n_draws=5)


def test_information_of_classes_is_minus_the_mean_hessian():
    """And sqrt(tr I^-1) of this truth is the 41 of an independent computation."""
    truth = ms.ConditionalMixture("softmax", "multinomial", {
        "gate_coef": [[4.3], [0.0]], "gate_intercept": [-0.8, 0.0],
        "expert_coef": [[[2.0], [-0.8]], [[1.7], [-2.5]]], "expert_intercept": [[-3.8, 1.4], [2.5, -2.6]],
    })  # fmt: skip
    law, rng = Uniform(-3.0, 3.0), np.random.default_rng(0)
    information = fisher_information(truth, law)
    assert np.sqrt(np.trace(np.linalg.inv(information))) == pytest.approx(41.0, abs=0.5)
    X = law.sample(200_000, rng)
    scores = truth.scores(X, truth.sample(X, rng))
    np.testing.assert_allclose(scores.T @ scores / len(X), information, atol=0.02 * information.max())
    with pytest.raises(ValueError, match="not for expert='poisson'"):
        fisher_information(
            ms.ConditionalMixture(
                "constant", "poisson", {"gate_intercept": [0.0], "expert_coef": [[1.0]], "expert_intercept": [0.0]}
            ),
            law,
        )
