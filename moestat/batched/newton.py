"""Trust-region Newton for a stack of fits, each with its own radius; finished fits leave the stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from moestat.batched.arrays import Stacked, choose, scatter
from moestat.batched.model import Model, box_step, model_at
from moestat.batched.problem import Problem
from moestat.solvers.base import POLISHED, POLISHING, Status
from moestat.solvers.newton import MIN_RADIUS

__all__ = ["CODES", "Ends", "newton"]

Array = Any

CODES = (Status.CERTIFIED, Status.MAX_ITER, Status.STALLED, Status.NONFINITE)
RUNNING = -1


@dataclass(frozen=True)
class Ends(Stacked):
    """Where the fits ended: points `(B, P)`, and `(B,)` each log-likelihood, decrement, smallest eigenvalue of the scaled
    information, place of the status in `CODES`, and Newton steps.
    """

    theta: Array
    value: Array
    decrement: Array
    eigenvalue: Array
    status: Array
    n_iter: Array


@dataclass(frozen=True)
class _State(Stacked):
    theta: Array
    radius: Array
    n_iter: Array
    polish: Array  # steps taken after the certificate, -1 before
    most: Array  # steps allowed
    status: Array


def newton(xp: Any, problem: Problem, theta: Array, *, tol: float, max_iter: Array) -> Ends:
    """Newton from points `(B, P)` until the decrement is below `tol` nats, and on to rounding; at most `max_iter (B,)` steps.

    The rules are those of `moestat.solvers.newton.Newton` and `moestat.solvers.base.run`, except that every step has the Hessian of its
    own point (no chord steps), and that a step which bounds have made useless is shortened.
    """
    theta = problem.clip(xp, theta)
    model = model_at(xp, problem, theta)
    zero = xp.zeros_like(max_iter)
    radius = xp.full_like(model.value, 0.3 * float(problem.n) ** 0.5)
    polish = xp.astype(model.certified(xp, tol), zero.dtype) - 1
    status = xp.where(model.finite, zero + RUNNING, CODES.index(Status.NONFINITE))
    state = _settled(xp, _State(theta, radius, zero, polish, max_iter, status), model)
    live = xp.arange(problem.size, device=theta.device)
    ends = _ends(xp, state, model)
    while True:
        kept = xp.nonzero(state.status == RUNNING)[0]
        if kept.shape[0] < state.status.shape[0]:
            now = _ends(xp, state, model).arrays()
            ends = Ends(**{name: scatter(xp, value, live, now[name]) for name, value in ends.arrays().items()})
            if not kept.shape[0]:
                return ends
            state, model, problem = state.take(xp, kept), model.take(xp, kept), problem.take(xp, kept)
            live = xp.take(live, kept)
        state, model = _step(xp, problem, state, model, tol)


def _step(xp: Any, problem: Problem, state: _State, model: Model, tol: float) -> tuple[_State, Model]:
    """One trial point for every fit; those whose log-likelihood does not rise as predicted stay, with a smaller radius."""
    step = box_step(xp, problem, state.theta, model, state.radius)
    curved = xp.matmul(model.hessian, step[:, :, None])[:, :, 0]
    gain = xp.sum(step * (model.gradient + 0.5 * curved), axis=-1)
    theta = problem.clip(xp, state.theta + step)
    new = model_at(xp, problem, theta)
    before, after = model.decrement(xp), new.decrement(xp)
    size = xp.sqrt(xp.sum((step * xp.where(model.free, model.d, 0.0)) ** 2, axis=-1))
    noise = 1e-10 * (xp.abs(model.value) + 1.0)
    rise = new.value - model.value
    hopeful = gain > 0.0  # bounds may cut a step so that it falls; a shorter one rises
    ratio = rise / xp.where(hopeful, gain, 1.0)
    # a gain below the noise is lost in the rounding of the value: then the scores decide
    better = 2.0 * xp.astype((after <= before) & (rise >= -noise), ratio.dtype) - 1.0
    ratio = xp.where(gain <= noise, better, ratio)
    accepted = new.finite & hopeful & (ratio > 0.05)
    grown = xp.where((ratio > 0.75) & (size > 0.8 * state.radius), 3.0 * state.radius, state.radius)
    shrunk = 0.25 * xp.where((size > 0.0) & (size < state.radius), size, state.radius)
    radius = xp.where(accepted, xp.where(ratio < 0.25, 0.3 * size, grown), shrunk)
    stalled = ~accepted & (radius <= MIN_RADIUS)
    status = xp.where(stalled, CODES.index(Status.STALLED), state.status)

    # after the certificate only steps count that keep it and lower the decrement by more than rounding
    certified = new.certified(xp, tol)
    polishing = state.polish >= 0
    useless = polishing & accepted & (~certified | (after > 0.9 * before))
    status = xp.where(polishing & (stalled | useless | ~hopeful), CODES.index(Status.CERTIFIED), status)
    moved = accepted & ~useless
    counted = xp.astype(moved, state.n_iter.dtype)
    polish = xp.where(
        moved, xp.where(polishing, state.polish, xp.astype(certified, counted.dtype) - 2) + 1, state.polish
    )
    state = replace(
        state,
        theta=choose(xp, moved, theta, state.theta),
        radius=radius,
        n_iter=state.n_iter + counted,
        polish=polish,
        status=status,
    )
    model = new.where(xp, moved, model)
    return _settled(xp, state, model), model


def _settled(xp: Any, state: _State, model: Model) -> _State:
    """Fits that have reached rounding or the limit of steps are done."""
    polished = (state.polish >= POLISHING) | ((state.polish >= 0) & (model.decrement(xp) < POLISHED))
    over = (state.polish < 0) & (state.n_iter >= state.most)
    running = state.status == RUNNING
    status = xp.where(running & polished, CODES.index(Status.CERTIFIED), state.status)
    return replace(state, status=xp.where(running & over, CODES.index(Status.MAX_ITER), status))


def _ends(xp: Any, state: _State, model: Model) -> Ends:
    value = xp.where(model.finite, model.value, xp.nan)
    return Ends(state.theta, value, model.decrement(xp), model.values[:, 0], state.status, state.n_iter)
