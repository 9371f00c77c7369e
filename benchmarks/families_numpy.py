"""The rivals of ``benchmarks.families``: mixtures of experts in vectorised NumPy. Layout (d, K, n), rows contiguous.

What an E-step computed is kept: a pass evaluates every exponential once, and an M-step that checks its own ascent hands the
densities that it has computed on to the next E-step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.special import digamma, expit, gammaln

Array = NDArray[np.float64]
LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class State:
    """Gate (K, q), coefficients (K, d, q), scalars (K, c)."""

    gate: Array
    coef: Array
    scalars: Array

    def vector(self, pinned: bool) -> Array:
        """The free parameters; a pinned gate's last row is zero."""
        return np.concatenate([self.gate[: -1 if pinned else None].ravel(), self.coef.ravel(), self.scalars.ravel()])

    def moved(self, theta: Array, pinned: bool) -> State:
        """The state of another free vector."""
        gate = np.zeros_like(self.gate)
        free = gate[: -1 if pinned else None]
        free[...] = theta[: free.size].reshape(free.shape)
        coef = theta[free.size : free.size + self.coef.size].reshape(self.coef.shape)
        return State(gate, coef, theta[free.size + self.coef.size :].reshape(self.scalars.shape))


class Experts(NamedTuple):
    """Log-densities (K, n) and what their derivatives reuse."""

    log_density: Array
    kept: Any


@dataclass(frozen=True)
class Family:
    """A gate and an expert: formulas for the rivals, names for moestat, and how data are drawn."""

    gate: str
    expert: str
    n_predictors: int
    scalars: Array  # of the true experts
    scalar_shift: Array  # of the start
    slope: float
    level: float
    centre: float
    forward: Callable[[Array, Array, Array], Experts]  # (y, eta, scalars)
    slopes: Callable[[Array, Experts, Array], tuple[Array, Array]]  # (d, K, n) and (c, K, n)
    m_step: Callable[[Model, State, Experts, Array], tuple[State, Experts]]
    draw: Callable[[Array, Array, np.random.Generator], Array]
    prepare: Callable[[Array], Array] = lambda y: y

    @property
    def pinned(self) -> bool:
        """Whether the last gate is zero."""
        return self.gate == "softmax"

    def log_gate(self, scores: Array) -> Array:
        """Log-probabilities (K, n)."""
        return log_softmax(scores if self.pinned else np.minimum(scores, 0.0) - np.log1p(np.exp(-np.abs(scores))))

    def public(self, state: State) -> dict[str, Array]:
        """moestat's parameter dictionary."""
        coef = state.coef if self.n_predictors > 1 else state.coef[:, 0]
        out = {
            "gate_intercept": state.gate[:, 0],
            "gate_coef": state.gate[:, 1:],
            "expert_intercept": coef[..., 0],
            "expert_coef": coef[..., 1:],
        }
        names = ("expert_scale", "expert_df")[: state.scalars.shape[1]]
        return out | {name: np.exp(state.scalars[:, j]) for j, name in enumerate(names)}


class Point(NamedTuple):
    """A state with its log gate (K, n), scores (K, n) and densities."""

    state: State
    scores: Array
    log_gate: Array
    experts: Experts


