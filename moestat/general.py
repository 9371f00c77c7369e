"""The log-likelihood under any gate and any expert: gates by scores, predictors linear or not.

With `u` all predictors of a row (gate scores `s`, expert predictors `η`, scalars `v`), `ℓ = log Σ_k exp a_k(u)`, responsibilities
`r` and `g_k = ∇a_k`, Louis' identity in predictor space is

    ∂²ℓ = Σ_k r_k (∇²a_k + g_k g_kᵀ) - (Σ_k r_k g_k)(Σ_k r_k g_k)ᵀ,

and every predictor carries its own Jacobian in the parameters: the features of a linear map, or what a nonlinear one says. The
compiled route of `objective.py` is the same sums for softmax gates; where both apply they agree (the conformance tests compare).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.blocks import Block
from moestat.gate_sums import add_gate, gate_accumulators, gate_step_sums
from moestat.kernels.functions import exp
from moestat.layout import Parameters
from moestat.linalg import mirror
from moestat.objective import Objective, Pass, Statistics
from moestat.predictor_sums import add_experts, grams

Array = NDArray[np.float64]


class Slopes(NamedTuple):
    """First and second derivatives of one block's rows in predictor space.

    The gradient is `Σ w factor · slope`; the Hessian `Σ w (second - slope slopeᵀ)`, slopes and second derivatives carried to the
    parameters by the predictors' Jacobians.

    Attributes
    ----------
    scores : (S, B), experts : (m, K, B)
        The slopes.
    factor : (B,) or float
    score_pairs : (S, S, B), cross : (S, m, K, B), expert_pairs : (m (m+1)/2, K, B)
        The second derivatives; different experts have none in common.
    """

    scores: Array
    experts: Array
    factor: Array | float
    score_pairs: Array
    cross: Array
    expert_pairs: Array


class GeneralObjective(Objective):
    """`Objective` for gates by scores and predictors of any kind."""

    def _forward(self, params: Parameters, start: int, stop: int) -> tuple[Block, dict[str, Array]]:
        ws = self._workspace(stop - start)
        block = self.rows.block(start, stop)
        gate: Any = self.layout.gate
        z = block.gate_features[:, block.start : block.stop]
        ws["gate_scores"], log_prob = gate.forward(params.gate, z)
        ws["log_prob"][...] = gate.log_weight(params.gate, ws["gate_scores"]) if gate.joint else log_prob
        ws["prob"][...] = exp(log_prob)
        self.layout.expert.forward(params.coef, params.scale, block, ws, self.kernels)
        self.kernels.e_step(ws["log_prob"], ws["log_density"], ws["resp"], ws["loglik"])
        ws["log_gate"] = log_prob
        return block, ws

    # -- slopes in predictor space -------------------------------------------------------------------------------------

    def _gate_jacobian(self, ws: dict[str, Array]) -> Array:
        """`∂ log weight_k / ∂ s_j`, `(K, S, B)`; a joint model's common normaliser is added apart."""
        gate: Any = self.layout.gate
        if gate.joint:
            s, width = ws["gate_scores"].shape
            return np.broadcast_to(np.eye(s)[:, :, None], (s, s, width))
        return np.asarray(gate.jacobian(ws["gate_scores"], ws["log_gate"]))

    def _slopes(self, params: Parameters, block: Block, ws: dict[str, Array], second: bool) -> Slopes:
        gate: Any = self.layout.gate
        resp = ws["resp"]
        expert = self.layout.expert
        jac = self._gate_jacobian(ws)
        weighted = jac * resp[:, None, :]
        scores = weighted.sum(axis=0)
        if not second:
            none = np.empty(0)
            return Slopes(scores, expert.weighted_slopes(params.scale, block, ws, self.kernels), 1.0, none, none, none)
        first, pairs = expert.weighted_derivatives(params.scale, block, ws, self.kernels)
        curved = np.einsum("ksb,ktb->stb", weighted, jac)
        if not gate.joint:
            curved += gate.curvature(ws["gate_scores"], ws["log_gate"], resp)
        cross = jac.swapaxes(0, 1)[:, None] * first[None]  # (S, m, K, B)
        return Slopes(scores, first, 1.0, curved, cross, pairs)

    # -- from predictor space to parameters ----------------------------------------------------------------------------

    def _jacobians(self, params: Parameters, block: Block) -> tuple[Array, Array]:
        """Jacobians of the scores `(S or 1, p, B)` and of the experts' predictors `(d or 1, K or 1, q, B)`."""
        gate: Any = self.layout.gate
        a, b = block.start, block.stop
        z, phi = block.gate_features[:, a:b], block.expert_features[:, a:b]
        expert_jacobian = self.layout.expert.predictor_jacobian(params.coef, phi)
        return gate.score_jacobian(params.gate, z), phi[None, None] if expert_jacobian is None else expert_jacobian

    def _parameter_rows(self, slopes: Slopes, jacobians: tuple[Array, Array]) -> Array:
        """The slopes of all untied parameters, `(P, B)`."""
        layout = self.layout
        d = layout.n_predictors
        width = slopes.scores.shape[-1]
        gate = (slopes.scores[:, None] * jacobians[0]).reshape(-1, width)
        coef = slopes.experts[:d, :, None] * jacobians[1]  # (d, K, q, B)
        scalars = slopes.experts[d:].swapaxes(0, 1).reshape(-1, width)
        return np.concatenate([gate, coef.swapaxes(0, 1).reshape(-1, width), scalars])

    def _weighted_score(self, slopes: Slopes, jacobians: tuple[Array, Array], weight: Array) -> Array:
        """`Σ_b weight slope` of all untied parameters, without the slopes of each row."""
        d = self.layout.n_predictors
        gate = np.matmul(jacobians[0], (slopes.scores * weight)[..., None])[..., 0]
        coef = np.matmul(jacobians[1], (slopes.experts[:d] * weight)[..., None])[..., 0]  # (d, K, q)
        scalars = slopes.experts[d:] @ weight
        return np.concatenate([gate.ravel(), coef.swapaxes(0, 1).ravel(), scalars.T.ravel()])

    def _joint_terms(self, params: Parameters, mass: float) -> tuple[Array, Array] | None:
        """Gradient and Hessian, in the untied vector, of a joint model's common normaliser for this much weight."""
        gate: Any = self.layout.gate
        if not gate.joint:
            return None
        total, size = sum(self.layout.sizes), self.layout.gate_index.size
        _, slope, curvature = gate.log_mass(params.gate)
        gradient, hessian = np.zeros(total), np.zeros((total, total))
        gradient[:size] = -mass * slope.ravel()
        hessian[:size, :size] = -mass * curvature.reshape(size, size)
        return gradient, hessian

    def _row_scores(self, params: Parameters, block: Block, ws: dict[str, Array]) -> Array:
        slopes = self._slopes(params, block, ws, second=False)
        rows = self._parameter_rows(slopes, self._jacobians(params, block)) * slopes.factor
        extra = self._joint_terms(params, 1.0)
        return rows if extra is None else rows + extra[0][:, None]

    def gradient(self, theta: Array) -> tuple[float, Array]:
        """Log-likelihood and its gradient."""
        value, gradient = self._first(theta)
        penalty, slope, _ = self._penalty(theta)
        return value - penalty, gradient - slope

    def _first(self, theta: Array) -> tuple[float, Array]:
        """Value and gradient without the penalty."""
        params = self.layout.unpack(theta)
        total = sum(self.layout.sizes)

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            slopes = self._slopes(params, block, ws, second=False)
            weight = weights_of(block) * slopes.factor
            acc["score"] += self._weighted_score(slopes, self._jacobians(params, block), weight)

        acc = self._sum(work, lambda: {"value": np.zeros(()), "score": np.zeros(total)}, params, self._width())
        extra = self._joint_terms(params, self.total_weight)
        full = acc["score"] if extra is None else acc["score"] + extra[0]
        return float(acc["value"]), self._reduce(full)

    def derivatives(self, theta: Array) -> tuple[float, Array, Array]:
        """Log-likelihood, gradient and exact Hessian (Louis' identity)."""
        value, gradient, hessian = self._second(theta)
        penalty, slope, curvature = self._penalty(theta)
        return value - penalty, gradient - slope, hessian - curvature

    def _second(self, theta: Array) -> tuple[float, Array, Array]:
        """Value, gradient and Hessian without the penalty."""
        layout = self.layout
        params = layout.unpack(theta)
        total = sum(layout.sizes)

        def zero() -> Statistics:
            return {"value": np.zeros(()), "score": np.zeros(total), "hessian": np.zeros((total, total))}

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            self._add_second(params, block, ws, acc)

        acc = self._sum(work, zero, params, self._width())
        gradient, hessian = acc["score"], acc["hessian"]
        extra = self._joint_terms(params, self.total_weight)
        if extra is not None:
            gradient, hessian = gradient + extra[0], hessian + extra[1]
        if self.tie is not None:
            gradient, hessian = gradient @ self.tie, self.tie.T @ hessian @ self.tie
        return float(acc["value"]), gradient, hessian

    def _add_second(self, params: Parameters, block: Block, ws: dict[str, Array], acc: Statistics) -> None:
        layout = self.layout
        slopes = self._slopes(params, block, ws, second=True)
        jac = self._jacobians(params, block)
        weight = weights_of(block)
        rows = self._parameter_rows(slopes, jac)
        acc["score"] += rows @ (weight * slopes.factor)
        hessian = acc["hessian"]
        rows *= np.sqrt(weight)
        hessian -= rows @ rows.T
        score_jac, expert_jac = jac
        s, p = layout.gate_index.shape
        k, d, q, c = layout.n_experts, layout.n_predictors, layout.q_expert, layout.n_scale
        n_gate, n_coef = s * p, k * d * q
        # gate and gate
        block_gg = self._gate_grams(score_jac, slopes.score_pairs * weight)
        hessian[:n_gate, :n_gate] += block_gg.swapaxes(1, 2).reshape(n_gate, n_gate)
        curved = self._score_curvature(params, block, slopes.scores * slopes.factor * weight)
        if curved is not None:
            for j in range(s):
                hessian[j * p : (j + 1) * p, j * p : (j + 1) * p] += curved[j]
        # gate and expert
        cross = slopes.cross * weight
        coef = self._cross_grams(score_jac, cross[:, :d], expert_jac)  # (S, d, K, p, q)
        coef = coef.transpose(0, 3, 2, 1, 4).reshape(n_gate, n_coef)
        width = cross.shape[-1]
        scalar = np.matmul(score_jac, cross[:, d:].reshape(s, c * k, width).swapaxes(1, 2))  # (S, p, c K)
        scalar = scalar.reshape(s, p, c, k).swapaxes(2, 3).reshape(n_gate, k * c)
        mixed = np.concatenate([coef, scalar], axis=1)
        hessian[:n_gate, n_gate:] += mixed
        hessian[n_gate:, :n_gate] += mixed.T
        # expert and expert
        bent = layout.expert.predictor_curvature(
            params.coef, block_phi(block), slopes.experts[:d] * slopes.factor * weight
        )
        add_experts(hessian, slopes.expert_pairs * weight, expert_jac, bent, layout)

    def _gate_grams(self, jac: Array, weight: Array) -> Array:
        """`Σ_b weight_st jac_s jac_tᵀ`, `(S, S, p, p)`, for symmetric weights `(S, S, B)`."""
        if len(jac) > 1:
            return grams(jac[:, None], weight, jac[None])
        s, p = len(weight), jac.shape[1]
        rows, columns = np.tril_indices(s)
        pairs = np.zeros((len(rows), p, p))
        self.kernels.weighted_grams(np.ascontiguousarray(jac[0]), weight[rows, columns], 0, jac.shape[2], pairs)
        out = np.empty((s, s, p, p))
        out[rows, columns] = out[columns, rows] = mirror(pairs)
        return out

    def _cross_grams(self, gate: Array, weight: Array, expert: Array) -> Array:
        """`Σ_b weight gate_s expert_dkᵀ`, `(S, d, K, p, q)`, for weights `(S, d, K, B)`."""
        if len(gate) > 1 or expert.shape[:2] != (1, 1):
            return grams(gate[:, None, None], weight, expert[None])
        flat = np.ascontiguousarray(weight).reshape(-1, weight.shape[-1])
        out = np.zeros((len(flat), gate.shape[1], expert.shape[2]))
        left, right = np.ascontiguousarray(gate[0]), np.ascontiguousarray(expert[0, 0])
        self.kernels.cross_grams(left, right, flat, 0, flat.shape[1], out)
        return out.reshape(*weight.shape[:-1], *out.shape[1:])

    def _score_curvature(self, params: Parameters, block: Block, weight: Array) -> Array | None:
        gate: Any = self.layout.gate
        z = block.gate_features[:, block.start : block.stop]
        out: Array | None = gate.score_curvature(params.gate, z, weight)
        return out

    # -- EM ------------------------------------------------------------------------------------------------------------

    def em_pass(self, theta: Array, resp: Array | None = None, *, information: bool = True) -> Pass:
        """See `Objective.em_pass`; the information is that of the gate's own multinomial law (scoring).

        Where the exact second derivative of the gate's part differs, minus that is among the statistics, as `gate_bend`.
        """
        layout = self.layout
        params = layout.unpack(theta)

        def zero() -> Statistics:
            acc = layout.expert.accumulators(layout.n_experts, layout.n_predictors, layout.q_expert)
            return acc | {"value": np.zeros(())} | gate_accumulators(layout)

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            if resp is not None:
                ws["resp"][...] = resp[:, block.row : block.row + block.stop - block.start]
            self.kernels.scale_rows(block.weight, block.start, block.stop, ws["resp"])
            layout.expert.add_statistics(acc, params.scale, block, ws, self.kernels)
            self._add_gate(params, block, ws, acc)

        acc = self._sum(work, zero, params, self._width())
        penalty, slope, curvature = self._penalty(theta)
        matrix = gate_step_sums(layout, acc, slope, curvature)
        return Pass(float(acc["value"]) - penalty, acc, matrix)

    def _add_gate(self, params: Parameters, block: Block, ws: dict[str, Array], acc: Statistics) -> None:
        add_gate(self, params, block, ws, acc, weights_of(block))

    def maximise(self, theta: Array, at: Pass, gate_step: float = 1.0) -> Array:
        """M-step: the experts' own, and a (damped) Newton or scoring step for the gate; clipped to the box."""
        layout = self.layout
        params = layout.unpack(theta)
        coef, scale = layout.expert.maximise(params.coef, params.scale, at.statistics, self.floor, gate_step)
        out = layout.pack(Parameters(params.gate, coef, scale))
        n = layout.n_gate
        gate: Any = layout.gate
        if gate.joint:
            floor = np.full(layout.q_gate - 1, 1e-150) if self.gate_floor is None else self.gate_floor
            out[:n] = layout.pack_gate(gate.maximise_moments(params.gate, at.statistics["gate_joint"], floor))
        elif n and at.information is not None:
            sums = at.statistics
            out[:n] = gate.maximise_free(
                theta[:n], sums["gate_slope"], at.information, gate_step, sums.get("gate_bend")
            )
        return self.clip(out)

    def _width(self) -> int:
        """Rows a block: about two megabytes for the largest array."""
        layout = self.layout
        s, p = layout.gate_index.shape
        m = layout.n_predictors + layout.n_scale
        rows = max(s * s * p, s * m * layout.n_experts * max(p, 1), sum(layout.sizes), 1)
        return int(min(self.size, max(256, 262144 // rows // 256 * 256)))


def weights_of(block: Block) -> Array:
    """The weights of a block's rows."""
    return block.weight[block.start : block.stop] if block.weight.size else np.ones(block.stop - block.start)


def block_phi(block: Block) -> Array:
    """The experts' features of a block."""
    return block.expert_features[:, block.start : block.stop]
