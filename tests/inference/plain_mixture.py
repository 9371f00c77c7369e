"""A softmax-gated linear Gaussian mixture in a few lines of NumPy, with derivatives that share no code with moestat.

Scores are complex-step derivatives of the log-density, the Hessian is a central difference of the scores.
"""

from __future__ import annotations

import numpy as np

from moestat.mixture import ConditionalMixture


class PlainMixture:
    """Free vector: gate rows of experts 1…K-1 (intercept first), all experts' coefficients, their log scales."""

    def __init__(self, theta, n_experts, n_features):
        self.theta = np.asarray(theta)
        self.n_experts, self.d = n_experts, n_features

    def moestat(self):
        """The same mixture as moestat's class."""
        gate, coef, log_scale = self.split()
        return ConditionalMixture(
            params={
                "gate_intercept": gate[:, 0],
                "gate_coef": gate[:, 1:],
                "expert_intercept": coef[:, 0],
                "expert_coef": coef[:, 1:],
                "expert_scale": np.exp(log_scale),
            }
        )

    def split(self):
        """Gate (K, d+1) with its last row zero, coefficients (K, d+1), log scales (K,)."""
        k, q = self.n_experts, self.d + 1
        gate = np.zeros((k, q), dtype=self.theta.dtype)
        gate[:-1] = self.theta[: (k - 1) * q].reshape(k - 1, q)
        return gate, self.theta[(k - 1) * q : -k].reshape(k, q), self.theta[-k:]

    def free_names(self):
        terms = ["Intercept", *(f"x{j + 1}" for j in range(self.d))]
        gate = [f"gate[{k}]:{term}" for k in range(1, self.n_experts) for term in terms]
        expert = [f"expert[{k}]:{term}" for k in range(1, self.n_experts + 1) for term in terms]
        return gate + expert + [f"expert[{k}]:log_scale" for k in range(1, self.n_experts + 1)]

    def free_vector(self):
        return self.theta.copy()

    def log_density(self, X, y):
        z = np.column_stack([np.ones(len(X)), X])
        gate, coef, log_scale = self.split()
        scores = z @ gate.T
        standard = (y[:, None] - z @ coef.T) / np.exp(log_scale)
        joint = scores - 0.5 * standard**2 - log_scale - 0.5 * np.log(2 * np.pi)

        def logsumexp(a):
            top = a.real.max(axis=1, keepdims=True)
            return (top + np.log(np.exp(a - top).sum(axis=1, keepdims=True)))[:, 0]

        return logsumexp(joint) - logsumexp(scores)

    def scores(self, X, y, theta=None):
        theta = self.theta if theta is None else theta
        step = 1e-30 * np.eye(len(theta))
        moved = (PlainMixture(theta + 1j * e, self.n_experts, self.d).log_density(X, y).imag / 1e-30 for e in step)
        return np.column_stack(list(moved))

    def hessian(self, X, y, sample_weight=None):
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = []
        for j, value in enumerate(self.theta):
            h = 1e-5 * max(abs(value), 1.0)
            e = h * np.eye(len(self.theta))[j]
            rows.append(weights @ (self.scores(X, y, self.theta + e) - self.scores(X, y, self.theta - e)) / (2 * h))
        return np.array(rows)


def maximise(mixture, X, y, sample_weight=None, steps=30):
    """Newton steps from the mixture's parameters; they must start near the maximum."""
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    for _ in range(steps):
        gradient = weights @ mixture.scores(X, y)
        mixture.theta = mixture.theta - np.linalg.solve(mixture.hessian(X, y, sample_weight), gradient)
        if np.abs(gradient).max() < 1e-9 * len(y):
            break
    return mixture


def two_lines(rng, n=400):
    """Data from two well-separated lines, and the fitted mixture."""
    X = rng.normal(size=(n, 1))
    first = rng.random(n) < 1 / (1 + np.exp(-(0.3 + 1.2 * X[:, 0])))
    y = np.where(first, 1.0 + 2.0 * X[:, 0] + 0.4 * rng.normal(size=n), -1.0 - X[:, 0] + 0.7 * rng.normal(size=n))
    start = [0.3, 1.2, 1.0, 2.0, -1.0, -1.0, np.log(0.4), np.log(0.7)]
    return X, y, maximise(PlainMixture(start, 2, 1), X, y)