class Model:
    """Arrays of one data set and the passes over them."""

    def __init__(self, family: Family, X: Array, y: Array) -> None:
        self.family, self.n = family, len(X)
        self.features = np.ascontiguousarray(np.vstack([np.ones(len(X)), X.T]))
        self.y = family.prepare(y)

    def predictors(self, coef: Array) -> Array:
        """(d, K, n)."""
        return np.stack([coef[:, j] @ self.features for j in range(coef.shape[1])])

    def at(self, state: State) -> Point:
        """Everything at a state."""
        scores = state.gate @ self.features
        experts = self.family.forward(self.y, self.predictors(state.coef), state.scalars)
        return Point(state, scores, self.family.log_gate(scores), experts)

    @staticmethod
    def posterior(point: Point) -> tuple[float, Array]:
        """Log-likelihood and responsibilities (K, n)."""
        joint = point.log_gate + point.experts.log_density
        top = joint.max(axis=0)
        joint -= top
        np.exp(joint, out=joint)
        total = joint.sum(axis=0)
        joint /= total
        return float(top.sum() + np.log(total).sum()), joint

    def em_step(self, point: Point) -> tuple[Point, float]:
        """One generalised EM step; the log-likelihood is that of the old state."""
        loglik, resp = self.posterior(point)
        state, experts = self.family.m_step(self, point.state, point.experts, resp)
        gate, scores, log_gate = self.gate_newton(point, resp)
        return Point(replace(state, gate=gate), scores, log_gate, experts), loglik

    def gate_slope(self, point: Point, resp: Array) -> tuple[Array, Array, Array | float]:
        """Derivatives of the expected log gate in the scores, the probabilities and what multiplies the scores' own."""
        proba = np.exp(point.log_gate)
        factor: Array | float = 1.0 if self.family.pinned else expit(-point.scores)
        return (resp - proba) * factor, proba, factor

    def gate_newton(self, point: Point, resp: Array) -> tuple[Array, Array, Array]:
        """One scoring step with halving on the expected gate log-likelihood."""
        slope, proba, factor = self.gate_slope(point, resp)
        s, q = len(proba) - self.family.pinned, len(self.features)
        factors = np.broadcast_to(factor, proba.shape)
        information = np.empty((s * q, s * q))
        for a in range(s):
            for b in range(a + 1):
                weight = proba[a] * (float(a == b) - proba[b]) * factors[a] * factors[b]
                block = (self.features * weight) @ self.features.T
                information[a * q : (a + 1) * q, b * q : (b + 1) * q] = block
                information[b * q : (b + 1) * q, a * q : (a + 1) * q] = block.T
        information[np.diag_indices(s * q)] += 1e-10 * np.trace(information) / (s * q)
        step = np.zeros_like(point.state.gate)
        step[:s] = solve(information, (slope[:s] @ self.features.T).ravel()).reshape(s, q)
        before, length = float(np.vdot(resp, point.log_gate)), 1.0
        for _ in range(20):
            gate = point.state.gate + length * step
            scores = gate @ self.features
            log_gate = self.family.log_gate(scores)
            if np.vdot(resp, log_gate) >= before:
                return gate, scores, log_gate
            length *= 0.5
        return point.state.gate, point.scores, point.log_gate

    def value_and_gradient(self, state: State) -> tuple[float, Array]:
        """Log-likelihood and its gradient in the free vector (Fisher's identity)."""
        point = self.at(state)
        loglik, resp = self.posterior(point)
        gate = self.gate_slope(point, resp)[0][: len(resp) - self.family.pinned] @ self.features.T
        in_eta, in_scalars = self.family.slopes(self.y, point.experts, state.scalars)
        coef = np.stack([(resp * g) @ self.features.T for g in in_eta], axis=1)
        scalars = [np.einsum("kn,kn->k", resp, g) for g in in_scalars]
        last = np.stack(scalars, axis=1).ravel() if scalars else np.empty(0)
        return loglik, np.concatenate([gate.ravel(), coef.ravel(), last])

    def newton(
        self, state: State, experts: Experts, resp: Array, bend: Callable[[Experts, int, int, int], Array]
    ) -> tuple[State, Experts]:
        """A Newton step with halving for every expert; `bend(experts, k, i, j)` is minus the second derivative (n,)."""
        slopes, _ = self.family.slopes(self.y, experts, state.scalars)
        k, d, q = state.coef.shape
        step = np.empty_like(state.coef)
        for e in range(k):
            information = np.empty((d * q, d * q))
            for i, j in zip(*np.tril_indices(d), strict=True):
                block = (self.features * (resp[e] * bend(experts, e, int(i), int(j)))) @ self.features.T
                information[i * q : (i + 1) * q, j * q : (j + 1) * q] = block
                information[j * q : (j + 1) * q, i * q : (i + 1) * q] = block.T
            information[np.diag_indices(d * q)] += 1e-10 * np.trace(information) / (d * q)
            score = ((resp[e] * slopes[:, e]) @ self.features.T).ravel()
            step[e] = solve(information, score).reshape(d, q)
        before = np.einsum("kn,kn->k", resp, experts.log_density)
        length = np.ones((k, 1, 1))
        for _ in range(20):
            moved = replace(state, coef=state.coef + length * step)
            found = self.family.forward(self.y, self.predictors(moved.coef), state.scalars)
            lower = np.einsum("kn,kn->k", resp, found.log_density) < before
            if not lower.any():
                return moved, found
            length[lower] *= 0.5
        return state, experts

    def least_squares(self, weight: Array) -> tuple[Array, Array]:
        """Coefficients (K, 1, q) for weights (K, n), and residuals (K, n)."""
        coef = np.empty((len(weight), 1, len(self.features)))
        for e, w in enumerate(weight):
            weighted = self.features * w
            coef[e, 0] = solve(weighted @ self.features.T, weighted @ self.y)
        return coef, self.y - coef[:, 0] @ self.features


