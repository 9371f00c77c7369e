"""Compute one cell: data, fit, losses. Deterministic, alone or among others, and never raising."""

from __future__ import annotations

import contextlib
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .loss_names import DIVERGENCES, EFFORT, OF_FITS, gap_of, kind_and_options
from .models import build_law, build_truth, context, draw_data, expert_of, gate_of, measure
from .scenario import Cell, Fit, JointLaw, Scenario
from .seeds import stream
from .starts import equal_cells, perturbed_truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..solvers.base import FitResult
    from .parts import SolverSpec

    Array = NDArray[np.float64]

# Relative accuracy of an average over several features; replicates differ by ten percent and more.
MANY_FEATURES = 3e-3

__all__ = ["build_law", "build_truth", "draw_data", "failed_rows", "fit_cell", "run_cell"]

_DIVERGENCE_NAMES = {"kl": "kl", "hellinger": "hellinger", "tv": "total_variation", "l2": "l2"}


def fit_cell(scenario: Scenario, cell: Cell, X: Array, y: Array) -> tuple[Any, FitResult, int]:
    """Fit a cell's model from its declared starts; the highest likelihood wins.

    While fewer starts than declared have reached the best optimum, further rounds of starts are drawn.

    Returns
    -------
    estimate : ConditionalMixture
    result : FitResult
    agree : int
        How many starts of all rounds reached the optimum.
    """
    from ..solvers.multistart import AGREEMENT

    fit: Fit = scenario.fit_by_id(cell.fit)
    starts, solver = scenario.starts_of(fit), scenario.solver_of(fit)
    rng = stream(scenario.root_seed, scenario.id, cell.n, cell.rep, "init")
    fit_from = _fitter(scenario, fit, cell.n_experts, X, y, rng)
    found: list[tuple[Any, FitResult]] = []
    agree = 0
    for _ in range(starts.rounds):
        if starts.kind == "perturbed-truth":
            found.append(fit_from(perturbed_truth(scenario, fit, cell.n_experts, rng, cell.n)))
        elif starts.kind == "equal-cells":
            found.append(fit_from(equal_cells(X, y, scenario, fit, cell.n_experts, rng)))
        if starts.default:
            found.append(fit_from("kmeans", n_init=starts.default))
        best = max(found, key=lambda fitted: fitted[1].loglik)
        reached = np.concatenate([result.starts for _, result in found])
        agree = int((reached >= best[1].loglik - AGREEMENT).sum())
        if agree >= solver.agree and best[1].status.certified:
            break
    return (*best, agree)


def _fitter(
    scenario: Scenario, fit: Fit, n_experts: int, X: Array, y: Array, rng: np.random.Generator
) -> Callable[..., tuple[Any, FitResult]]:
    """``fit_from(init, **settings)``: estimate and result of maximum likelihood, or of least squares where the truth is a function."""
    solver = scenario.solver_of(fit)
    settings: dict[str, Any] = {
        "n_experts": n_experts, "gate": gate_of(scenario, fit), "expert": expert_of(scenario, fit), "solver": solver.name,
        "tol": solver.tol if solver.stop == "certified" else 1e-300, "max_iter": solver.max_iter, "rng": rng,
    }  # fmt: skip

    def fit_from(init: Any, **more: Any) -> tuple[Any, FitResult]:
        if getattr(scenario.truth, "noise", None) is not None:
            from ..regression_fitting import fit_least_squares

            regression = fit_least_squares(X, y, init=init, **settings, **more)
            return regression.function, regression.result
        from ..fitting import fit_mixture

        if solver.stop == "relative":
            ends = [
                _relative_stop(partial(fit_mixture, X, y, init=[start], **settings, **more), solver) for start in init
            ]
            fitted = max(ends, key=lambda end: end.result.loglik)
        else:
            fitted = fit_mixture(X, y, init=init, **settings, **more)
        return fitted.mixture, fitted.result

    return fit_from


FitCell = Callable[[Scenario, Cell, Any, Any], tuple[Any, Any, int]]


class _Stopped(Exception):
    """A fit was watched for long enough."""


def _relative_stop(fit: Callable[..., Any], solver: SolverSpec) -> Any:
    """A fit of as many iterations as it makes until one changes the log-likelihood by less than ``tol`` of itself."""
    last = [np.nan, 0]

    def watch(iteration: int, loglik: float) -> None:
        enough = abs(loglik - last[0]) <= solver.tol * abs(loglik)
        last[:] = loglik, iteration
        if enough:
            raise _Stopped

    with contextlib.suppress(_Stopped):
        fit(callback=watch, max_iter=solver.max_iter)
    return fit(max_iter=max(1, int(last[1])))


