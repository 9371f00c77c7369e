"""The log-likelihood of data in internal coordinates: value, EM pass, gradient and exact Hessian, by blocks of rows.

The derivatives are taken in predictor space. With `ℓ = log Σ_k exp(log π_k + log f_k)` and `r` the responsibilities,

- gradient (Fisher's identity): `Σ_k r_k ∇(log π_k + log f_k)`;
- Hessian (Louis 1982): `Σ_k r_k (∇² + ∇∇ᵀ)(log π_k + log f_k) - (∇ℓ)(∇ℓ)ᵀ`.

A shift common to all experts leaves Louis' covariance unchanged, so the softmax gate's `∇ log π_k = e_k - π` may be replaced by
`e_k`: what is left is one weighted Gram matrix an expert and an outer product of per-row scores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat import kernels, limits, louis
from moestat.blocks import Block, Rows, accumulate, block_size, score_block_size
from moestat.layout import Layout, Parameters, gate_penalty, workspace
from moestat.linalg import mirror

Array = NDArray[np.float64]
Statistics = dict[str, Array]

BLAS_ROWS = 32  # from this many score rows on, BLAS forms their outer product faster than the compiled loop


class Pass(NamedTuple):
    """Result of an EM pass: the penalised log-likelihood and the additive statistics of the M-step."""

    value: float
    statistics: Statistics
    information: Array | None = None  # of the gate's part, (s q, s q); None when it was not asked for


class Objective:
    """Weighted log-likelihood of `rows`, minus the gate penalty, as a function of the free vector.

    Parameters
    ----------
    rows : Rows
        The data (responses already standardised).
    layout : Layout
        Shape of the model.
    gate_l2 : float
        Penalty `gate_l2/2 Σ_k |γ_k - γ̄|²` on the gate's slopes in whitened units.
    gate_metric : (q-1, q-1) array or None
        Covariance of the gate's features where they are not whitened: the square form that the penalty takes on them.
    floor : (D,) array
        Smallest standard deviation of an expert, internal units.
    gate_floor : (d,) array or None
        Smallest standard deviation of x that a gate that models x may have.
    bounds : (2, P) array or None
        Box on the free vector in addition to the floor.
    n_jobs : int
        Threads over blocks.
    """

    def __init__(
        self,
        rows: Rows,
        layout: Layout,
        *,
        gate_l2: float = 0.0,
        gate_metric: Array | None = None,
        floor: Array,
        gate_floor: Array | None = None,
        bounds: Array | None = None,
        n_jobs: int = 1,
    ) -> None:
        self.rows, self.layout, self.gate_l2, self.floor = rows, layout, gate_l2, floor
        self.gate_floor = gate_floor
        self.gate_metric = gate_metric
        self.kernels = kernels.get()
        self.n_params = layout.n_params
        self.total_weight = rows.total_weight
        self.bounds = self._bounds(bounds)
        self.tie = layout.tie()
        self.size = block_size(layout.n_experts)
        self.raw = rows.gate_map.transform is None and rows.expert_map.transform is None
        self.n_jobs = n_jobs
        self.pool = ThreadPoolExecutor(n_jobs) if n_jobs > 1 and rows.n > self.size else None
        self.n_passes = 0
        self._local = threading.local()
        self._gram: Array | None = None

    def _bounds(self, bounds: Array | None) -> Array:
        return limits.with_limits(self.layout, bounds, self.floor, self.gate_floor)

    def scale_limits(self) -> Array:
        """Bounds `(2, c)` of the scalars of one expert."""
        return self.layout.expert.scale_limits(self.floor)

    def degenerate(self, theta: Array) -> tuple[int, ...]:
        """Experts (from 1) whose density is about to be a spike; see `moestat.limits.degenerate`."""
        return limits.degenerate(self.layout, theta, self.floor, self.gate_floor)

    @property
    def gram(self) -> Array:
        """`Σ w zzᵀ` of the gate's features."""
        if self._gram is None:
            ones = np.ones((1, self.size))

            def add(blocks: list[tuple[int, int]]) -> Array:
                out = np.zeros((1, self.layout.q_gate, self.layout.q_gate))
                for start, stop in blocks:
                    b = self.rows.block(start, stop)
                    w = b.weight[None, b.start : b.stop] if b.weight.size else ones[:, : stop - start]
                    self.kernels.weighted_grams(b.gate_features, np.ascontiguousarray(w), b.start, b.stop, out)
                return out

            self._gram = mirror(accumulate(add, self.rows.n, self.size, np.add, self.pool))[0]
        return self._gram

    @property
    def supremum(self) -> float:
        """What no log-likelihood of the model can exceed: zero for classes, infinity where densities are unbounded."""
        bounded = self.layout.expert.bounded and not self.layout.gate.joint
        return 0.0 if bounded else np.inf

    # -- passes over the data ---------------------------------------------------------------------------------------

    def _workspace(self, width: int) -> dict[str, Array]:
        """The arrays of one thread for blocks of this width; kept, because large arrays are slow to make."""
        kept: dict[int, dict[str, Array]] = self._local.__dict__.setdefault("workspaces", {})
        if width not in kept:
            kept[width] = workspace(self.layout, width)
        return kept[width]

    def _forward(self, params: Parameters, start: int, stop: int) -> tuple[Block, dict[str, Array]]:
        """E-step of one block: the workspace cut to its width holds gate, densities, residuals, resp and loglik."""
        ws = self._workspace(stop - start)
        block = self.rows.block(start, stop)
        self.kernels.softmax_forward(
            params.gate, block.gate_features, block.start, block.stop, ws["log_prob"], ws["prob"]
        )
        self.layout.expert.forward(params.coef, params.scale, block, ws, self.kernels)
        self.kernels.e_step(ws["log_prob"], ws["log_density"], ws["resp"], ws["loglik"])
        return block, ws

    def _sum(
        self,
        work: Callable[[Block, dict[str, Array], Statistics], None],
        zero: Callable[[], Statistics],
        params: Parameters,
        size: int | None = None,
    ) -> Statistics:
        """Accumulate `work` over all blocks of `size` rows."""
        self.n_passes += 1

        def over(blocks: list[tuple[int, int]]) -> Statistics:
            acc = zero()
            for start, stop in blocks:
                block, ws = self._forward(params, start, stop)
                acc["value"] += self.kernels.weighted_sum(ws["loglik"], block.weight, block.start, block.stop)
                work(block, ws, acc)
            return acc

        return accumulate(over, self.rows.n, size or self.size, _add, self.pool)

    def value(self, theta: Array) -> float:
        """Penalised log-likelihood."""
        params = self.layout.unpack(theta)
        total = self._sum(lambda block, ws, acc: None, lambda: {"value": np.zeros(())}, params)
        return float(total["value"]) - self._penalty(theta)[0]

    def em_pass(self, theta: Array, resp: Array | None = None, *, information: bool = True) -> Pass:
        """Penalised log-likelihood and the statistics of the M-step at `theta`, in one pass.

        Responsibilities `resp (K, n)` replace the E-step's if they are given; `information` asks for the gate's curvature too.
        """
        layout, kn = self.layout, self.kernels
        params = layout.unpack(theta)
        k, s, q = layout.n_experts, layout.n_scored, layout.q_gate
        newton = s > 0 and layout.gate.degree > 0
        curved = newton and information

        def zero() -> Statistics:
            acc = layout.expert.accumulators(k, layout.n_predictors, layout.q_expert)
            acc["value"] = np.zeros(())
            if newton:
                acc["gate_moments"] = np.zeros((s, q))
            if curved:
                acc["gate_pairs"] = np.zeros((s * (s + 1) // 2, q, q))
            return acc

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            a, b = block.start, block.stop
            prob = ws["prob"][:s]
            if resp is not None:
                ws["resp"][...] = resp[:, block.row : block.row + b - a]
            if curved:
                kn.softmax_pairs(prob, ws["pairs"])
                kn.scale_rows(block.weight, a, b, ws["pairs"])
                kn.weighted_grams(block.gate_features, ws["pairs"], a, b, acc["gate_pairs"])
            kn.scale_rows(block.weight, a, b, ws["resp"])
            if newton:
                kn.scale_rows(block.weight, a, b, prob)
                np.subtract(ws["resp"][:s], prob, out=prob)
                kn.weighted_moments(block.gate_features, prob, a, b, acc["gate_moments"])
            layout.expert.add_statistics(acc, params.scale, block, ws, kn)

        acc = self._sum(work, zero, params)
        matrix = None
        if curved:
            matrix = self._penalty(theta)[2][: s * q, : s * q]
            louis.add_pairs(matrix, acc["gate_pairs"], s, q)
            matrix = mirror(matrix)
        return Pass(float(acc["value"]) - self._penalty(theta)[0], acc, matrix)

    def maximise(self, theta: Array, at: Pass, gate_step: float = 1.0) -> Array:
        """M-step: closed form (or a Newton step) for the experts, a (damped) Newton step for the gate; clipped to the box."""
        statistics = at.statistics
        layout = self.layout
        params = layout.unpack(theta)
        s, q = layout.n_scored, layout.q_gate
        gate = params.gate
        if s > 0:
            mass = statistics["moments"][:, 0]
            slope, information = np.zeros((s, q)), np.zeros((0, 0)) if at.information is None else at.information
            if "gate_moments" in statistics:
                slope = statistics["gate_moments"] - self._penalty(theta)[1][: s * q].reshape(s, q)
            gram_all = self.gram if gate_step == 0.0 and layout.gate.degree > 0 else np.zeros((0, 0))
            gate = gate.copy()
            gate[:s] = layout.gate.maximise(gate[:s], slope, information, gram_all, mass, gate_step)
        coef, scale = layout.expert.maximise(params.coef, params.scale, statistics, self.floor, gate_step)
        return self.clip(layout.pack(Parameters(gate, coef, scale)))

    def clip(self, theta: Array) -> Array:
        """Nearest point of the box."""
        return np.clip(theta, self.bounds[0], self.bounds[1])

    def gradient(self, theta: Array) -> tuple[float, Array]:
        """Penalised log-likelihood and its gradient."""
        layout, kn = self.layout, self.kernels
        params = layout.unpack(theta)
        k, s, q, d = layout.n_experts, layout.n_scored, layout.q_gate, layout.n_predictors

        def zero() -> Statistics:
            return {
                "value": np.zeros(()),
                "gate": np.zeros((s, q)),
                "cross": np.zeros((d, k, layout.q_expert)),
                "scale": np.zeros((layout.n_scale, k)),
            }

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            a, b = block.start, block.stop
            kn.scale_rows(block.weight, a, b, ws["resp"])
            kn.scale_rows(block.weight, a, b, ws["prob"])
            if s:
                pull = louis.linked(ws, np.subtract(ws["resp"][:s], ws["prob"][:s], out=ws["scratch"][:s]))
                kn.weighted_moments(block.gate_features, pull, a, b, acc["gate"])
            first = layout.expert.weighted_slopes(params.scale, block, ws, kn)
            for slot in range(d):
                kn.weighted_moments(block.expert_features, first[slot], a, b, acc["cross"][slot])
            acc["scale"] += first[d:].sum(axis=2)

        acc = self._sum(work, zero, params)
        full = np.concatenate([acc["gate"].ravel(), acc["cross"].transpose(1, 0, 2).ravel(), acc["scale"].T.ravel()])
        penalty, slope, _ = self._penalty(theta)
        return float(acc["value"]) - penalty, self._reduce(full) - slope

    def derivatives(self, theta: Array) -> tuple[float, Array, Array]:
        """Penalised log-likelihood, gradient and exact Hessian (Louis' identity)."""
        params = self.layout.unpack(theta)
        acc = self._sum(
            lambda block, ws, acc: louis.add(self.layout, params, block, ws, acc, self.kernels, self._outer),
            lambda: louis.accumulators(self.layout),
            params,
            min(self.size, score_block_size(sum(self.layout.sizes))),
        )
        gradient, hessian = louis.assemble(self.layout, acc)
        if self.tie is not None:
            gradient, hessian = gradient @ self.tie, self.tie.T @ hessian @ self.tie
        penalty, slope, curvature = self._penalty(theta)
        return float(acc["value"]) - penalty, gradient - slope, hessian - curvature

    def responsibilities(self, theta: Array) -> Array:
        """`(K, n)`."""
        params = self.layout.unpack(theta)
        out = np.empty((self.layout.n_experts, self.rows.n))
        for start in range(0, self.rows.n, self.size):
            stop = min(start + self.size, self.rows.n)
            out[:, start:stop] = self._forward(params, start, stop)[1]["resp"]
        return out

    def masses(self, theta: Array) -> tuple[Array, Array]:
        """`Σ w π_k(x)` and `Σ w r_k`, both `(K,)`."""
        k = self.layout.n_experts

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            for row, name in enumerate(("prob", "resp")):
                self.kernels.scale_rows(block.weight, block.start, block.stop, ws[name])
                acc["mass"][row] += ws[name].sum(axis=1)

        acc = self._sum(work, lambda: {"value": np.zeros(()), "mass": np.zeros((2, k))}, self.layout.unpack(theta))
        return acc["mass"][0], acc["mass"][1]

    def penalty_value(self, theta: Array) -> float:
        """The gate penalty in nats."""
        return self._penalty(theta)[0]

    def row_scores(self, theta: Array) -> Array:
        """Unweighted score of each row in the free vector, `(n, P)`."""
        params = self.layout.unpack(theta)
        out = np.empty((self.rows.n, self.n_params))
        for start in range(0, self.rows.n, self.size):
            stop = min(start + self.size, self.rows.n)
            block, ws = self._forward(params, start, stop)
            out[start:stop] = self._reduce(self._row_scores(params, block, ws).T)
        return out

    def _row_scores(self, params: Parameters, block: Block, ws: dict[str, Array]) -> Array:
        """Scores `(P, B)` of a block in the untied vector."""
        return louis.row_scores(self.layout, params, block, ws, self.kernels)

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _outer(self, scores: Array, out: Array) -> None:
        """out += scores scoresᵀ (lower triangle)."""
        if len(scores) >= BLAS_ROWS:
            out += scores @ scores.T
        elif len(scores):
            self.kernels.outer_sum(scores, out)

    def _reduce(self, full: Array) -> Array:
        """Gradient in the free vector from the one in the untied vector."""
        return full if self.tie is None else full @ self.tie

    def _penalty(self, theta: Array) -> tuple[float, Array, Array]:
        return gate_penalty(self.layout, theta, self.gate_l2, self.gate_metric)


def _add(left: Statistics, right: Statistics) -> Statistics:
    for name, value in right.items():
        left[name] += value
    return left
