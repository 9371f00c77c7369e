"""Records: one tidy row per cell and loss; their columns, order, and a digest of all that is deterministic."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "DETERMINISTIC", "KEY", "canonical", "digest", "frame_of", "rows_of", "typed"]

KEY = ("fit", "n_experts", "n", "rep", "loss")
# column -> SQL type; ``seconds`` is the only one that differs between two runs of the same cell
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
}
DETERMINISTIC = tuple(name for name in COLUMNS if name not in ("seconds", "traceback"))
_DTYPES = {"VARCHAR": "object", "BIGINT": "int64", "DOUBLE": "float64", "BOOLEAN": "bool"}


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the columns and types of the records."""
    import pandas as pd

    rows = list(rows)
    columns = {name: pd.Series([row[name] for row in rows], dtype=_DTYPES[sql]) for name, sql in COLUMNS.items()}
    return pd.DataFrame(columns)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame that was read back, with the columns and types of the records; KeyError if a column lacks."""
    import pandas as pd

    columns: dict[str, Any] = {name: frame[name] for name in COLUMNS}
    return pd.DataFrame({name: columns[name].astype(_DTYPES[sql]) for name, sql in COLUMNS.items()})


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dictionaries of plain Python values."""
    columns = [frame[name].tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]


def canonical(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in the order of its key, with a fresh index; the same for any order of computation."""
    return frame.sort_values(list(KEY), kind="stable").reset_index(drop=True)


def digest(frame: pd.DataFrame) -> str:
    """Hash of the deterministic columns in canonical order; doubles enter with all their bits.

    Two runs of the same scenario and sizes have the same digest, whatever the number of workers, the order of the
    work, and interruptions.
    """
    hasher = hashlib.blake2b(digest_size=16)
    ordered = canonical(frame)
    for name in DETERMINISTIC:
        hasher.update(name.encode())
        for value in ordered[name].tolist():
            if COLUMNS[name] == "DOUBLE":
                number = float("nan") if value is None else float(value)
                hasher.update(b"nan" if number != number else struct.pack("<d", number))
            else:
                hasher.update(repr(value).encode() + b"\0")
    return hasher.hexdigest()
