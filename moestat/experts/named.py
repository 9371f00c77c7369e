"""Experts by name, for experts that are made of others."""

from __future__ import annotations

from typing import Any

from moestat.experts.base import BaseExpert


def family_named(name: str, degree: int) -> BaseExpert:
    """The expert of that name among all that are defined, the user's own too; for experts that are made of others.

    Raises
    ------
    ValueError
        If there is none.
    """
    found: dict[str, Any] = {}
    waiting: list[type] = [BaseExpert]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        found[getattr(cls, "name", "")] = cls
    if not name or name not in found:
        raise ValueError(
            f"family={name!r} is not known; give one of {sorted(n for n in found if n)} or an expert object."
        )
    made: BaseExpert = found[name](degree=degree)
    return made
