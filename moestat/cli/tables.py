"""Plain-text tables of rates and parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..simulate.rates import RateEstimate

__all__ = ["rate_table", "text_table"]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns; the first ``left`` are flush left, the others flush right.

    Examples
    --------
    >>> print(text_table(["loss", "slope"], [["D1", "-0.5"]]))
    loss  slope
    D1     -0.5
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _exponents(rate: RateEstimate) -> str:
    return "" if rate.theory is None else ("<= " if rate.bound == "at-most" else "") + f"{rate.theory:.3g}"


def rate_table(rates: Mapping[str, RateEstimate], coverage: tuple[int, int] | None = None) -> str:
    """One row a loss: slope, interval, theory, verdict, sizes used, constant; notes below.

    ``coverage`` are the cells done and the cells planned; a note says if some are missing.
    """
    rows, notes = [], []
    if coverage is not None and coverage[0] < coverage[1]:
        notes.append(f"the run is not complete: {coverage[0]} of {coverage[1]} cells done; moestat simulate resumes it")
    for label, rate in rates.items():
        interval = (
            f"[{_number(rate.ci[0])}, {_number(rate.ci[1])}]" if math.isfinite(rate.ci[0]) and not rate.vague else ""
        )
        used = f"{rate.n_used[0]}..{rate.n_used[-1]}" if rate.n_used else ""
        constant = ""
        if rate.predicted_constant is not None and math.isfinite(rate.constant):
            sign = "agrees" if rate.constant_agrees else "differs"
            constant = f"{rate.constant:.2f} +- {rate.constant_se:.2f} ({rate.predicted_constant:.2f}, {sign})"
        certified = f"{rate.n_cells - rate.uncertified}/{rate.n_cells}"
        rows.append([label, _number(rate.slope), interval, _exponents(rate), rate.verdict, used, certified, constant])
        if rate.n_dropped:
            sizes = ", ".join(map(str, rate.n_dropped))
            notes.append(f"{label}: n = {sizes} dropped, a straight line does not fit with them")
        if rate.verdict == "uncertified":
            notes.append(
                f"{label}: fewer than 95 % of the cells are certified maximisers; --allow-uncertified gives the slope"
            )
        elif rate.settles and rate.larger is not None:
            n, low, high = rate.larger
            notes.append(
                f"{label}: the smaller sizes are not asymptotic; over n >= {n} the slope's interval [{low:.3f}, {high:.3f}] holds the theorem's"
            )
        elif rate.verdict == "not asymptotic yet" and rate.too_few_sizes is None:
            notes.append(
                f"{label}: too few usable sizes, no straight line, or a slope still moving towards the theorem's; add larger n"
            )
    few = {rate.too_few_sizes for rate in rates.values() if rate.verdict == "not asymptotic yet"} - {None}
    notes += [f"too few sizes ({count}): run quick or full" for count in sorted(filter(None, few))]
    header = ["loss", "slope", "95% interval", "theory", "verdict", "n used", "certified", "constant (predicted)"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return "\n".join([text_table(header, rows), *notes])
