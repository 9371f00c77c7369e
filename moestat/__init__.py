"""moestat: fit mixtures of experts, get standard errors, and check how fast they converge.

Public names are imported when they are first used, so that ``import moestat`` and ``moestat --help`` stay quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        datasets,
        distributions,
        divergences,
        experts,
        gates,
        inference,
        losses,
        plot,
        simulate,
        solvers,
    )
    from .audit import identifiability
    from .dendrograms import Dendrogram, dendrogram
    from .estimators import (
        GaussianMoERegressor,
        MoEClassifier,
        MoERegressor,
        MultinomialMoEClassifier,
        PolynomialMoERegressor,
        SigmoidMoERegressor,
    )
    from .fitting import Start, fit_mixture
    from .formulas import formula
    from .mixing_measure import MixingMeasure
    from .mixture import ConditionalMixture
    from .persistence import load
    from .preference import PreferenceMoE
    from .regression_fitting import fit_least_squares
    from .regression_function import RegressionFunction

    __version__: str

__all__ = [
    "ConditionalMixture",
    "Dendrogram",
    "GaussianMoERegressor",
    "MixingMeasure",
    "MoEClassifier",
    "MoERegressor",
    "MultinomialMoEClassifier",
    "PolynomialMoERegressor",
    "PreferenceMoE",
    "RegressionFunction",
    "SigmoidMoERegressor",
    "Start",
    "__version__",
    "datasets",
    "dendrogram",
    "distributions",
    "divergences",
    "experts",
    "fit_least_squares",
    "fit_mixture",
    "formula",
    "gates",
    "identifiability",
    "inference",
    "load",
    "losses",
    "plot",
    "simulate",
    "solvers",
]

_SUBMODULES = frozenset(
    {
        "datasets",
        "distributions",
        "divergences",
        "experts",
        "gates",
        "inference",
        "losses",
        "plot",
        "simulate",
        "solvers",
    }
)

_HOME = {
    "ConditionalMixture": "mixture",
    "GaussianMoERegressor": "estimators",
    "MixingMeasure": "mixing_measure",
    "MoEClassifier": "estimators",
    "MoERegressor": "estimators",
    "MultinomialMoEClassifier": "estimators",
    "PolynomialMoERegressor": "estimators",
    "PreferenceMoE": "preference",
    "RegressionFunction": "regression_function",
    "SigmoidMoERegressor": "estimators",
    "Start": "fitting",
    "fit_least_squares": "regression_fitting",
    "fit_mixture": "fitting",
    "formula": "formulas",
    "Dendrogram": "dendrograms",
    "dendrogram": "dendrograms",
    "identifiability": "audit",
    "load": "persistence",
}

# Type checkers see the imports above; a visible ``__getattr__`` would make them accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _SUBMODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name in _HOME:
            value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        elif name == "__version__":
            from importlib.metadata import PackageNotFoundError, version

            try:
                value = version("moestat")
            except PackageNotFoundError:  # a checkout on sys.path that was never installed
                value = "0+uninstalled"
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; see dir({__name__})")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
