"""Convergence rates from records: weighted regression on the log scale, bootstrap intervals, verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .lines import CENTRES, Statistic, lack_of_fit_test, line, resampled, slope_interval, standard_error, trimmed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["RateEstimate", "RatePoint", "Statistic", "estimate_rate"]

Verdict = Literal["consistent", "faster", "slower", "not asymptotic yet", "uncertified", "no theory"]
MIN_POINTS = 3
MIN_FREEDOM = 10  # replicates beyond the first, over all sizes: with fewer the Student factor outgrows the slope
LACK_OF_FIT = 0.01


@dataclass(frozen=True)
class RatePoint:
    """Summary of one sample size; each centre has its Monte-Carlo standard error."""

    n: int
    cells: int
    failures: int
    uncertified: int
    active: float
    mean: float
    mean_se: float
    median: float
    median_se: float
    trimmed: float
    trimmed_se: float


@dataclass(frozen=True)
class RateEstimate:
    """The slope of a loss in log n, and how it stands to the theorem.

    Attributes
    ----------
    loss, fit : str
    slope, intercept : float
        Of log statistic on log n over ``n_used``; NaN if withheld.
    ci : (float, float)
        Bootstrap over replicates inside each n.
    theory : float or None
    bound : {"equal", "at-most"}
    verdict : str
        ``consistent``, ``faster``, ``slower``, ``not asymptotic yet``, ``uncertified`` or ``no theory``.
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
    """

    loss: str
    fit: str
    statistic: Statistic
    slope: float
    intercept: float
    ci: tuple[float, float]
    theory: float | None
    bound: Literal["equal", "at-most"]
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

    @property
    def settles(self) -> bool:
        """Whether the larger sizes agree with the theorem though all sizes together do not."""
        if self.verdict != "not asymptotic yet" or self.larger is None or self.theory is None:
            return False
        return _against(self.larger[1:], self.theory, self.bound) == "consistent"

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
            "theory": number(self.theory),
            "verdict": self.verdict,
            "n_cells": self.n_cells,
            "uncertified": self.uncertified,
        }


def _verdict(
    ci: tuple[float, float], upper: tuple[float, float] | None, theory: float | None, bound: str, p: float, points: int
) -> Verdict:
    """Compare an interval with the theorem; a contradiction must hold over the larger half of the sizes (``upper``), too."""
    if theory is None:
        return "no theory"
    if points < MIN_POINTS or (math.isfinite(p) and p < LACK_OF_FIT):
        return "not asymptotic yet"
    verdict = _against(ci, theory, bound)
    if verdict != "consistent" and upper is not None and _against(upper, theory, bound) != verdict:
        return "not asymptotic yet"
    return verdict


def _against(ci: tuple[float, float], theory: float, bound: str) -> Verdict:
    if ci[0] > theory:
        return "slower"
    return "faster" if ci[1] < theory and bound == "equal" else "consistent"


def estimate_rate(
    frame: pd.DataFrame,
    loss: str,
    *,
    fit: str | None = None,
    theory: float | None = None,
    bound: Literal["equal", "at-most"] = "equal",
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
    theory : float, optional
        The theorem's exponent of n.
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
    chosen = frame
    if "loss" in frame:
        chosen = chosen[chosen["loss"] == loss]
    if fit is not None and "fit" in frame:
        chosen = chosen[chosen["fit"] == fit]
    if chosen.empty:
        raise ValueError(f"no records of loss {loss!r}" + (f" for fit {fit!r}" if fit else ""))
    rng = rng if rng is not None else np.random.default_rng(0)
    certified = chosen["certified"].to_numpy(dtype=bool) if "certified" in chosen else np.ones(len(chosen), dtype=bool)
    active = chosen["active_bounds"].to_numpy() > 0 if "active_bounds" in chosen else np.zeros(len(chosen), dtype=bool)
    n_of, value = chosen["n"].to_numpy(dtype=int), chosen["value"].to_numpy(dtype=float)
    certified = certified & np.isfinite(value)

    points, copies, centres, cv2, reps = [], [], [], [], []
    for n in sorted(set(n_of.tolist())):
        here = n_of == n
        good = value[here & np.isfinite(value)]
        if good.size == 0:
            continue
        boot = {name: resampled(good, centre, n_boot, rng) for name, centre in CENTRES.items()}
        points.append(
            RatePoint(
                n, int(here.sum()), int(here.sum()) - good.size, int((here & ~certified).sum()), float(active[here].mean()),
                mean=float(good.mean()), mean_se=standard_error(good),
                median=float(np.median(good)), median_se=float(boot["median"].std()),
                trimmed=float(trimmed(good, 0)), trimmed_se=float(boot["trimmed"].std()),
            )
        )  # fmt: skip
        centre = float(CENTRES[statistic](good, 0))
        spread = standard_error(good) if statistic == "mean" else float(boot[statistic].std())
        if good.size >= 2 and centre > 0:
            centres.append((n, centre))
            copies.append(boot[statistic])
            cv2.append(spread**2 * good.size / centre**2)
            reps.append(good.size)
    n_cells, uncertified = len(chosen), int((~certified).sum())
    base = RateEstimate(
        loss, fit or "", statistic, math.nan, math.nan, (math.nan, math.nan), theory, bound, "uncertified", n_cells,
        uncertified, sum(point.failures for point in points), tuple(points), (), (), math.nan, (), math.nan, math.nan,
        predicted_constant,
    )  # fmt: skip
    if uncertified > (1 - min_certified) * n_cells and not allow_uncertified:
        return base
    if len(centres) < 2:
        return replace(base, verdict="not asymptotic yet" if theory is not None else "no theory")

    sizes = np.array([n for n, _ in centres])
    x, y = np.log(sizes), np.log([centre for _, centre in centres])
    counts = np.array(reps, dtype=float)
    own = np.maximum(cv2, 1e-24)
    variance = (0.25 * own + 0.75 * own.mean()) / counts
    first, freedom = 0, float((counts - 1).sum())
    while (p := lack_of_fit_test(x[first:], y[first:], variance[first:], freedom)) < LACK_OF_FIT:
        if x.size - first <= MIN_POINTS:
            break
        first += 1
    weight = 1 / variance[first:]
    slope, intercept = (float(v) for v in line(x[first:], y[first:], weight))
    # a resampled centre is positive as long as the values are; guard the logarithm for few, tiny replicates
    log_copies = np.log(np.maximum(np.stack(copies, axis=1), 1e-300))
    # the same steadied variance as in the weights: replicates without an outlier would claim too much
    log_copies = (y + (log_copies - y) * np.sqrt(variance * counts / own))[:, first:]

    def interval(start: int) -> tuple[float, float]:
        xs, w = x[first + start :], weight[start:]
        here = float(line(xs, y[first + start :], w)[0])
        copied = line(xs, log_copies[:, start:], w)[0]
        return slope_interval(here, copied, level, float((counts[first + start :] - 1).sum()))

    ci = interval(0)
    half = (x.size - first) // 2
    upper = interval(half) if half >= MIN_POINTS else None
    local = tuple(
        (int(sizes[i]), int(sizes[i + 1]), float((y[i + 1] - y[i]) / (x[i + 1] - x[i])),
         float(np.sqrt(variance[i] + variance[i + 1]) / (x[i + 1] - x[i])))
        for i in range(x.size - 1)
    )  # fmt: skip
    used = tuple(int(n) for n in sizes[first:])
    constant, constant_se = _constant(points, used, theory)
    return replace(
        base, slope=slope, intercept=intercept, ci=ci, verdict=_verdict(ci, upper, theory, bound, p, len(used)),
        n_used=used, n_dropped=tuple(int(n) for n in sizes[:first]), lack_of_fit=p, local_slopes=local,
        constant=constant, constant_se=constant_se,
        larger=None if upper is None else (used[half], *upper),
    )  # fmt: skip


def _constant(points: list[RatePoint], used: tuple[int, ...], theory: float | None) -> tuple[float, float]:
    if theory is None:
        return math.nan, math.nan
    larger = set(used[len(used) // 2 :])
    rows = [(p.mean, p.mean_se, p.n, p.cells - p.failures) for p in points if p.n in larger]
    mean, error, n, reps = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    scale = reps / reps.sum() * n**-theory  # weights by replicates: estimated variances would favour small means
    return float(scale @ mean), float(np.sqrt(scale**2 @ error**2))
