"""Components of any family at points x, and whether two densities live on the same responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from moestat.divergences.densities import Components, ConditionalDensity
from moestat.experts.formula_blocks import extra_of

Array = NDArray[np.float64]

# Levels of the quantiles between which panels in y are laid; both ends of the support come first and last.
_TAIL = ndtr([-8.1, -3.5])
_LEVELS = (0.0, *_TAIL, 0.5, *(1.0 - _TAIL[::-1]), 1.0)


@dataclass(frozen=True)
class Support:
    """The responses of a density.

    Attributes
    ----------
    kind : str
        "interval" (continuous, one response), "counts", "classes", or another one, for which there is Monte Carlo.
    size : tuple
        Ends of the interval, number of classes, or whatever else must agree.
    label : str
        What a message calls it.
    """

    kind: str
    size: tuple[Any, ...]
    label: str


def family_of(density: Any) -> Any:
    """The experts of a density, those of the response before censoring; None for `RegressionTruth`."""
    expert: Any = getattr(density, "expert", None)
    return expert.family if getattr(expert, "intervals", False) else expert


def support_of(density: Any) -> Support:
    """The responses of a density.

    Raises
    ------
    ValueError
        If its experts are partly of counts and partly continuous, so that it has no density.
    """
    expert = family_of(density)
    columns = 1 if expert is not getattr(density, "expert", None) else int(getattr(density, "n_responses", 1))
    if expert is None or (expert.name == "gaussian" and columns == 1):
        return Support("interval", Components.ends, "real numbers")
    if hasattr(expert, "class_proba"):
        classes = int(density.layout.n_predictors) + 1
        return Support("classes", (classes,), f"{classes} classes")
    members = getattr(expert, "families", (expert,))
    if all(member.discrete for member in members):
        return Support("counts", (), f"counts ({expert.support})")
    if any(member.discrete for member in members):
        raise ValueError(f"{expert!r} mixes counts and continuous responses: there is no common density to compare.")
    if columns == 1 and all(hasattr(member, "ends") for member in members):
        low, high = zip(*(member.ends for member in members), strict=True)
        return Support("interval", (min(low), max(high)), expert.support)
    return Support(f"{columns} columns", (columns,), f"{columns} responses ({expert.name})")


def check_comparable(truth: Any, estimate: Any) -> Support:
    """The responses that two densities share.

    Raises
    ------
    ValueError
        If they live on different ones, or the weights of a gate do not sum to one.
    """
    for name, density in (("truth", truth), ("estimate", estimate)):
        gate = getattr(density, "gate", None)
        if gate is not None and not gate.normalised:
            raise ValueError(
                f"the {name} has the gate {gate!r}, whose weights do not sum to one: it is no density. Compare means by l2."
            )
    mine, theirs = support_of(truth), support_of(estimate)
    if (mine.kind, mine.size) != (theirs.kind, theirs.size):
        raise ValueError(
            f"the truth is a density on {mine.label}, the estimate on {theirs.label}: both must live on the same responses."
        )
    return mine


@dataclass(frozen=True, eq=False)
class FamilyComponents:
    """Components of any univariate family at q points x: log-probabilities (q,K), predictors (d,K,q) and scalars (c,K,1)."""

    expert: Any
    log_gate: Array
    eta: Array
    extra: Array

    @classmethod
    def of(cls, mixture: Any, X: Array) -> FamilyComponents:
        """The components of a `ConditionalMixture` at rows (q,d)."""
        expert, internal = family_of(mixture), mixture.internal
        eta = expert.predictors(internal.coef, mixture.expert_map.features(X))
        return cls(expert, mixture.log_gate(X), eta, extra_of(internal.scale))

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the support."""
        low, high = zip(*(member.ends for member in getattr(self.expert, "families", (self.expert,))), strict=True)
        return min(low), max(high)

    heavy = True

    def log_density(self, y: Array) -> Array:
        """Log-densities (q,N) at responses (q,N), or of several columns (C,q,N)."""
        columns = y if y.ndim == 3 else y[None]
        c, n, width = columns.shape
        eta = np.repeat(self.eta, width, axis=2)
        terms = np.array(self.expert.log_density(columns.reshape(c, n * width), eta, self.extra))
        return _log_sum(terms.reshape(-1, n, width) + self.log_gate.T[:, :, None])

    def quantile(self, level: float) -> Array:
        """Quantiles of the components (q,K)."""
        return np.asarray(self.expert.quantile(level, self.eta, self.extra), dtype=np.float64).T

    def quantiles(self) -> Array:
        """See `Components.quantiles`; an end of the support that is not finite is left out."""
        points = np.stack([self.quantile(level) for level in _LEVELS], axis=2)
        points[:, :, 0] = np.where(np.isfinite(points[:, :, 0]), points[:, :, 0], points[:, :, 1])
        points[:, :, -1] = np.where(np.isfinite(points[:, :, -1]), points[:, :, -1], points[:, :, -2])
        return points

    def take(self, rows: NDArray[np.int64]) -> FamilyComponents:
        """Components at some of the points."""
        return FamilyComponents(self.expert, self.log_gate[rows], self.eta[:, :, rows], self.extra)


AnyComponents = Components | FamilyComponents


def components_of(density: ConditionalDensity, X: Array) -> AnyComponents:
    """The components of a density of one response at rows (q,d)."""
    family = getattr(getattr(density, "expert", None), "name", "gaussian")
    return Components.of(density, X) if family == "gaussian" else FamilyComponents.of(density, X)


def _log_sum(terms: Array) -> Array:
    """``log Σ_k exp(terms)`` over the first axis; the terms are overwritten."""
    if terms.shape[0] == 1:
        return np.asarray(terms[0])
    top = np.maximum(terms.max(axis=0), -1e300)
    terms -= top
    np.exp(terms, out=terms)
    with np.errstate(divide="ignore"):
        log_density: Array = np.log(terms.sum(axis=0)) + top
    return log_density
