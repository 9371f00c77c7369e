"""Cells of a scenario as stacks of fits: the same starts, losses and records as one by one."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from moestat.batched.namespace import resolve_device
from moestat.batched.stacking import Job, frame_of, reported, solve_jobs, stackable
from moestat.linalg import one_blas_thread
from moestat.solvers.multistart import AGREEMENT, CHEAP, SHORT_STEPS

if TYPE_CHECKING:
    from moestat.report import FittedMixture
    from moestat.search import Start
    from moestat.simulate.scenario import Cell, Scenario

__all__ = ["compute_batch", "supports"]

Rows = list[dict[str, Any]]


def supports(scenario: Scenario, fit_id: str) -> bool:
    """Whether the fits of a scenario can be stacked.

    They can if the model can (`moestat.batched.stacking.stackable`), the solver is "auto" to the certificate, and starts are those of the
    scenario. Large fits without boxes, of which `fit_mixture` follows only the most promising starts, are left to it by `compute_batch`.

    Examples
    --------
    >>> from moestat.simulate import load_scenario
    >>> supports(load_scenario("softmax-gaussian-exact"), "k2")
    True
    """
    from moestat.simulate.models import expert_of, gate_of

    fit = scenario.fit_by_id(fit_id)
    starts, solver = scenario.starts_of(fit), scenario.solver_of(fit)
    if getattr(scenario.truth, "noise", None) is not None or scenario.x.law == "joint":
        return False
    if (solver.name, solver.stop) != ("auto", "certified") or starts.default or starts.kind == "default":
        return False
    return stackable(gate_of(scenario, fit), expert_of(scenario, fit))


@dataclass
class _Search:
    """The rounds of starts of one cell, and the best fit so far."""

    cell: Cell
    X: Any
    y: Any
    rng: np.random.Generator
    job: Job
    values: list[Any] = field(default_factory=list)
    best: FittedMixture | None = None
    agree: int = 0

    def draw(self, scenario: Scenario) -> list[Start]:
        """The starts of the next round."""
        from moestat.simulate.starts import equal_cells, perturbed_truth

        fit, cell = scenario.fit_by_id(self.cell.fit), self.cell
        if scenario.starts_of(fit).kind == "perturbed-truth":
            return perturbed_truth(scenario, fit, cell.n_experts, self.rng, cell.n)
        return equal_cells(self.X, self.y, scenario, fit, cell.n_experts, self.rng)

    def add(self, fitted: FittedMixture) -> None:
        """Keep the better fit, and count the starts of all rounds that reached it."""
        self.values.append(fitted.result.starts)
        if self.best is None or fitted.result.loglik > self.best.result.loglik:
            self.best = fitted
        self.agree = int((np.concatenate(self.values) >= self.best.result.loglik - AGREEMENT).sum())


def _begin(scenario: Scenario, cell: Cell) -> _Search | None:
    """Data and coordinates of a cell; None where they cannot be had (computed alone, the cell says why)."""
    from moestat.simulate.cells import draw_data
    from moestat.simulate.models import expert_of, gate_of
    from moestat.simulate.seeds import stream

    fit = scenario.fit_by_id(cell.fit)
    try:
        X, y, _ = draw_data(scenario, cell.n, cell.rep)
        gate, expert = gate_of(scenario, fit), expert_of(scenario, fit)
        job = Job.build(X, y, cell.n_experts, gate, expert, raw=fit.box is not None)
    except Exception:
        return None
    starts = scenario.starts_of(fit)
    alone = starts.kind == "equal-cells" and len(starts.steepness) * starts.per_radius == 1
    if not alone and fit.box is None and cell.n * job.objective.n_params >= CHEAP:
        return None
    return _Search(cell, X, y, stream(scenario.root_seed, scenario.id, cell.n, cell.rep, "init"), job)


def _follow(scenario: Scenario, searches: list[_Search], xp: Any, device: Any, memory: int | None) -> None:
    """Rounds of starts until enough of them agree; the searches share fit, number of experts and n."""
    fit = scenario.fit_by_id(searches[0].cell.fit)
    starts, solver = scenario.starts_of(fit), scenario.solver_of(fit)
    left = searches
    for _ in range(starts.rounds):
        stacks: dict[Any, list[_Search]] = defaultdict(list)
        for search in left:
            search.job.set_starts(search.draw(scenario))
            stacks[frame_of(search.job)].append(search)
        several = fit.box is None and len(searches[0].job.starts) > 1
        short = SHORT_STEPS[0] if several else 0
        for stack in stacks.values():
            jobs = [search.job for search in stack]
            found = solve_jobs(xp, device, jobs, tol=solver.tol, max_iter=solver.max_iter, short=short, memory=memory)
            for search, ends in zip(stack, found, strict=True):
                search.add(reported(search.job, ends, solver.tol, fixed_order=several or fit.box is not None))
        left = [s for s in left if s.best and not (s.agree >= solver.agree and s.best.result.status.certified)]
        if not left:
            break


def compute_batch(
    scenario: Scenario, cells: Sequence[Cell], device: str = "cpu", *, memory: int | None = None
) -> Rows | None:
    """Records of the cells, as `moestat.simulate.cells.run_cell` makes them one by one.

    Data and starts come from the same streams, so they are the same; numbers differ from those of the compiled code by rounding, and
    `n_iter` by steps near the end. Every reported certificate is computed by the compiled objective.

    Parameters
    ----------
    scenario : Scenario
    cells : sequence of Cell
    device : {"cpu", "cuda"}
    memory : int, optional
        Bytes that the fits may take; by default what is free.

    Returns
    -------
    list of dict, or None
        One row a loss of every cell that can be computed in this way; None if that is none of them.

    Raises
    ------
    ValueError
        If the device is unknown or not there.

    Examples
    --------
    >>> from moestat.simulate import Cell, load_scenario
    >>> scenario = load_scenario("softmax-gaussian-exact")
    >>> rows = compute_batch(scenario, [Cell("k2", 2, 200, rep) for rep in range(2)])
    >>> [row["certified"] for row in rows if row["loss"] == "kl"]
    [True, True]
    """
    xp, where = resolve_device(device)
    groups: dict[tuple[str, int, int], list[Cell]] = defaultdict(list)
    can = {fit: supports(scenario, fit) for fit in {cell.fit for cell in cells}}
    for cell in cells:
        if can[cell.fit]:
            groups[cell.fit, cell.n_experts, cell.n].append(cell)
    done: dict[Cell, _Search] = {}
    began = time.perf_counter()
    for group in groups.values():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a fit has to say is in its result
                searches = [search for cell in group if (search := _begin(scenario, cell))]
                if searches:
                    _follow(scenario, searches, xp, where, memory)
        except (ValueError, RuntimeError, MemoryError) as reason:  # too large, or a factorisation that failed
            text = f"{len(group)} cells with n={group[0].n} are left to be computed one by one: {reason}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            continue
        done |= {search.cell: search for search in searches}
    share = (time.perf_counter() - began) / max(len(done), 1)
    with one_blas_thread():  # losses must not depend on the number of threads
        return [row for cell in cells if cell in done for row in _rows(scenario, done[cell], share)] or None


def _rows(scenario: Scenario, search: _Search, seconds: float) -> Rows:
    """The records of one cell: those of `run_cell` with the fit that is here already; `seconds` is what the fit took."""
    from moestat.simulate.cells import run_cell

    best = search.best
    assert best is not None
    rows = run_cell(scenario, search.cell, lambda *_: (best.mixture, best.result, search.agree))
    return [row | {"seconds": row["seconds"] + seconds} for row in rows]
