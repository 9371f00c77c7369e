"""Plain-text tables of rates and parameters."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..simulate.comparison import SlopeDifference
    from ..simulate.rates import RateEstimate

__all__ = [
    "comparison_records", "comparison_table", "csv_text", "latex_table", "point_records", "point_table", "rate_cells", "rate_notes",
    "rate_records", "rate_table",
    "show_rates", "text_table",
]  # fmt: skip


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


def _percent(share: float) -> str:
    """One digit below 1 %, whole numbers above."""
    return f"{100 * share:.1g}" if share < 0.01 else f"{100 * share:.0f}"


def _share(share: tuple[float, float]) -> str:
    """A share with its standard error, both in percent."""
    return "" if not math.isfinite(share[0]) else f"{100 * share[0]:.0f} +- {100 * share[1]:.0f} %"


def _theory(rate: RateEstimate) -> str:
    if rate.theory is None:
        return ""
    return ("<= " if rate.bound == "at-most" else "") + ("1/log n" if rate.theory == "log" else f"{rate.theory:.3g}")


def _regime(rate: RateEstimate) -> str:
    if rate.regimes is None or not math.isfinite(rate.slope):
        return ""
    names = rate.regimes.candidates
    return "any" if len(names) == len(rate.regimes.regimes) else " or ".join(names) or "none"


def rate_cells(label: str, rate: RateEstimate, *, all_constants: bool = False) -> list[str]:
    """The row of a loss, as the table of rates shows it; constants without a prediction only if ``all_constants``."""
    known = math.isfinite(rate.ci[0]) and not rate.vague
    constant = ""
    if math.isfinite(rate.constant) and (all_constants or rate.predicted_constant is not None):
        constant = f"{rate.constant:.3g} +- {rate.constant_se:.2g}"
    if constant and rate.predicted_constant is not None:
        sign = "agrees" if rate.constant_agrees else "differs"
        constant = f"{rate.constant:.2f} +- {rate.constant_se:.2f} ({rate.predicted_constant:.2f}, {sign})"
    return [
        label,
        _number(rate.slope),
        f"[{_number(rate.ci[0])}, {_number(rate.ci[1])}]" if known else "",
        _number(rate.slope_se) if known else "",
        _theory(rate),
        rate.verdict,
        _regime(rate),
        f"{rate.n_used[0]}..{rate.n_used[-1]}" if rate.n_used else "",
        f"{rate.n_cells - rate.uncertified}/{rate.n_cells} +- {_percent(rate.certified[1])} %",
        _share(rate.at_bound) if rate.at_bound[0] > 0 else "",
        constant,
    ]


def rate_table(rates: Mapping[str, RateEstimate], coverage: tuple[int, int] | None = None) -> str:
    """One row a loss: slope, interval, theory, verdict, regimes, sizes used, constant; notes below.

    ``coverage`` are the cells done and the cells planned; a note says if some are missing.
    """
    rows, notes = [], []
    if coverage is not None and coverage[0] < coverage[1]:
        notes.append(f"the run is not complete: {coverage[0]} of {coverage[1]} cells done; moestat simulate resumes it")
    for label, rate in rates.items():
        rows.append(rate_cells(label, rate))
        notes += rate_notes(label, rate)
    few = {rate.too_few_sizes for rate in rates.values() if rate.verdict == "not asymptotic yet"} - {None}
    notes += [f"too few sizes ({count}): run quick or full" for count in sorted(filter(None, few))]
    if any(" or " in row[6] or row[6] == "any" for row in rows):
        notes.append("several regimes (any: all six): not distinguishable in this range of n")
    header = ["loss", "slope", "95% interval", "se", "theory", "verdict", "regime", "n used", "certified", "at a bound",
              "constant (predicted)"]  # fmt: skip
    keep = [i for i, name in enumerate(header) if name not in _OPTIONAL or any(row[i] for row in rows)]
    return "\n".join([text_table([header[i] for i in keep], [[row[i] for i in keep] for row in rows]), *notes])


_OPTIONAL = ("regime", "at a bound", "constant (predicted)")


def rate_notes(label: str, rate: RateEstimate) -> list[str]:
    """What must be said of a loss beside its row."""
    notes = []
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
    if rate.theory == "log" and math.isfinite(rate.slope):
        notes.append(f"{label}: slopes are those in log log n; -1 is 1/log n")
    return notes


def rate_records(rates: Mapping[str, RateEstimate]) -> list[dict[str, Any]]:
    """Every number of the table, one dictionary a loss; None where it is withheld."""

    def known(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else value

    return [
        {"loss": label, "fit": rate.fit, "statistic": rate.statistic, "slope": known(rate.slope), "slope_se": known(rate.slope_se),
         "ci_low": known(rate.ci[0]), "ci_high": known(rate.ci[1]), "theory": rate.theory, "bound": rate.bound,
         "verdict": rate.verdict, "regime": _regime(rate), "lack_of_fit": known(rate.lack_of_fit),
         "n_min": min(rate.n_used, default=None), "n_max": max(rate.n_used, default=None), "n_cells": rate.n_cells,
         "uncertified": rate.uncertified, "failures": rate.failures, "certified_share": rate.certified[0],
         "certified_se": rate.certified[1], "bound_share": known(rate.at_bound[0]), "bound_se": known(rate.at_bound[1]),
         "constant": known(rate.constant), "constant_se": known(rate.constant_se),
         "predicted_constant": rate.predicted_constant}
        for label, rate in rates.items()
    ]  # fmt: skip


def point_records(rates: Mapping[str, RateEstimate]) -> list[dict[str, Any]]:
    """Every loss at every n: centres with their errors, shares with theirs, frequencies of cell patterns."""
    return [
        {"loss": label, "n": p.n, "cells": p.cells, "failures": p.failures, "mean": p.mean, "mean_se": p.mean_se,
         "median": p.median, "median_se": p.median_se, "trimmed": p.trimmed, "trimmed_se": p.trimmed_se,
         "certified_share": p.certified[0], "certified_se": p.certified[1], "bound_share": p.at_bound[0],
         "bound_se": p.at_bound[1], "patterns": " ".join(f"{pattern}:{count}" for pattern, count in p.patterns)}
        for label, rate in rates.items()
        for p in rate.points
    ]  # fmt: skip


def point_table(rates: Mapping[str, RateEstimate]) -> str:
    """`point_records` as text: means, shares and the patterns with their frequencies."""
    from ..simulate.points import share_error

    rows = [
        [label, str(p.n), f"{p.mean:.3g} +- {p.mean_se:.1g}", f"{p.median:.3g} +- {p.median_se:.1g}",
         f"{p.trimmed:.3g} +- {p.trimmed_se:.1g}", _share(p.certified), _share(p.at_bound),
         ", ".join(f"{pattern} {_share((count / total, share_error(count, total)))}" for pattern, count in p.patterns[:3])]
        for label, rate in rates.items()
        for p in rate.points
        if (total := max(sum(count for _, count in p.patterns), 1))
    ]  # fmt: skip
    header = ["loss", "n", "mean", "median", "trimmed mean", "certified", "at a bound", "cell patterns"]
    keep = [i for i, name in enumerate(header) if name != "cell patterns" or any(row[i] for row in rows)]
    return text_table([header[i] for i in keep], [[row[i] for i in keep] for row in rows])


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV with a header, numbers with all their digits."""
    file = io.StringIO()
    if records:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return file.getvalue().rstrip("\n")


