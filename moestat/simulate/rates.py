"""Convergence rates from records: weighted regression on the log scale, bootstrap intervals, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .lines import Statistic
from .points import LogMeans, RatePoint, log_means, select, share_error, summarise
from .regimes import RegimeComparison, regimes_of
from .regression import Line, regress
from .verdicts import MIN_POINTS, Bound, Theory, Verdict, against, exponent_of, judge, measure_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["RateEstimate", "RatePoint", "Statistic", "estimate_rate"]

MIN_FREEDOM = 10  # replicates beyond the first, over all sizes: with fewer the Student factor outgrows the slope


@dataclass(frozen=True)
class RateEstimate:
    """The slope of a loss in log n, and how it stands to the theorem.

    Attributes
    ----------
    loss, fit : str
    slope, intercept : float
        Of log statistic on log n (on log log n if the theory is ``log``) over ``n_used``; NaN if withheld.
    slope_se, ci : float, (float, float)
        Standard error and interval, by bootstrap over replicates inside each n.
    theory : float, "log" or None
    bound : {"equal", "at-most"}
    verdict : str
        ``consistent``, ``faster``, ``slower``, ``not identified`` (the theorem's exponent is 0, and the slope about 0),
        ``not asymptotic yet``, ``uncertified`` or ``no theory``.
    n_cells, uncertified, failures : int
        Cells in all; those without a certificate (failures among them).
    points : tuple of RatePoint
    n_used, n_dropped : tuple of int
        Sample sizes in the regression, and smallest ones dropped for lack of fit.
    lack_of_fit : float
        p-value of the straight line over ``n_used``; NaN with two points.
    local_slopes : tuple of (int, int, float, float)
        Between neighbours: n, next n, slope, standard error.
    constant, constant_se : float
        Mean of ``n^(-theory) * loss`` over the replicates of the larger half of ``n_used``, with its Monte-Carlo error.
    predicted_constant : float or None
    larger : (int, float, float) or None
        Smallest n of the larger half of ``n_used``, and the slope's interval over it.
    regimes : RegimeComparison or None
        Which of the theory's rates the points follow; None with fewer than three sizes.
    """

    loss: str
    fit: str
    statistic: Statistic
    slope: float
    intercept: float
    ci: tuple[float, float]
    theory: Theory | None
    bound: Bound
    verdict: Verdict
    n_cells: int
    uncertified: int
    failures: int
    points: tuple[RatePoint, ...]
    n_used: tuple[int, ...]
    n_dropped: tuple[int, ...]
    lack_of_fit: float
    local_slopes: tuple[tuple[int, int, float, float], ...]
    constant: float
    constant_se: float
    predicted_constant: float | None = None
    predicted_constant_se: float = 0.0
    larger: tuple[int, float, float] | None = None
    slope_se: float = math.nan
    regimes: RegimeComparison | None = None

    @property
    def certified(self) -> tuple[float, float]:
        """Share of certified cells and its standard error."""
        count = self.n_cells - self.uncertified
        return count / self.n_cells, share_error(count, self.n_cells)

    @property
    def at_bound(self) -> tuple[float, float]:
        """Share of cells with a parameter at a bound, over all sizes, and its standard error."""
        total = sum(p.cells for p in self.points)
        count = round(sum(p.active * p.cells for p in self.points))
        return (count / total, share_error(count, total)) if total else (math.nan, math.nan)

    def line(self, n: ArrayLike) -> NDArray[np.float64]:
        """The fitted line at sample sizes ``n``."""
        values: NDArray[np.float64] = np.exp(self.intercept) * measure_of(n, self.theory) ** self.slope
        return values

    def law(self, n: ArrayLike) -> NDArray[np.float64]:
        """The theorem's rate at sample sizes ``n``, up to its constant; ValueError if there is no theorem."""
        if self.theory is None:
            raise ValueError(f"no theory is declared for {self.loss}")
        return measure_of(n, self.theory) ** exponent_of(self.theory)

    @property
    def settles(self) -> bool:
        """Whether the larger sizes agree with the theorem though all sizes together do not."""
        if self.verdict != "not asymptotic yet" or self.larger is None or self.theory is None:
            return False
        verdict = against(self.larger[1:], exponent_of(self.theory), self.bound)
        return verdict in ("consistent", "not identified")

    @property
    def constant_agrees(self) -> bool | None:
        """Whether the constant lies within 2.58 Monte-Carlo errors of the predicted one (99 %)."""
        if self.predicted_constant is None or not math.isfinite(self.constant):
            return None
        error = math.hypot(self.constant_se, self.predicted_constant_se)
        return abs(self.constant - self.predicted_constant) <= 2.58 * error

    @property
    def too_few_sizes(self) -> int | None:
        """The number of sizes, if it is too small for any verdict."""
        return len(self.points) if len(self.points) < MIN_POINTS else None

    @property
    def vague(self) -> bool:
        """Whether so few replicates of so few sizes were run that the interval says nothing."""
        return self.too_few_sizes is not None and sum(p.cells - p.failures - 1 for p in self.points) < MIN_FREEDOM

    def to_json(self) -> dict[str, Any]:
        """The documented, stable form; numbers that are withheld are null."""

        def number(value: float | None) -> float | None:
            return None if value is None or not math.isfinite(value) else float(value)

        return {
            "slope": number(self.slope),
            "ci": [number(self.ci[0]), number(self.ci[1])],
            "theory": self.theory if self.theory == "log" else number(self.theory),
            "verdict": self.verdict,
            "n_cells": self.n_cells,
            "uncertified": self.uncertified,
        }


def estimate_rate(
    frame: pd.DataFrame,
    loss: str,
    *,
    fit: str | None = None,
    theory: Theory | None = None,
    bound: Bound = "equal",
    statistic: Statistic = "mean",
    predicted_constant: float | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    min_certified: float = 0.95,
    allow_uncertified: bool = False,
    rng: np.random.Generator | None = None,
) -> RateEstimate:
    r"""Slope of a loss in log n, with an interval and a verdict.

    Weighted least squares of :math:`\log \bar L_n` on :math:`\log n` with weights :math:`R_n/\mathrm{cv}^2` (the delta
    method; each squared coefficient of variation is averaged with the mean over n, which steadies few replicates).
    The interval resamples replicates inside each n. While a straight line does not fit (F-test, level 1 %) and more
    than three sizes are left, the smallest n is dropped, and reported. A verdict against the theorem must hold over the
    larger half of the sizes as well; otherwise it is "not asymptotic yet".

    Parameters
    ----------
    frame : DataFrame
        Records, or any frame with columns ``n`` and ``value`` (and, if present, ``loss``, ``fit``, ``certified``,
        ``active_bounds``). Failed cells are those with NaN as value.
    loss : str
        Name of the loss.
    theory : float or "log", optional
        The theorem's exponent of n. 0: the loss does not vanish, what it compares is not identified. ``log``: it vanishes as
        1 / log n; slopes are then those in log log n.
    bound : {"equal", "at-most"}
        ``at-most``: the exponent bounds the error from above, a steeper slope agrees.
    statistic : {"mean", "median", "trimmed"}
        Centre over replicates; trimmed cuts 10 % on either side.
    predicted_constant : float, optional
        Predicted limit of ``n^(-theory) * mean``.
    min_certified : float
        Smallest share of certified cells; with fewer no slope is given unless ``allow_uncertified``.
    rng : Generator, optional
        For the bootstrap; default: a fixed stream, so that the same records give the same interval.

    Raises
    ------
    ValueError
        If the frame has no records of the loss, or fewer than two usable sample sizes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> n = np.repeat([100, 400, 1600, 6400], 50)
    >>> frame = pd.DataFrame({"n": n, "value": n**-0.5 * rng.lognormal(0, 0.3, n.size)})
    >>> rate = estimate_rate(frame, "D1", theory=-0.5)
    >>> rate.verdict, bool(abs(rate.slope + 0.5) < 0.05)
    ('consistent', True)
    """
    chosen = select(frame, loss, fit)
    rng = rng if rng is not None else np.random.default_rng(0)
    points, copies = summarise(chosen, n_boot, rng)
    failures = int((~np.isfinite(chosen["value"].to_numpy(dtype=float))).sum())
    unseen = len(chosen) - sum(point.cells for point in points)  # at sizes where every cell failed
    n_cells, uncertified = len(chosen), unseen + sum(point.uncertified for point in points)
    means = log_means(points, statistic)
    base = RateEstimate(
        loss, fit or "", statistic, math.nan, math.nan, (math.nan, math.nan), theory, bound, "uncertified", n_cells,
        uncertified, failures, points, (), (), math.nan, (), math.nan, math.nan, predicted_constant,
    )  # fmt: skip
    if uncertified > (1 - min_certified) * n_cells and not allow_uncertified:
        return base
    if means.sizes.size < 2:
        return replace(base, verdict="not asymptotic yet" if theory is not None else "no theory")
    boot = np.stack([copies[int(n)][statistic] for n in means.sizes], axis=1)
    fitted = regress(means, boot, theory)
    ci, used = fitted.interval(level), fitted.used
    half = len(used) // 2
    upper = regress(means, boot, theory, fitted.dropped + half).interval(level) if half >= MIN_POINTS else None
    constant, constant_se = _constant(points, used, theory)
    return replace(
        base, slope=fitted.slope, slope_se=fitted.standard_error, intercept=fitted.intercept, ci=ci,
        verdict=judge(ci, upper, theory, bound, fitted.p_value, len(used)),
        n_used=used, n_dropped=tuple(int(n) for n in means.sizes[: fitted.dropped]), lack_of_fit=fitted.p_value,
        local_slopes=_local_slopes(fitted, theory), constant=constant, constant_se=constant_se,
        larger=None if upper is None else (used[half], *upper),
        regimes=_regimes(means, fitted.dropped),
    )  # fmt: skip


def _regimes(means: LogMeans, first: int) -> RegimeComparison | None:
    chosen = means.from_(first)
    return regimes_of(chosen) if chosen.sizes.size >= MIN_POINTS else None


def _local_slopes(fitted: Line, theory: Theory | None) -> tuple[tuple[int, int, float, float], ...]:
    means = fitted.means
    step = np.diff(np.log(measure_of(means.sizes, theory)))
    slopes = np.diff(means.log) / step
    errors = np.sqrt(means.variance[1:] + means.variance[:-1]) / step
    rows = zip(means.sizes[:-1].tolist(), means.sizes[1:].tolist(), slopes.tolist(), errors.tolist(), strict=True)
    return tuple(rows)


def _constant(points: Sequence[RatePoint], used: tuple[int, ...], theory: Theory | None) -> tuple[float, float]:
    if theory is None:
        return math.nan, math.nan
    larger = set(used[len(used) // 2 :])
    rows = [(p.mean, p.mean_se, p.n, p.cells - p.failures) for p in points if p.n in larger]
    mean, error, n, reps = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    # weights by replicates: estimated variances would favour small means
    scale = reps / reps.sum() * measure_of(n, theory) ** -exponent_of(theory)
    return float(scale @ mean), float(np.sqrt(scale**2 @ error**2))
