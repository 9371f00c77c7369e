"""Names of losses in scenarios: divergences, gaps of components, costs and selections of fits, kinds of `moestat.losses.voronoi_loss`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator

__all__ = ["DIVERGENCES", "EFFORT", "OF_FITS", "LossName", "compares_parameters", "gap_of", "kind_and_options"]

DIVERGENCES = ("kl", "hellinger", "tv", "l2")
# What a fit costs, and whether a criterion chooses the wrong number of experts: see `moestat.simulate.selection`.
EFFORT = "iterations"
OF_FITS = (EFFORT, "wrong:dsc", "wrong:bic", "wrong:aic")
_BLOCKS = {
    "gate_coef": "gate",
    "expert_coef": "coef",
    "expert_intercept": "intercept",
}  # parameters by their public names
_GAP = re.compile(r"(?P<what>gap|spread):(?P<block>[a-z_]+)(@(?P<kind>[A-Za-z0-9-]+))?")
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
        raise ValueError(
            f"there is no loss {name!r}; give gap:BLOCK@KIND or one of {', '.join((*DIVERGENCES, *OF_FITS, *KINDS))}"
        )
    counts = kind in TOP_K or (kind in SHARED and SHARED[kind].top_k)
    if counts:
        if not value.isdigit():
            raise ValueError(f"{name!r} needs the number of active experts, as in '{kind}(2)'")
        return kind, {"n_active": int(value)}
    if value and kind not in POWERS:
        raise ValueError(f"{name!r} has a number in brackets, but {kind!r} takes none")
    return kind, {"r": float(value)} if value else {}


def gap_of(name: str) -> tuple[str, str, str] | None:
    """Attribute of `ComponentGaps`, block and kind of a distance of single components; None for other losses.

    ``"gap:coef@lse-L1"`` is the distance of atoms that share a cell to their atom of the truth in the block ``coef``, in the cells of
    the loss ``lse-L1`` (without a kind those of ``D2sharp``); ``"spread:coef"`` that of two of them to each other.

    Examples
    --------
    >>> gap_of("gap:gate_coef"), gap_of("gap:gate_location@laplace-D2"), gap_of("D1")
    (('over', 'gate', 'D2sharp'), ('over', 'gate_location', 'laplace-D2'), None)
    """
    found = _GAP.fullmatch(name)
    if found is None:
        return None
    attribute = "over" if found["what"] == "gap" else "spread"
    return attribute, _BLOCKS.get(found["block"], found["block"]), found["kind"] or "D2sharp"


def compares_parameters(name: Any) -> bool:
    """Whether a loss compares parameters, of which a regression truth has none; False for what is no loss."""
    if not isinstance(name, str) or name in (*DIVERGENCES, *OF_FITS):
        return False
    try:
        gap = gap_of(name)
        return bool(kind_and_options(gap[2] if gap else name))
    except ValueError:
        return False


def _checked(name: str) -> str:
    if name not in (*DIVERGENCES, *OF_FITS):
        gap = gap_of(name)
        kind_and_options(gap[2] if gap else name)
    return name


LossName = Annotated[str, AfterValidator(_checked)]
