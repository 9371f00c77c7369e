"""Row kernels: `get()` returns the compiled set, or its NumPy twin when numba is switched off or absent.

The compiled code is cached on disk in a directory named by a hash of its source, so that an edited kernel can never be
answered by an old binary. `MOESTAT_DISABLE_NUMBA=1` selects the twin; `NUMBA_CACHE_DIR` is respected when set.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def cache_directory() -> Path:
    """Where the compiled kernels are kept: the user's cache, in a folder named by the kernels' source and the Python version."""
    sources = sorted(Path(__file__).parent.glob("compiled_*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(home) / "moestat" / f"kernels-{digest}-py{sys.version_info.major}{sys.version_info.minor}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except OSError:  # a read-only home: compile into a folder of this process that nobody else can write
        folder = Path(tempfile.mkdtemp(prefix="moestat-kernels-"))
    return folder


def numba_disabled() -> bool:
    """Whether MOESTAT_DISABLE_NUMBA asks for the NumPy twin."""
    return os.environ.get("MOESTAT_DISABLE_NUMBA", "0").lower() not in {"", "0", "false", "no"}


@functools.cache
def get() -> ModuleType:
    """The kernel set in use: `moestat.kernels.fast` or `moestat.kernels.plain`."""
    if numba_disabled() or importlib.util.find_spec("numba") is None:
        return importlib.import_module("moestat.kernels.plain")
    from numba import config

    kept = config.CACHE_DIR
    if not kept:
        config.CACHE_DIR = str(cache_directory())
    try:
        return importlib.import_module("moestat.kernels.fast")
    finally:
        config.CACHE_DIR = kept
