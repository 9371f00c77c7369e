"""Records: one tidy row per cell and loss; their columns, order, and a digest of all that is deterministic."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CELL_KEY",
    "COLUMNS",
    "DETERMINISTIC",
    "FAILURES",
    "KEY",
    "canonical",
    "digest",
    "frame_of",
    "rows_of",
    "typed",
]

CELL_KEY = ("fit", "n_experts", "n", "rep")
KEY = (*CELL_KEY, "loss")
# column -> SQL type; ``seconds`` differs between two runs of the same cell, ``engine`` is empty for `run_cell`
COLUMNS: dict[str, str] = {
    "scenario": "VARCHAR",
    "fit": "VARCHAR",
    "n_experts": "BIGINT",
    "n": "BIGINT",
    "rep": "BIGINT",
    "loss": "VARCHAR",
    "value": "DOUBLE",
    "error": "DOUBLE",
    "status": "VARCHAR",
    "certified": "BOOLEAN",
    "n_iter": "BIGINT",
    "decrement": "DOUBLE",
    "agree": "BIGINT",
    "active_bounds": "BIGINT",
    "pattern": "VARCHAR",
    "loglik": "DOUBLE",
    "seconds": "DOUBLE",
    "data_crc": "BIGINT",
    "message": "VARCHAR",
    "traceback": "VARCHAR",
    "engine": "VARCHAR",
}
FAILURES = ("failed", "crashed", "timeout")
"""Statuses of cells without a result: an error, a worker that died, the limit on a cell's time."""
DETERMINISTIC = tuple(name for name in COLUMNS if name not in ("seconds", "traceback", "engine"))
_DEFAULTS = {"engine": ""}  # rows and parts without them are read
_DTYPES = {"VARCHAR": "object", "BIGINT": "int64", "DOUBLE": "float64", "BOOLEAN": "bool"}


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the columns and types of the records."""
    import pandas as pd

    rows = [_DEFAULTS | dict(row) for row in rows]
    columns = {name: pd.Series([row[name] for row in rows], dtype=_DTYPES[sql]) for name, sql in COLUMNS.items()}
    return pd.DataFrame(columns)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame that was read back, with the columns and types of the records; KeyError if a column lacks."""
    import pandas as pd

    frame = frame.assign(
        **{name: frame[name].fillna(value) if name in frame else value for name, value in _DEFAULTS.items()}
    )
    columns: dict[str, Any] = {name: frame[name] for name in COLUMNS}
    return pd.DataFrame({name: columns[name].astype(_DTYPES[sql]) for name, sql in COLUMNS.items()})


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dictionaries of plain Python values."""
    columns = [frame[name].tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]


def canonical(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in the order of its key, with a fresh index; the same for any order of computation."""
    return frame.sort_values(list(KEY), kind="stable").reset_index(drop=True)


def once_a_cell(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Every cell from one source, by the column ``source``: a result before a failure, then the first in order."""
    if not frame.duplicated(list(KEY)).any():
        return frame
    failed = frame["status"].isin(FAILURES).groupby([frame[key] for key in (*CELL_KEY, source)]).transform("any")
    ranked = frame.assign(failed=failed).sort_values(["failed", source], kind="stable")
    best = ranked.drop_duplicates(list(CELL_KEY))[[*CELL_KEY, source]]
    return frame.merge(best, on=[*CELL_KEY, source]).drop_duplicates(list(KEY))


def digest(frame: pd.DataFrame) -> str:
    """Hash of the deterministic columns in canonical order; doubles enter with all their bits.

    Two runs of the same scenario and sizes have the same digest, whatever the number of workers, the order of the
    work, and interruptions.
    """
    ordered = canonical(frame)
    return stored_digest({name: ordered[name].tolist() for name in DETERMINISTIC})


def stored_digest(columns: Mapping[str, list[Any]]) -> str:
    """The digest of columns that are in canonical order already, as in a part."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in DETERMINISTIC:
        hasher.update(name.encode())
        for value in columns[name]:
            if COLUMNS[name] == "DOUBLE":
                number = float("nan") if value is None else float(value)
                hasher.update(b"nan" if number != number else struct.pack("<d", number))
            else:
                hasher.update(repr(value).encode() + b"\0")
    return hasher.hexdigest()
