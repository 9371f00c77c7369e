"""A full disk, two writers at once, leftovers: the folder of a run stays intact."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from moestat.simulate import Store, WriteError, run
from moestat.simulate.records import digest
from tests.simulate.fake import GRID, NAME, REPS, go, quick_cell, slow_cell

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_disk_that_fills_up_while_running(tmp_path, expected, monkeypatch, jobs):
    original, calls = os.fsync, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(WriteError, match=r"cannot write .*parquet: No space left on device\. What was written"):
            go(tmp_path / "run", jobs=jobs, compute=slow_cell)
    kept, damaged = Store(tmp_path / "run").read()
    assert not damaged
    assert len(kept) > 0
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert digest(go(tmp_path / "run").frame()) == expected


_LIMITED = """
import resource, signal, sys
from moestat.simulate import Store
from moestat.simulate.cells import failed_rows
from moestat.simulate.scenario import Cell
store = Store(sys.argv[1])
rows = [row for rep in range(50) for row in failed_rows(store.scenario(), Cell("k2", 2, 800, rep), "failed", "x")]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store.write(rows)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_write_that_the_system_refuses(tmp_path, expected):
    go(tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, tmp_path / "run"], env=environment, capture_output=True, text=True, check=False
    )
    assert re.search(
        r"WriteError: cannot write \S+parquet: File too large\. What was written before is intact\.", done.stderr
    )
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert digest(Store(tmp_path / "run").read()[0]) == expected


def test_a_full_disk_at_the_start(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WriteError, match=r"run\.json: No space left"):
        go(tmp_path / "run")


_WRITER = """
import sys
from tests.simulate.fake import slow_cell
from moestat.simulate import run
run({name!r}, n_grid={grid}, reps={reps}, jobs=1, out=sys.argv[1], compute=slow_cell)
"""


def test_two_writers_at_once(tmp_path, expected):
    go(tmp_path / "run", n_grid=[100], reps=2)
    part = next((tmp_path / "run").glob("parts/*/*/*.parquet"))
    part.write_bytes(part.read_bytes()[:100])  # both find it and set it aside
    code = _WRITER.format(name=NAME, grid=GRID, reps=REPS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    writers = [subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == b""
        assert writer.returncode == 0
    frame, damaged = Store(tmp_path / "run").read()
    assert not damaged
    assert digest(frame) == expected


def test_half_written_files_are_removed_once_they_are_old(tmp_path):
    folder = go(tmp_path / "run", n_grid=[100], reps=2).path / "parts" / "k2-m2" / "n=0000100"
    young, old = folder / "a.parquet.1.tmp", folder / "b.parquet.2.tmp"
    for file in (young, old):
        file.write_bytes(b"PAR1")
    os.utime(old, (time.time() - 7200,) * 2)
    go(tmp_path / "run", n_grid=[100], reps=2)
    assert young.exists()  # perhaps of another writer
    assert not old.exists()


def test_parts_of_versions_without_engine_are_read(tmp_path):
    store = Store(go(tmp_path / "run", n_grid=[100], reps=3).path)
    before = digest(store.read()[0])
    for part in store.path.glob("parts/*/*/*.parquet"):
        with duckdb.connect() as connection:
            key = connection.execute(f"SELECT value FROM parquet_kv_metadata('{part}')").fetchone()[0].decode()
            connection.execute(f"CREATE TABLE old AS SELECT * EXCLUDE engine FROM read_parquet('{part}')")
            connection.execute(f"COPY old TO '{part}' (FORMAT parquet, KV_METADATA {{digest: '{key}'}})")
    frame, damaged = store.read()
    assert not damaged
    assert digest(frame) == before
    assert set(frame["engine"]) == {""}


def test_failed_cells_are_computed_again_when_asked(tmp_path, expected):
    def failing(scenario, cell):
        if cell.rep in (2, 7):
            rows = quick_cell(scenario, cell)
            status = {2: "timeout", 7: "failed"}[cell.rep]
            return [row | {"status": status, "value": float("nan")} if row["loss"] != "kl" else row for row in rows]
        return quick_cell(scenario, cell)

    go(tmp_path / "run", compute=failing)
    assert go(tmp_path / "run").computed == 0
    assert go(tmp_path / "run", retry=True, compute=failing).computed == 6
    again = go(tmp_path / "run", retry=True)
    assert again.computed == 6
    assert digest(again.frame()) == expected
    assert go(tmp_path / "run", retry=True).computed == 0


def test_a_fit_without_losses_has_no_cells(tmp_path, raw):
    from moestat.simulate.library import parse_scenario

    raw["fit"].append({"id": "idle", "n_experts": 3, "degree": 1})
    scenario = parse_scenario(raw)
    done = run(scenario, n_grid=[100], reps=2, jobs=1, out=tmp_path / "run", compute=quick_cell)
    assert done.computed == 2
    assert done.coverage(done.frame()) == (2, 2)
