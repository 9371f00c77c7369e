"""The executor on Dask: workers of a cluster, or of this machine."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import time
from concurrent.futures import CancelledError
from typing import Any

from .chunks import Compute, Rows, compute_chunk
from .executors import ONE_THREAD, Outcome
from .scenario import Cell, Scenario
from .watch import Watch

__all__ = ["Dask"]

PATIENCE = 30.0  # seconds to wait for a result that is there, and for workers of one's own to come back


def _compute_pinned(compute: Compute, scenario: Scenario, chunk: list[Cell], limit: float | None) -> tuple[Rows, float]:
    """What a worker does with a chunk. Dask pins no numba threads, and workers started elsewhere may have none pinned."""
    os.environ.update(ONE_THREAD)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return compute_chunk(compute, scenario, chunk, Watch(limit=limit))


class Dask:
    """Chunks as tasks of a Dask scheduler at ``address``, or of a cluster of ``workers`` processes on this machine.

    The scheduler itself sends a lost task to another worker, a few times; only then it is reported as lost here.
    """

    chunk_seconds, first_chunk, patience = 5.0, 1, 1

    def __init__(
        self, compute: Compute, scenario: Scenario, workers: int, address: str | None = None, limit: float | None = None
    ) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError as failure:
            raise ValueError("the executor dask needs distributed: pip install 'moestat[dask]'") from failure
        self.distributed = distributed
        self.compute, self.scenario, self.limit = compute, scenario, limit
        self.workers, self.address = workers, address
        self._start()

    def _start(self) -> None:
        self.flying: dict[Any, list[Cell]] = {}
        self.cluster: Any = None
        if self.address is None:
            self.cluster = self.distributed.LocalCluster(
                n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=":0", env=ONE_THREAD,
                scheduler_kwargs={"allowed_failures": 1}, silence_logs=logging.CRITICAL,
            )  # fmt: skip
        try:
            self.client = self.distributed.Client(self.address or self.cluster, set_as_default=False)
        except OSError as failure:
            raise ValueError(f"no Dask scheduler answers at {self.address!r}: {failure}") from failure
        self._width, self._counted = 0, float("-inf")
        self._alive = time.monotonic()

    @property
    def width(self) -> int:
        """Threads of all workers; counted anew from time to time, as workers come and go."""
        if time.monotonic() - self._counted > 5.0 or not self._width:
            self._width, self._counted = sum(self.client.nthreads().values()), time.monotonic()
        return max(1, self._width)

    @property
    def room(self) -> int:
        return 2 * self.width

    def submit(self, chunk: list[Cell]) -> None:
        future = self.client.submit(_compute_pinned, self.compute, self.scenario, chunk, self.limit, pure=False)
        self.flying[future] = chunk

    def collect(self, timeout: float | None = None) -> list[Outcome]:
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            left = max(0.0, min(until - time.monotonic(), PATIENCE / 3))
            if self.flying and left:
                with contextlib.suppress(TimeoutError), self.client.as_current():
                    self.distributed.wait(list(self.flying), left, return_when="FIRST_COMPLETED")
            outcomes = self._done() or self._replaced()
            if outcomes or not self.flying or time.monotonic() >= until:
                return outcomes

    def _done(self) -> list[Outcome]:
        outcomes = []
        for future, chunk in list(self.flying.items()):
            if future.status not in ("finished", "error", "cancelled"):
                continue
            try:
                rows, seconds = future.result(timeout=PATIENCE)
            except TimeoutError:
                continue  # the worker died with its result, and the scheduler has it computed again
            except (self.distributed.KilledWorker, CancelledError):
                outcomes.append(Outcome(chunk, None, suspects=chunk))
            else:
                outcomes.append(Outcome(chunk, rows, seconds))
            del self.flying[future]
            self._alive = time.monotonic()
        return outcomes

    def _replaced(self) -> list[Outcome]:
        """Start over on this machine if no worker has come back for a while, as can happen when all die at once."""
        if self.cluster is None or not self.flying or self.client.nthreads():
            self._alive = time.monotonic()
        if time.monotonic() - self._alive < PATIENCE:
            return []
        lost = [Outcome(chunk, None) for chunk in self.flying.values()]
        self.close()
        self._start()
        return lost

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a scheduler that is gone has nothing left to cancel
            self.client.cancel(list(self.flying), force=True)
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()
