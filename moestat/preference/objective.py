"""The log-likelihood of choices with experts at annotator level: value, EM step, gradient and exact Hessian.

With `L_ak = log π_k(u_a) + Σ_t ω_t log P_k(choice t)`, `ℓ_a = log Σ_k exp L_ak` and responsibilities `r_ak`,

- gradient (Fisher's identity): `Σ_a Σ_k r_ak ∇L_ak`;
- Hessian (Louis 1982): `Σ_a {Σ_k r_ak (∇²L_ak + ∇L_ak ∇L_akᵀ) - ∇ℓ_a ∇ℓ_aᵀ}`.

As for mixtures of rows (`moestat.objective`), `∇ log π_k = (e_k - π) ⊗ z` may be replaced by `e_k ⊗ z` in the covariance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp

from moestat.linalg import solve_psd
from moestat.preference.coordinates import Coordinates
from moestat.preference.data import Array, Comparisons


class Choice(NamedTuple):
    """One expert on all comparisons: probability of each alternative not chosen `(N,)`, log-probability of the choice `(T,)`."""

    prob: Array
    log_prob: Array


class Forward(NamedTuple):
    """The E-step: gate probabilities and responsibilities `(K, A)`, log-likelihood of each annotator `(A,)`."""

    prob: Array
    resp: Array
    loglik: Array
    choices: list[Choice]


def choice(choices: Comparisons, coef: Array) -> Choice:
    """Conditional logit of one expert: with `η_i = coefᵀ(φ_i - φ_chosen)` the choice has probability `1 / (1 + Σ_i exp η_i)`."""
    eta = choices.differences @ coef
    top = np.maximum(choices.reduced(np.maximum, eta), 0.0)
    ratio = np.exp(eta - top[choices.comparison])
    total = choices.reduced(np.add, ratio)
    log_prob = -np.where(top > 0.0, top + np.log(np.exp(-top) + total), np.log1p(total))
    return Choice(ratio / (np.exp(-top) + total)[choices.comparison], log_prob)


class PreferenceObjective:
    """Log-likelihood of choices, minus the penalty, as a function of the free vector of `Coordinates`.

    It has what solvers and certificates ask of an objective: `value`, `gradient`, `derivatives`, `clip`, `bounds`, `total_weight`, `raw`, `n_params`.

    Parameters
    ----------
    choices : Comparisons
        In raw features.
    U : (A, d) array
        Covariates of the annotators.
    coordinates : Coordinates
    l2, gate_l2 : float
        Penalty `l2/2 Σ_k |w_k|²` in raw units and `gate_l2/2 Σ_k |γ_k - γ̄|²` in whitened units.
    """

    raw = False  # the coordinates are orthonormal

    supremum = np.inf  # separation has a test of its own here

    def __init__(
        self, choices: Comparisons, U: Array, coordinates: Coordinates, *, l2: float = 0.0, gate_l2: float = 0.0
    ) -> None:
        self.coordinates = coordinates
        self.choices = choices.transformed(coordinates.rewards.root)
        self.z = coordinates.gate_features(U)
        self.n_experts = coordinates.n_experts
        self.n_gate, n_coef = coordinates.sizes
        self.n_params = self.n_gate + n_coef
        self.bounds = np.tile(np.array([[-np.inf], [np.inf]]), self.n_params)
        self.total_weight = float(choices.weight.sum())
        self.penalty = coordinates.penalty(l2, gate_l2)
        self._fixed = [choice(self.choices, row) for row in np.eye(self.n_experts)] if coordinates.fixed else None

    # -- values -------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array) -> Forward:
        """The E-step."""
        gate, coef = self.coordinates.unpack(theta)
        log_gate = log_softmax(gate @ self.z.T, axis=0)
        choices = self._fixed or [choice(self.choices, row) for row in coef]
        joint = log_gate + np.stack([self.by_annotator(c.log_prob) for c in choices])
        loglik = logsumexp(joint, axis=0)
        return Forward(np.exp(log_gate), np.exp(joint - loglik), np.asarray(loglik), choices)

    def value(self, theta: Array) -> float:
        """Penalised log-likelihood."""
        return self.value_at(theta, self.forward(theta))

    def value_at(self, theta: Array, at: Forward) -> float:
        """Penalised log-likelihood of an E-step at `theta`."""
        return float(at.loglik.sum()) - self.penalty_value(theta)

    def penalty_value(self, theta: Array) -> float:
        """The penalty in nats."""
        return 0.5 * float(theta @ self.penalty @ theta)

    def clip(self, theta: Array) -> Array:
        """Nearest point of the box: there is no box."""
        return theta

    # -- derivatives --------------------------------------------------------------------------------------------------

    def gradient(self, theta: Array) -> tuple[float, Array]:
        """Penalised log-likelihood and its gradient."""
        at = self.forward(theta)
        return self.value_at(theta, at), self._score(at, at.resp) - self.penalty @ theta

    def derivatives(self, theta: Array) -> tuple[float, Array, Array]:
        """Penalised log-likelihood, gradient and exact Hessian (Louis' identity)."""
        at = self.forward(theta)
        gradient = self._score(at, at.resp) - self.penalty @ theta
        return self.value_at(theta, at), gradient, self._louis(at) - self.penalty

    def hessian(self, theta: Array) -> Array:
        """Second derivative of the log-likelihood, without the penalty."""
        return self._louis(self.forward(theta))

    def row_scores(self, theta: Array) -> Array:
        """Score of each annotator, without the penalty, `(A, P)`."""
        at = self.forward(theta)
        return self._rows(at.resp - at.prob, at.resp, self.expert_scores(at))

    def em_direction(self, theta: Array, at: Forward, resp: Array | None = None) -> Array:
        """Newton step of the M-step's concave objective at `theta`, with the responsibilities `resp (K, A)` or the E-step's."""
        weights = at.resp if resp is None else resp
        slope = self._score(at, weights) - self.penalty @ theta
        information = self._complete_information(at, weights) + self.penalty
        return solve_psd(information, slope[:, None])[:, 0] if theta.size else theta

    # -- helpers ------------------------------------------------------------------------------------------------------

    def by_annotator(self, values: Array) -> Array:
        """Weighted sums over the comparisons of each annotator, for values of comparisons `(T, …)`."""
        weight = self.choices.weight.reshape(-1, *(1,) * (values.ndim - 1))
        return np.asarray(np.add.reduceat(weight * values, self.choices.annotator_start, axis=0))

    def block(self, k: int) -> slice:
        """Where the coefficients of expert k (from 0) are in the free vector."""
        r = (self.n_params - self.n_gate) // self.n_experts
        return slice(self.n_gate + k * r, self.n_gate + (k + 1) * r)

    def _choice_scores(self, c: Choice) -> Array:
        """Score of each comparison in its expert's coefficients, `(T, r)`."""
        return -self.choices.reduced(np.add, c.prob[:, None] * self.choices.differences)

    def expert_scores(self, at: Forward) -> list[Array]:
        """Scores of each annotator under each expert, `(A, r)`; none for fixed experts."""
        return [] if self._fixed else [self.by_annotator(self._choice_scores(c)) for c in at.choices]

    def _score(self, at: Forward, resp: Array) -> Array:
        """Gradient of `Σ_a Σ_k resp_ak L_ak`, for responsibilities that sum to one."""
        gate = (resp - at.prob)[:-1] @ self.z
        experts = [
            -(c.prob * self._weights(r)[self.choices.comparison]) @ self.choices.differences
            for r, c in zip(resp, [] if self._fixed else at.choices)
        ]
        return np.concatenate([gate.ravel(), *experts])

    def _weights(self, resp: Array) -> Array:
        """Weights of the comparisons `(T,)` for the responsibilities of one expert `(A,)`."""
        return self.choices.weight * resp[self.choices.annotator]

    def _rows(self, gate: Array, resp: Array, moments: list[Array]) -> Array:
        """`gate_ak z_a` for all experts but the last, then `resp_ak` times the expert's scores: `(A, P)`."""
        first = gate[:-1].T[:, :, None] * self.z[:, None, :]
        return np.hstack([first.reshape(len(self.z), self.n_gate), *(r[:, None] * m for r, m in zip(resp, moments))])

    def _louis(self, at: Forward) -> Array:
        moments = self.expert_scores(at)
        rows = self._rows(at.resp, at.resp, moments)
        out = -rows.T @ rows - self._complete_information(at, at.resp)
        q = self.z.shape[1]
        for k, r in enumerate(at.resp):  # the outer products Σ r v vᵀ of v = (e_k ⊗ z, e_k ⊗ score)
            g, e = slice(k * q, (k + 1) * q), self.block(k)
            if k < self.n_experts - 1:
                weighted = r[:, None] * self.z
                out[g, g] += weighted.T @ self.z
                if moments:
                    cross = weighted.T @ moments[k]
                    out[g, e] += cross
                    out[e, g] += cross.T
            if moments:
                out[e, e] += (r[:, None] * moments[k]).T @ moments[k]
        return np.asarray(0.5 * (out + out.T))

    def _complete_information(self, at: Forward, resp: Array) -> Array:
        """`-∇²` of `Σ_a Σ_k resp_ak L_ak`, block diagonal: gate, experts one by one."""
        s, q = self.n_experts - 1, self.z.shape[1]
        out = np.zeros((self.n_params, self.n_params))
        for i in range(s):
            for j in range(s):
                weight = at.prob[i] * ((i == j) - at.prob[j])
                out[i * q : (i + 1) * q, j * q : (j + 1) * q] = (weight[:, None] * self.z).T @ self.z
        for k, c in enumerate([] if self._fixed else at.choices):
            weight = self._weights(resp[k])
            scores, d = self._choice_scores(c), self.choices.differences
            block = (d * (c.prob * weight[self.choices.comparison])[:, None]).T @ d
            out[self.block(k), self.block(k)] = block - (scores * weight[:, None]).T @ scores
        return out
