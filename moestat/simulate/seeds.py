"""Keyed, stateless random streams: any replicate can be drawn alone, in any order, on any worker."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SCHEME", "Purpose", "stream"]

SCHEME = "moestat-seed-1"
Purpose = Literal["data", "init", "boot"]


def stream(root: int, scenario: str, n: int, rep: int, purpose: Purpose = "data") -> np.random.Generator:
    """The generator of one replicate and one purpose.

    The key ``[scheme, root, scenario, n, rep, purpose]`` is written as JSON, hashed with BLAKE2b to 128 bits, and the
    hash seeds a ``SeedSequence``. Hashing first matters: integers of more than 32 bits in a ``spawn_key`` collide,
    because NumPy packs them into 32-bit words.

    Parameters
    ----------
    root : int
        The scenario's root seed.
    scenario : str
        The scenario's id.
    n, rep : int
        Sample size and replicate. ``n`` is part of the key, so errors at different sample sizes are independent.
    purpose : {"data", "init", "boot"}
        Data, starting values and bootstrap use separate streams.

    Raises
    ------
    ValueError
        If the purpose is not one of the three, or ``n`` or ``rep`` is negative.

    Examples
    --------
    >>> int(stream(1, "demo", 100, 0).integers(1000)) == int(stream(1, "demo", 100, 0).integers(1000))
    True
    """
    import numpy as np

    if purpose not in get_args(Purpose):
        raise ValueError(f"purpose must be one of {', '.join(get_args(Purpose))}, got {purpose!r}")
    if n < 0 or rep < 0:
        raise ValueError(f"n and rep must not be negative, got n={n}, rep={rep}")
    key = json.dumps([SCHEME, int(root), scenario, int(n), int(rep), purpose], separators=(",", ":"))
    entropy = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(entropy)))
