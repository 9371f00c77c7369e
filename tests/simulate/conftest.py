"""A scenario whose cells cost nothing, for tests of the machinery around the fits."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).resolve().parents[2] / "simulations" / "scenarios"


@pytest.fixture(scope="session")
def _raw() -> dict[str, Any]:
    return tomllib.loads((SCENARIOS / "softmax-gaussian-exact.toml").read_text(encoding="utf-8"))


@pytest.fixture
def raw(_raw: dict[str, Any]) -> dict[str, Any]:
    """The declaration of the exact-specified scenario, to be changed at will."""
    return copy.deepcopy(_raw)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the records of an undisturbed serial run of `fake.go`."""
    from moestat.simulate.records import digest
    from tests.simulate.fake import ROWS, go

    frame = go(tmp_path_factory.mktemp("serial") / "run", executor="serial").frame()
    assert len(frame) == ROWS
    return digest(frame)
