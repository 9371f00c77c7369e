"""The weighted line through log means: which sizes enter it, and its bootstrap copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .lines import lack_of_fit_test, line, slope_interval
from .points import LogMeans
from .verdicts import LACK_OF_FIT, MIN_POINTS, Theory, measure_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Line", "regress"]


@dataclass(frozen=True)
class Line:
    """Weighted least squares of the log means ``means`` on log n (or log log n), with bootstrap copies of the slope.

    ``dropped`` smallest sizes are left out, because a straight line does not fit with them; ``p_value`` is that of the line
    over the others.
    """

    means: LogMeans
    dropped: int
    slope: float
    intercept: float
    p_value: float
    copies: Array

    @property
    def used(self) -> tuple[int, ...]:
        """Sizes that the line goes through."""
        return tuple(int(n) for n in self.means.sizes[self.dropped :])

    @property
    def standard_error(self) -> float:
        """Of the slope."""
        return float(self.copies.std())

    def interval(self, level: float) -> tuple[float, float]:
        """Of the slope, from the copies."""
        return slope_interval(self.slope, self.copies, level, self.means.from_(self.dropped).freedom)


def regress(means: LogMeans, copies: Array, theory: Theory | None, start: int | None = None) -> Line:
    """Fit the line to all sizes, dropping the smallest while a straight line does not fit and more than three are left.

    Parameters
    ----------
    copies : ndarray (n_boot, m)
        Bootstrap copies of the centres of ``means``.
    start : int, optional
        Leave out exactly so many sizes instead.
    """
    x, y, variance = np.log(measure_of(means.sizes, theory)), means.log, means.variance
    first = start or 0
    while (p := lack_of_fit_test(x[first:], y[first:], variance[first:], means.freedom)) < LACK_OF_FIT:
        if start is not None or x.size - first <= MIN_POINTS:
            break
        first += 1
    weight = 1 / variance[first:]
    slope, intercept = (float(v) for v in line(x[first:], y[first:], weight))
    copied = line(x[first:], means.steadied(copies)[:, first:], weight)[0]
    return Line(means, first, slope, intercept, p, copied)
