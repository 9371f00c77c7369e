"""From checked data and starts on the host to a stack on a device, and from its ends back to reports of single fits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat import checks
from moestat.batched.families import Family, Gaussian, Multinomial, Poisson
from moestat.batched.namespace import to_host
from moestat.batched.newton import CODES, Ends
from moestat.batched.problem import Frame, Problem
from moestat.batched.solve import Samples, solve, stacks_of
from moestat.coordinates import Coordinates
from moestat.experts.base import BaseExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate
from moestat.linalg import one_blas_thread
from moestat.objective import Objective
from moestat.report import FittedMixture, report
from moestat.search import Start
from moestat.solvers.base import Run, State
from moestat.solvers.certificate import certify, local_model
from moestat.solvers.multistart import Outcome

__all__ = ["Job", "frame_of", "reported", "solve_jobs", "stackable", "stacks"]

Array = NDArray[np.float64]

VARIANCE_FLOOR = 1e-6  # the default of fit_mixture


def stackable(gate: Gate, expert: BaseExpert) -> bool:
    """Whether fits of this model can be stacked: softmax or constant gates; Gaussian experts of one response, multinomial, Poisson."""
    plain = type(gate) is ConstantGate or (type(gate) is SoftmaxGate and not gate.general)
    return plain and type(expert) in (GaussianExpert, MultinomialExpert, PoissonExpert)


@dataclass
class Job:
    """One replicate: its data, coordinates, and objective; bounds and starts of the searches that are to be made."""

    coordinates: Coordinates
    objective: Objective
    bounds: list[Array] = field(default_factory=list)
    starts: list[Array] = field(default_factory=list)

    @classmethod
    def build(cls, X: Array, y: Array, n_experts: int, gate: Gate, expert: BaseExpert, *, raw: bool) -> Job:
        """Check the data and choose coordinates; `raw` keeps the user's, as a box needs."""
        data = checks.data(X, y, None, n_experts)
        checks.fits_together(gate, expert, 0.0, data)
        checks.enough_rows(len(data.X), n_experts)
        columns = range(data.X.shape[1])
        coordinates = Coordinates.choose(
            data.X, data.y, data.weight, gate=gate, expert=expert, n_experts=n_experts, gate_columns=columns,
            expert_columns=columns, raw=raw, vector_y=data.vector_y, feature_names=None,
        )  # fmt: skip
        objective = coordinates.objective(data, gate_l2=0.0, variance_floor=VARIANCE_FLOOR, bounds=None)
        return cls(coordinates, objective)

    def set_starts(self, starts: Sequence[Start]) -> None:
        """Free vectors of the starts, each in its own box."""
        low, high = self.objective.bounds
        boxes: dict[int, Array] = {id(None): self.objective.bounds}
        for start in starts:
            if start.box is not None and id(start.box) not in boxes:
                box = self.coordinates.bounds(start.box)
                boxes[id(start.box)] = np.stack([np.maximum(low, box[0]), np.minimum(high, box[1])])
        self.starts = [self.coordinates.theta(start.params) for start in starts]
        self.bounds = [boxes[id(start.box)] for start in starts]


def frame_of(job: Job) -> Frame:
    """What a replicate has in common with those that can be stacked with it."""
    layout = job.coordinates.layout
    expert, gate = layout.expert, layout.gate
    family: Family = Gaussian()
    if isinstance(expert, PoissonExpert):
        family = Poisson()
    elif isinstance(expert, MultinomialExpert):
        family = Multinomial()
    scale = "known"
    if isinstance(expert, GaussianExpert) and expert.known_scale is None:
        scale = "tied" if expert.tied else "free"
    kind = "softmax" if isinstance(gate, SoftmaxGate) else "equal" if layout.n_gate == 0 else "constant"
    return Frame(
        layout.n_experts, layout.q_gate, layout.q_expert, layout.n_predictors, family, kind, scale, job.objective.raw  # type: ignore[arg-type]
    )  # fmt: skip


def _responses(job: Job, frame: Frame) -> Array:
    """`(C, n)`: the response, or how many of each class."""
    y = job.objective.rows.block(0, job.objective.rows.n).y
    return MultinomialExpert._counts(y, frame.d + 1) if isinstance(frame.family, Multinomial) else y


def stacks(xp: Any, device: Any, jobs: Sequence[Job], memory: int | None = None) -> Iterator[tuple[Problem, Any]]:
    """The searches of all jobs on the device; see `stacks_of`. The jobs must have the same frame and number of rows."""
    frame, n = frame_of(jobs[0]), jobs[0].objective.rows.n

    def place(arrays: Any) -> Any:
        return xp.asarray(np.ascontiguousarray(arrays), device=device)

    blocks = [job.objective.rows.block(0, n) for job in jobs]
    z = place([b.gate_features for b in blocks])
    shared = all(b.gate_features is b.expert_features for b in blocks)
    phi = z if shared else place([b.expert_features for b in blocks])
    known = np.zeros((len(jobs), frame.n_experts))
    if frame.family.has_scale and frame.scale == "known":
        known = np.stack([job.coordinates.layout.known_scale[:, 0] for job in jobs])
    samples = Samples(frame, z, phi, place([_responses(job, frame) for job in jobs]), place(known))
    owner = np.repeat(np.arange(len(jobs)), [len(job.starts) for job in jobs])
    starts = [theta for job in jobs for theta in job.starts]
    low, high = np.stack([pair for job in jobs for pair in job.bounds], axis=1)
    return stacks_of(xp, samples, place(owner), place(starts), place(low), place(high), memory)


def solve_jobs(
    xp: Any, device: Any, jobs: Sequence[Job], *, tol: float, max_iter: int, short: int = 0, memory: int | None = None
) -> list[Ends]:
    """Ends (NumPy) of the searches of each job; see `stacks` and `moestat.batched.solve.solve`."""
    with one_blas_thread(), np.errstate(all="ignore"):
        parts = [
            solve(xp, problem, theta, tol=tol, max_iter=max_iter, short=short).map(to_host)
            for problem, theta in stacks(xp, device, jobs, memory)
        ]
    ends = Ends(**{name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()})
    edges = np.cumsum([0, *(len(job.starts) for job in jobs)])
    return [ends.map(lambda value, a=a, b=b: value[a:b]) for a, b in pairwise(edges)]  # type: ignore[misc]


def reported(job: Job, ends: Ends, tol: float, *, fixed_order: bool) -> FittedMixture:
    """The report of the best end, as `fit_mixture` writes it; its certificate is the compiled objective's."""
    began = time.perf_counter()
    floored = np.array([bool(job.objective.degenerate(theta)) for theta in ends.theta])
    values = np.where(np.isfinite(ends.value), ends.value, -np.inf)
    best = int(np.lexsort((np.arange(len(values)), -values, floored))[0])
    theta, objective = ends.theta[best], job.objective
    objective.bounds = job.bounds[best]
    with one_blas_thread(), np.errstate(all="ignore"):
        model = local_model(objective, theta)
        certificate = certify(objective, theta, tol, model)
        state = State(theta, model.value, model.decrement, memory={"model": model})
        run = Run(state, CODES[int(ends.status[best])], certificate, (model.value,))
        # as in `fit_mixture`: a degenerate end does not count beside sound ones, except that starts with boxes all count
        counted = values if job.objective.raw or floored.all() else values[~floored]
        outcome = Outcome(run, np.sort(counted + (model.value - values[best]))[::-1], len(values))
        fitted = report(outcome, objective, job.coordinates, fixed_order, "auto", 0.0, began)
    return replace(fitted, result=replace(fitted.result, n_iter=max(int(ends.n_iter[best]), 1)))
