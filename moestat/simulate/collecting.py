"""Merge the records of several runs of one scenario into a table, or into one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .files import write_table
from .records import CELL_KEY, DETERMINISTIC, FAILURES, KEY, canonical, digest, frame_of, once_a_cell
from .scenario import Scenario
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Collected", "collect"]


@dataclass(frozen=True)
class Collected:
    """Records of several folders: the frame, and how many cells differ between folders or could not be read."""

    scenario: Scenario
    frame: pd.DataFrame
    differing: int
    damaged: list[Path]


def collect(
    folders: Sequence[str | Path], *, table: str | Path | None = None, out: str | Path | None = None
) -> Collected:
    """Merge runs of one scenario, such as the shards of a job array.

    A cell that is in several folders is taken once: a result before a failure, then that of the first folder.

    Parameters
    ----------
    folders : sequence of paths
        Folders of runs with the same declaration.
    table : path, optional
        File to write all records to, ``.parquet`` or ``.csv``.
    out : path, optional
        New folder for the merged run: one part for each fit, number of experts and n.

    Raises
    ------
    ValueError
        If there is no folder, the declarations differ, the table's name has another suffix, or ``out`` exists.
    FileNotFoundError
        If a folder is no run.
    """
    import pandas as pd

    if not folders:
        raise ValueError("give at least one folder of a run")
    if table is not None and Path(table).suffix not in (".parquet", ".csv"):
        raise ValueError(f"a table is written as .parquet or .csv, got {Path(table).name!r}")
    if out is not None and Path(out).exists():
        raise ValueError(f"{out} exists; the merged run needs a new folder")
    stores = [Store(folder) for folder in dict.fromkeys(map(Path, folders))]
    scenario = stores[0].scenario()
    for store in stores[1:]:
        if store.scenario().fingerprint() != scenario.fingerprint():
            raise ValueError(f"{store.path} and {stores[0].path} hold records of different declarations")
    frames, damaged = [], []
    for i, store in enumerate(stores):
        frame, unreadable = store.read()
        frames.append(frame.assign(folder=i))
        damaged += unreadable
    whole = pd.concat([frame for frame in frames if not frame.empty] or [frame_of([]).assign(folder=0)])
    found = whole[~whole["status"].isin(FAILURES)]
    same = found.drop_duplicates([name for name in DETERMINISTIC if name != "message"])
    differing = same[same.duplicated(list(KEY), keep=False)].drop_duplicates(list(CELL_KEY))
    frame = canonical(once_a_cell(whole, "folder").drop(columns="folder"))
    if table is not None:
        write_table(frame, Path(table), digest=digest(frame), fingerprint=scenario.fingerprint())
    if out is not None:
        _write_run(Store(out), stores, scenario, frame)
    return Collected(scenario, frame, len(differing), damaged)


def _write_run(target: Store, stores: Sequence[Store], scenario: Scenario, frame: pd.DataFrame) -> None:
    reps: dict[int, int] = {}
    limits = []
    for store in stores:
        counts, limit = store.plan()
        limits.append(limit)
        reps = {n: max(reps.get(n, 0), counts.get(n, 0)) for n in {*reps, *counts}}
    target.open(scenario, reps, None if None in limits else max(limit for limit in limits if limit is not None))
    for _, group in frame.groupby(["fit", "n_experts", "n"]):
        target.write_frame(group)
