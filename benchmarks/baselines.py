"""Baselines written as well as NumPy and SciPy allow: EM, SQUAREM, L-BFGS-B. Layout (K, n), rows contiguous."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize

from benchmarks.problems import Array, Params, Problem

LOG_2PI = float(np.log(2.0 * np.pi))


class OutOfTime(Exception):
    """The CPU cap of a run is spent."""


@dataclass
class Trace:
    """CPU seconds and log-likelihood after every evaluation; raises OutOfTime beyond ``cap``."""

    cap: float
    start: float = field(default_factory=time.process_time)
    seconds: list[float] = field(default_factory=list)
    logliks: list[float] = field(default_factory=list)

    def record(self, loglik: float) -> None:
        now = time.process_time() - self.start
        self.seconds.append(now)
        self.logliks.append(loglik)
        if now > self.cap:
            raise OutOfTime


class Mixture:
    """Arrays of one problem and the passes over them."""

    def __init__(self, problem: Problem) -> None:
        n, d = problem.X.shape
        self.k, self.q, self.n = problem.n_experts, d + 1, n
        self.features = np.empty((self.q, n))
        self.features[0] = 1.0
        self.features[1:] = problem.X.T
        self.y = np.ascontiguousarray(problem.y)

    def log_gate(self, gate: Array) -> Array:
        scores = gate @ self.features
        scores -= scores.max(axis=0)
        scores -= np.log(np.exp(scores).sum(axis=0))
        return np.asarray(scores)

    def e_step(self, params: Params, log_gate: Array) -> tuple[float, Array, Array]:
        """Log-likelihood, responsibilities (K, n) and standardised residuals (K, n)."""
        z = params.expert @ self.features
        np.subtract(self.y, z, out=z)
        z /= params.scale[:, None]
        joint = -0.5 * z * z
        joint -= (np.log(params.scale) + 0.5 * LOG_2PI)[:, None]
        joint += log_gate
        top = joint.max(axis=0)
        joint -= top
        np.exp(joint, out=joint)
        total = joint.sum(axis=0)
        joint /= total
        return float(np.sum(top) + np.sum(np.log(total))), joint, z

    def normal_equations(self, resp: Array) -> tuple[Array, Array]:
        """Weighted Gram matrices (K, q, q) and moments (K, q) of every expert."""
        gram, moment = np.empty((self.k, self.q, self.q)), np.empty((self.k, self.q))
        for j, r in enumerate(resp):
            weighted = self.features * r
            gram[j], moment[j] = weighted @ self.features.T, weighted @ self.y
        return gram, moment

    def experts(self, resp: Array) -> tuple[Array, Array]:
        """Weighted least squares of every expert: coefficients (K, q) and scales (K,)."""
        gram, moment = self.normal_equations(resp)
        coef = np.array([solve(g, m, assume_a="pos") for g, m in zip(gram, moment, strict=True)])
        residual = self.y - coef @ self.features
        scale = np.sqrt(np.einsum("kn,kn,kn->k", resp, residual, residual) / resp.sum(axis=1))
        return coef, scale

    def gate_score(self, proba: Array, resp: Array) -> tuple[Array, Array]:
        """Score and information of the expected gate log-likelihood in the K-1 free gates."""
        k, q = self.k - 1, self.q
        score = ((resp - proba)[:k] @ self.features.T).ravel()
        information = np.empty((k * q, k * q))
        for a in range(k):
            for b in range(a + 1):
                weight = proba[a] * (float(a == b) - proba[b])
                block = (self.features * weight) @ self.features.T
                information[a * q : (a + 1) * q, b * q : (b + 1) * q] = block
                information[b * q : (b + 1) * q, a * q : (a + 1) * q] = block.T
        return score, information

    def gate_newton(self, gate: Array, log_gate: Array, resp: Array) -> tuple[Array, Array]:
        """One Newton step with halving on the expected gate log-likelihood; the new gate and its log-probabilities."""
        k, q = self.k - 1, self.q
        score, information = self.gate_score(np.exp(log_gate), resp)
        information[np.diag_indices(k * q)] += 1e-10 * np.trace(information) / (k * q)
        step = np.vstack([solve(information, score, assume_a="pos").reshape(k, q), np.zeros(q)])
        before, length = float(np.vdot(resp, log_gate)), 1.0
        for _ in range(30):
            candidate = self.log_gate(gate + length * step)
            if np.vdot(resp, candidate) >= before:
                return gate + length * step, candidate
            length *= 0.5
        return gate, log_gate

    def em_pass(self, params: Params) -> tuple[float, tuple[Array, ...]]:
        """E-step and every statistic of the M-step: what one pass of moestat's EM computes."""
        log_gate = self.log_gate(params.gate)
        loglik, resp, z = self.e_step(params, log_gate)
        squares = np.einsum("kn,kn,kn->k", resp, z, z)
        return loglik, (squares, *self.normal_equations(resp), *self.gate_score(np.exp(log_gate), resp))

    def em_map(self, params: Params, log_gate: Array) -> tuple[Params, Array, float]:
        """One generalised EM step; the log-likelihood returned is that of the old parameters."""
        loglik, resp, _ = self.e_step(params, log_gate)
        expert, scale = self.experts(resp)
        gate, log_gate = self.gate_newton(params.gate, log_gate, resp)
        return Params(gate, expert, scale), log_gate, loglik

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Log-likelihood and its gradient in the free parameters (Fisher's identity)."""
        params = Params.from_vector(theta, self.k)
        log_gate = self.log_gate(params.gate)
        loglik, resp, z = self.e_step(params, log_gate)
        gate = (resp - np.exp(log_gate))[:-1] @ self.features.T
        weighted = resp * z
        expert = (weighted / params.scale[:, None]) @ self.features.T
        scale = np.einsum("kn,kn->k", weighted, z) - resp.sum(axis=1)
        return loglik, np.concatenate([gate.ravel(), expert.ravel(), scale])


Solver = Callable[[Problem, Trace], Params]


def em_numpy(problem: Problem, trace: Trace, tol: float = 1e-13, max_iter: int = 1_000_000) -> Params:
    """EM with one Newton step for the gate; stops when the log-likelihood moves by less than ``tol`` relatively."""
    mixture, params = Mixture(problem), problem.start
    log_gate, last = mixture.log_gate(params.gate), -np.inf
    for _ in range(max_iter):
        old = params
        params, log_gate, loglik = mixture.em_map(params, log_gate)
        trace.record(loglik)
        if abs(loglik - last) <= tol * abs(loglik):
            return old
        last = loglik
    return params


def squarem_numpy(problem: Problem, trace: Trace, tol: float = 1e-13) -> Params:
    """SQUAREM (Varadhan & Roland 2008, scheme S3) on the same EM map, falling back to EM where it loses."""
    mixture, params, last = Mixture(problem), problem.start, -np.inf
    log_gate = mixture.log_gate(params.gate)
    while True:
        first, gate_one, loglik = mixture.em_map(params, log_gate)
        trace.record(loglik)
        if abs(loglik - last) <= tol * abs(loglik):
            return params
        last = loglik
        second, gate_two, _ = mixture.em_map(first, gate_one)
        theta, one, two = params.vector(), first.vector(), second.vector()
        r, v = one - theta, two - 2.0 * one + theta
        alpha = min(-1.0, -float(np.linalg.norm(r)) / max(float(np.linalg.norm(v)), 1e-300))
        jump = Params.from_vector(theta - 2.0 * alpha * r + alpha**2 * v, mixture.k)
        with np.errstate(all="ignore"):
            jump_gate = mixture.log_gate(jump.gate)
            try:
                settled, settled_gate, jumped = mixture.em_map(jump, jump_gate)
            except (np.linalg.LinAlgError, ValueError):
                jumped = -np.inf
        if np.isfinite(jumped) and jumped >= loglik:
            params, log_gate = settled, settled_gate
        else:
            params, log_gate = second, gate_two


def run_lbfgs(
    fun: Callable[[Array], tuple[float, Array]], theta: Array, n: int, k: int, trace: Trace, max_iter: int = 20_000
) -> Params:
    """SciPy's L-BFGS-B (20 corrections) on the mean log-likelihood until its line search finds nothing more."""

    def objective(point: Array) -> tuple[float, Array]:
        value, gradient = fun(point)
        trace.record(value)
        return -value / n, -gradient / n

    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-10, "maxiter": max_iter, "maxfun": max_iter}
    found = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options)
    return Params.from_vector(found.x, k)


def lbfgs_numpy(problem: Problem, trace: Trace) -> Params:
    """L-BFGS-B with the analytic gradient in NumPy."""
    mixture = Mixture(problem)
    return run_lbfgs(mixture.value_and_gradient, problem.start.vector(), mixture.n, mixture.k, trace)


def loglik(problem: Problem, params: Params) -> float:
    """Log-likelihood of ``params`` on the problem's data."""
    mixture = Mixture(problem)
    return mixture.e_step(params, mixture.log_gate(params.gate))[0]