def solve(matrix: Array, vector: Array) -> Array:
    """Of a positive matrix by its Cholesky factor, of a singular one by least squares."""
    try:
        return np.asarray(cho_solve(cho_factor(matrix), vector))
    except LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, vector, rcond=None)[0])


def log_softmax(scores: Array) -> Array:
    """Over the first axis."""
    scores = scores - scores.max(axis=0)
    scores -= np.log(np.exp(scores).sum(axis=0))
    return scores


# -- Poisson -----------------------------------------------------------------------------------------------------------


def poisson_forward(y: Array, eta: Array, scalars: Array) -> Experts:
    """`y` holds the counts and the logarithms of their factorials."""
    mean = np.exp(eta[0])
    return Experts(y[0] * eta[0] - mean - y[1], mean)


def poisson_slopes(y: Array, experts: Experts, scalars: Array) -> tuple[Array, Array]:
    return (y[0] - experts.kept)[None], np.empty((0, *experts.kept.shape))


def poisson_step(model: Model, state: State, experts: Experts, resp: Array) -> tuple[State, Experts]:
    return model.newton(state, experts, resp, lambda at, e, i, j: at.kept[e])


# -- three classes -----------------------------------------------------------------------------------------------------


def classes_forward(y: Array, eta: Array, scalars: Array) -> Experts:
    """`y (3, n)` are indicators."""
    log_proba = log_softmax(np.concatenate([eta, np.zeros_like(eta[:1])]))
    return Experts(np.einsum("sn,skn->kn", y, log_proba), np.exp(log_proba))


def classes_slopes(y: Array, experts: Experts, scalars: Array) -> tuple[Array, Array]:
    proba = experts.kept
    return y[:-1, None] - proba[:-1], np.empty((0, *proba.shape[1:]))


def classes_step(model: Model, state: State, experts: Experts, resp: Array) -> tuple[State, Experts]:
    return model.newton(state, experts, resp, lambda at, e, i, j: at.kept[i, e] * (float(i == j) - at.kept[j, e]))


# -- normal and Student t ----------------------------------------------------------------------------------------------


def normal_forward(y: Array, eta: Array, scalars: Array) -> Experts:
    z = (y - eta[0]) / np.exp(scalars[:, :1])
    return Experts(-0.5 * z * z - scalars[:, :1] - 0.5 * LOG_2PI, z)


def normal_slopes(y: Array, experts: Experts, scalars: Array) -> tuple[Array, Array]:
    z = experts.kept
    return (z / np.exp(scalars[:, :1]))[None], (z * z - 1.0)[None]


def normal_step(model: Model, state: State, experts: Experts, resp: Array) -> tuple[State, Experts]:
    coef, residual = model.least_squares(resp)
    variance = np.einsum("kn,kn,kn->k", resp, residual, residual) / resp.sum(axis=1)
    scalars = 0.5 * np.log(variance)[:, None]
    z = residual / np.exp(scalars)
    return State(state.gate, coef, scalars), Experts(-0.5 * z * z - scalars - 0.5 * LOG_2PI, z)


