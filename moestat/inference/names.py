"""Reading the flat parameter names: ``gate[1]:x``, ``expert[2]:Intercept``, ``expert[1]:log_scale``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_FLAT = re.compile(r"(?P<part>[a-z]+)(?:\[(?P<index>\d+)\])?:(?P<term>.*)", re.DOTALL)
_FEATURE = re.compile(r"\bx(\d+)\b")


class ParameterName(NamedTuple):
    """A flat name taken apart: the part (``gate`` or ``expert``), its number (0 if shared by all), and the term."""

    part: str
    expert: int
    term: str


def parse_name(name: str) -> ParameterName:
    """Take a flat name apart.

    Examples
    --------
    >>> parse_name("expert[2]:log_scale")
    ParameterName(part='expert', expert=2, term='log_scale')
    """
    match = _FLAT.fullmatch(name)
    if match is None:
        return ParameterName("", 0, name)
    return ParameterName(match["part"], int(match["index"] or 0), match["term"])


def section_order(names: Sequence[str]) -> list[int]:
    """Positions of the names in the order of a table: gate, experts by number with their scales, what all experts share.

    Examples
    --------
    >>> section_order(["gate[1]:x", "expert[1]:x", "expert[2]:x", "expert[1]:log_scale"])
    [0, 1, 3, 2]
    """

    def section(position: int) -> tuple[bool, bool, int]:
        name = parse_name(names[position])
        return (name.part != "gate", name.expert == 0, 0 if name.part == "gate" else name.expert)

    return sorted(range(len(names)), key=section)


def rename_features(names: Sequence[str], feature_names: Sequence[str] | None) -> list[str]:
    """Put the user's feature names in the place of ``x1 … xd`` in the terms (also inside monomials such as ``x1^2``).

    Examples
    --------
    >>> rename_features(["gate[1]:x2", "expert[1]:x1^2", "expert[1]:log_scale"], ["age", "dose"])
    ['gate[1]:dose', 'expert[1]:age^2', 'expert[1]:log_scale']
    """
    if feature_names is None:
        return list(names)

    def substitute(match: re.Match[str]) -> str:
        position = int(match[1]) - 1
        return str(feature_names[position]) if 0 <= position < len(feature_names) else match[0]

    renamed = []
    for name in names:
        head, colon, term = name.partition(":")
        renamed.append(head + colon + _FEATURE.sub(substitute, term))
    return renamed
