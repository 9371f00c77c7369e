"""Compute a recorded replicate again and compare it bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .records import DETERMINISTIC, rows_of
from .scenario import Cell
from .store import Store

__all__ = ["Replay", "replay"]

BATCHED_RTOL = 1e-5  # losses of a batched fit, whose parameters agree to 1e-8


@dataclass(frozen=True)
class Replay:
    """What a replay found: the new rows, and where they differ from the recorded ones."""

    rows: list[dict[str, Any]]
    differences: list[str]
    data_differ: bool
    recorded_numpy: str
    batched: bool = False
    """Whether the record is of a batched fit, which is computed one by one here and compared to 1e-5."""

    @property
    def identical(self) -> bool:
        return not self.differences

    @property
    def message(self) -> str:
        if self.identical and self.batched:
            return f"the same fit: data identical, {len(self.rows)} losses as recorded by batched arithmetic to 1e-5"
        if self.identical:
            return f"identical: {len(self.rows)} records, bit for bit"
        if self.data_differ:
            return f"data differ: recorded with numpy {self.recorded_numpy}"
        return f"{len(self.differences)} values differ from the record"


def _same(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return bool(both_nan or a == b)


def _close(a: Any, b: Any) -> bool:
    """The same fit, found by other arithmetic."""
    return _same(a, b) or math.isclose(a, b, rel_tol=BATCHED_RTOL, abs_tol=1e-12)


def replay(
    path: str | Path,
    n: int,
    rep: int,
    fit: str | None = None,
    n_experts: int | None = None,
    on_error: Callable[[Exception], None] | None = None,
) -> Replay:
    """Recompute one replicate of a run, in this process, and compare with its records.

    Parameters
    ----------
    path : path
        Folder of the run.
    n, rep : int
        Sample size and replicate.
    fit, n_experts : optional
        Only this fit, only this number of experts.
    on_error : callable, optional
        Called with the exception of a fit that raises, before it becomes a record; such as a debugger.

    Raises
    ------
    KeyError
        If the run has no such records; what it has is named.
    """
    from threadpoolctl import threadpool_limits

    from .cells import fit_cell, run_cell

    def watched_fit(*args: Any) -> Any:
        try:
            return fit_cell(*args)
        except Exception as failure:
            if on_error is not None:
                on_error(failure)
            raise

    store = Store(path)
    scenario = store.scenario()
    frame, _ = store.read()
    chosen = frame[(frame["n"] == n) & (frame["rep"] == rep)]
    if fit is not None:
        fits = sorted(set(frame["fit"]))
        if fit not in fits:
            raise KeyError(f"{path} has no fit {fit!r}; its fits are {', '.join(fits)}")
        chosen = chosen[chosen["fit"] == fit]
    if n_experts is not None:
        here = sorted(set(chosen["n_experts"]))
        chosen = chosen[chosen["n_experts"] == n_experts]
        if chosen.empty and here:
            raise KeyError(
                f"no records of {n_experts} experts at n={n}, rep={rep}; there are {', '.join(map(str, here))}"
            )
    if chosen.empty:
        sizes = ", ".join(map(str, sorted(set(frame["n"]))))
        raise KeyError(
            f"{path} has no records of n={n}, rep={rep}; n in {{{sizes}}}, rep below {frame['rep'].max() + 1}"
        )
    recorded = {(row["fit"], row["n_experts"], row["loss"]): row for row in rows_of(chosen)}
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        for label, m in sorted({key[:2] for key in recorded}):
            rows += run_cell(scenario, Cell(label, m, n, rep), fit=watched_fit)
    differences, data_differ = [], False
    for row in rows:
        old = recorded.get((row["fit"], row["n_experts"], row["loss"]))
        batched = old is not None and bool(old["engine"])
        for name in ("data_crc", "value") if batched else DETERMINISTIC:
            if old is None or not (_close if batched else _same)(old[name], row[name]):
                was = "no record" if old is None else repr(old[name])
                differences.append(f"{row['fit']}-m{row['n_experts']} {row['loss']} {name}: {was}, now {row[name]!r}")
                # a cell that died or hung left no checksum
                data_differ |= name == "data_crc" and old is not None and old[name] != 0
    return Replay(rows, differences, data_differ, _recorded_numpy(store), bool((chosen["engine"] != "").any()))


def _recorded_numpy(store: Store) -> str:
    import json

    versions = set()
    for file in sorted((store.path / "env").glob("*.json")):
        versions.add(json.loads(file.read_text(encoding="utf-8"))["versions"]["numpy"])
    return " and ".join(sorted(versions)) or "an unknown version"
