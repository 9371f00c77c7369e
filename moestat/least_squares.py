"""Least squares in mixtures of experts: the sum of squares of `y - Σ_k g_k(x) h_k(x)` as an objective in nats.

The regression function is `f = Σ_k g_k h_k`, with the gate's weights g (which need not sum to one) and the experts' means h. The
objective is the log-likelihood of normal noise, its variance profiled out: with `R = Σ w (y - f)²` and `W = Σ w`

    ℓ = -(W/2) (log(2π R/W) + 1),    ∇ℓ = (W/R) Σ w e ∇f,    ∇²ℓ = (W/R) Σ w (e ∇²f - ∇f ∇fᵀ) + (2/W) ∇ℓ ∇ℓᵀ,

so that the Newton decrement keeps its meaning: nats of the whole sample that are still to be gained.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.blocks import Block, Rows
from moestat.experts.formula_blocks import extra_of
from moestat.gates.base import Gate
from moestat.gates.scores import ScoreGate
from moestat.gates.sigmoid import SigmoidGate
from moestat.general import GeneralObjective, Slopes, block_phi, weights_of
from moestat.layout import Layout, Parameters
from moestat.objective import Pass, Statistics

Array = NDArray[np.float64]

EXACT = 1e-14  # of the variance of y: a smaller mean square of the residuals counts as an exact fit
NOTHING = 1e-3  # of that mean square: below it a search ends
ROUNDING = 1e-28  # likewise of the mean square of y
LOWEST = -36.0  # a score below which σ(s) is exp(s) to rounding: a ridge on which coefficients grow as weights vanish
OFF_EDGE = 0.05  # how far targets of unnormalised weights are kept from 0 and 1, where a sigmoid is flat


class GaussNewton(NamedTuple):
    """Value, gradient and Gauss–Newton information (`Σ w ∇f ∇fᵀ` over the noise variance) in the free vector; in nats."""

    value: float
    gradient: Array
    information: Array


def check_gate(gate: Gate) -> None:
    """What least squares refuses of a gate.

    Raises
    ------
    ValueError
        If its weights do not depend on x, or it models x as well.
    """
    if not isinstance(gate, ScoreGate):
        raise ValueError(
            f"gate={gate!r} has weights that least squares cannot tell from the experts' coefficients; give a gate that depends on x."
        )
    if gate.joint:
        raise ValueError(
            f"gate={gate!r} models x, of which least squares knows nothing; give likelihood='conditional'."
        )


class LeastSquaresObjective(GeneralObjective):
    """Profile log-likelihood of `rows` under normal noise around `f`, minus the gate penalty; see the module.

    Parameters
    ----------
    rows, layout, gate_l2, gate_metric, bounds, n_jobs
        As of `Objective`; the layout's gate is one of scores and its expert a `MeanExpert`.
    noise : float, optional
        A known standard deviation of the noise, in internal units: then the objective is the log-likelihood with it.
    """

    def __init__(
        self,
        rows: Rows,
        layout: Layout,
        *,
        noise: float | None = None,
        gate_l2: float = 0.0,
        gate_metric: Array | None = None,
        bounds: Array | None = None,
        n_jobs: int = 1,
    ) -> None:
        self.noise = noise
        floor = np.array([_rounding_floor(rows)])
        super().__init__(
            rows, layout, gate_l2=gate_l2, gate_metric=gate_metric, floor=floor, bounds=bounds, n_jobs=n_jobs
        )

    def _bounds(self, bounds: Array | None) -> Array:
        """The box; in orthonormal features sigmoids are kept above `LOWEST` on the average."""
        out = super()._bounds(bounds)
        if isinstance(self.layout.gate, SigmoidGate) and self.rows.gate_map.transform is not None:
            intercepts = self.layout.gate_index[:, 0]
            out[0, intercepts] = np.maximum(out[0, intercepts], LOWEST)
        return out

    @property
    def supremum(self) -> float:
        """The log-likelihood of an exact fit."""
        return self.nats(0.0)

    # -- one block of rows --------------------------------------------------------------------------------------------

    def _forward(self, params: Parameters, start: int, stop: int) -> tuple[Block, dict[str, Array]]:
        """Fill weights (`prob`), their shares (`resp`), the experts' means, the residual, and its square (`loglik`)."""
        ws = self._workspace(stop - start)
        block = self.rows.block(start, stop)
        gate: Any = self.layout.gate
        expert: Any = self.layout.expert
        ws["gate_scores"], ws["log_gate"] = gate.forward(params.gate, block.gate_features[:, block.start : block.stop])
        ws["log_prob"] = ws["log_gate"]
        weight = np.exp(ws["log_gate"], out=ws["prob"])
        np.divide(weight, np.maximum(weight.sum(axis=0), 1e-300), out=ws["resp"])
        ws["kept"][...] = expert.predictors(params.coef, block_phi(block))
        y, extra = block.y[0, block.start : block.stop], extra_of(params.scale)
        ws["mean"] = expert.mean(ws["kept"], extra)
        ws["residual"] = y - (weight * ws["mean"]).sum(axis=0)
        np.square(ws["residual"], out=ws["loglik"])
        return block, ws

    def _slopes(self, params: Parameters, block: Block, ws: dict[str, Array], second: bool) -> Slopes:
        """Derivatives of f, with the residual as the factor."""
        gate: Any = self.layout.gate
        expert: Any = self.layout.expert
        weight, residual = ws["prob"], ws["residual"]
        first, pairs = expert.mean_derivatives(ws["kept"], extra_of(params.scale))
        jac = self._gate_jacobian(ws)
        part = weight * ws["mean"]
        scores, experts = np.einsum("ksb,kb->sb", jac, part), weight * first
        if not second:
            none = np.empty(0)
            return Slopes(scores, experts, residual, none, none, none)
        curved = np.einsum("ksb,ktb->stb", jac * part[:, None], jac)
        curved += gate.curvature(ws["gate_scores"], ws["log_gate"], part)
        cross = jac.swapaxes(0, 1)[:, None] * experts[None]
        return Slopes(scores, experts, residual, residual * curved, residual * cross, residual * weight * pairs)

    # -- from sums of squares to nats ---------------------------------------------------------------------------------

    def variance(self, squares: float) -> tuple[float, bool]:
        """Variance of the noise for a sum of squares, and whether it is profiled out (neither known nor at its floor)."""
        if self.noise is not None:
            return self.noise**2, False
        mean_square, least = squares / self.total_weight, float(self.floor[0]) ** 2
        return (mean_square, True) if mean_square > least or np.isnan(mean_square) else (least, False)

    def nats(self, squares: float) -> float:
        """Log-likelihood of a sum of squares; an exact fit has the same one however exact it is."""
        variance, _ = self.variance(squares)
        if self.noise is None:
            squares = max(squares, NOTHING * self.total_weight * float(self.floor[0]) ** 2)
        return -0.5 * self.total_weight * float(np.log(2.0 * np.pi * variance)) - 0.5 * squares / variance

    def squares(self, theta: Array) -> float:
        """Weighted sum of squared residuals."""
        zero: Any = lambda: {"value": np.zeros(())}  # noqa: E731
        return float(self._sum(lambda block, ws, acc: None, zero, self.layout.unpack(theta))["value"])

    def value(self, theta: Array) -> float:
        """Profile log-likelihood minus the penalty."""
        return self.nats(self.squares(theta)) - self.penalty_value(theta)

    def _first(self, theta: Array) -> tuple[float, Array]:
        squares, gradient = super()._first(theta)
        return self.nats(squares), gradient / self.variance(squares)[0]

    def _second(self, theta: Array) -> tuple[float, Array, Array]:
        squares, gradient, hessian = super()._second(theta)
        variance, profiled = self.variance(squares)
        score, curvature = gradient / variance, hessian / variance
        if profiled:
            curvature += (2.0 / self.total_weight) * np.outer(score, score)
        return self.nats(squares), score, curvature

    def row_scores(self, theta: Array) -> Array:
        """Unweighted score of each row, `(n, P)`, the noise taken as known."""
        squares = 0.0 if self.noise is not None else self.squares(theta)
        return np.asarray(super().row_scores(theta) / self.variance(squares)[0])

    # -- Gauss–Newton -------------------------------------------------------------------------------------------------

    @cached_property
    def linear(self) -> NDArray[np.bool_]:
        """The free parameters in which f is linear: coefficients of linear means, and output weights."""
        layout = self.layout
        expert: Any = layout.expert
        out = np.zeros(self.n_params, dtype=bool)
        out[layout.n_gate + layout.sizes[1] :] = True
        out[layout.n_gate : layout.n_gate + layout.sizes[1]] = expert.linear
        return out

    def gauss_newton(self, theta: Array, *, linear: bool = False) -> GaussNewton:
        """Value, gradient and Gauss–Newton information of the penalised objective; `linear`: of the linear parameters only."""
        params = self.layout.unpack(theta)
        total = sum(self.layout.sizes)
        wanted = np.ones(total, dtype=bool)
        if linear:
            wanted = self.linear if self.tie is None else self.tie @ self.linear > 0.0

        def zero() -> Statistics:
            return {"value": np.zeros(()), "score": np.zeros(total), "gram": np.zeros((total, total))}

        def work(block: Block, ws: dict[str, Array], acc: Statistics) -> None:
            slopes = self._slopes(params, block, ws, second=False)
            rows = self._parameter_rows(slopes, self._jacobians(params, block))[wanted]
            weighted = rows * weights_of(block)
            acc["score"][wanted] += weighted @ slopes.factor
            acc["gram"][np.ix_(wanted, wanted)] += weighted @ rows.T

        acc = self._sum(work, zero, params, self._width())
        gradient, gram = acc["score"], acc["gram"]
        if self.tie is not None:
            gradient, gram = gradient @ self.tie, self.tie.T @ gram @ self.tie
        squares = float(acc["value"])
        variance = self.variance(squares)[0]
        penalty, slope, curvature = self._penalty(theta)
        return GaussNewton(self.nats(squares) - penalty, gradient / variance - slope, gram / variance + curvature)

    def classical_hessian(self, theta: Array) -> Array:
        """`-Σ w ∇f ∇fᵀ / s²` with `s² = R/(W - P)`: what textbooks of nonlinear regression invert.

        Raises
        ------
        ValueError
            If there are no more rows than parameters.
        """
        squares, freedom = self.squares(theta), self.total_weight - self.n_params
        if not freedom > 0.0:
            raise ValueError(
                f"cov_type='classical' divides by n - p = {freedom:g}; give more rows, or use cov_type='sandwich'."
            )
        variance = self.variance(squares)[0]
        return -self.gauss_newton(theta).information * variance / (squares / freedom)

    # -- what starts and reports ask ----------------------------------------------------------------------------------

    def degenerate(self, theta: Array) -> tuple[int, ...]:
        """None: an exact fit is a fit."""
        return ()

    def em_pass(self, theta: Array, resp: Array | None = None, *, information: bool = True) -> Pass:
        """Statistics of a fit of the gate, and of every expert apart, to the responsibilities of a partition: a start.

        Raises
        ------
        ValueError
            If there are none: EM maximises likelihoods.
        """
        if resp is None:
            raise ValueError(
                "EM maximises a likelihood; for least squares use the solver 'auto', 'lm', 'newton' or 'lbfgs'."
            )
        if not self.layout.gate.normalised:
            resp = OFF_EDGE + (1.0 - 2.0 * OFF_EDGE) * resp
        return super().em_pass(theta, resp, information=information)


def _rounding_floor(rows: Rows) -> float:
    """Standard deviation of the noise below which a fit is exact to rounding, in internal units."""
    weight = None if not rows.weight.size else rows.weight
    y = rows.y[:, 0]
    mean = float(np.average(y, weights=weight))
    variance = float(np.average((y - mean) ** 2, weights=weight))
    center, scale = float(rows.y_center[0]), float(rows.y_scale[0])
    square = variance + (mean - center) ** 2
    return max(float(np.sqrt(EXACT * variance + ROUNDING * square)) / scale, 1e-150)
