"""Find, read and check scenario files: those carried by the package, those of the repository, and the user's own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .scenario import Scenario, ScenarioError, cross_errors

__all__ = ["list_scenarios", "load_scenario", "parse_scenario"]


# pydantic puts the tried member of a union into the place of an error
_UNION_TAG = re.compile(r"mixture|regression|uniform|joint|Options|int|float|str|list\[.*|literal\[.*|constrained-.*")


def _folders() -> list[Path]:
    here = Path(__file__).resolve()
    candidates = (here.parent / "scenarios", here.parents[2] / "simulations" / "scenarios")
    return [folder for folder in candidates if folder.is_dir()]


def _place(parts: tuple[int | str, ...]) -> str:
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not _UNION_TAG.fullmatch(part):
            text += f".{part}" if text else str(part)
    return text or "(whole file)"


def parse_scenario(raw: dict[str, Any], name: str = "scenario") -> Scenario:
    """Check a declaration and return the scenario.

    Raises
    ------
    ScenarioError
        Listing all errors, each with its place, the value and what would be right.
    """
    errors = cross_errors(raw)
    scenario = None
    try:
        scenario = Scenario.model_validate(raw)
    except ValidationError as failure:
        found: dict[tuple[str, str], list[str]] = {}
        for error in failure.errors(include_url=False):
            value = repr(error["input"])
            got = f" (got {value})" if error["type"] != "missing" and len(value) < 80 else ""
            found.setdefault((_place(error["loc"]), got), []).append(error["msg"].removeprefix("Value error, "))
        errors = [(place, ", or: ".join(messages) + got) for (place, got), messages in found.items()] + errors
    if errors or scenario is None:
        lines = "\n".join(f"  {place}: {message}" for place, message in errors)
        raise ScenarioError(f"{name} is not a valid scenario, {len(errors)} error(s):\n{lines}")
    return scenario


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a scenario by name, or from a TOML file of your own.

    Parameters
    ----------
    name_or_path : str or Path
        A name that ``moestat list`` shows, or a path that ends in ``.toml``.

    Raises
    ------
    FileNotFoundError
        If there is no such scenario or file.
    ScenarioError
        If the file is not valid; every error is listed with its place.

    Examples
    --------
    >>> load_scenario("softmax-gaussian-exact").truth.n_experts
    2
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        known = {file.stem: file for folder in reversed(_folders()) for file in folder.glob("*.toml")}
        if str(name_or_path) not in known:
            raise FileNotFoundError(
                f"no scenario {str(name_or_path)!r}; there are {', '.join(sorted(known)) or 'none'}"
            )
        path = known[str(name_or_path)]
    elif not path.is_file():
        raise FileNotFoundError(f"no scenario file {path}")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ScenarioError(f"{path.name} is not a TOML file: {failure}") from failure
    return parse_scenario(raw, path.name)


def list_scenarios() -> list[Scenario]:
    """All scenarios that come with moestat, by name."""
    names = sorted({file.stem for folder in _folders() for file in folder.glob("*.toml")})
    return [load_scenario(name) for name in names]
