"""Mixtures and mixing measures for the tests of the theory objects."""

import numpy as np
import pytest

import moestat as ms


def _mixture(params):
    arrays = {name: np.asarray(value, dtype=float) for name, value in params.items()}
    return ms.ConditionalMixture(gate="softmax", expert="gaussian", params=arrays)


SG1 = {
    "gate_coef": [[25.0], [0.0]],
    "gate_intercept": [-8.0, 0.0],
    "expert_coef": [[-20.0], [20.0]],
    "expert_intercept": [15.0, -5.0],
    "expert_scale": [0.3, 0.4],
}
SGB = {
    "gate_coef": [[4.0], [0.0]],
    "gate_intercept": [0.5, 0.0],
    "expert_coef": [[-2.0], [2.0]],
    "expert_intercept": [1.0, -1.0],
    "expert_scale": [0.5, 0.4],
}


@pytest.fixture(scope="session")
def sg1():
    """The exactly specified truth SG-1, x uniform on [0, 1]."""
    return _mixture(SG1)


@pytest.fixture(scope="session")
def sgb():
    """The truth SG-B, x uniform on [-1, 1]."""
    return _mixture(SGB)


@pytest.fixture(scope="session")
def nudge():
    """A mixture with all free parameters moved by ``size * N(0,1)``."""

    def moved(mixture, size, seed=0):
        theta = mixture.free_vector()
        return mixture.with_free_vector(theta + size * np.random.default_rng(seed).normal(size=theta.size))

    return moved


@pytest.fixture(scope="session")
def random_measure():
    """A mixing measure with random atoms."""

    def drawn(k, d, rng):
        atoms = {
            "gate": rng.normal(size=(k, d)),
            "coef": rng.normal(size=(k, d)),
            "intercept": rng.normal(size=k),
            "scale": np.exp(0.3 * rng.normal(size=k)),
        }
        return ms.MixingMeasure(np.exp(rng.normal(size=k)), atoms)

    return drawn
