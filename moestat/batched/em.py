"""EM steps of a stack of fits: closed-form (or Newton) M-steps for the experts, a safeguarded Newton step for the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moestat.batched.arrays import Stacked, finite_rows, scatter, solve_psd, transposed
from moestat.batched.families import Gaussian
from moestat.batched.objective import Statistics, em_statistics
from moestat.batched.problem import Problem
from moestat.solvers.em import GATE_STEPS
from moestat.solvers.newton import chord_reach

__all__ = ["climb", "maximise"]

Array = Any

LONGEST = 50  # EM steps before Newton takes over, as in moestat.solvers.multistart.auto
SHORTEST = 1e-2  # length of the experts' step where the gate's is Böhning's, as in moestat.experts.formula_blocks


def maximise(xp: Any, problem: Problem, theta: Array, at: Statistics, length: float) -> Array:
    """M-steps from the statistics `at` theta; see `moestat.objective.Objective.maximise`."""
    frame = problem.frame
    a, b, _ = frame.sizes
    parts = []
    if a:
        parts.append(theta[:, :a] + _gate_step(xp, problem, theta[:, :a], at, length))
    step = solve_psd(xp, at.information, at.slope)
    live = at.mass > 1e-10 * xp.sum(at.mass, axis=-1, keepdims=True)
    closed = isinstance(frame.family, Gaussian)
    step = xp.where(live[:, :, None], step, 0.0) * (1.0 if closed else max(length, SHORTEST))
    parts.append(theta[:, a : a + b] + xp.reshape(step, (-1, b)))
    if frame.sizes[2]:
        parts.append(_log_sd(xp, problem, theta[:, a + b :], at, step, live))
    return problem.clip(xp, xp.concat(parts, axis=1))


def _gate_step(xp: Any, problem: Problem, gate: Array, at: Statistics, length: float) -> Array:
    """Newton's step, Böhning's for length 0, the closed form for constant weights."""
    s, q = problem.frame.n_scored, problem.frame.q
    if problem.frame.gate == "constant":
        floor = 1e-12 * xp.sum(at.mass, axis=-1, keepdims=True)
        mass = xp.where(at.mass > floor, at.mass, floor)
        return (length or 1.0) * (xp.log(mass[:, :-1] / mass[:, -1:]) - gate)
    slope = at.gate_slope[:, :s, :]
    if length > 0.0:
        flat = xp.reshape(slope, (-1, s * q))
        return length * solve_psd(xp, at.gate_information[:, : s * q, : s * q], flat)
    # Böhning: -∇² <= ½ (I - 11ᵀ/K) ⊗ Σ zzᵀ, whose inverse is 2 (I + 11ᵀ) ⊗ (Σ zzᵀ)^-1
    gram = xp.matmul(problem.z, transposed(problem.z))[:, None, :, :]
    step = solve_psd(xp, xp.broadcast_to(gram, (*slope.shape, q)), slope + xp.sum(slope, axis=1, keepdims=True))
    return 2.0 * xp.reshape(step, (-1, s * q))


def _log_sd(xp: Any, problem: Problem, old: Array, at: Statistics, step: Array, live: Array) -> Array:
    """Weighted variances after the experts' step; an expert without responsibility keeps its own."""
    # in units of the old variance, the sum of squares falls by step · slope
    square = at.square - xp.sum(step * at.slope, axis=-1)
    if problem.frame.scale == "tied":
        total = xp.sum(xp.where(live, square, 0.0), axis=-1, keepdims=True)
        mass = xp.sum(xp.where(live, at.mass, 0.0), axis=-1, keepdims=True)
        return old + 0.5 * xp.log(xp.clip(total / mass, 1e-300, None))
    ratio = xp.where(live, square / xp.where(live, at.mass, 1.0), 1.0)
    return old + 0.5 * xp.log(xp.clip(ratio, 1e-300, None))


