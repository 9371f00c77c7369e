"""Deterministic annealing: tempered steps by hand, free energy, and the ends of all gates."""

import numpy as np
import pytest

import moestat as ms
from moestat.distributions import Uniform
from moestat.fitting import fit_mixture
from moestat.solvers import DAEM, EM

TRUTH = {
    "gate_coef": [[2.0], [0.0]],
    "gate_intercept": [0.3, 0.0],
    "expert_coef": [[1.5], [-1.0]],
    "expert_intercept": [0.5, -0.5],
    "expert_scale": [0.3, 0.5],
}


@pytest.fixture(scope="module")
def problem():
    mixture = ms.ConditionalMixture(params=TRUTH)
    rng = np.random.default_rng(4)
    X = Uniform(-2.0, 2.0).sample(400, rng)
    y = mixture.sample(X, rng)
    objective, theta = mixture.objective(X, y)
    return X, y, mixture, objective, theta


def test_a_tempered_step_is_weighted_least_squares(problem):
    X, y, mixture, objective, theta = problem
    power = 0.3
    solver = DAEM(first=power, steps=5)
    state = solver.step(objective, solver.init(objective, theta))
    logs = np.log(mixture.gate_proba(X)) + np.stack(
        [
            -0.5 * ((y - c - X[:, 0] * b) / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
            for c, b, s in zip(
                TRUTH["expert_intercept"], np.ravel(TRUTH["expert_coef"]), TRUTH["expert_scale"], strict=True
            )
        ],
        axis=1,
    )
    tempered = np.exp(power * logs)
    tempered /= tempered.sum(axis=1, keepdims=True)
    found = objective.layout.unpack(state.theta)
    assert state.memory["done"] == 1
    one_step = ms.ConditionalMixture(params=TRUTH).objective(X, y)[0]
    by_hand = one_step.maximise(theta, one_step.em_pass(theta, np.ascontiguousarray(tempered.T)))
    assert np.allclose(state.theta, by_hand, rtol=1e-10, atol=1e-12)
    design = np.column_stack([np.ones(len(X)), X])
    for k in range(2):  # the same regression function in whatever coordinates the objective has
        w = tempered[:, k]
        coef = np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * y))
        phi = objective.rows.block(0, len(X)).expert_features
        fitted, response = found.coef[k, 0] @ phi, objective.rows.block(0, len(X)).y.ravel()
        slope, shift = np.polyfit(response, y, 1)
        assert np.allclose(slope * fitted + shift, design @ coef, atol=1e-8)


def test_at_one_temperature_the_free_energy_rises(problem):
    *_, objective, theta = problem
    power = 0.5
    solver = DAEM(first=power, steps=10**9)  # so slow that the temperature stays

    def free_energy(theta):
        resp = objective.responsibilities(theta)  # (π f)/p: the energy is log p + log Σ r^b / b
        return objective.value(theta) + np.log((resp**power).sum(axis=0)).sum() / power

    state, energies = solver.init(objective, theta), []
    for _ in range(25):
        energies.append(free_energy(state.theta))
        state = solver.step(objective, state)
    assert np.diff(energies).min() > -1e-9 * abs(energies[0])
    assert energies[-1] > energies[0] + 1e-3


def test_without_a_temperature_it_is_em(problem):
    *_, objective, theta = problem
    warm, plain = DAEM(first=1.0, steps=3), EM()
    mine, theirs = warm.init(objective, theta), plain.init(objective, theta)
    for _ in range(6):
        mine, theirs = warm.step(objective, mine), plain.step(objective, theirs)
        assert mine.value == pytest.approx(theirs.value, abs=1e-5)


@pytest.mark.parametrize(
    "gate", ["softmax", "constant", "normalized_sigmoid", "laplace", "quadratic", "topk", "gaussian"]
)
def test_ends_are_certified_maxima(problem, gate):
    X, y, *_ = problem
    fitted = fit_mixture(X, y, 2, gate=gate, solver="daem", rng=0).result
    best = fit_mixture(X, y, 2, gate=gate, rng=0).result
    assert fitted.solver == "daem"
    assert fitted.converged
    # annealing may choose another of the maxima that a sigmoid gate has, but there is no better one
    assert fitted.loglik == pytest.approx(best.loglik, abs=0.5 if gate == "normalized_sigmoid" else 1e-5)
    assert fitted.loglik < best.loglik + 1e-5


def test_bad_schedules_and_uses_are_refused(problem):
    X, y, *_ = problem
    with pytest.raises(ValueError, match=r"first is an inverse temperature in \(0, 1\], got 0"):
        DAEM(first=0)
    with pytest.raises(ValueError, match=r"steps must be a whole number of at least 1, got 0\.5"):
        DAEM(steps=0.5)
    with pytest.raises(ValueError, match=r"DAEM.* is not for least squares"):
        ms.MoERegressor(2, objective="least_squares", solver=DAEM()).fit(X, y)
