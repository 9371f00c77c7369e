"""Exact models under every gate family: is n·KL near p/2, half the number of identified parameters?

``python -m benchmarks.gate_bench [--reps R] [--n N]`` draws data from each model of the bench, fits from the truth, and prints the
mean of ``n KL(truth, estimate)`` with its standard error beside p/2 (which it tends to where the model is regular), and how many fits
were certified. The models have d = 1, x ~ U(-2, 2) and two Gaussian experts, means -2x + 1 and 2x - 1, variances .25 and .16, where the
gate does not ask for others. Under the joint Gaussian gate x is part of the model; in the deviated one two experts contaminate a known
Laplace density, which a box keeps where it is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

import moestat as ms
from moestat.experts import MixedExperts
from moestat.fitting import fit_mixture
from moestat.gates import (
    ActivationGate,
    ConstantGate,
    GaussianGate,
    HierarchicalGate,
    LaplaceGate,
    NormalizedSigmoidGate,
    QuadraticGate,
    QuadraticMonomialGate,
    SharedExperts,
    SoftmaxGate,
)

TWO = {"expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]}
FOUR = {
    "expert_coef": [[-2.0], [1.0], [2.0], [-1.0]],
    "expert_intercept": [1.0, -1.0, -1.0, 2.0],
    "expert_scale": np.full(4, np.sqrt(0.1)),
}
SHARED = {"expert_coef": [[0.3], [-2.0], [2.0]], "expert_intercept": [3.0, 1.0, -1.0], "expert_scale": [0.3, 0.5, 0.4]}


@dataclass(frozen=True)
class Model:
    """A truth, the box in which it is fitted, and how many parameters that box fixes."""

    gate: Any
    params: dict[str, Any]
    expert: Any = "gaussian"
    box: dict[str, Any] | None = None
    fixed: int = 0


def deviated() -> Model:
    """`(1 - λ) g0(y|x) + λ Σ p_k N(y; …)` with `g0` Laplace around x/2 of scale 1, logit λ = .5, logit p = .4."""
    lam, p = 1.0 / (1.0 + np.exp(-0.5)), 1.0 / (1.0 + np.exp(-0.4))
    weight = np.array([1.0 - lam, lam * p, lam * (1.0 - p)])
    coef, intercept, scale = np.array([[0.5], [-2.0], [2.0]]), np.array([0.0, 1.0, -1.0]), np.array([1.0, 0.5, 0.4])
    free = np.array([0.0, 1e3, 1e3])  # of the first expert nothing is
    box = {
        "expert_coef": (coef - free[:, None], coef + free[:, None]),
        "expert_intercept": (intercept - free, intercept + free),
        "expert_scale": (np.where(free > 0.0, 1e-3, scale), scale + free),
    }
    params = {"gate_intercept": np.log(weight / weight[-1])}
    params |= {"expert_coef": coef, "expert_intercept": intercept, "expert_scale": scale}
    return Model(ConstantGate(), params, MixedExperts(["laplace", "normal", "normal"]), box, fixed=3)


def linear(slopes: list[list[float]], intercept: list[float]) -> dict[str, Any]:
    """The entries of a gate that is linear in its features."""
    return {"gate_coef": slopes, "gate_intercept": intercept}


MODELS: dict[str, Model] = {
    "softmax": Model(SoftmaxGate(), TWO | linear([[3.0], [0.0]], [0.5, 0.0])),
    "modified tanh": Model(SoftmaxGate("tanh"), TWO | linear([[3.0], [0.0]], [0.3, 0.0])),
    "Laplace": Model(LaplaceGate(), TWO | {"gate_location": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]}),
    "quadratic monomial": Model(QuadraticMonomialGate(), TWO | linear([[2.0], [0.0]], [-1.5, 0.0])),
    "quadratic polynomial": Model(QuadraticGate(), TWO | linear([[1.0, 1.5], [0.0, 0.0]], [-1.0, 0.0])),
    "activation tanh": Model(
        ActivationGate("tanh"), TWO | linear([[1.5], [0.0]], [0.2, 0.0]) | {"gate_temperature": 0.5}
    ),
    "normalised sigmoid": Model(NormalizedSigmoidGate(), TWO | linear([[2.5], [-2.0]], [-0.5, 0.5])),
    "hierarchical 2 x 2": Model(
        HierarchicalGate([[0, 1], [2, 3]]),
        FOUR | linear([[2.0], [0.0], [-3.0], [0.0], [3.0], [0.0]], [0.3, 0.0, 0.2, 0.0, -0.2, 0.0]),
    ),
    "Gaussian, joint": Model(
        GaussianGate(),
        TWO
        | {
            "gate_weight": [1.0 / (1.0 + np.exp(-0.4)), 1.0 / (1.0 + np.exp(0.4))],
            "gate_location": [[-0.5], [0.8]],
            "gate_covariance": [[[0.2]], [[0.1]]],
        },
    ),
    "deviated from Laplace": deviated(),
    "shared + softmax": Model(
        SharedExperts(1, "half"), SHARED | linear([[3.0], [0.0]], [0.5, 0.0]) | {"shared_intercept": [0.0]}
    ),
    "shared + normalised sigmoid": Model(
        SharedExperts(1, "half", routed="normalized_sigmoid"),
        SHARED | linear([[2.5], [-2.0]], [-0.5, 0.5]) | {"shared_intercept": [0.0]},
    ),
}


def bench(name: str, n: int, reps: int, seed: int = 0) -> tuple[float, float, float, int]:
    """Mean of n·KL, its standard error, p/2, and the number of certified fits."""
    model = MODELS[name]
    truth = ms.ConditionalMixture(model.gate, model.expert, model.params, n_features=1)
    uniform = ms.distributions.Uniform([-2.0], [2.0])
    law, x = (ms.divergences.law_of_x(truth), None) if model.gate.joint else (uniform, uniform)
    values, certified = [], 0
    for rep in range(reps):
        rng = np.random.default_rng([seed, rep])
        X = law.sample(n, rng)
        y = truth.sample(X, rng)
        fitted = fit_mixture(
            X,
            y,
            truth.n_experts,
            gate=model.gate,
            expert=model.expert,
            init=truth.params,
            solver="newton",
            box=model.box,
        )
        certified += fitted.result.converged
        values.append(n * ms.divergences.kl(truth, fitted.mixture, x=x).value)
    error = float(np.std(values, ddof=1) / np.sqrt(reps))
    return float(np.mean(values)), error, 0.5 * (len(truth.free_vector()) - model.fixed), certified


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=30)
    parser.add_argument("--n", type=int, default=4000)
    options = parser.parse_args()
    print("| gate | n KL | p/2 | certified |\n|---|---|---|---|")
    for name in MODELS:
        mean, error, half, certified = bench(name, options.n, options.reps)
        print(f"| {name} | {mean:.2f} ± {error:.2f} | {half:g} | {certified}/{options.reps} |", flush=True)


if __name__ == "__main__":
    main()