@dataclass(frozen=True)
class _State(Stacked):
    """Where EM is: point, statistics there, gain of the last step, number of steps."""

    theta: Array
    at: Statistics
    gain: Array
    steps: Array

    def take(self, xp: Any, index: Array) -> _State:
        def part(value: Array) -> Array:
            return xp.take(value, index, axis=0)

        return _State(part(self.theta), self.at.take(xp, index), part(self.gain), part(self.steps))


def climb(
    xp: Any, problem: Problem, theta: Array, longest: int = LONGEST, *, reach: bool = True
) -> tuple[Array, Array]:
    """EM while it is fast: points `(B, P)` from which Newton goes on, and the number of steps `(B,)`.

    A fit is left when nothing rises, after `longest` steps, and (with `reach`) within Newton's reach of one Hessian or when its gains
    shrink slowly.
    """
    theta = problem.clip(xp, theta)
    at = em_statistics(xp, problem, theta)
    state = _State(
        theta, at, xp.full_like(at.value, xp.inf), xp.zeros(at.value.shape, dtype=xp.int64, device=theta.device)
    )
    handover = 0.5 * chord_reach(float(problem.n))
    live = xp.arange(problem.size, device=theta.device)
    steps = state.steps
    for iteration in range(1, longest + 1):
        new, moved = _step(xp, problem, state)
        gain = xp.clip(new.at.value - state.at.value, 0.0, None)
        done = ~moved | ~xp.isfinite(new.at.value)
        if reach:
            done = done | (_aitken(xp, gain, state.gain, new.at.value) < handover)
            if iteration >= 4:
                done = done | (0.7 * state.gain < gain)
        state = _State(new.theta, new.at, gain, new.steps)
        theta, steps = scatter(xp, theta, live, state.theta), scatter(xp, steps, live, state.steps)
        if bool(xp.any(done)):
            kept = xp.nonzero(~done)[0]
            if not kept.shape[0]:
                break
            state, problem, live = state.take(xp, kept), problem.take(xp, kept), xp.take(live, kept)
    return theta, steps


def _step(xp: Any, problem: Problem, state: _State) -> tuple[_State, Array]:
    """One EM step; where the log-likelihood falls, the gate's is shortened. Also says where anything rose."""
    frame = problem.frame
    rounding = 1e-12 * (xp.abs(state.at.value) + 1.0)
    closed = frame.gate != "softmax" and isinstance(frame.family, Gaussian)
    theta, at = state.theta, state.at
    moved = xp.zeros(theta.shape[0], dtype=xp.bool, device=theta.device)
    for length in GATE_STEPS[-1:] if closed else GATE_STEPS:
        left = xp.nonzero(~moved)[0]
        if not left.shape[0]:
            break
        part, before = (
            (problem, state) if left.shape[0] == problem.size else (problem.take(xp, left), state.take(xp, left))
        )
        candidate = maximise(xp, part, before.theta, before.at, length)
        new = em_statistics(xp, part, candidate)
        rose = finite_rows(xp, candidate) & (new.value >= before.at.value - xp.take(rounding, left))
        candidate, new = xp.where(rose[:, None], candidate, before.theta), new.where(xp, rose, before.at)
        theta = scatter(xp, theta, left, candidate)
        theirs = new.arrays()
        at = Statistics(**{name: scatter(xp, value, left, theirs[name]) for name, value in at.arrays().items()})
        moved = scatter(xp, moved, left, rose)
    return _State(theta, at, state.gain, state.steps + 1), moved


def _aitken(xp: Any, gain: Array, previous: Array, value: Array) -> Array:
    """Estimated remaining gain `δ ρ/(1 - ρ)`; infinite while gains still grow, zero once they are rounding."""
    ratio = gain / xp.where(previous > 0.0, previous, 1.0)
    known = xp.isfinite(previous) & (previous > 0.0) & (ratio < 1.0)
    left = xp.where(known, gain * ratio / xp.where(known, 1.0 - ratio, 1.0), xp.inf)
    return xp.where(gain <= 1e-15 * (xp.abs(value) + 1.0), 0.0, left)
