"""What a worker leaves behind when it dies: the cell it had in hand, and where that hung."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from .scenario import Cell

__all__ = ["Watch", "read_marks"]

Begin = Callable[[Cell], None]


@dataclass(frozen=True)
class Watch:
    """Marks the cell in hand in a file of ``folder``, and ends the process when one takes longer than ``limit`` seconds.

    The limit is kept by a thread of C code, so that it also holds in a compiled loop that never returns to Python;
    before the end it writes the Python stack into the mark. Without a folder there is no mark, without a limit no end.
    """

    folder: str | None = None
    limit: float | None = None

    @contextlib.contextmanager
    def over(self) -> Iterator[Begin]:
        """Watch over a chunk; the function given must be called before every cell."""
        if self.folder is None:
            try:
                yield lambda cell: self._arm(sys.__stderr__)
            finally:
                self._disarm()
            return
        path = Path(self.folder) / str(os.getpid())
        path.parent.mkdir(parents=True, exist_ok=True)  # it may be cleaned away in a run of days
        with path.open("w", encoding="utf-8") as mark:

            def begin(cell: Cell) -> None:
                mark.seek(0)
                mark.truncate()
                mark.write(json.dumps(astuple(cell)) + "\n")
                mark.flush()
                self._arm(mark)

            try:
                yield begin
            finally:
                self._disarm()
                path.unlink(missing_ok=True)

    def _arm(self, file: Any) -> None:
        if self.limit is not None:
            faulthandler.dump_traceback_later(self.limit, exit=True, file=file)

    def _disarm(self) -> None:
        if self.limit is not None:
            faulthandler.cancel_dump_traceback_later()


def read_marks(folder: Path) -> dict[Cell, str]:
    """Cells that dead workers had in hand, with the stack where one hung; empty text if it did not."""
    marks = {}
    for file in sorted(folder.glob("*")):
        first, _, stack = file.read_text(encoding="utf-8", errors="replace").partition("\n")
        with contextlib.suppress(ValueError, TypeError):  # a worker that died while it wrote its mark
            marks[Cell(*json.loads(first))] = stack.strip()
    return marks
