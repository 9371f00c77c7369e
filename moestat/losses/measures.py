"""Measures of composite models: shared and routed experts, hierarchies, deviations from a known density."""

from __future__ import annotations

from dataclasses import dataclass, replace

from moestat.losses.blocks import Array
from moestat.mixing_measure import MixingMeasure


@dataclass(frozen=True, eq=False)
class SharedMeasure:
    r"""Measures of a model with shared experts, ``f = λ Σ_i ω_i f_i + (1 - λ) Σ_i π_i(x) f_i``.

    Parameters
    ----------
    shared : MixingMeasure
        Experts that are always active, with weights ω and no gate (its gauge becomes ``"none"``).
    routed : MixingMeasure
        Experts behind a gate.
    weight : float
        λ, the share of the shared experts; 1/2 in Nguyen et al. (2025), On DeepSeekMoE.

    Raises
    ------
    ValueError
        If ``weight`` is not between 0 and 1, or the shared experts have a gate.

    Examples
    --------
    >>> line = MixingMeasure([1.0], {"coef": [[0.3]], "intercept": [3.0], "scale": [0.3]})
    >>> SharedMeasure(line, line).weight
    0.5
    """

    shared: MixingMeasure
    routed: MixingMeasure
    weight: float = 0.5

    def __post_init__(self) -> None:
        _check_share(self.weight)
        gated = [name for name in self.shared.atoms if name.startswith("gate")]
        if gated:
            raise ValueError(f"shared experts are always active and have no gate, got the blocks {gated}.")
        object.__setattr__(self, "shared", replace(self.shared, gauge="none"))


@dataclass(frozen=True, eq=False)
class HierarchicalMeasure:
    r"""Measure of a hierarchical mixture, ``Σ_i g_i(x) Σ_j g_{j|i}(x) f_ij``.

    Parameters
    ----------
    weights : array_like (K,)
        ``exp`` of the intercepts of the first gate.
    gates : array_like (K,d)
        Slopes of the first gate (of a softmax) or its locations (of a Laplace gate); d = 0 for groups of known weights.
    children : sequence of K MixingMeasure
        The mixture at each branch, its gate included.
    gauge : {"softmax", "weights", "none"}
        Gauge of the first gate; the children have theirs.

    Raises
    ------
    ValueError
        If there is not one child for each weight, or weights and gates are no measure.

    Examples
    --------
    >>> leaf = MixingMeasure([1.0, 1.0], {"gate": [[1.0], [0.0]], "intercept": [0.0, 1.0]})
    >>> HierarchicalMeasure([1.0, 2.0], [[3.0], [0.0]], [leaf, leaf]).outer
    MixingMeasure(n_atoms=2, gate (2, 1))
    """

    weights: Array
    gates: Array
    children: tuple[MixingMeasure, ...]
    gauge: str = "softmax"

    def __post_init__(self) -> None:
        outer, children = self.outer, tuple(self.children)
        if len(children) != outer.n_atoms:
            raise ValueError(f"there must be one child for each of the {outer.n_atoms} weights, got {len(children)}.")
        for name, value in {"weights": outer.weights, "gates": outer.atoms["gate"], "children": children}.items():
            object.__setattr__(self, name, value)

    @property
    def outer(self) -> MixingMeasure:
        """The first gate as a measure: its weights, and its slopes as atoms."""
        return MixingMeasure(self.weights, {"gate": self.gates}, self.gauge)


@dataclass(frozen=True, eq=False)
class DeviatedMeasure:
    r"""Measure of a deviated model, ``(1 - λ) g0(y|x) + λ Σ_i p_i f_i`` with g0 known.

    Parameters
    ----------
    weight : float
        λ.
    measure : MixingMeasure
        The deviation, with constant weights p (its gauge becomes ``"none"``).

    Raises
    ------
    ValueError
        If ``weight`` is not between 0 and 1.

    Examples
    --------
    >>> DeviatedMeasure(0.4, MixingMeasure([1.0], {"intercept": [0.0]})).weight
    0.4
    """

    weight: float
    measure: MixingMeasure

    def __post_init__(self) -> None:
        _check_share(self.weight)
        object.__setattr__(self, "measure", replace(self.measure, gauge="none"))


Measure = MixingMeasure | SharedMeasure | HierarchicalMeasure | DeviatedMeasure


def _check_share(weight: float) -> None:
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight must lie between 0 and 1, got {weight}.")
