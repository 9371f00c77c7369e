"""Standard errors where a density or a score has a kink: their size by simulation, and what stands in for second derivatives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from moestat.experts import CensoredExpert, LaplaceExpert, MixedExperts, PoissonExpert
from moestat.fitting import fit_mixture
from moestat.gates import HierarchicalGate, LaplaceGate, SharedExperts, SoftmaxGate
from moestat.gates.nonlinear import straight
from moestat.inference import infer
from moestat.mixture import ConditionalMixture

EXPERTS = {"expert_coef": [[1.0], [-1.0]], "expert_intercept": [2.0, -1.0], "expert_scale": [0.5, 0.8]}
TRUTHS = {
    "experts": ("softmax", "laplace", {"gate_coef": [[1.5], [0.0]], "gate_intercept": [0.3, 0.0], **EXPERTS}),
    "gate": (
        "laplace",
        "gaussian",
        {
            "gate_location": [[-0.8, 0.0], [0.7, 0.5]],
            "gate_intercept": [0.3, 0.0],
            **EXPERTS,
            "expert_coef": [[1.0, 0.5], [-1.0, 0.0]],
        },
    ),
}


def z_scores(which: str, n: int, reps: int) -> np.ndarray:
    """Errors of estimates over their standard errors, `(reps, P)`."""
    truth, out = ConditionalMixture(*TRUTHS[which]), []
    for rep in range(reps):
        rng = np.random.default_rng([n, rep])
        X = rng.uniform(-2.0, 2.0, (n, truth.n_features))
        y = truth.sample(X, rng)
        m = fit_mixture(X, y, 2, gate=truth.gate, expert=truth.expert, init=truth.params).mixture
        if m.params["expert_intercept"][0] < m.params["expert_intercept"][1]:
            m = m.permuted([1, 0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a place beyond all x is not identified
            results = infer(m, X, y)
        assert "kink" in results.notes[0]
        out.append((m.free_vector() - truth.free_vector()) / results.bse.to_numpy())
    return np.array(out)


@pytest.mark.parametrize("which", list(TRUTHS))
def test_errors_have_their_standard_errors(which: str) -> None:
    """Without what stands in for kinks the root mean square is 3.9 for experts at n = 200 and above 1.2 for gates."""
    assert np.sqrt(np.nanmean(z_scores(which, 200, 25) ** 2)) == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("which", "n"), [("experts", 200), ("experts", 1000), ("gate", 1000)])
def test_errors_of_every_parameter_have_their_standard_errors(which: str, n: int) -> None:
    z = z_scores(which, n, 200)
    assert np.sqrt(np.nanmean(z**2)) == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(np.sqrt(np.nanmean(z**2, axis=0)), 1.0, atol=0.25)
    assert np.mean(np.abs(z[np.isfinite(z)]) < 1.96) == pytest.approx(0.95, abs=0.02)


def test_the_window_narrows_to_the_own_smoothing() -> None:
    expert = LaplaceExpert(degree=2, tied=True)
    widths = [expert.for_information(n).smoothing for n in (1e2, 1e5, 1e8, 1e12)]
    np.testing.assert_allclose(widths, [0.30162, 0.030162, 0.0030162, 0.001], rtol=1e-4)
    assert expert.for_information(50) == LaplaceExpert(2, True, expert.for_information(50).smoothing)
    assert LaplaceExpert(smoothing=0.7).for_information(100.0) == LaplaceExpert(smoothing=0.7)
    mixed = MixedExperts(["poisson", "laplace"]).for_information(100.0)
    assert mixed == MixedExperts([PoissonExpert(), LaplaceExpert().for_information(100.0)])


KINKED = [
    LaplaceGate(),
    HierarchicalGate([[0, 1], 2], levels="laplace"),
    SharedExperts(1, "free", LaplaceGate()),
]
SMOOTH = [SoftmaxGate(), LaplaceGate(0.7), HierarchicalGate([[0, 1], 2]), SharedExperts(1, "free")]


@pytest.mark.parametrize("gate", [*KINKED, *SMOOTH], ids=repr)
def test_only_kinks_are_left_out(gate: Any) -> None:
    assert (gate.for_information(100.0) == gate) == (gate in SMOOTH)


def test_smooth_models_say_nothing(rng: np.random.Generator) -> None:
    truth = ConditionalMixture("softmax", "gaussian", TRUTHS["experts"][2])
    X = rng.uniform(-2.0, 2.0, (300, 1))
    y = truth.sample(X, rng)
    assert infer(fit_mixture(X, y, 2, init=truth.params).mixture, X, y).notes == ()


def test_information_without_the_curvature_of_scores_has_the_same_mean() -> None:
    """By integration over y at some x, where the distances are rounded enough to see their curvature."""
    gate, expert, params = LaplaceGate(0.3), *TRUTHS["gate"][1:]
    y = np.linspace(-12.0, 12.0, 4001)
    X = np.repeat([[-0.7, 0.1], [0.2, 0.3], [1.5, -0.4]], len(y), axis=0)
    hessians = []
    for form in (gate, straight(gate)):
        m = ConditionalMixture(form, expert, params)
        response = np.tile(y, 3)
        weight = np.exp(m.log_density(X, response)) * (y[1] - y[0])
        hessians.append((m.hessian(X, response, weight), m.hessian(X[:7], response[:7])))
    np.testing.assert_allclose(hessians[0][0], hessians[1][0], atol=1e-9)
    assert np.abs(hessians[0][1] - hessians[1][1]).max() > 1e-3  # but not in a sample


@pytest.mark.filterwarnings("ignore:The parameters are not the maximiser")
@pytest.mark.parametrize("expert", [CensoredExpert("laplace"), MixedExperts(["laplace", "laplace"])], ids=repr)
def test_families_inside_others(expert: Any, rng: np.random.Generator) -> None:
    """Their standard errors are those of the family where nothing is censored."""
    truth = ConditionalMixture("softmax", expert, TRUTHS["experts"][2])
    X = rng.uniform(-2.0, 2.0, (300, 1))
    y = truth.sample(X, rng)
    columns = np.column_stack([y, y]) if expert.intervals else y
    results = infer(truth, X, columns)
    plain = infer(ConditionalMixture("softmax", "laplace", TRUTHS["experts"][2]), X, y)
    np.testing.assert_allclose(results.bse, plain.bse, rtol=1e-7)
