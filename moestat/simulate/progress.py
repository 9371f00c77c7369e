"""How far a run is, and when it will be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .scenario import Cell


@dataclass
class Progress:
    """What a progress display needs; updated in place, one object for the whole run."""

    total: int
    recorded: int
    done: int = 0
    failures: int = 0
    uncertified: int = 0
    seconds: float = 0.0
    work_done: float = 0.0
    work_total: float = 0.0
    warm: tuple[float, float] | None = None
    """Seconds and work done when every worker had compiled its code: what is left is predicted from there."""
    by_n: dict[int, list[int]] = field(default_factory=dict)
    """Sample size -> [cells done, cells in all]."""

    def expect(self, cells: Sequence[Cell], cost: Callable[[Cell], float]) -> None:
        """Count cells that are now to be done."""
        self.total += len(cells)
        self.work_total += sum(map(cost, cells))
        for cell in cells:
            self.by_n.setdefault(cell.n, [0, 0])[1] += 1

    @property
    def rate(self) -> float:
        """Cells a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def time_left(self) -> float:
        """Seconds left, at the speed since the workers are warm; NaN until a few cells are done."""
        if self.warm is None or self.work_done <= self.warm[1]:
            return 0.0 if self.done == self.total else float("nan")
        seconds, work = self.warm
        return (self.seconds - seconds) * (self.work_total - self.work_done) / (self.work_done - work)
