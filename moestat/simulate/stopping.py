"""Why a stopping rule fakes a rate: losses of one EM run at the tolerances that would have ended it, and of the certified fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .cells import fit_cell
from .models import context, draw_data
from .scenario import Cell, Scenario
from .seeds import stream
from .starts import perturbed_truth

if TYPE_CHECKING:
    import pandas as pd

    from .rates import RateEstimate

__all__ = ["CERTIFIED", "TOLERANCES", "rates_by_rule", "stopping_study"]

TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
CERTIFIED = "certified"


def stopping_study(
    scenario: Scenario,
    sizes: Sequence[int],
    reps: int,
    *,
    tolerances: Sequence[float] = TOLERANCES,
    losses: Sequence[str] = ("kl", "D2sharp"),
    published: str = "published",
    certified: str = "certified",
    max_iter: int = 5000,
) -> pd.DataFrame:
    """Losses of estimates that EM would have given at each relative tolerance, beside those of the certified fit.

    EM runs once for each replicate, from the first start of the fit ``published``; its estimate is kept at the first step that changes
    the log-likelihood by less than each tolerance of itself, the rule of published code. The certified fit has the same data.

    Parameters
    ----------
    scenario : Scenario
        With a fit that starts near the truth and one that is certified, as ``softmax-gaussian-protocol``.
    sizes : sequence of int
    reps : int
    losses : sequence of str
        ``kl`` or kinds of `moestat.losses.voronoi_loss`.
    max_iter : int
        Steps after which EM is stopped in any case.

    Returns
    -------
    DataFrame
        Columns ``n``, ``rep``, ``rule`` (a tolerance as text, or "certified"), ``loss``, ``value``, ``iterations``, ``below`` (how far
        its log-likelihood lies below that of the certified fit, in nats), ``certified``. `moestat.simulate.estimate_rate` reads the
        rows of one rule.
    """
    import pandas as pd

    rows = [
        {"n": n, "rep": rep, "loss": loss, "value": _value(scenario, loss, estimate), **facts}
        for n in sizes
        for rep in range(reps)
        for estimate, facts in _estimates(
            scenario, n, rep, sorted(tolerances, reverse=True), published, certified, max_iter
        )
        for loss in losses
    ]
    return pd.DataFrame(rows)


def _estimates(
    scenario: Scenario, n: int, rep: int, tolerances: Sequence[float], published: str, certified: str, max_iter: int
) -> Iterator[tuple[Any, dict[str, Any]]]:
    from ..mixture import ConditionalMixture
    from ..solvers.em import EM

    fit = scenario.fit_by_id(published)
    n_experts = fit.experts_at(n)[-1]
    X, y, _ = draw_data(scenario, n, rep)
    best, result, agree = fit_cell(scenario, Cell(certified, n_experts, n, rep), X, y)
    _, truth = context(scenario)
    start = perturbed_truth(scenario, fit, n_experts, stream(scenario.root_seed, scenario.id, n, rep, "init"), n)[0]
    model = ConditionalMixture(truth.gate, truth.expert, start.params, n_features=X.shape[1])
    objective, theta = model.objective(X, y, raw=True)
    solver, waiting = EM(), list(tolerances)
    state = solver.init(objective, theta)
    for iteration in range(1, max_iter + 1):
        before, state = state.value, solver.step(objective, state)
        change = abs(state.value - before)
        ended = iteration == max_iter or state.stalled
        while waiting and (change <= waiting[0] * abs(state.value) or ended):
            yield model.with_free_vector(state.theta), {
                "rule": f"{waiting.pop(0):g}", "iterations": iteration, "below": result.loglik - state.value, "certified": False,
            }  # fmt: skip
        if not waiting:
            break
    sound = bool(
        result.status.certified
        and result.certificate.certified
        and agree >= scenario.solver_of(scenario.fit_by_id(certified)).agree
    )
    yield best, {"rule": CERTIFIED, "iterations": result.n_iter, "below": 0.0, "certified": sound}


def _value(scenario: Scenario, loss: str, estimate: Any) -> float:
    from ..divergences import kl
    from ..losses import voronoi_loss

    law, truth = context(scenario)
    if loss == "kl":
        return float(kl(truth, estimate, x=law).value)
    return float(voronoi_loss(estimate.mixing_measure(), truth.mixing_measure(), kind=loss).value)


def rates_by_rule(frame: pd.DataFrame, scenario: Scenario) -> dict[str, dict[str, RateEstimate]]:
    """The rate of each loss under each rule, by loss and rule, in the order of the study; theory as the scenario declares it."""
    from .rates import estimate_rate

    theory = {loss.name: loss.exponent for loss in reversed(scenario.loss) if loss.exponent is not None}
    return {
        loss: {
            rule: estimate_rate(
                frame[(frame["loss"] == loss) & (frame["rule"] == rule)],
                loss,
                theory=theory.get(loss),
                allow_uncertified=True,
            )
            for rule in dict.fromkeys(frame["rule"])
        }
        for loss in dict.fromkeys(frame["loss"])
    }
