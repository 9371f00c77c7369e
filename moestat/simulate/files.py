"""Files of records: written whole or not at all, read with a check of their content."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .records import COLUMNS, frame_of, stored_digest, typed

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

__all__ = ["PART", "WriteError", "read_parts", "write_table", "write_text"]

PART = "filename"  # column with the part that a row was read from


class WriteError(OSError):
    """Records could not be written, as on a full disk; what was written before is intact."""


@contextlib.contextmanager
def _arriving(path: Path) -> Iterator[Path]:
    """A temporary name that becomes ``path`` once the block has written it, and vanishes if the block fails.

    Raises
    ------
    WriteError
        If the file cannot be written, as on a full disk.
    """
    import duckdb

    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, duckdb.Error) as failure:
        _writer.cache_clear()  # a fatal error leaves the database unusable
        number = re.search(r'"errno":"(\d+)"', str(failure))  # as DuckDB reports the system's error
        system = os.strerror(int(number[1])) if number else getattr(failure, "strerror", None)
        reason = system or str(failure).splitlines()[0]
        raise WriteError(f"cannot write {path}: {reason}. What was written before is intact.") from failure
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file, atomically."""
    with _arriving(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(frame: pd.DataFrame, path: Path, **metadata: str) -> None:
    """Write records as one Parquet or CSV file, atomically; ``metadata`` goes into the Parquet file's key-value pairs."""
    columns = ", ".join(f"CAST({name} AS {sql}) AS {name}" for name, sql in COLUMNS.items())
    form = "FORMAT csv, HEADER"
    if path.suffix == ".parquet":
        pairs = ", ".join(f"{key}: '{value}'" for key, value in metadata.items())
        form = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{pairs}}}"
    with _arriving(path) as temporary, contextlib.closing(_writer().cursor()) as connection:
        connection.register("chunk", frame)
        connection.execute(f"COPY (SELECT {columns} FROM chunk) TO '{_quoted(temporary)}' ({form})")


@functools.cache
def _writer() -> duckdb.DuckDBPyConnection:
    """A database that only passes tables on to files; opening one takes longer than writing a part."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})
    atexit.register(connection.close)
    atexit.register(_writer.cache_clear)
    return connection


@contextlib.contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})
    try:
        yield connection
    finally:
        connection.close()


def read_parts(parts: Sequence[Path]) -> tuple[pd.DataFrame, list[Path]]:
    """Records of all parts, with the part that each was read from, and the parts that could not be read.

    Every part carries the digest of its content, so that a damaged part is found even if it can be parsed. All are
    read at once, which takes a tenth of the time of one by one; if that fails, each half of them.
    """
    import duckdb
    import pandas as pd

    if not parts:
        return frame_of([]).assign(**{PART: []}), []
    try:
        frame, intact = _read_at_once(parts)
    except (duckdb.Error, KeyError, ValueError, TypeError, OSError):
        if len(parts) == 1:
            return read_parts([])[0], list(parts)
        halves = [read_parts(parts[: len(parts) // 2]), read_parts(parts[len(parts) // 2 :])]
        frames = [frame for frame, _ in halves if not frame.empty]
        damaged = [part for _, found in halves for part in found]
        return (pd.concat(frames, ignore_index=True) if frames else read_parts([])[0]), damaged
    return frame, [part for part in parts if part not in intact]


def _read_at_once(parts: Sequence[Path]) -> tuple[pd.DataFrame, set[Path]]:
    """Records of the parts whose content has the digest that they carry, and these parts."""
    names = [str(part) for part in parts]
    with _database() as connection:
        digests = connection.execute(
            "SELECT file_name, value FROM parquet_kv_metadata($1) WHERE key = 'digest'", [names]
        ).fetchall()
        frame = connection.execute(
            "SELECT * FROM read_parquet($1, filename = true, union_by_name = true)", [names]
        ).df()
    carried = {name: bytes(value).decode(errors="replace") for name, value in digests}
    files = frame[PART]
    frame = typed(frame).assign(**{PART: files})
    columns = {name: frame[name].tolist() for name in COLUMNS}
    starts = [0, *(i for i in range(1, len(files)) if files[i] != files[i - 1]), len(files)]
    found = {}
    for start, stop in itertools.pairwise(starts):
        found[files[start]] = stored_digest({name: values[start:stop] for name, values in columns.items()})
    good = {name for name in names if name in found and found[name] == carried.get(name)}
    return frame[files.isin(good)].reset_index(drop=True), {part for part in parts if str(part) in good}


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
