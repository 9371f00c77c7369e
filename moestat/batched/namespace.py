"""Array namespaces and devices: NumPy, PyTorch, CuPy and any other library of the Array API standard."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np

__all__ = ["available_bytes", "namespace", "resolve_device", "to_host"]

WITHOUT_COUNT = 2**30  # bytes assumed free where the system does not tell


def library(array: Any) -> str:
    """Name of the library that an array is from."""
    return type(array).__module__.split(".")[0]


def namespace(array: Any) -> Any:
    """The Array API namespace of an array; PyTorch and CuPy are read through array-api-compat.

    Raises
    ------
    ValueError
        If it is no array of such a library, or array-api-compat is missing.

    Examples
    --------
    >>> import numpy as np
    >>> namespace(np.ones(3)).__name__
    'numpy'
    """
    name = library(array)
    if name in ("torch", "cupy"):
        return compat(name)
    if not hasattr(array, "__array_namespace__"):
        raise ValueError(
            f"{type(array).__name__!r} is no array of an Array API library; give NumPy, PyTorch or CuPy arrays."
        )
    return array.__array_namespace__()


def compat(name: str) -> Any:
    """The namespace of PyTorch or CuPy.

    Raises
    ------
    ValueError
        If array-api-compat is missing.
    """
    try:
        return importlib.import_module(f"array_api_compat.{name}")
    except ImportError as error:
        raise ValueError(f"arrays of {name} need array-api-compat: pip install array-api-compat.") from error


def resolve_device(device: str) -> tuple[Any, Any]:
    """Namespace and device of "cpu" (NumPy) or "cuda" (CuPy if it is installed, else PyTorch).

    Raises
    ------
    ValueError
        If the name is another one, or no library or no CUDA device is there; the message says what to install.

    Examples
    --------
    >>> resolve_device("cpu")[0].__name__
    'numpy'
    """
    if device == "cpu":
        return np, "cpu"
    if device != "cuda":
        raise ValueError(f"device={device!r} is not known; give 'cpu' or 'cuda'.")
    if importlib.util.find_spec("cupy") is not None:
        import cupy

        if cupy.cuda.is_available():
            return compat("cupy"), cupy.cuda.Device()
        raise ValueError("device='cuda': CuPy is installed but sees no CUDA device; check the driver (nvidia-smi).")
    if importlib.util.find_spec("torch") is not None:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            return compat("torch"), "cuda"
        raise ValueError(
            "device='cuda': PyTorch is installed but sees no CUDA device; check the driver (nvidia-smi), "
            "or install CuPy: pip install 'moestat[gpu]'."
        )
    raise ValueError("device='cuda' needs CuPy or PyTorch: pip install 'moestat[gpu]' (or a CUDA build of torch).")


def to_host(array: Any) -> Any:
    """A NumPy array of the same values; the only function of this package that moves results to the host."""
    name = library(array)
    if name == "numpy":
        return array
    if name == "torch":
        return array.detach().cpu().numpy()
    if name == "cupy":
        return array.get()
    host = namespace(array).__array_namespace_info__().default_device()
    return np.asarray(array.to_device(host))


def available_bytes(array: Any) -> int:
    """Free memory of the device that an array is on."""
    name = library(array)
    if name == "cupy":
        return int(array.device.mem_info[0])
    if name == "torch" and array.device.type == "cuda":
        return int(importlib.import_module("torch").cuda.mem_get_info(array.device)[0])
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return WITHOUT_COUNT


def on_host(array: Any) -> bool:
    """Whether an array is in the memory of the processor, whose caches are small."""
    name = library(array)
    return name != "cupy" and not (name == "torch" and array.device.type != "cpu")