def t_density(z: Array, scalars: Array) -> Experts:
    """Keeps z and `1 + z²/ν`."""
    nu = np.exp(scalars[:, 1:])
    constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * nu) - scalars[:, :1]
    ratio = 1.0 + z * z / nu
    logs = np.log(ratio)
    return Experts(constant - 0.5 * (nu + 1.0) * logs, (z, ratio, logs))


def t_forward(y: Array, eta: Array, scalars: Array) -> Experts:
    return t_density((y - eta[0]) / np.exp(scalars[:, :1]), scalars)


def t_slopes(y: Array, experts: Experts, scalars: Array) -> tuple[Array, Array]:
    z, ratio, logs = experts.kept
    nu = np.exp(scalars[:, 1:])
    pull = (nu + 1.0) / nu * z / ratio
    constant = 0.5 * nu * (digamma(0.5 * (nu + 1.0)) - digamma(0.5 * nu)) - 0.5
    in_shape = constant - 0.5 * nu * logs + 0.5 * z * pull
    return (pull / np.exp(scalars[:, :1]))[None], np.stack([z * pull - 1.0, in_shape])


def t_step(model: Model, state: State, experts: Experts, resp: Array) -> tuple[State, Experts]:
    """Weighted least squares with the expected precisions, and a root for ν (Peel & McLachlan 2000)."""
    _, ratio, logs = experts.kept
    nu = np.exp(state.scalars[:, 1:])
    weight = (1.0 + 1.0 / nu) / ratio
    coef, residual = model.least_squares(resp * weight)
    mass = resp.sum(axis=1)
    scale = np.sqrt(np.einsum("kn,kn,kn->k", resp * weight, residual, residual) / mass)
    excess = np.log1p(1.0 / nu[:, 0]) - np.einsum("kn,kn->k", resp, logs + weight) / mass
    excess += digamma(0.5 * (nu[:, 0] + 1.0)) - np.log(0.5 * (nu[:, 0] + 1.0)) + 1.0
    scalars = np.column_stack([np.log(scale), [t_shape(value) for value in excess]])
    return State(state.gate, coef, scalars), t_density(residual / scale[:, None], scalars)


def t_shape(excess: float) -> float:
    """The log ν where `log(ν/2) - ψ(ν/2) + excess = 0`, within moestat's bounds."""

    def score(log_nu: float) -> float:
        return float(log_nu - np.log(2.0) - digamma(0.5 * np.exp(log_nu)) + excess)

    low, high = float(np.log(0.2)), float(np.log(1e6))
    return high if score(high) > 0.0 else low if score(low) < 0.0 else float(brentq(score, low, high, xtol=1e-14))


# -- the four models ---------------------------------------------------------------------------------------------------

NONE = np.empty(0)
FAMILIES: dict[str, Family] = {
    "multinomial": Family(
        "softmax", "multinomial", 2, NONE, NONE, 3.0, 2.0, 0.0, classes_forward, classes_slopes, classes_step,
        lambda eta, v, rng: np.argmax(
            np.vstack([eta, np.zeros_like(eta[:1])]) + rng.gumbel(size=(3, eta.shape[1])), axis=0
        ).astype(float),
        lambda y: (y == np.arange(3.0)[:, None]).astype(float),
    ),
    "poisson": Family(
        "softmax", "poisson", 1, NONE, NONE, 0.5, 1.5, 1.5, poisson_forward, poisson_slopes, poisson_step,
        lambda eta, v, rng: rng.poisson(np.exp(eta[0])).astype(float),
        lambda y: np.stack([y, gammaln(y + 1.0)]),
    ),
    "student_t": Family(
        "softmax", "student_t", 1, np.log([0.5, 4.0]), np.log([1.5, 1.25]), 1.5, 2.0, 0.0, t_forward, t_slopes, t_step,
        lambda eta, v, rng: eta[0] + np.exp(v[0]) * rng.standard_t(np.exp(v[1])),
    ),
    "sigmoid gate": Family(
        "normalized_sigmoid", "gaussian", 1, np.log([0.5]), np.log([1.5]), 1.5, 2.0, 0.0,
        normal_forward, normal_slopes, normal_step,
        lambda eta, v, rng: eta[0] + np.exp(v[0]) * rng.normal(size=eta.shape[1]),
    ),
}  # fmt: skip