def latex_table(rates: Mapping[str, RateEstimate]) -> str:
    """A ``tabular`` (package booktabs): loss, slope with standard error, interval, theory, verdict, certified share."""

    def math_(text: str) -> str:
        return f"${text}$" if text else ""

    rows = [
        [label.replace("_", r"\_"), math_(f"{rate.slope:.3f}" if math.isfinite(rate.slope) else ""),
         math_(f"[{rate.ci[0]:.3f}, {rate.ci[1]:.3f}]" if math.isfinite(rate.ci[0]) else ""),
         math_(f"{rate.slope_se:.3f}" if math.isfinite(rate.slope_se) else ""),
         math_(_theory(rate).replace("<=", r"\le").replace("log", r"\log")), rate.verdict,
         f"${100 * rate.certified[0]:.1f} \\pm {100 * rate.certified[1]:.1f}$"]
        for label, rate in rates.items()
    ]  # fmt: skip
    header = ["loss", "slope", r"95\,\% interval", "s.e.", "theory", "verdict", r"certified (\%)"]
    lines = [" & ".join(row) + r" \\" for row in [header, *rows]]
    body = [lines[0], r"\midrule", *lines[1:]]
    return "\n".join([r"\begin{tabular}{lrcrrlr}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"])


def comparison_records(found: Sequence[SlopeDifference]) -> list[dict[str, Any]]:
    """Every number of a comparison, one dictionary a pair."""
    return [
        {"loss": pair.first.loss, "first": pair.first.where, "second": pair.second.where, "slope_first": pair.first.rate.slope,
         "slope_second": pair.second.rate.slope, "difference": pair.difference, "difference_se": pair.standard_error,
         "ci_low": pair.ci[0], "ci_high": pair.ci[1], "n_min": min(pair.n_used, default=None),
         "n_max": max(pair.n_used, default=None), "paired": pair.paired}
        for pair in found
    ]  # fmt: skip


def comparison_table(found: Sequence[SlopeDifference]) -> str:
    """Slopes side by side: the first series with a loss, then each other one with its difference."""
    rows: list[list[str]] = []
    for pair in found:
        for entry in (pair.first, pair.second):
            rate = entry.rate
            if entry is pair.first and any(row[:2] == [entry.loss, entry.where] for row in rows):
                continue
            differs = entry is pair.second and math.isfinite(pair.difference)
            rows.append(
                [entry.loss, entry.where, _number(rate.slope), _number(rate.slope_se), _share(rate.certified), rate.verdict,
                 f"{pair.difference:+.3f}" if differs else "",
                 f"[{_number(pair.ci[0])}, {_number(pair.ci[1])}]" if differs else "",
                 ("same data" if pair.paired else "independent") if differs else ""]
            )  # fmt: skip
    header = ["loss", "run:fit", "slope", "se", "certified", "verdict", "difference", "95% interval", "resampled as"]
    return text_table(header, rows, left=2)


def show_rates(
    scenario: str, rates: Mapping[str, RateEstimate], coverage: tuple[int, int], form: str | None, points: bool
) -> str:
    """Rates as ``form`` says: a table, ``json`` (documented, stable), ``csv`` or ``latex``; ``points`` are rows for each n."""
    if points:
        return csv_text(point_records(rates)) if form == "csv" else point_table(rates)
    if form == "json":
        done, planned = coverage
        content = {
            "scenario": scenario,
            "complete": done == planned,
            "cells_done": done,
            "cells_planned": planned,
            "losses": {label: rate.to_json() for label, rate in rates.items()},
        }
        return json.dumps(content, indent=1)
    if form == "csv":
        return csv_text(rate_records(rates))
    return latex_table(rates) if form == "latex" else rate_table(rates, coverage)