def _of_fit(name: str, estimate: Any, result: FitResult, truth: Any, X: Array, y: Array) -> dict[str, Any]:
    """What a fit cost, or whether a criterion that starts from it is wrong."""
    if name == EFFORT:
        return {"value": float(result.n_iter), "error": 0.0}
    from .selection import wrong_number

    try:
        return {"value": wrong_number(name, estimate, truth.n_experts, X, y), "error": 0.0}
    except Exception as failure:
        return _failed(failure)


def _failed(failure: Exception) -> dict[str, Any]:
    return {
        "status": "failed",
        "certified": False,
        "message": _one_line(failure),
        "traceback": traceback.format_exc(),
    }


def _loss_row(scenario: Scenario, name: str, estimate: Any, truth: Any, law: Any) -> dict[str, Any]:
    """Value, bound of its numerical error and cell pattern of one loss; the reason if it cannot be computed."""
    from .. import divergences
    from ..losses import component_gaps, voronoi_loss

    try:
        if name in DIVERGENCES:
            x = None if isinstance(scenario.x, JointLaw) and name != "l2" else law
            trials = getattr(scenario.truth, "trials", 1)
            options: dict[str, Any] = {"trials": trials} if trials > 1 and name != "l2" else {}
            if law is not None and law.n_features > 1:
                options["rtol"] = MANY_FEATURES
            found = getattr(divergences, _DIVERGENCE_NAMES[name])(truth, estimate, x=x, **options)
            return {"value": float(found.value), "error": float(found.error)}
        mine, target = measure(scenario, estimate), measure(scenario, truth)
        if (gap := gap_of(name)) is not None:
            attribute, block, kind = gap
            gaps = component_gaps(mine, target, kind)
            return {"value": float(getattr(gaps, attribute)[block]), "error": 0.0}
        kind, options = kind_and_options(name)
        loss = voronoi_loss(mine, target, kind=kind, **options)
        return {"value": float(loss.value), "error": 0.0, "pattern": _pattern_text(loss.cells.pattern)}
    except Exception as failure:
        return _failed(failure)


def _one_line(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}".splitlines()[0][:300]


def _pattern_text(pattern: Any) -> str:
    return "(" + ",".join(str(int(size)) for size in pattern) + ")"


def _row(scenario: Scenario, cell: Cell, loss: str, **values: Any) -> dict[str, Any]:
    return {
        "scenario": scenario.id, "fit": cell.fit, "n_experts": cell.n_experts, "n": cell.n, "rep": cell.rep,
        "loss": loss, "value": float("nan"), "error": float("nan"), "status": "failed", "certified": False, "n_iter": 0,
        "decrement": float("nan"), "agree": 0, "active_bounds": 0, "pattern": "", "loglik": float("nan"),
        "seconds": float("nan"), "data_crc": 0, "message": "", "traceback": "",
    } | values  # fmt: skip


def failed_rows(scenario: Scenario, cell: Cell, status: str, message: str, **values: Any) -> list[dict[str, Any]]:
    """The records of a cell without a result: NaN and the reason, one row a loss."""
    names = scenario.losses_of(cell.fit)
    return [_row(scenario, cell, name, status=status, message=message, **values) for name in names]


def run_cell(scenario: Scenario, cell: Cell, fit: FitCell = fit_cell) -> list[dict[str, Any]]:
    """Records of one cell, one row a loss; `fit` is `fit_cell`, or another way to make its fit.

    Pure and deterministic but for ``seconds``: the streams are keyed by scenario, n and rep. Every failure becomes a
    record with NaN, ``status = "failed"``, the error as message and its traceback.
    """
    began = time.perf_counter()
    crc = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what a fit has to say is in its result
        try:
            X, y, crc = draw_data(scenario, cell.n, cell.rep)
            estimate, result, agree = fit(scenario, cell, X, y)
        except Exception as failure:
            return failed_rows(
                scenario, cell, "failed", _one_line(failure), traceback=traceback.format_exc(), data_crc=crc,
                seconds=time.perf_counter() - began,
            )  # fmt: skip
        law, truth = context(scenario)
        certificate, wanted = result.certificate, scenario.solver_of(scenario.fit_by_id(cell.fit)).agree
        shared = {
            "status": result.status.name.lower(),
            "certified": bool(certificate.certified and result.status.certified and agree >= wanted),
            "n_iter": int(result.n_iter),
            "decrement": float(certificate.decrement),
            "agree": agree,
            "active_bounds": len(result.active_bounds),
            "loglik": float(result.loglik),
            "data_crc": crc,
            "message": "; ".join(str(text) for text in result.messages)[:300],
        }
        rows = []
        for name in scenario.losses_of(cell.fit):
            own = _of_fit(name, estimate, result, truth, X, y) if name in OF_FITS else None
            rows.append(
                _row(scenario, cell, name, **(shared | (own or _loss_row(scenario, name, estimate, truth, law))))
            )
    seconds = time.perf_counter() - began
    return [row | {"seconds": seconds} for row in rows]
