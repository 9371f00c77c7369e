"""The page of all scenarios: what each one claims, and what its full run measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scenario import Scenario

__all__ = ["results_page", "write_results_page"]

_INTRODUCTION = """# Scenarios

Each file in `scenarios/` declares one claim as an experiment: the truth, the law of x, the fitted models with their starts and
boxes, the losses with the exponent that the theorem gives them, and what would count against the claim. They travel with the
package.

```
moestat list                                                  what there is, and what it costs
moestat simulate softmax-gaussian-exact --preset quick        run, or take up again after any interruption
moestat rates moestat-runs/softmax-gaussian-exact-quick       slopes, intervals, verdicts
moestat replay moestat-runs/softmax-gaussian-exact-quick --n 1000 --rep 3
moestat atlas --time-budget 15m --out atlas                   all of them, and a page with figures
```

A scenario of your own is a TOML file of the same form: `moestat simulate mine.toml`. All its errors are listed at once.

The records of a run depend on its declaration and on the versions of the libraries only: not on the number of workers, the
order of the work, or interruptions. `seconds` and `engine` are the columns that may differ.

This page is made from `results/*.json` by `moestat atlas --summaries`; a result is the summary of a run at the preset `full`
unless its sizes say otherwise. A slope stands with its standard error and its 95 % interval, from a bootstrap over replicates.
"""
_COLUMNS = ("loss", "slope", "95 % interval", "theory", "verdict", "certified", "constant (predicted)")


def results_page(scenarios: Sequence[Scenario], results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown page of scenarios and their results.

    Parameters
    ----------
    results : mapping of scenario to `run_results`
        As `read_results` gives them.
    """
    parts = [_INTRODUCTION]
    parts += [_section(scenario, results[scenario.id]) for scenario in scenarios if scenario.id in results]
    waiting = [scenario for scenario in scenarios if scenario.id not in results]
    if waiting:
        rows = [f"| `{scenario.id}` | {_cell(scenario.claim)} |" for scenario in waiting]
        parts.append("## Without a result yet\n\n" + "\n".join(["| scenario | claim |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def write_results_page(folder: str | Path) -> Path:
    """Write ``<folder>/README.md`` from ``<folder>/results/*.json``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder of results.
    """
    from .files import write_text
    from .library import list_scenarios
    from .results import read_results

    results = Path(folder) / "results"
    if not results.is_dir():
        raise FileNotFoundError(f"{results} does not exist; it holds the summaries that moestat atlas --results writes")
    path = Path(folder) / "README.md"
    write_text(path, results_page(list_scenarios(), read_results(results)))
    return path


def _section(scenario: Scenario, content: Mapping[str, Any]) -> str:
    bounds = {loss.label: loss.bound for loss in scenario.loss}
    rows = [_row(label, {"bound": bounds.get(label, "equal")} | loss) for label, loss in content["losses"].items()]
    keep = [i for i in range(len(_COLUMNS)) if i != len(_COLUMNS) - 1 or any(row[i] for row in rows)]
    lines = ["| " + " | ".join(row[i] for i in keep) + " |" for row in [_COLUMNS, *rows]]
    lines.insert(1, "|" + "---|" * len(keep))
    done, planned = content["cells_done"], content["cells_planned"]
    cells = f"{done} fits" if content["complete"] else f"{done} of {planned} fits"
    return (
        f"## `{scenario.id}`\n\n{_cell(scenario.claim)}\nSource: {_cell(scenario.source)}.\n\n"
        + "\n".join(lines)
        + f"\n\n{cells}{_origin(content)}.\n"
    )


def _origin(content: Mapping[str, Any]) -> str:
    """Sizes, date and versions, where the summary has them."""
    made = content.get("provenance")
    if made is None:
        return ""
    n, reps = made["n"], sorted(set(made["reps"]))
    count = f"{reps[0]}" if len(reps) == 1 else f"{reps[0]} to {reps[-1]}"
    sizes = f"n = {n[0]:,} to {n[-1]:,} ({len(n)} sizes of {count} replicates)".replace(",", " ")
    version = made.get("versions", {}).get("moestat")
    return f", {sizes}, {made['date']}" + (f", moestat {version}" if version else "")


def _row(label: str, loss: Mapping[str, Any]) -> list[str]:
    slope, (low, high) = loss["slope"], loss["ci"]
    error = loss.get("slope_se")
    theory = loss["theory"]
    said = "" if theory is None else "1/log n" if theory == "log" else _minus(f"{theory:.4g}")
    share = 100 * (1 - loss["uncertified"] / loss["n_cells"])
    constant = ""
    if loss.get("predicted_constant") is not None and loss.get("constant") is not None:
        constant = f"{loss['constant']:.2f} ± {loss['constant_se']:.2f} ({loss['predicted_constant']:.2f})"
    return [
        _cell(label),
        "" if slope is None else _minus(f"{slope:.3f}") + ("" if error is None else f" ± {error:.3f}"),
        "" if low is None or high is None else _minus(f"{low:.3f}, {high:.3f}"),
        ("≤ " if said and loss["bound"] == "at-most" else "") + said,
        loss["verdict"],
        f"{math.floor(10 * share) / 10:g} %",
        constant,
    ]


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")
