"""Small summaries of runs: slopes, constants, points and provenance as JSON, and rates read back from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claims import estimate_rates
from .points import RatePoint
from .rates import RateEstimate
from .records import KEY, digest
from .regimes import Regime, RegimeComparison

if TYPE_CHECKING:
    import pandas as pd

    from .runner import Run

__all__ = ["curves_of_results", "provenance", "rates_of_results", "read_results", "run_results", "write_results"]

_DIGITS = 8


def run_results(run: Run, rates: Mapping[str, RateEstimate] | None = None) -> dict[str, Any]:
    """What is kept of a run when its records are not: every rate with its points, and where the numbers come from.

    Its first five keys, and the first six of each loss, are those of ``moestat rates --json``.

    Returns
    -------
    dict
        ``scenario``, ``complete``, ``cells_done``, ``cells_planned``, ``losses``, ``curves`` (means by number of experts, where
        that varies) and ``provenance`` (date of the last record, versions, commits of the checkouts that it was run from, fingerprint of
        the declaration, digest of the records, sizes and replicates).

    Raises
    ------
    ValueError
        If the run has no records.
    """
    frame = run.frame()
    if frame.empty:
        raise ValueError(f"{run.path} has no records yet")
    rates = rates if rates is not None else estimate_rates(frame, run.scenario)
    done, planned = run.coverage(frame)
    return {
        "scenario": run.scenario.id,
        "complete": done == planned,
        "cells_done": done,
        "cells_planned": planned,
        "losses": {label: rate.to_json() | _rest(rate) for label, rate in rates.items()},
        "curves": _curves(frame),
        "provenance": provenance(run, frame),
    }


def provenance(run: Run, frame: pd.DataFrame) -> dict[str, Any]:
    """Where the records ``frame`` of a run come from, as in `run_results`."""
    sizes = frame.groupby("n")["rep"].nunique()
    failed = frame.loc[frame["value"].isna(), list(KEY[:4])].drop_duplicates()
    return {
        "date": _date(run.path),
        **_environment(run.path),
        "fingerprint": run.scenario.fingerprint(),
        "records": digest(frame),
        "n": [int(n) for n in sizes.index],
        "reps": [int(count) for count in sizes],
        "failed": len(failed),
    }


def write_results(run: Run, folder: str | Path, rates: Mapping[str, RateEstimate] | None = None) -> Path:
    """Write `run_results` as ``<folder>/<scenario>.json``."""
    from .files import write_text

    path = Path(folder) / f"{run.scenario.id}.json"
    write_text(path, json.dumps(_finite(run_results(run, rates)), indent=1) + "\n")
    return path


def read_results(folder: str | Path) -> dict[str, dict[str, Any]]:
    """All summaries of a folder, by scenario.

    Raises
    ------
    ValueError
        If a file is no summary.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"scenario", "losses"} <= set(content):
            raise ValueError(f"{path} is no summary of a run: it needs scenario and losses")
        found[content["scenario"]] = content
    return found


def rates_of_results(content: Mapping[str, Any]) -> dict[str, RateEstimate]:
    """Rates as they were summarised, without those of summaries that hold no points."""
    rates = {}
    for label, stored in content["losses"].items():
        if "points" not in stored:
            continue
        values: dict[str, Any] = {key: _tuples(stored[key]) for key in _FIELDS}
        values |= {key: math.nan for key in _NUMBERS if values[key] is None}
        values["ci"] = tuple(math.nan if end is None else end for end in values["ci"])
        points: list[dict[str, Any]] = stored["points"]
        values["points"] = tuple(_point(point) for point in points)
        values["regimes"] = _regimes(stored["regimes"])
        rates[label] = RateEstimate(**values)
    return rates


def _point(stored: Mapping[str, Any]) -> RatePoint:
    values: dict[str, Any] = {key: math.nan if item is None else _tuples(item) for key, item in stored.items()}
    return RatePoint(**values)


def curves_of_results(content: Mapping[str, Any]) -> pd.DataFrame:
    """Mean and standard error of each loss by fit, n and number of experts, for `moestat.plot.plot_u_curves`."""
    import pandas as pd

    return pd.DataFrame(content["curves"], columns=list(_CURVES))


def _curves(frame: pd.DataFrame) -> list[list[Any]]:
    """By fit, loss, n and number of experts; nothing if no fit has several numbers of experts."""
    if frame.groupby("fit")["n_experts"].nunique().max() == 1:
        return []
    table = frame.dropna(subset=["value"]).groupby(list(_CURVES[:4]))["value"].agg(["mean", "sem"]).reset_index()
    return [_rounded(row) for row in table.fillna({"sem": 0.0}).to_numpy(dtype=object).tolist()]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _regimes(stored: Mapping[str, Any] | None) -> RegimeComparison | None:
    if stored is None:
        return None
    regimes = tuple(Regime(**regime) for regime in stored["regimes"])
    return RegimeComparison(regimes, tuple(stored["sizes"]), stored["p_value"])


_FIELDS = tuple(RateEstimate.__dataclass_fields__)
_CURVES = ("fit", "loss", "n", "n_experts", "mean", "sem")
_NUMBERS = ("slope", "intercept", "slope_se", "lack_of_fit", "constant", "constant_se", "predicted_constant_se")


def _rest(rate: RateEstimate) -> dict[str, Any]:
    """What `RateEstimate.to_json` leaves out, with few digits."""
    content = asdict(rate)
    return {
        key: _rounded(content[key])
        for key in _FIELDS
        if key not in ("slope", "ci", "theory", "verdict", "n_cells", "uncertified")
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _finite(value: Any) -> Any:
    """Numbers that JSON does not know become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _date(folder: Path) -> str:
    """Of the newest part, UTC."""
    times: Iterable[float] = (part.stat().st_mtime for part in folder.glob("parts/*/*/*.parquet"))
    return datetime.fromtimestamp(max(times, default=0.0), UTC).date().isoformat()


def _environment(folder: Path) -> dict[str, Any]:
    """Versions and machine of the newest writer, and the commits of all of them that ran from a checkout."""
    files = sorted(folder.glob("env/*.json"), key=lambda path: path.stat().st_mtime)
    writers = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    newest = writers[-1] if writers else {}
    kept = {key: newest[key] for key in ("python", "machine", "cpus", "versions") if key in newest}
    return kept | {"commits": list(dict.fromkeys(w["commit"] for w in writers if w.get("commit")))}
