"""Cells on Dask workers: the same records, also when workers die or hang."""

from __future__ import annotations

import os
import signal

import pytest

from moestat.simulate.records import digest
from tests.simulate.fake import ROWS, cells_with, deadly_cell, go, slow_cell, spinning_cell

distributed = pytest.importorskip("distributed", reason="distributed is not installed (extra dask)")


def test_dask_equals_serial(tmp_path, expected):
    assert digest(go(tmp_path / "run", executor="dask", jobs=2).frame()) == expected


@pytest.mark.slow
def test_a_cluster_of_ones_own_that_lost_all_workers_is_replaced(tmp_path, expected, monkeypatch):
    from moestat.simulate import dask_executor

    started = []

    class Watched(dask_executor.Dask):
        def _start(self):
            super()._start()
            started.append(self.cluster)

    def close_workers(progress):
        if progress.done >= 5 and len(started) == 1:
            started[0].scale(0)

    monkeypatch.setattr(dask_executor, "Dask", Watched)
    monkeypatch.setattr(dask_executor, "PATIENCE", 1.5)
    frame = go(tmp_path / "run", executor="dask", jobs=2, compute=slow_cell, progress=close_workers).frame()
    assert len(started) == 2
    assert digest(frame) == expected


@pytest.mark.slow
def test_real_fits_are_the_same(tmp_path):
    options = {"n_grid": [100, 300], "reps": 3, "compute": None}
    serial = digest(go(tmp_path / "a", executor="serial", **options).frame())
    assert digest(go(tmp_path / "b", executor="dask", jobs=2, **options).frame()) == serial


@pytest.mark.slow
def test_dask_workers_may_die(tmp_path):
    frame = go(tmp_path / "run", executor="dask", jobs=2, compute=deadly_cell).frame()
    assert cells_with(frame, "crashed") == {(200, 5)}
    assert len(frame) == ROWS


@pytest.mark.slow
def test_dask_workers_may_hang(tmp_path):
    frame = go(tmp_path / "run", executor="dask", jobs=2, compute=spinning_cell, cell_timeout=1.5).frame()
    assert cells_with(frame, "timeout") == {(200, 5)}
    assert len(frame) == ROWS


def test_dask_at_an_address_with_a_worker_killed_from_outside(tmp_path, expected):
    """The scheduler is another's, with its own patience; a worker dies of something that is no cell's fault."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        victims = list(client.run(os.getpid).values())

        def kill(progress):
            if progress.done >= 3 and victims:
                os.kill(victims.pop(), signal.SIGKILL)

        address = cluster.scheduler_address
        frame = go(tmp_path / "run", address=address, compute=slow_cell, progress=kill).frame()
    assert len(victims) <= 1
    assert digest(frame) == expected
