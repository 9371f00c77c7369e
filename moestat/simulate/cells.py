"""Compute one cell: data, fit, losses. Deterministic, alone or among others, and never raising."""

from __future__ import annotations

import time
import traceback
import warnings
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .loss_names import DIVERGENCES, GAPS, kind_and_options
from .scenario import Cell, Fit, MixtureTruth, RegressionTruthSpec, Scenario
from .seeds import stream
from .starts import equal_cells, perturbed_truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..distributions import Uniform
    from ..divergences import RegressionTruth
    from ..fitting import FittedMixture
    from ..mixing_measure import MixingMeasure
    from ..mixture import ConditionalMixture

    Array = NDArray[np.float64]

__all__ = ["build_law", "build_truth", "draw_data", "failed_rows", "fit_cell", "run_cell"]

_GAP_BLOCKS = {"gap:gate_coef": "gate", "gap:expert_coef": "coef", "gap:expert_intercept": "intercept",
               "gap:variance": "variance"}  # fmt: skip
_DIVERGENCE_NAMES = {"kl": "kl", "hellinger": "hellinger", "tv": "total_variation", "l2": "l2"}


def cosine_series(X: Array, alpha: float, terms: int, amplitude: float) -> Array:
    """``amplitude * sum_l 2^(-alpha l) cos(2 pi 2^l x + l)`` over ``l = 0 .. terms-1``: smoothness alpha at every scale.

    Parameters
    ----------
    X : ndarray (n, 1)

    Returns
    -------
    ndarray (n,)
    """
    order = np.arange(terms)
    x = np.asarray(X, dtype=float).reshape(-1, 1)
    waves: Array = np.cos(2 * np.pi * 2.0**order * x + order) @ 2.0 ** (-alpha * order)
    return amplitude * waves


def build_law(scenario: Scenario) -> Uniform:
    """The law of x."""
    from ..distributions import Uniform

    return Uniform(scenario.x.low, scenario.x.high)


def build_truth(scenario: Scenario) -> ConditionalMixture | RegressionTruth:
    """The true conditional density."""
    truth = scenario.truth
    if isinstance(truth, RegressionTruthSpec):
        from ..divergences import RegressionTruth

        def mean(X: Array) -> Array:
            return cosine_series(X, truth.alpha, truth.terms, truth.amplitude)

        return RegressionTruth(mean, truth.scale)
    from ..experts import GaussianExpert
    from ..mixture import ConditionalMixture

    params = {name: np.asarray(value, dtype=float) for name, value in truth.params.model_dump().items()}
    return ConditionalMixture(gate=truth.gate, expert=GaussianExpert(degree=truth.degree), params=params)


@lru_cache(maxsize=8)
def _context(fingerprint: str, scenario_json: str) -> tuple[Any, Any]:
    scenario = Scenario.model_validate_json(scenario_json)
    return build_law(scenario), build_truth(scenario)


def draw_data(scenario: Scenario, n: int, rep: int) -> tuple[Array, Array, int]:
    """The data of a replicate, the same for every fit, and its CRC-32."""
    law, truth = _context(scenario.fingerprint(), scenario.model_dump_json(exclude_none=True))
    rng = stream(scenario.root_seed, scenario.id, n, rep, "data")
    X = np.ascontiguousarray(law.sample(n, rng), dtype=np.float64).reshape(n, -1)
    y = np.ascontiguousarray(truth.sample(X, rng), dtype=np.float64)
    return X, y, zlib.crc32(y.tobytes(), zlib.crc32(X.tobytes()))


