"""Rows in blocks: features that stay in the cache, threads over fixed groups of blocks, sums in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from moestat.maps import FeatureMap

Array = NDArray[np.float64]
T = TypeVar("T")

STORED_BYTES = 64 * 2**20  # features above this size are built block by block in every pass instead of being kept
NONE: Array = np.empty(0)  # no weights, no offset
GROUPS = 64  # the order of summation depends on this number only, so that results are bit-identical for every n_jobs


class Block(NamedTuple):
    """Rows `start…stop` of the arrays it carries; `row` is the number of its first row in the data."""

    gate_features: Array
    expert_features: Array
    y: Array
    weight: Array
    offset: Array
    start: int
    stop: int
    row: int


@dataclass(frozen=True)
class Rows:
    """The data of a fit: `X (n, d)`, `y (n, D)`, weights `(n,)` or empty for one each, and how they are transformed.

    An offset `(n,)`, or empty for none, is added to the first predictor of every expert.
    Gate and experts see the features of their maps and the responses `(y - y_center) / y_scale`, rows in the last axis.
    """

    X: Array
    y: Array
    weight: Array
    gate_map: FeatureMap
    expert_map: FeatureMap
    y_center: Array
    y_scale: Array
    offset: Array
    stored: tuple[Array, Array, Array] | None = None

    @classmethod
    def build(
        cls,
        X: Array,
        y: Array,
        weight: Array,
        maps: tuple[FeatureMap, FeatureMap],
        y_center: Array | float = 0.0,
        y_scale: Array | float = 1.0,
        offset: Array = NONE,
    ) -> Rows:
        """Keep what is computed from the data if it is small enough."""
        d = y.shape[1]
        rows = cls(X, y, weight, *maps, np.broadcast_to(y_center, (d,)), np.broadcast_to(y_scale, (d,)), offset)
        q = maps[0].n_features + (0 if maps[0] is maps[1] else maps[1].n_features)
        return replace(rows, stored=rows._transformed(0, len(X))) if 8 * q * len(X) <= STORED_BYTES else rows

    def _transformed(self, start: int, stop: int) -> tuple[Array, Array, Array]:
        """Gate features, expert features and responses of some rows."""
        X = self.X[start:stop]
        z = self.gate_map.features(X)
        phi = z if self.gate_map is self.expert_map else self.expert_map.features(X)
        return z, phi, np.ascontiguousarray(((self.y[start:stop] - self.y_center) / self.y_scale).T)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum()) if self.weight.size else float(self.n)

    def block(self, start: int, stop: int) -> Block:
        """The rows from `start` to `stop`."""
        if self.stored is not None:
            return Block(*self.stored, self.weight, self.offset, start, stop, start)
        weight = self.weight[start:stop] if self.weight.size else self.weight
        offset = self.offset[start:stop] if self.offset.size else self.offset
        return Block(*self._transformed(start, stop), weight, offset, 0, stop - start, start)


def block_size(n_experts: int) -> int:
    """Rows a block: about 128 kB for each array of K rows."""
    return max(512, 16384 // n_experts // 512 * 512)


def score_block_size(n_scores: int) -> int:
    """Rows a block when `n_scores` score rows are kept: about half a megabyte."""
    return max(512, 65536 // max(n_scores, 1) // 512 * 512)


def ranges(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Consecutive `(start, stop)` of at most `size` rows."""
    return ((i, min(i + size, n)) for i in range(0, n, size))


def accumulate(
    work: Callable[[list[tuple[int, int]]], T],
    n: int,
    size: int,
    add: Callable[[T, T], T],
    pool: ThreadPoolExecutor | None,
) -> T:
    """Sum `work(blocks)` over fixed groups of blocks, in a fixed order whatever the number of threads."""
    blocks = list(ranges(n, size))
    if len(blocks) == 1:
        return work(blocks)
    per_group = -(-len(blocks) // GROUPS)
    groups = [blocks[i : i + per_group] for i in range(0, len(blocks), per_group)]
    results = map(work, groups) if pool is None else pool.map(work, groups)
    total: T | None = None
    for result in results:
        total = result if total is None else add(total, result)
    assert total is not None
    return total
