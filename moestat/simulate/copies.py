"""The model that is fitted when one expert of a truth is several: its gate, its experts, and where the copies are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..gates.hierarchical import HierarchicalGate
    from ..gates.shared import SharedExperts

    Array = NDArray[np.float64]

__all__ = ["Copies", "copy_expert"]


@dataclass(frozen=True)
class Copies:
    """A truth with an expert repeated; its copies have the whole weight each, so that it is not the truth yet.

    Attributes
    ----------
    model : ConditionalMixture
    gates, experts : tuple of str
        What the names of the copies' free parameters begin with, ``gate[1]:`` and ``expert[1]:``.
    origin : tuple of int
        Which true expert each one is.
    sigmoid : bool
        Whether weights are sigmoids of their intercepts, not exponentials.
    temperature : float
        By which intercepts are divided.
    """

    model: Any
    gates: tuple[str, ...]
    experts: tuple[str, ...]
    origin: tuple[int, ...]
    sigmoid: bool
    temperature: float


def copy_expert(truth: Any, split: int, atoms: int) -> Copies:
    """The truth with its expert ``split``, from 0, ``atoms`` times.

    As the last expert of a softmax is fixed, the copies are moved to the front: of the shared or the routed experts, if there are
    such, and of its node in a tree. A gate with k active experts gets ``k + atoms - 1``.
    """
    from ..experts.mixed import MixedExperts
    from ..gates.hierarchical import HierarchicalGate
    from ..gates.shared import SharedExperts
    from ..gates.sigmoid import SigmoidScores

    gate, params, expert = truth.gate, truth.params, truth.expert
    weights: Any = gate  # what the weight of the copies is one of
    found: Any
    if isinstance(gate, HierarchicalGate):
        found, own, gates, origin = _in_tree(gate, params, truth.n_experts, truth.n_features, split, atoms)
    elif isinstance(gate, SharedExperts):
        found, own, gates, origin = _beside_shared(gate, params, truth.n_experts, split, atoms)
        weights = None if split < gate.n_shared else gate.inner
    else:
        origin = _to_front(range(truth.n_experts), split, atoms)
        found, own = _widened(gate, atoms), _rows(params, gate.keys, origin)
        gates = tuple(f"gate[{k + 1}]:" for k in range(atoms))
    if isinstance(expert, MixedExperts):
        expert = MixedExperts([expert.families[k] for k in origin])
    own |= {
        key: value[origin] if np.ndim(value) else value for key, value in params.items() if key not in truth.gate.keys
    }
    options = {"n_features": truth.n_features}
    if getattr(truth, "noise_std", None) is not None:
        options["noise_std"] = truth.noise_std
    try:
        model = type(truth)(found, expert, own, **options).canonical()
    except ValueError as error:
        raise ValueError(f"split={split}: this expert cannot be moved to the front under {gate!r}: {error}") from error
    experts = tuple(f"expert[{k + 1}]:" for k, true in enumerate(origin) if true == split)
    temperature = params.get("gate_temperature", getattr(gate, "temperature", None) or 1.0)
    return Copies(model, gates, experts, tuple(origin), isinstance(weights, SigmoidScores), float(temperature))


def _to_front(experts: range, split: int, atoms: int) -> list[int]:
    return [split] * atoms + [k for k in experts if k != split]


def _rows(params: Mapping[str, Any], keys: tuple[str, ...], order: list[int]) -> dict[str, Any]:
    """Entries of a gate with one row an expert, for the experts in ``order``."""
    out = {
        key: np.asarray(params[key])[order] if np.ndim(params[key]) else params[key] for key in keys if key in params
    }
    if "gate_weight" in out:
        out["gate_weight"] = out["gate_weight"] / out["gate_weight"].sum()
    return out


def _widened(gate: Any, atoms: int) -> Any:
    """With as many more active experts as there are copies."""
    from ..gates.sparse import TopKGate

    return replace(gate, k=gate.k + atoms - 1) if isinstance(gate, TopKGate) else gate


def _beside_shared(
    gate: SharedExperts, params: Mapping[str, Any], n_experts: int, split: int, atoms: int
) -> tuple[SharedExperts, dict[str, Any], tuple[str, ...], list[int]]:
    m = gate.n_shared
    shared, routed = list(range(m)), list(range(m, n_experts))
    if split < m:
        gates = tuple(f"shared[{k + 1}]:" for k in range(atoms))
        shared = _to_front(range(m), split, atoms)
    else:
        gates = tuple(f"{'routed' if m else 'gate'}[{k + 1}]:" for k in range(atoms))
        routed = _to_front(range(m, n_experts), split, atoms)
        gate = replace(gate, routed=_widened(gate.inner, atoms))
    own = {key: params[key] for key in gate.keys if key in params}
    own |= _rows(params, gate.inner.keys, [k - m for k in routed])
    if m:
        own["shared_intercept"] = params["shared_intercept"][shared]
    return replace(gate, n_shared=len(shared)), own, gates, shared + routed


def _in_tree(
    gate: HierarchicalGate, params: Mapping[str, Any], n_experts: int, n_features: int, split: int, atoms: int
) -> tuple[HierarchicalGate, dict[str, Any], tuple[str, ...], list[int]]:
    """Copies are leaves of the node that the expert is a leaf of; the new ones come last among the experts."""
    from ..gates.trees import balanced_tree

    gamma = gate.from_params(params, n_experts, 1 + n_features)
    node = next(node for node in gate.nodes(len(gamma)) if (split,) in node.leaves)
    place = node.leaves.index((split,))
    copies = (split, *range(n_experts, n_experts + atoms - 1))

    def grown(branch: Any) -> Any:
        if not isinstance(branch, tuple):
            return branch
        if split in branch:
            return (*copies, *(child for child in branch if child != split))
        return tuple(grown(child) for child in branch)

    order = list(range(len(gamma)))
    inside = order[node.rows]
    order[node.rows] = [inside[place]] * atoms + [row for row in inside if row != inside[place]]
    tree = replace(gate, tree=grown(gate.tree if gate.tree is not None else balanced_tree(n_experts)))
    gates = tuple(f"gate[{'.'.join(map(str, (*node.path, k + 1)))}]:" for k in range(atoms))
    own = tree.to_params(tree.canonical(gamma[order]), n_experts + atoms - 1)
    return tree, own, gates, [*range(n_experts), *[split] * (atoms - 1)]