def fit_cell(scenario: Scenario, cell: Cell, X: Array, y: Array) -> tuple[FittedMixture, int]:
    """Fit a cell's model from its declared starts; the highest likelihood wins.

    While fewer starts than declared have reached the best optimum, further rounds of starts are drawn.

    Returns
    -------
    fitted : FittedMixture
    agree : int
        How many starts of all rounds reached the optimum.
    """
    from ..experts import GaussianExpert
    from ..fitting import fit_mixture
    from ..solvers.multistart import AGREEMENT

    fit: Fit = scenario.fit_by_id(cell.fit)
    rng = stream(scenario.root_seed, scenario.id, cell.n, cell.rep, "init")
    settings: dict[str, Any] = {
        "n_experts": cell.n_experts, "gate": fit.gate, "expert": GaussianExpert(degree=fit.degree, variance=fit.variance),
        "solver": scenario.solver.name, "tol": scenario.solver.tol, "max_iter": scenario.solver.max_iter, "rng": rng,
    }  # fmt: skip
    found: list[FittedMixture] = []
    agree = 0
    for _ in range(scenario.starts.rounds):
        if isinstance(scenario.truth, MixtureTruth) and scenario.starts.kind == "perturbed-truth":
            starts = perturbed_truth(scenario.truth, fit, cell.n_experts, scenario.starts, rng)
        else:
            starts = equal_cells(X, y, scenario.x, fit, cell.n_experts, scenario.starts, rng)
        found.append(fit_mixture(X, y, init=starts, **settings))
        if scenario.starts.default:
            found.append(fit_mixture(X, y, init="kmeans", n_init=scenario.starts.default, **settings))
        best = max(found, key=lambda fitted: fitted.result.loglik)
        reached = np.concatenate([fitted.result.starts for fitted in found])
        agree = int((reached >= best.result.loglik - AGREEMENT).sum())
        if agree >= scenario.solver.agree and best.result.status.certified:
            break
    return best, agree


def _loss_row(name: str, estimate: ConditionalMixture, truth: Any, law: Uniform) -> dict[str, Any]:
    """Value, bound of its numerical error and cell pattern of one loss; the reason if it cannot be computed."""
    from .. import divergences
    from ..losses import component_gaps, voronoi_loss

    try:
        if name in DIVERGENCES:
            found = getattr(divergences, _DIVERGENCE_NAMES[name])(truth, estimate, x=law)
            return {"value": float(found.value), "error": float(found.error)}
        if name in GAPS:
            gaps = component_gaps(_plain(estimate), _plain(truth))
            return {"value": float(gaps.over[_GAP_BLOCKS[name]]), "error": 0.0}
        kind, options = kind_and_options(name)
        loss = voronoi_loss(estimate.mixing_measure(), truth.mixing_measure(), kind=kind, **options)
        return {"value": float(loss.value), "error": 0.0, "pattern": _pattern_text(loss.cells.pattern)}
    except Exception as failure:
        return {
            "status": "failed",
            "certified": False,
            "message": _one_line(failure),
            "traceback": traceback.format_exc(),
        }


def _plain(mixture: ConditionalMixture) -> MixingMeasure:
    """The mixing measure of a model of one level, which alone has gaps of components."""
    from ..mixing_measure import MixingMeasure

    measure = mixture.mixing_measure()
    if not isinstance(measure, MixingMeasure):
        raise ValueError(f"gaps of components are those of a MixingMeasure, got a {type(measure).__name__}.")
    return measure


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


def run_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """Records of one cell, one row a loss.

    Pure and deterministic but for ``seconds``: the streams are keyed by scenario, n and rep. Every failure becomes a
    record with NaN, ``status = "failed"``, the error as message and its traceback.
    """
    began = time.perf_counter()
    crc = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what a fit has to say is in its result
        try:
            X, y, crc = draw_data(scenario, cell.n, cell.rep)
            fitted, agree = fit_cell(scenario, cell, X, y)
        except Exception as failure:
            return failed_rows(
                scenario, cell, "failed", _one_line(failure), traceback=traceback.format_exc(), data_crc=crc,
                seconds=time.perf_counter() - began,
            )  # fmt: skip
        law, truth = _context(scenario.fingerprint(), scenario.model_dump_json(exclude_none=True))
        result, certificate = fitted.result, fitted.result.certificate
        shared = {
            "status": result.status.name.lower(),
            "certified": bool(certificate.certified and result.status.certified and agree >= scenario.solver.agree),
            "n_iter": int(result.n_iter),
            "decrement": float(certificate.decrement),
            "agree": agree,
            "active_bounds": len(result.active_bounds),
            "loglik": float(result.loglik),
            "data_crc": crc,
            "message": "; ".join(str(text) for text in result.messages)[:300],
        }
        rows = [
            _row(scenario, cell, name, **(shared | _loss_row(name, fitted.mixture, truth, law)))
            for name in scenario.losses_of(cell.fit)
        ]
    seconds = time.perf_counter() - began
    return [row | {"seconds": seconds} for row in rows]
