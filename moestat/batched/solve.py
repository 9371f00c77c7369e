"""From starts to certified maximisers for stacks of fits: EM while it is fast, then Newton."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from moestat.batched.em import LONGEST, climb
from moestat.batched.newton import Ends, newton
from moestat.batched.planning import plan
from moestat.batched.problem import Frame, Problem

__all__ = ["Samples", "solve", "stacks_of"]

Array = Any


@dataclass(frozen=True)
class Samples:
    """Data of R replicates on the device: `z (R, q, n)`, `phi (R, p, n)` (perhaps the same array), `y (R, C, n)`, known `log_sd (R, K)`."""

    frame: Frame
    z: Array
    phi: Array
    y: Array
    log_sd: Array


def stacks_of(
    xp: Any, samples: Samples, owner: Array, theta: Array, low: Array, high: Array, memory: int | None = None
) -> Iterator[tuple[Problem, Array]]:
    """Problems with their starts, as many searches at a time as fit into the memory.

    Search i is one of replicate `owner[i]`, from `theta[i]` within `low[i]` and `high[i]`.
    """
    n_searches, shared = int(theta.shape[0]), samples.phi is samples.z
    layout = plan(samples.frame, int(samples.z.shape[-1]), n_searches, samples.z, memory)
    tie = xp.asarray(samples.frame.tie, device=theta.device)
    for first in range(0, n_searches, layout.fits):
        part = slice(first, min(first + layout.fits, n_searches))
        whose = owner[part]
        z = xp.take(samples.z, whose, axis=0)
        problem = Problem(
            samples.frame,
            z=z,
            phi=z if shared else xp.take(samples.phi, whose, axis=0),
            y=xp.take(samples.y, whose, axis=0),
            low=low[part, :],
            high=high[part, :],
            log_sd=xp.take(samples.log_sd, whose, axis=0),
            tie=(tie,),
            block=layout.block,
            rows=layout.rows,
        )
        yield problem, theta[part, :]


def solve(xp: Any, problem: Problem, theta: Array, *, tol: float = 1e-8, max_iter: int = 1000, short: int = 0) -> Ends:
    """Ends of the fits that start at `theta (B, P)`; `n_iter` counts steps of EM and Newton together.

    What `moestat.solvers.multistart.auto` does for one fit, for all of them at once. As several starts of a fit are compared after a
    short run of EM, `short` of its steps are taken before, and not counted.
    """
    if short:
        theta, _ = climb(xp, problem, theta, short, reach=False)
    theta, steps = climb(xp, problem, theta, min(LONGEST, max_iter))
    ends = newton(xp, problem, theta, tol=tol, max_iter=xp.clip(max_iter - steps, 1, None))
    return replace(ends, n_iter=ends.n_iter + steps)
