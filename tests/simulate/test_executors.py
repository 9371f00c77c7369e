"""Executors give the same records, and outlive workers that die or hang."""

from __future__ import annotations

import types

import pytest

from moestat.simulate import load_scenario
from moestat.simulate.records import digest
from moestat.simulate.scenario import Cell
from moestat.simulate.watch import read_marks
from tests.simulate.fake import (
    NAME,
    ROWS,
    aborting_cell,
    cells_with,
    deadly_cell,
    go,
    quick_cell,
    raising_cell,
    sleeping_cell,
    sometimes_hanging_cell,
    spinning_cell,
)


@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])  # 2 in test_runs.py
def test_processes_equal_serial(tmp_path, expected, jobs):
    assert digest(go(tmp_path / "run", executor="processes", jobs=jobs).frame()) == expected


@pytest.mark.slow  # tests/cli replays a replicate of a parallel run with real fits
def test_real_fits_are_the_same(tmp_path):
    options = {"n_grid": [100, 300], "reps": 3, "compute": None}
    serial = go(tmp_path / "a", executor="serial", **options).frame()
    assert set(serial["status"]) == {"certified"}
    assert digest(go(tmp_path / "b", executor="processes", jobs=2, **options).frame()) == digest(serial)


def test_order_does_not_matter(tmp_path, expected, monkeypatch):
    from moestat.simulate.scenario import Scenario

    monkeypatch.setattr(Scenario, "cost", lambda self, cell: (cell.rep * 7 + cell.n) % 11)
    assert digest(go(tmp_path / "run", executor="serial").frame()) == expected


@pytest.mark.parametrize("deadly", [aborting_cell, pytest.param(deadly_cell, marks=pytest.mark.slow)])
def test_a_cell_that_kills_its_worker_is_recorded(tmp_path, expected, deadly):
    frame = go(tmp_path / "run", executor="processes", jobs=2, compute=deadly).frame()
    assert cells_with(frame, "crashed") == {(200, 5)}
    assert len(frame) == ROWS
    assert frame[frame["status"] == "crashed"]["value"].isna().all()
    assert (frame["status"] == "converged").sum() == ROWS - 5


@pytest.mark.parametrize("hanging", [spinning_cell, pytest.param(sleeping_cell, marks=pytest.mark.slow)])
def test_a_cell_that_hangs_is_ended_and_recorded_with_the_place(tmp_path, hanging):
    frame = go(tmp_path / "run", executor="processes", jobs=2, compute=hanging, cell_timeout=1.5).frame()
    assert cells_with(frame, "timeout") == {(200, 5)}
    assert len(frame) == ROWS
    hung = frame[frame["status"] == "timeout"]
    assert set(hung["message"]) == {"no result within 1.5 s"}
    assert hung["traceback"].str.contains(f"in {hanging.__name__}").all()


def test_a_cell_that_hangs_once_is_computed(tmp_path, expected, monkeypatch):
    monkeypatch.setenv("MOESTAT_TEST_MARK", str(tmp_path / "mark"))
    options = {"executor": "processes", "jobs": 2, "cell_timeout": 1.5}
    assert digest(go(tmp_path / "run", compute=sometimes_hanging_cell, **options).frame()) == expected


def test_a_replicate_that_raises_is_a_record(tmp_path):
    frame = go(tmp_path / "run", n_grid=[100], reps=3, executor="processes", jobs=1, compute=raising_cell).frame()
    assert cells_with(frame, "failed") == {(100, 1)}
    failed = frame[frame["rep"] == 1]
    assert set(failed["message"]) == {"RuntimeError: no luck"}
    assert failed["traceback"].str.contains("in fit_mixture").all()


def _batched(monkeypatch, compute_batch):
    import sys

    module = types.ModuleType("moestat.batched.executor")
    module.compute_batch = compute_batch
    monkeypatch.setitem(sys.modules, "moestat.batched", types.ModuleType("moestat.batched"))
    monkeypatch.setitem(sys.modules, "moestat.batched.executor", module)


def test_batched_computes_groups_and_leaves_the_rest_to_single_cells(tmp_path, expected, monkeypatch):
    calls = []

    def compute_batch(scenario, cells, device):
        assert len({(cell.fit, cell.n_experts, cell.n) for cell in cells}) == 1
        calls.append((cells[0].n, len(cells), device))
        if cells[0].n == 400:
            return None
        return [row for cell in cells if cell.rep != 7 for row in quick_cell(scenario, cell)]

    _batched(monkeypatch, compute_batch)
    frame = go(tmp_path / "run", executor="batched").frame()
    assert digest(frame) == expected
    assert calls == [(400, 12, "cpu"), (200, 12, "cpu"), (100, 12, "cpu")]
    single = (frame["n"] == 400) | (frame["rep"] == 7)
    assert set(frame["engine"][single]) == {""}
    assert set(frame["engine"][~single]) == {"batched-cpu"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "threads"}, "one of serial, processes, dask, batched, got 'threads'"),
        ({"executor": "serial", "jobs": 2}, "has one worker"),
        ({"executor": "serial", "cell_timeout": 1.0}, "serial computes in this process"),
        ({"executor": "processes", "address": "tcp://localhost:1"}, "goes with the executor dask"),
        ({"executor": "processes", "device": "cuda"}, "goes with the executor batched"),
        ({"cell_timeout": 0.0}, "cell_timeout must be positive"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        go(tmp_path / "run", **options)


def test_marks_of_dead_workers(tmp_path):
    (tmp_path / "1").write_text('["k2", 2, 100, 7]\n', encoding="utf-8")
    (tmp_path / "2").write_text('["k2", 2, 200, 0]\nTimeout (0:00:01)!\n  File "x"', encoding="utf-8")
    (tmp_path / "3").write_text('["k2", 2', encoding="utf-8")
    (tmp_path / "4").write_text("", encoding="utf-8")
    marks = read_marks(tmp_path)
    assert marks == {Cell("k2", 2, 100, 7): "", Cell("k2", 2, 200, 0): 'Timeout (0:00:01)!\n  File "x"'}


def test_longer_chunks_where_cells_are_quick():
    from moestat.simulate.chunks import ChunkQueue

    scenario = load_scenario(NAME)
    queue = ChunkQueue(scenario, scenario.cells([100], 100), seconds=3.0)
    first = queue.take(2)
    queue.learn(first, 0.1)
    assert [len(first), len(queue.take(2)), len(queue.take(2))] == [1, 30, 30]
