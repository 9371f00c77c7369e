"""The folder of a run: Parquet parts written atomically, a manifest, and what is still missing."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .library import parse_scenario
from .records import COLUMNS, KEY, canonical, digest, frame_of, typed
from .scenario import Cell, Scenario
from .seeds import SCHEME

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

__all__ = ["ChangedScenarioError", "Store"]

FORMAT = 1


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


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})
    try:
        yield connection
    finally:
        connection.close()


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

    def planned(self, frame: pd.DataFrame) -> list[Cell]:
        """The cells that the last call of `run` asked for; ``frame`` are the records."""
        manifest = self.manifest()
        # a manifest without a limit on the number of experts: no more than were recorded
        limit = manifest.get("max_experts", None if frame.empty else int(frame["n_experts"].max()))
        return self.scenario().cells(manifest["n"], manifest["reps"], limit)

    def open(self, scenario: Scenario, n_grid: list[int], reps: int, max_experts: int | None = None) -> None:
        """Create the folder, or take it up again.

        Raises
        ------
        ChangedScenarioError
            If the folder belongs to a scenario with another declaration; the differences are shown.
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
            leftover.unlink(missing_ok=True)
        manifest = {
            "format": FORMAT,
            "fingerprint": scenario.fingerprint(),
            "seed_scheme": SCHEME,
            "n": list(n_grid),
            "reps": reps,
            "max_experts": max_experts,
            "scenario": scenario.model_dump(mode="json", exclude_none=True),
        }
        _write_atomically(self.manifest_path, json.dumps(manifest, indent=1) + "\n")
        environment = json.dumps(_environment(), indent=1) + "\n"
        _write_atomically(self.path / "env" / f"{platform.node()}-{os.getpid()}.json", environment)

    def write(self, rows: list[dict[str, Any]]) -> Path:
        """Write the rows of one chunk (one fit, one number of experts, one n) as a part."""
        frame = canonical(frame_of(rows))
        first = rows[0]
        reps = frame["rep"]
        folder = self.path / "parts" / f"{first['fit']}-m{first['n_experts']}" / f"n={first['n']:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"r{int(reps.min()):06d}-{int(reps.max()):06d}-{uuid.uuid4().hex[:8]}.parquet"
        temporary = part.with_name(f"{part.name}.{os.getpid()}.tmp")
        columns = ", ".join(f"CAST({name} AS {sql}) AS {name}" for name, sql in COLUMNS.items())
        with _database() as connection:
            connection.register("chunk", frame)
            connection.execute(
                f"COPY (SELECT {columns} FROM chunk) TO '{_quoted(temporary)}' "
                f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{digest: '{digest(frame)}'}})"
            )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(part)
        return part

    def read(self) -> tuple[pd.DataFrame, list[Path]]:
        """All records in canonical order, and the parts that could not be read (they are left where they are).

        Every part carries the digest of its content, so that a damaged part is found even if it can be parsed. A
        cell that is in two parts (a resume beside a writer that was still running) is taken once.
        """
        import duckdb
        import pandas as pd

        frames, damaged = [], []
        with _database() as connection:
            for part in sorted(self.path.glob("parts/*/*/*.parquet")):
                try:
                    stored = connection.execute(
                        f"SELECT value FROM parquet_kv_metadata('{_quoted(part)}') WHERE key = 'digest'"
                    ).fetchone()
                    frame = connection.execute(f"SELECT * FROM read_parquet('{_quoted(part)}')").df()
                    frame = typed(frame)
                    intact = stored is not None and bytes(stored[0]).decode() == digest(frame)
                except (duckdb.Error, KeyError, ValueError, TypeError, OSError):
                    intact = False
                if intact:
                    frames.append(frame)
                else:
                    damaged.append(part)
        if not frames:
            return frame_of([]), damaged
        whole = pd.concat(frames, ignore_index=True).drop_duplicates(list(KEY))
        return canonical(whole), damaged

    def set_aside(self, parts: Iterable[Path]) -> None:
        """Move damaged parts out of the way, so that their cells are computed again."""
        for part in parts:
            target = self.path / "set-aside" / f"{part.parent.parent.name}-{part.parent.name}-{part.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)

    def missing(self, cells: Iterable[Cell], frame: pd.DataFrame) -> list[Cell]:
        """The cells that have no records yet."""
        done = set(zip(frame["fit"], frame["n_experts"], frame["n"], frame["rep"], strict=True))
        return [cell for cell in cells if (cell.fit, cell.n_experts, cell.n, cell.rep) not in done]


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


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
    }
