"""Solvers: local ascent methods on an objective, and the loop that runs them."""

from moestat.solvers.base import FitResult, Run, State, Status, run
from moestat.solvers.cem import CEM
from moestat.solvers.certificate import Certificate, certify
from moestat.solvers.em import EM
from moestat.solvers.lbfgs import LBFGS
from moestat.solvers.newton import Newton
from moestat.solvers.squarem import SQUAREM

SOLVERS = {cls.name: cls for cls in (EM, SQUAREM, Newton, LBFGS, CEM)}

__all__ = [
    "CEM",
    "EM",
    "LBFGS",
    "SOLVERS",
    "SQUAREM",
    "Certificate",
    "FitResult",
    "Newton",
    "Run",
    "State",
    "Status",
    "certify",
    "run",
]
