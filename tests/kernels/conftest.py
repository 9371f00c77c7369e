"""The compiled kernels as a fixture."""

from __future__ import annotations

from types import ModuleType

import pytest

from moestat import kernels


@pytest.fixture(scope="session")
def fast() -> ModuleType:
    """The compiled kernels, whatever the environment selects."""
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOESTAT_DISABLE_NUMBA", "0")
        return kernels.get.__wrapped__()
