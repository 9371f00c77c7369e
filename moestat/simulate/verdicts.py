"""How a measured slope stands to a theorem's exponent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Bound", "Theory", "Verdict", "against", "exponent_of", "judge", "measure_of"]

Bound = Literal["equal", "at-most"]
Theory = float | Literal["log"]
Verdict = Literal["consistent", "faster", "slower", "not identified", "not asymptotic yet", "uncertified", "no theory"]
MIN_POINTS = 3
LACK_OF_FIT = 0.01
FLAT = 0.05  # a slope this close to 0 is one of a loss that does not vanish: 1/log n has -0.09 even at n = 100 000


def measure_of(n: ArrayLike, theory: Theory | None) -> NDArray[np.float64]:
    """What a loss is a power of: n, or log n where the theorem says ``log``."""
    size = np.asarray(n, dtype=float)
    return np.log(size) if theory == "log" else size


def exponent_of(theory: Theory) -> float:
    """The theorem's exponent of `measure_of`: ``log`` is 1 / log n."""
    return -1.0 if theory == "log" else theory


def against(ci: tuple[float, float], exponent: float, bound: Bound) -> Verdict:
    """Compare an interval with an exponent, without asking whether the sizes are large enough.

    An exponent of 0 claims that the loss does not vanish; an interval that comes within 0.05 of 0 agrees.

    Examples
    --------
    >>> against((-0.52, -0.47), -0.5, "equal"), against((-0.8, -0.7), -0.5, "at-most"), against((-0.06, 0.01), 0.0, "equal")
    ('consistent', 'consistent', 'not identified')
    """
    if exponent == 0:
        if ci[0] <= FLAT and ci[1] >= -FLAT:
            return "not identified"
        return "slower" if ci[0] > FLAT else ("faster" if bound == "equal" else "consistent")
    if ci[0] > exponent:
        return "slower"
    return "faster" if ci[1] < exponent and bound == "equal" else "consistent"


def judge(
    ci: tuple[float, float],
    upper: tuple[float, float] | None,
    theory: Theory | None,
    bound: Bound,
    p: float,
    points: int,
) -> Verdict:
    """The verdict of an interval over ``points`` sizes whose straight line has the p-value ``p``.

    A contradiction must hold over the larger half of the sizes (``upper``), too.
    """
    if theory is None:
        return "no theory"
    if points < MIN_POINTS or (math.isfinite(p) and p < LACK_OF_FIT):
        return "not asymptotic yet"
    exponent = exponent_of(theory)
    verdict = against(ci, exponent, bound)
    agrees = verdict in ("consistent", "not identified")
    if not agrees and upper is not None and against(upper, exponent, bound) != verdict:
        return "not asymptotic yet"
    return verdict
