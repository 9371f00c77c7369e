"""Read a CSV file into named columns of numbers, with errors that say where and what."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .app import Trouble

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Table", "read_csv"]

MISSING = {"", "na", "nan", "null", "none", "."}
BOOLEAN = {"true": 1.0, "false": 0.0}
UNNAMED = re.compile(r"Unnamed: \d+")  # what pandas calls a column without a name, such as a written index


@dataclass(frozen=True)
class Table:
    """The text of a CSV file, by column; a column without a name is called ``Unnamed: 0`` after its place."""

    name: str
    columns: dict[str, list[str]]
    lines: list[int]
    ends: bool = True
    """Whether the last line ends with a newline."""

    def is_numeric(self, column: str) -> bool:
        """Whether every entry that is present reads as a number (or every one as true or false), and one is present."""
        present = [entry for entry in self.columns[column] if entry.strip().lower() not in MISSING]
        return bool(present) and (self.is_boolean(column) or all(_reads(entry) for entry in present))

    def is_boolean(self, column: str) -> bool:
        """Whether every entry that is present is true or false, in any case."""
        present = {entry.strip().lower() for entry in self.columns[column]} - MISSING
        return bool(present) and present <= set(BOOLEAN)

    def features(self, target: str) -> tuple[list[str], list[str]]:
        """The numeric columns but the target, and why each other column is left out."""
        kept, left_out = [], []
        for name, entries in self.columns.items():
            if name == target:
                continue
            if UNNAMED.fullmatch(name):
                left_out.append(f"{name!r} (a column without a name)")
            elif self.is_numeric(name):
                kept.append(name)
            else:
                text = [i for i, e in enumerate(entries) if e.strip().lower() not in MISSING and not _reads(e)]
                why = f"line {self.lines[text[0]]}: {entries[text[0]]!r} is not a number" if text else "it is empty"
                left_out.append(f"{name!r} ({why})")
        return kept, left_out

    def require(self, names: Sequence[str], what: str) -> None:
        """Raise `Trouble` if a column is missing."""
        for name in names:
            if name not in self.columns:
                raise Trouble(
                    f"{self.name} has no column {name!r} for {what}; its columns are {', '.join(self.columns)}"
                )

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns as an array (n, len(names)); `Trouble` with line and column for text, gaps and infinities."""
        import numpy as np

        result = np.empty((len(self.lines), len(names)))
        for j, name in enumerate(names):
            boolean = self.is_boolean(name)
            for i, entry in enumerate(self.columns[name]):
                if entry.strip().lower() in MISSING:
                    raise Trouble(
                        f"{self.name} line {self.lines[i]}: column {name!r} is empty or NaN; remove or fill such rows"
                    )
                if boolean:
                    result[i, j] = BOOLEAN[entry.strip().lower()]
                elif _reads(entry):
                    result[i, j] = float(entry)
                else:
                    raise Trouble(f"{self.name} line {self.lines[i]}: column {name!r} is not a number, got {entry!r}")
            infinite = np.flatnonzero(~np.isfinite(result[:, j]))
            if infinite.size:
                raise Trouble(f"{self.name} line {self.lines[infinite[0]]}: column {name!r} is infinite")
        return result


def _reads(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return "_" not in entry


def read_csv(path: Path, sep: str = ",") -> Table:
    """Read a file of values separated by ``sep``, with a header line.

    Raises
    ------
    Trouble
        If the file is missing, empty, has no rows, no UTF-8 text, doubled names, another separator, or a line with too
        few or too many values.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Trouble(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise Trouble(f"{path.name} is not UTF-8 text") from None
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}") from None
    reader = csv.reader(text.splitlines(keepends=True), delimiter=sep, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if not header:
                header = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(row)]
                _check_separator(path.name, header, sep)
                continue
            if len(row) != len(header):
                cut = " (is the file cut short?)" if len(row) < len(header) else ""
                raise Trouble(
                    f"{path.name} line {reader.line_num} has {len(row)} values, the header has {len(header)}{cut}"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise Trouble(f"{path.name} line {reader.line_num}: {error} (is the file cut short?)") from None
    if not header:
        raise Trouble(f"{path.name} is empty")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise Trouble(f"{path.name} has more than one column named {', '.join(map(repr, doubled))}")
    if not rows:
        raise Trouble(f"{path.name} has a header and no rows")
    return Table(
        path.name, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), lines, text[-1] in "\r\n"
    )


def _check_separator(name: str, header: list[str], sep: str) -> None:
    if len(header) == 1:
        for other, option in ((";", "';'"), ("\t", "tab"), (",", "','")):
            if other != sep and other in header[0]:
                raise Trouble(f"{name}: the header {header[0]!r} is one column; separate it with --sep {option}")
