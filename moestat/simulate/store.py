"""The folder of a run: Parquet parts written atomically, a manifest, and what is still missing."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import PART, read_parts, write_table, write_text
from .library import parse_scenario
from .plan import planned_cells
from .records import CELL_KEY, FAILURES, canonical, digest, frame_of, once_a_cell
from .scenario import Cell, Scenario
from .seeds import SCHEME

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ChangedScenarioError", "Store"]

FORMAT = 1
STALE = 3600.0  # seconds after which a half-written file has no writer any more


class ChangedScenarioError(ValueError):
    """The folder holds records of a scenario that was declared differently."""


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            yield from _differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{place}[{i}]")
    elif old != new:
        yield f"{place}: recorded {old!r}, now {new!r}"


class Store:
    """Records of one scenario in one folder.

    ``run.json`` (manifest), ``parts/<fit>-m<K>/n=<n>/r<first>-<last>-<tag>.parquet`` (records), ``env/`` (provenance of
    each writer), ``set-aside/`` (parts that could not be read).

    Only this class writes records, and only the process that runs the scenario holds one: a part is written to a
    temporary name and moved into place, so that a reader sees a whole part or none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def manifest_path(self) -> Path:
        return self.path / "run.json"

    def manifest(self) -> dict[str, Any]:
        """The manifest; an error that names the folder if it is no run."""
        try:
            content = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} is not a run: it has no run.json") from None
        except json.JSONDecodeError as failure:
            raise ValueError(f"{self.manifest_path} cannot be read: {failure}") from failure
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{self.manifest_path} has not the format {FORMAT} that this version reads")
        return content

    def scenario(self) -> Scenario:
        """The scenario as it was recorded."""
        return parse_scenario(self.manifest()["scenario"], str(self.manifest_path))

    def plan(self) -> tuple[dict[int, int], int | None]:
        """Replicates at each n, and the limit on the number of experts, that the last call of `run` asked for."""
        manifest = self.manifest()
        reps = dict.fromkeys(manifest["n"], manifest["reps"])
        reps |= {int(n): count for n, count in manifest.get("reps_by_n", {}).items()}
        return reps, manifest.get("max_experts")

    def planned(self, frame: pd.DataFrame) -> list[Cell]:
        """The cells that the last call of `run` asked for; ``frame`` are the records."""
        reps, limit = self.plan()
        if "max_experts" not in self.manifest() and not frame.empty:
            limit = int(frame["n_experts"].max())  # as versions before wrote it: no more than were recorded
        return planned_cells(self.scenario(), reps, limit)

    def open(self, scenario: Scenario, reps: Mapping[int, int], max_experts: int | None = None) -> None:
        """Create the folder, or take it up again; ``reps`` are the replicates at each n.

        Raises
        ------
        ChangedScenarioError
            If the folder belongs to a scenario with another declaration; the differences are shown.
        WriteError
            If the manifest cannot be written.
        """
        if self.manifest_path.exists():
            recorded = self.scenario()
            old = json.loads(json.dumps(recorded.declaration()))
            new = json.loads(json.dumps(scenario.declaration()))
            if old != new:
                shown = "\n".join(f"  {line}" for line in _differences(old, new))
                raise ChangedScenarioError(
                    f"{self.path} holds records of another declaration of this scenario:\n{shown}\n"
                    "Give another folder with --out, or remove this one."
                )
        for leftover in self.path.glob("parts/**/*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > STALE:  # a younger one may belong to a living writer
                    leftover.unlink()
        manifest = {
            "format": FORMAT,
            "fingerprint": scenario.fingerprint(),
            "seed_scheme": SCHEME,
            "n": sorted(reps),
            "reps": min(reps.values()),
            "max_experts": max_experts,
            "scenario": scenario.model_dump(mode="json", exclude_none=True),
        }
        if len(set(reps.values())) > 1:
            manifest["reps_by_n"] = {str(n): count for n, count in reps.items()}
        write_text(self.manifest_path, json.dumps(manifest, indent=1) + "\n")
        environment = json.dumps(_environment(), indent=1) + "\n"
        write_text(self.path / "env" / f"{platform.node()}-{os.getpid()}.json", environment)

    def write(self, rows: list[dict[str, Any]]) -> Path:
        """Write the rows of one chunk (one fit, one number of experts, one n) as a part."""
        return self.write_frame(frame_of(rows))

    def write_frame(self, frame: pd.DataFrame) -> Path:
        """Write records of one fit, one number of experts and one n as a part."""
        frame = canonical(frame)
        first, reps = frame.iloc[0], frame["rep"]
        folder = self.path / "parts" / f"{first['fit']}-m{first['n_experts']}" / f"n={first['n']:07d}"
        part = folder / f"r{int(reps.min()):06d}-{int(reps.max()):06d}-{uuid.uuid4().hex[:8]}.parquet"
        write_table(frame, part, digest=digest(frame))
        return part

    def read(self) -> tuple[pd.DataFrame, list[Path]]:
        """All records in canonical order, and the parts that could not be read (they are left where they are).

        Every part carries the digest of its content, so that a damaged part is found even if it can be parsed. A
        cell that is in two parts (a resume beside a writer that was still running) is taken once.
        """
        frame, damaged = read_parts(sorted(self.path.glob("parts/*/*/*.parquet")))
        return canonical(once_a_cell(frame, PART).drop(columns=PART)), damaged

    def set_aside(self, parts: Iterable[Path]) -> None:
        """Move damaged parts out of the way, so that their cells are computed again."""
        for part in parts:
            target = self.path / "set-aside" / f"{part.parent.parent.name}-{part.parent.name}-{part.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another writer was faster
                part.replace(target)

    def missing(self, cells: Iterable[Cell], frame: pd.DataFrame, failed: bool = False) -> list[Cell]:
        """The cells that have no records yet; with ``failed`` also those that have no result."""
        if failed and not frame.empty:
            frame = frame[~frame["status"].isin(FAILURES).groupby([frame[key] for key in CELL_KEY]).transform("any")]
        done = set(zip(*(frame[key] for key in CELL_KEY), strict=True))
        return [cell for cell in cells if astuple(cell) not in done]


def _environment() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("moestat", "numpy", "scipy", "numba", "scikit-learn", "duckdb"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the checkout that this package lies in, marked where tracked files of the package differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    described = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+changes"]
    try:
        done = subprocess.run(described, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
