"""The rates of all losses that a scenario declares, with the constants that the Fisher information predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .loss_names import kind_and_options
from .rates import RateEstimate, Statistic, estimate_rate
from .scenario import Fit, Loss, Scenario

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["estimate_rates", "records_of"]


def records_of(frame: pd.DataFrame, loss: Loss, fit: Fit) -> pd.DataFrame:
    """Of a family of fits, the one at each n that the loss asks for."""
    chosen = frame[(frame["loss"] == loss.name) & (frame["fit"] == fit.id)]
    if loss.at == "all" or chosen.empty:
        return chosen
    if loss.at == "rule" and fit.rule is not None:
        wanted = {int(n): fit.rule.n_experts(int(n)) for n in chosen["n"].unique()}
    else:
        means = chosen.groupby(["n", "n_experts"])["value"].mean().dropna()
        wanted = {int(n): int(means.loc[n].idxmin()) for n in chosen["n"].unique() if n in means.index}
    return chosen[[wanted.get(int(n)) == m for n, m in zip(chosen["n"], chosen["n_experts"], strict=True)]]


def _predicted_constant(scenario: Scenario, loss: Loss) -> tuple[float | None, float]:
    """The constant that the Fisher information predicts, and its Monte-Carlo error."""
    if loss.constant != "predicted":
        return loss.constant, 0.0
    from ..losses import fisher
    from .models import build_law, build_truth

    truth: Any = build_truth(scenario)
    law = build_law(scenario)
    if loss.name == "kl":
        return float(fisher.predicted_kl_constant(truth)), 0.0
    kind, options = kind_and_options(loss.name)
    found = fisher.predicted_loss_constant(truth, law, kind, rng=np.random.default_rng(0), n_draws=500, **options)
    return found.value, found.error


def estimate_rates(
    frame: pd.DataFrame,
    scenario: Scenario,
    *,
    statistic: Statistic = "mean",
    allow_uncertified: bool = False,
    constants: bool = True,
) -> dict[str, RateEstimate]:
    """The rate of every declared loss of a scenario, by label.

    Losses without records (their fits were left out of this run) are skipped. ``constants=False`` saves the time
    of the Fisher information.
    """
    rates: dict[str, RateEstimate] = {}
    for loss in scenario.loss:
        fit = scenario.fit_of(loss)
        chosen = records_of(frame, loss, fit)
        if chosen.empty:
            continue
        constant, error = _predicted_constant(scenario, loss) if constants else (None, 0.0)
        rate = estimate_rate(
            chosen, loss.name, theory=loss.exponent, bound=loss.bound, statistic=statistic, predicted_constant=constant,
            allow_uncertified=allow_uncertified or loss.uncertified,
        )  # fmt: skip
        rates[loss.label] = replace(rate, loss=loss.label, fit=fit.id, predicted_constant_se=error)
    return rates
