"""Solvers: local ascent methods on an objective, and the loop that runs them."""

from collections.abc import Sequence
from typing import Any

from moestat.solvers.base import FitResult, Run, State, Status, run
from moestat.solvers.cem import CEM
from moestat.solvers.certificate import Certificate, certify
from moestat.solvers.daem import DAEM
from moestat.solvers.em import EM
from moestat.solvers.lbfgs import LBFGS
from moestat.solvers.lm import LM
from moestat.solvers.newton import Newton
from moestat.solvers.squarem import SQUAREM

SOLVERS = {cls.name: cls for cls in (EM, SQUAREM, Newton, LBFGS, CEM, DAEM, LM)}
LIKELIHOOD = ("auto", EM.name, SQUAREM.name, Newton.name, LBFGS.name, CEM.name, DAEM.name)
LEAST_SQUARES = ("auto", LM.name, Newton.name, LBFGS.name)


def check_use(solver: Any, known: Sequence[str], what: str) -> None:
    """A ValueError where a solver of ours is not for this kind of objective.

    Raises
    ------
    ValueError
        With those that are.
    """
    name = solver if isinstance(solver, str) else getattr(solver, "name", None)
    if name in SOLVERS and name not in known:
        raise ValueError(f"solver={solver!r} is not for {what}; give one of {list(known)}.")


__all__ = [
    "CEM",
    "DAEM",
    "EM",
    "LBFGS",
    "LEAST_SQUARES",
    "LIKELIHOOD",
    "LM",
    "SOLVERS",
    "SQUAREM",
    "Certificate",
    "FitResult",
    "Newton",
    "Run",
    "State",
    "Status",
    "certify",
    "check_use",
    "run",
]
