"""Which of the rates of the theory a curve follows: comparison by BIC, and what these sizes cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .points import LogMeans, RatePoint, log_means, select, summarise
from .verdicts import LACK_OF_FIT, MIN_POINTS, Theory, exponent_of, measure_of

if TYPE_CHECKING:
    import pandas as pd

    from .lines import Statistic

__all__ = ["REGIMES", "Regime", "RegimeComparison", "compare_regimes"]

REGIMES: Mapping[str, Theory] = MappingProxyType(
    {"-1": -1.0, "-1/2": -0.5, "-1/4": -0.25, "-1/8": -0.125, "1/log n": "log", "0": 0.0}
)
DISTINCT = 6.0  # difference of BIC that counts as strong evidence (Kass and Raftery, 1995): odds of 20 to 1


@dataclass(frozen=True)
class Regime:
    """A candidate: ``loss = constant * n^exponent`` (or ``/ log n``), its BIC above the best one's, its weight among the candidates."""

    name: str
    theory: Theory
    constant: float
    delta: float
    weight: float


@dataclass(frozen=True)
class RegimeComparison:
    """Candidate rates of a loss, best first.

    Attributes
    ----------
    regimes : tuple of Regime
    sizes : tuple of int
    p_value : float
        Of the best candidate (F-test); below 0.01 none of them describes the curve.
    """

    regimes: tuple[Regime, ...]
    sizes: tuple[int, ...]
    p_value: float

    @property
    def fits(self) -> bool:
        """Whether the best candidate describes the curve."""
        return self.p_value >= LACK_OF_FIT

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of those that these sizes do not rule out: within 6 of the best BIC; none if the best does not fit."""
        return tuple(r.name for r in self.regimes if r.delta < DISTINCT) if self.fits else ()

    @property
    def distinguishable(self) -> bool:
        """Whether exactly one candidate is left."""
        return len(self.candidates) == 1

    def __str__(self) -> str:
        if not self.fits:
            return "none of " + ", ".join(sorted((r.name for r in self.regimes), key=list(REGIMES).index))
        if self.distinguishable:
            return self.candidates[0]
        return " or ".join(self.candidates) + ": not distinguishable in this range"


def compare_regimes(
    data: pd.DataFrame | Sequence[RatePoint],
    *,
    loss: str | None = None,
    fit: str | None = None,
    statistic: Statistic = "mean",
) -> RegimeComparison:
    r"""Compare the rates :math:`n^{-1}, n^{-1/2}, n^{-1/4}, n^{-1/8}, 1/\log n` and 0 by BIC on the log loss.

    Each candidate r has one free parameter, its constant: :math:`\log \bar L_n = c_r + \log r(n) + \varepsilon_n` with the
    Monte-Carlo variances of the log means, times a common factor (at least 1) where even the best candidate leaves more than
    those. Candidates within 6 of the best BIC are not distinguishable in this range of n.

    Parameters
    ----------
    data : DataFrame or sequence of RatePoint
        Records (see `estimate_rate`), or the points of a `RateEstimate`.
    loss, fit : str, optional
        Of a frame with several.

    Raises
    ------
    ValueError
        If fewer than three sizes are usable.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> n = np.repeat([100, 400, 1600, 6400], 50)
    >>> str(compare_regimes(pd.DataFrame({"n": n, "value": n**-0.5 * rng.lognormal(0, 0.3, n.size)})))
    '-1/2'
    """
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        data = summarise(select(data, loss, fit), 200, np.random.default_rng(0))[0]
    means = log_means(data, statistic)
    if means.sizes.size < MIN_POINTS:
        raise ValueError(f"regimes are compared over {MIN_POINTS} sizes at least, got {means.sizes.size} usable ones")
    return regimes_of(means)


def regimes_of(means: LogMeans) -> RegimeComparison:
    """`compare_regimes` of prepared log means."""
    weight = 1 / means.variance
    found = []
    for name, theory in REGIMES.items():
        rest = means.log - exponent_of(theory) * np.log(measure_of(means.sizes, theory))
        centre = float((weight * rest).sum() / weight.sum())
        found.append((float((weight * (rest - centre) ** 2).sum()), name, theory, math.exp(centre)))
    found.sort(key=lambda entry: entry[0])
    freedom = means.sizes.size - 1
    best = found[0][0]
    spread = max(1.0, best / freedom)
    odds = np.exp(-(np.array([entry[0] for entry in found]) - best) / (2 * spread))
    regimes = tuple(
        Regime(name, theory, constant, (q - best) / spread, float(share))
        for (q, name, theory, constant), share in zip(found, odds / odds.sum(), strict=True)
    )
    p = float(stats.f.sf(best / freedom, freedom, means.freedom))
    return RegimeComparison(regimes, tuple(int(n) for n in means.sizes), p)
