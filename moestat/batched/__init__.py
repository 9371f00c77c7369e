"""Thousands of small fits as one program of array operations, on a processor or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moestat.batched.executor import compute_batch, supports
    from moestat.batched.fit import BatchResult, fit_batch

__all__ = ["BatchResult", "compute_batch", "fit_batch", "supports"]

_HOMES = {"compute_batch": "executor", "supports": "executor", "BatchResult": "fit", "fit_batch": "fit"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
