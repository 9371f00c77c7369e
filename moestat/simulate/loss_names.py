"""Names of losses in scenarios: divergences, gaps of single components, and the kinds of `moestat.losses.voronoi_loss`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator

__all__ = ["DIVERGENCES", "GAPS", "LossName", "compares_parameters", "kind_and_options"]

DIVERGENCES = ("kl", "hellinger", "tv", "l2")
GAPS = ("gap:gate_coef", "gap:expert_coef", "gap:expert_intercept", "gap:variance")
# Kinds of the Gaussian softmax model, known without loading the losses.
_PLAIN = ("D1", "D2", "D2sharp", "merged")
_OPTION = re.compile(r"(?P<kind>[^()]+)\((?P<value>[0-9.]+)\)")


def kind_and_options(name: str) -> tuple[str, dict[str, Any]]:
    """The kind of a Voronoi loss and the options that its name carries: ``"lse-L2r(3)"`` has ``r = 3``, ``"topk-D2(1)"`` has
    ``n_active = 1``.

    Raises
    ------
    ValueError
        If there is no such kind, or it does not take the option, or lacks it.

    Examples
    --------
    >>> kind_and_options("topk-D2(1)")
    ('topk-D2', {'n_active': 1})
    """
    if name in _PLAIN:
        return name, {}
    from ..losses import KINDS
    from ..losses.composite import SHARED
    from ..losses.kinds import POWERS, TOP_K

    found = _OPTION.fullmatch(name)
    kind, value = (found["kind"], found["value"]) if found else (name, "")
    if kind not in KINDS:
        raise ValueError(f"there is no loss {name!r}; give one of {', '.join((*DIVERGENCES, *GAPS, *KINDS))}")
    counts = kind in TOP_K or (kind in SHARED and SHARED[kind].top_k)
    if counts:
        if not value.isdigit():
            raise ValueError(f"{name!r} needs the number of active experts, as in '{kind}(2)'")
        return kind, {"n_active": int(value)}
    if value and kind not in POWERS:
        raise ValueError(f"{name!r} has a number in brackets, but {kind!r} takes none")
    return kind, {"r": float(value)} if value else {}


def compares_parameters(name: Any) -> bool:
    """Whether a loss compares parameters, of which a regression truth has none; False for what is no loss."""
    if not isinstance(name, str) or name in DIVERGENCES:
        return False
    try:
        return name in GAPS or bool(kind_and_options(name))
    except ValueError:
        return False


def _checked(name: str) -> str:
    if name not in (*DIVERGENCES, *GAPS):
        kind_and_options(name)
    return name


LossName = Annotated[str, AfterValidator(_checked)]
