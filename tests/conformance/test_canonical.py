"""Canonical forms: the density stays, and doing it twice is doing it once, for every registered gate with every expert."""

from __future__ import annotations

import numpy as np
import pytest

import moestat as ms
from moestat.experts import CensoredExpert, MixedExperts, NonlinearExpert
from moestat.experts.ridge import NonlinearMean

from .family import EXPERT_LIST, GATE_LIST, Case, data, mixture

RIDGE = [
    NonlinearExpert(),
    NonlinearExpert(activation="relu"),
    NonlinearExpert(activation="power:2"),
    NonlinearExpert(activation="power:3", output=False),
    NonlinearExpert(activation="identity", tied=True),
    MixedExperts([NonlinearExpert(), "laplace", NonlinearExpert(activation="relu")]),
    CensoredExpert(NonlinearExpert(activation="relu")),
]
EXPERTS = [*EXPERT_LIST, *((expert, 1, 1 + expert.intervals) for expert in RIDGE)]


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda e: repr(e[0]))
def test_canonical_form_leaves_the_density_and_is_idempotent(expert: tuple) -> None:
    for gate in GATE_LIST:
        case = Case(gate, *expert)
        m, (X, y) = mixture(case, seed=5), data(case, 12)
        once = m.canonical()
        np.testing.assert_allclose(once.log_density(X, y), m.log_density(X, y), rtol=1e-9, atol=1e-9, err_msg=str(case))
        np.testing.assert_allclose(once.canonical().free_vector(), once.free_vector(), rtol=1e-12, atol=1e-12)


def _same(part: NonlinearMean) -> tuple[float, float]:
    """Factors of slopes and of the output weight that leave a ridge function as it is."""
    size = 2.5 if part.output and part.homogeneity else 1.0
    sign = -1.0 if part.parity == 1 or (part.parity == -1 and part.output) else 1.0
    return sign * size, (sign if part.parity == -1 else 1.0) / size ** (part.homogeneity or 1)


@pytest.mark.parametrize("expert", RIDGE, ids=repr)
def test_ridge_experts_have_one_form(expert: ms.experts.Expert) -> None:
    """Parameters that are the same density have the same canonical form, whose slopes have length one where a length is free."""
    m = mixture(Case(ms.gates.SoftmaxGate(), expert, 1, 1 + expert.intervals))
    params = {key: np.array(value) for key, value in m.params.items()}
    families = getattr(expert, "families", [getattr(expert, "family", expert)] * 3)
    parts = {k: f.mean_part() for k, f in enumerate(families) if isinstance(f, NonlinearExpert)}
    for k, part in parts.items():
        slope, output = _same(part)
        params["expert_coef"][k] *= slope
        params["expert_intercept"][k] *= slope
        if part.output:
            params["expert_output"][k] *= output
    other = ms.ConditionalMixture(m.gate, expert, params, n_features=m.n_features)
    X = np.random.default_rng(0).normal(size=(9, m.n_features))
    np.testing.assert_allclose(other.mean(X), m.mean(X), rtol=1e-12)
    canonical = m.canonical()
    np.testing.assert_allclose(other.canonical().free_vector(), canonical.free_vector(), rtol=1e-12, atol=1e-12)
    for k, part in parts.items():
        if part.output and part.homogeneity:
            assert np.linalg.norm(canonical.params["expert_coef"][k]) == pytest.approx(1.0, rel=1e-12)
