"""Data, truth and start of the benchmark problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Params:
    """Softmax-gated Gaussian linear mixture: gate (K, q), expert (K, q), scale (K,); q = 1 + d, intercept first."""

    gate: Array
    expert: Array
    scale: Array

    def public(self) -> dict[str, Array]:
        """The public parameter dictionary, last gate zero."""
        gate = self.gate - self.gate[-1]
        return {
            "gate_intercept": gate[:, 0].copy(),
            "gate_coef": gate[:, 1:].copy(),
            "expert_intercept": self.expert[:, 0].copy(),
            "expert_coef": self.expert[:, 1:].copy(),
            "expert_scale": self.scale.copy(),
        }

    def vector(self) -> Array:
        """Free parameters: K-1 gates, experts, log scales."""
        gate = self.gate - self.gate[-1]
        return np.concatenate([gate[:-1].ravel(), self.expert.ravel(), np.log(self.scale)])

    @staticmethod
    def from_vector(theta: Array, n_experts: int) -> Params:
        k = n_experts
        q = (theta.size - k) // (2 * k - 1)
        gate = np.vstack([theta[: (k - 1) * q].reshape(k - 1, q), np.zeros(q)])
        expert = theta[(k - 1) * q : -k].reshape(k, q)
        return Params(gate, expert, np.exp(theta[-k:]))


@dataclass(frozen=True)
class Problem:
    """One row of a benchmark: data, truth and the start that every solver gets."""

    name: str
    X: Array
    y: Array
    truth: Params
    start: Params

    @property
    def n_experts(self) -> int:
        """Experts to fit; the truth may have fewer."""
        return len(self.start.scale)

    @property
    def label(self) -> dict[str, str | int]:
        return {"model": self.name, "n": self.X.shape[0], "d": self.X.shape[1], "K": self.n_experts}


def simulate(truth: Params, X: Array, rng: np.random.Generator, block: int = 100_000) -> Array:
    """Responses at ``X``, drawn in blocks so that the peak memory is the data's."""
    y = np.empty(len(X))
    for first in range(0, len(X), block):
        rows = X[first : first + block]
        features = np.column_stack([np.ones(len(rows)), rows])
        scores = features @ truth.gate.T
        label = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
        mean = np.einsum("nq,nq->n", features, truth.expert[label])
        y[first : first + block] = mean + truth.scale[label] * rng.normal(size=len(rows))
    return y


def model_g(kind: str, n: int, d: int, n_experts: int, seed: int = 0) -> Problem:
    """Model G: x ~ N(0, I), gates s (m_k.x - |m_k|^2 / 2).

    ``easy``: s = 3 and well separated lines; ``hard``: s = 0.8 and lines half as far apart. The start is the truth,
    shrunken by 0.8 and perturbed, with all scales enlarged by a half.
    """
    if kind not in ("easy", "hard"):
        raise ValueError(f"kind is {kind!r}; it must be 'easy' or 'hard'")
    sharp, spread = (3.0, 1.0) if kind == "easy" else (0.8, 0.5)
    design = np.random.default_rng([n_experts, d, seed])  # the same truth for every n and both kinds
    centres = design.normal(size=(n_experts, d))
    if d == 1:
        centres = np.linspace(-1.5, 1.5, n_experts)[:, None]
    slopes = spread * 1.5 * design.normal(size=(n_experts, d)) / np.sqrt(d)
    intercepts = spread * design.permutation(np.linspace(-2.0, 2.0, n_experts))
    gate = sharp * np.column_stack([-0.5 * np.sum(centres**2, axis=1), centres])
    truth = Params(gate - gate[-1], np.column_stack([intercepts, slopes]), design.uniform(0.4, 0.8, n_experts))
    rng = np.random.default_rng([n, d, n_experts, int(kind == "hard"), seed])
    X = rng.normal(size=(n, d))
    y = simulate(truth, X, rng)
    noise = 0.1 * spread
    start = Params(
        0.8 * truth.gate + noise * rng.normal(size=truth.gate.shape),
        0.8 * truth.expert + noise * rng.normal(size=truth.expert.shape),
        1.5 * truth.scale,
    )
    return Problem(kind, X, y, truth, start)


def sgame(n: int, n_experts: int, seed: int) -> Problem:
    """The truth of Nguyen, Nguyen & Ho ("Demystifying softmax gating", 2023), two experts, over-fitted from near it.

    x ~ U(0, 1); gates -8 + 25 x and 0; lines 15 - 20 x and -5 + 20 x; standard deviations 0.3, 0.4. The start repeats
    the true experts (the last one at the last true expert) with the perturbation of the paper's code.
    """
    rng = np.random.default_rng([n, n_experts, seed])
    truth = Params(np.array([[-8.0, 25.0], [0.0, 0.0]]), np.array([[15.0, -20.0], [-5.0, 20.0]]), np.array([0.3, 0.4]))
    X = rng.uniform(size=(n, 1))
    y = simulate(truth, X, rng)
    cell = np.append(np.arange(n_experts - 1) % 2, 1)
    radius = n**-0.083
    start = Params(
        truth.gate[cell] + 0.005 * radius * rng.normal(size=(n_experts, 1)),
        truth.expert[cell] + 0.05 * radius * rng.normal(size=(n_experts, 2)),
        truth.scale[cell] + np.abs(0.005 * n**-0.25 * rng.normal(size=n_experts)),
    )
    return Problem(f"sgame-K{n_experts}", X, y, truth, start)
