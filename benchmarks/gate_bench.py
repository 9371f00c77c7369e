"""Exact models under every gate family: is n·KL near p/2, half the number of identified parameters?

``python -m benchmarks.gate_bench [--reps R] [--n N]`` draws data from each model of the bench, fits from the truth, and prints the
mean of ``n KL(truth, estimate)`` with its standard error beside p/2 (which it tends to where the model is regular), and how many fits
were certified. The models have d = 1, x ~ U(-2, 2) and two Gaussian experts, means -2x + 1 and 2x - 1, variances .25 and .16, where the
gate does not ask for others.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import moestat as ms
from moestat.fitting import fit_mixture
from moestat.gates import (
    ActivationGate,
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
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "softmax": (SoftmaxGate(), TWO | {"gate_coef": [[3.0], [0.0]], "gate_intercept": [0.5, 0.0]}),
    "modified tanh": (SoftmaxGate("tanh"), TWO | {"gate_coef": [[3.0], [0.0]], "gate_intercept": [0.3, 0.0]}),
    "Laplace": (LaplaceGate(), TWO | {"gate_location": [[1.0], [-0.8]], "gate_intercept": [0.3, 0.0]}),
    "quadratic monomial": (QuadraticMonomialGate(), TWO | {"gate_coef": [[2.0], [0.0]], "gate_intercept": [-1.5, 0.0]}),
    "quadratic polynomial": (
        QuadraticGate(),
        TWO | {"gate_coef": [[1.0, 1.5], [0.0, 0.0]], "gate_intercept": [-1.0, 0.0]},
    ),
    "activation tanh": (
        ActivationGate("tanh"),
        TWO | {"gate_coef": [[1.5], [0.0]], "gate_intercept": [0.2, 0.0], "gate_temperature": 0.5},
    ),
    "normalised sigmoid": (
        NormalizedSigmoidGate(),
        TWO | {"gate_coef": [[2.5], [-2.0]], "gate_intercept": [-0.5, 0.5]},
    ),
    "hierarchical 2 x 2": (
        HierarchicalGate([[0, 1], [2, 3]]),
        FOUR
        | {"gate_coef": [[2.0], [0.0], [-3.0], [0.0], [3.0], [0.0]], "gate_intercept": [0.3, 0.0, 0.2, 0.0, -0.2, 0.0]},
    ),
    "shared + softmax": (
        SharedExperts(1, "half"),
        SHARED | {"gate_coef": [[3.0], [0.0]], "gate_intercept": [0.5, 0.0]},
    ),
    "shared + normalised sigmoid": (
        SharedExperts(1, "half", routed="normalized_sigmoid"),
        SHARED | {"gate_coef": [[2.5], [-2.0]], "gate_intercept": [-0.5, 0.5]},
    ),
}


def bench(name: str, n: int, reps: int, seed: int = 0) -> tuple[float, float, float, int]:
    """Mean of n·KL, its standard error, p/2, and the number of certified fits."""
    gate, params = MODELS[name]
    extra = {"shared_intercept": [0.0]} if "shared" in name else {}
    truth = ms.ConditionalMixture(gate, "gaussian", params | extra)
    law = ms.distributions.Uniform([-2.0], [2.0])
    values, certified = [], 0
    for rep in range(reps):
        rng = np.random.default_rng([seed, rep])
        X = law.sample(n, rng)
        y = truth.sample(X, rng)
        fitted = fit_mixture(X, y, truth.n_experts, gate=gate, init=truth.params, solver="newton")
        certified += fitted.result.converged
        values.append(n * ms.divergences.kl(truth, fitted.mixture, x=law).value)
    return float(np.mean(values)), float(np.std(values) / np.sqrt(reps)), 0.5 * len(truth.free_vector()), certified


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
