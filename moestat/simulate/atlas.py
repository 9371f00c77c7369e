"""The atlas: all scenarios, one after the other, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .library import list_scenarios
from .progress import Progress
from .records import FAILURES
from .runner import Run, TimeIsUp, run
from .scenario import Scenario

__all__ = ["AtlasEntry", "open_atlas", "run_atlas"]

State = Literal["complete", "partial", "not run", "refused"]
Watcher = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


@dataclass(frozen=True)
class AtlasEntry:
    """A scenario of the atlas and how far its run is; ``message`` says why it was refused.

    ``run`` is None where there is nothing to read.
    """

    scenario: Scenario
    state: State
    run: Run | None = None
    message: str = ""

    @property
    def failed(self) -> int:
        """Records without a value, of cells that failed, crashed or took too long."""
        return 0 if self.run is None else int(self.run.frame()["status"].isin(FAILURES).sum())


def chosen_scenarios(only: Sequence[str] = ()) -> list[Scenario]:
    """The scenarios of the atlas, or those named.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    known = {scenario.id: scenario for scenario in list_scenarios()}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no scenario {unknown[0]!r}; there are {', '.join(known)}")
    return [scenario for name, scenario in known.items() if not only or name in only]


def run_atlas(
    out: str | Path,
    preset: str = "quick",
    *,
    time_budget: float | None = None,
    only: Sequence[str] = (),
    watch: Watcher | None = None,
    **options: Any,
) -> Iterator[AtlasEntry]:
    """Run scenarios into ``<out>/<scenario>``, cheap ones first, and yield each as it ends.

    What is finished already is not computed again. After ``time_budget`` seconds the scenario in hand is stopped, and the others are
    left; the same call takes all up where they stopped. A scenario whose run fails as a whole does not end the atlas.

    Parameters
    ----------
    preset : {"smoke", "quick", "full"}
    only : sequence of str
        Names; default: all scenarios.
    watch : callable, optional
        ``watch(name)`` is a context that gives a callable for `Progress`.
    options
        Passed to `run`: ``jobs``, ``executor``, ``cell_timeout`` and so on.

    Raises
    ------
    ValueError
        If a name is unknown, or the budget not positive.
    Interrupted
        On Ctrl-C or SIGTERM, after all finished chunks were written.
    """
    if time_budget is not None and not time_budget > 0:
        raise ValueError(f"time_budget must be positive, got {time_budget}")
    end = None if time_budget is None else time.monotonic() + time_budget
    for scenario in sorted(chosen_scenarios(only), key=lambda s: (_cost(s, preset), s.id)):
        folder = Path(out) / scenario.id
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            yield _opened(scenario, folder)
            continue
        try:
            with watch(scenario.id) if watch else nullcontext(None) as progress:
                done = run(scenario, preset, out=folder, progress=progress, max_time=left, **options)
            yield AtlasEntry(scenario, "complete", done)
        except TimeIsUp:
            yield _opened(scenario, folder)
        except (ValueError, OSError) as error:
            yield AtlasEntry(scenario, "refused", message=str(error))


def open_atlas(out: str | Path, only: Sequence[str] = ()) -> list[AtlasEntry]:
    """The entries of an atlas as they are on disk; nothing is computed."""
    return [_opened(scenario, Path(out) / scenario.id) for scenario in chosen_scenarios(only)]


def _opened(scenario: Scenario, folder: Path) -> AtlasEntry:
    try:
        opened = Run.open(folder)
        frame = opened.frame()
    except FileNotFoundError:
        return AtlasEntry(scenario, "not run")
    except (ValueError, OSError) as error:
        return AtlasEntry(scenario, "refused", message=str(error))
    if frame.empty:
        return AtlasEntry(scenario, "not run")
    done, planned = opened.coverage(frame)
    return AtlasEntry(scenario, "complete" if done == planned else "partial", opened)


def _cost(scenario: Scenario, preset: str) -> float:
    settings = getattr(scenario.presets, preset)
    return sum(scenario.cost(cell) for cell in scenario.cells(settings.n, settings.reps, settings.max_experts))
