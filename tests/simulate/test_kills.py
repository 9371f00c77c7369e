"""The parent or its workers are killed at random moments; the finished records are those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moestat.simulate.records import digest
from tests.simulate.fake import GRID, NAME, REPS, go, marked_cell

ROOT = Path(__file__).resolve().parents[2]


_KILLED = """
import sys
from tests.simulate.fake import slow_cell
from moestat.simulate import run
run({name!r}, n_grid={grid}, reps={reps}, jobs={jobs}, out=sys.argv[1], compute=slow_cell)
"""


def _kill_parent(folder: Path, kills: int, jobs: int, seed: int, sig: int) -> tuple[int, str]:
    """Kill the run ``kills`` times at random moments, then let it finish; the digest of the records."""
    rng = random.Random(seed)
    code = _KILLED.format(name=NAME, grid=GRID, reps=REPS, jobs=jobs)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    hit, groups = 0, []
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        start = len(list(folder.glob("parts/*/*/*")))
        while process.poll() is None and time.monotonic() < deadline and len(list(folder.glob("parts/*/*/*"))) <= start:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.06))
        if process.poll() is None:
            process.send_signal(sig)
            hit += 1
        process.wait()
        groups.append(process.pid)
    for group in groups:  # orphaned workers may have gone on writing until here; trackers of theirs stay
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    return hit, digest(go(folder).frame())


@pytest.mark.parametrize(("jobs", "sig"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (1, signal.SIGTERM)])
def test_resume_after_the_parent_was_killed(tmp_path, expected, jobs, sig):
    hit, found = _kill_parent(tmp_path / "run", kills=2, jobs=jobs, seed=jobs, sig=sig)
    assert hit >= 1
    assert found == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_kills_of_the_parent(tmp_path, expected):
    hits = 0
    for i in range(17):
        hit, found = _kill_parent(tmp_path / f"run{i}", kills=3, jobs=1 + i % 2, seed=100 + i, sig=signal.SIGKILL)
        hits += hit
        assert found == expected
    assert hits >= 50


def _kill_workers(folder: Path, kills: int, executor: str, seed: int, monkeypatch: pytest.MonkeyPatch):
    """Kill ``kills`` workers of one run; how many there were to kill, and the digest of the records.

    Kills lie four cells apart: the cell in hand is then run alone, and if that run were killed as well it would rightly
    be recorded as crashed.
    """
    rng = random.Random(seed)
    marks = folder / "workers"
    marks.mkdir(parents=True)
    monkeypatch.setenv("MOESTAT_TEST_MARK", str(marks))
    killed: list[int] = []

    def kill(progress):
        if progress.done >= 4 + (killed[-1] if killed else 0) and len(killed) < kills:
            pids = sorted(int(mark.name) for mark in marks.iterdir())
            rng.shuffle(pids)
            for pid in pids:
                (marks / str(pid)).unlink(missing_ok=True)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it died with its pool
                killed.append(progress.done)
                break

    frame = go(folder / "run", jobs=2, executor=executor, compute=marked_cell, progress=kill).frame()
    return len(killed), digest(frame)


def test_workers_that_are_killed_do_not_show(tmp_path, expected, monkeypatch):
    killed, found = _kill_workers(tmp_path, 2, "processes", 1, monkeypatch)
    assert killed == 2
    assert found == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_fifty_kills_of_workers(tmp_path, expected, monkeypatch, executor):
    if executor == "dask":
        pytest.importorskip("distributed", reason="distributed is not installed (extra dask)")
    killed = 0
    for i in range(20):
        if killed >= 50:
            break
        count, found = _kill_workers(tmp_path / str(i), 5, executor, i, monkeypatch)
        killed += count
        assert found == expected
    assert killed >= 50
