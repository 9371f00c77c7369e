"""Other parameters of the same density: every expert split with one gate pattern, one expert split in two, a scaled temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit

from moestat.audit.atoms import density_derivatives, flat_softmax, log_density, mean_derivatives, one_expert
from moestat.audit.curves import SAME, Probe
from moestat.experts.formula_blocks import extra_of
from moestat.gates.activation import ActivationGate
from moestat.gates.constant import ConstantGate
from moestat.gates.gaussian import GaussianGate
from moestat.gates.sigmoid import SigmoidScores
from moestat.gates.softmax import SoftmaxGate
from moestat.gates.sparse import TopKGate
from moestat.layout import Parameters
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

PATTERN = 1.3  # how far the slopes of a split expert part, in units of the largest feature
SPLIT = 0.5  # how far the two atoms of a cell part, in units of the effect on log f


def can_split(gate: Any) -> bool:
    """Whether the gate has a row of coefficients an expert, whose weight its first one scales."""
    return flat_softmax(gate) or isinstance(gate, (SigmoidScores, ConstantGate))


def expanded(model: ConditionalMixture, order: Sequence[int], log_shares: Array, shift: Array) -> ConditionalMixture:
    """The model whose atom i is atom `order[i]`, its weight times a share, its gate's other coefficients moved by `shift (K', p - 1)`."""
    gate: Any = model.gate
    index = np.asarray(order)
    gamma = model.gate_map.to_raw(model.internal.gate)[index]
    unit = float(getattr(gate, "temperature", None) or 1.0) if isinstance(gate, SoftmaxGate) else 1.0
    if isinstance(gate, ActivationGate):
        unit = (gate.temperature or 1.0) * float(np.exp(gamma[0, -1]))
        gate = replace(gate, reference=False)
    if isinstance(gate, TopKGate):
        gate = replace(gate, k=gate.k * len(index) // model.n_experts)
    gamma[:, 0] += unit * log_shares
    gamma[:, 1 : 1 + shift.shape[1]] += shift
    scale = model.internal.scale[index]
    layout = replace(model._raw_layout, gate=gate, n_experts=len(index), known_scale=scale)
    coef = model.expert_map.to_raw(model.internal.coef)[index]
    return model._moved(layout, Parameters(gate.canonical(gamma), coef, scale), model._raw_maps)


def split_all(model: ConditionalMixture, n_experts: int, pattern: Array) -> ConditionalMixture:
    """Every expert split into two of half its weight, slopes moved by plus and minus the pattern; more atoms are copies of the last."""
    k = model.n_experts
    copies = np.full(2 * k, 1)
    copies[-1] += n_experts - 2 * k
    order = np.repeat(np.repeat(np.arange(k), 2), copies)
    signs = np.repeat(np.tile([1.0, -1.0], k), copies)
    shares = -np.log(2.0) - np.repeat(np.log(copies), copies)
    return expanded(model, order.tolist(), shares, signs[:, None] * pattern)


def patterns(probe: Probe) -> list[Array]:
    """Patterns to try: equal in all features; for a top-K gate, which ranks, also short ones along the differences of slopes."""
    model = probe.model
    z = model.gate_map.raw_map().features(probe.X)[1:]
    gate: Any = model.gate
    size = PATTERN / np.maximum(np.abs(z).max(axis=1), 1.0)
    out = [size]
    if isinstance(gate, TopKGate):
        slopes = model.gate_map.to_raw(model.internal.gate)[:, 1:]
        pairs = [slopes[i] - slopes[j] for i in range(len(slopes)) for j in range(i)]
        out += [0.2 * min(pairs, key=lambda v: float(np.linalg.norm(v)))] if pairs else []
    if isinstance(gate, GaussianGate):
        out = [size[: model.gate_map.n_raw - 1]]
    return out


def best_split(probe: Probe, n_experts: int) -> tuple[ConditionalMixture, float]:
    """The split of every expert that is nearest to the model, and its gap."""
    found = [split_all(probe.model, n_experts, pattern) for pattern in patterns(probe)]
    gaps = [probe.gap(twin) for twin in found]
    return found[int(np.argmin(gaps))], min(gaps)


def other_temperature(model: ConditionalMixture) -> ConditionalMixture | None:
    """The same gate with twice the temperature, where there is one."""
    gate: Any = model.gate
    if not isinstance(gate, SoftmaxGate) or float(gate.temperature) == 1.0:
        return None
    twice = replace(gate, temperature=2.0 * float(gate.temperature))
    internal = model.internal._replace(gate=2.0 * model.internal.gate)
    return model._moved(replace(model.layout, gate=twice), internal, (model.gate_map, model.expert_map))


def halved(model: ConditionalMixture, k: int) -> ConditionalMixture | None:
    """Expert k as two behind its own gate whose means add up to it, for weights that need not sum to one; None if means do not add up."""
    expert: Any = model.expert
    output = getattr(expert, "output", False)
    if not (expert.linear or output):
        return None
    order = [*range(k), k, k, *range(k + 1, model.n_experts)]
    twin = expanded(model, order, np.zeros(len(order)), np.zeros((len(order), 0)))
    coef, scale = twin.internal.coef.copy(), twin.internal.scale.copy()
    part, move = (scale, np.array(SPLIT)) if output else (coef, np.full(coef.shape[1:], SPLIT))
    part[k], part[k + 1] = 0.5 * part[k] + move, 0.5 * part[k] - move
    return twin._moved(twin.layout, Parameters(twin.internal.gate, coef, scale), (twin.gate_map, twin.expert_map))


# -- one expert as two ------------------------------------------------------------------------------------------------


class Cell:
    """Two atoms with the gate of one expert in its place: how near they come to it, a direction of their difference given."""

    def __init__(self, probe: Probe, k: int, X: Array, y: Array | None) -> None:
        model = probe.model
        self.expert: Any = model.expert
        self.phi = model.expert_map.raw_map().features(X)
        self.y = y
        self.coef, self.scale = one_expert(model, k)
        index = model.layout.scale_index[k]
        free = np.unique(index[index >= 0])
        self.tie = np.array([index == value for value in free], dtype=float).reshape(len(free), len(index))
        still = np.zeros(self.coef.size + len(free))
        self.base = np.zeros(len(X)) if y is None else log_density(self.expert, self.coef, self.scale, self.phi, y)
        self.target = self.value(still)
        self.size = np.sqrt((self.slopes(still) ** 2).mean(axis=1))

    def parameters(self, move: Array) -> tuple[Array, Array]:
        """Coefficients and scalars moved by a vector of the expert's own free parameters."""
        n = self.coef.size
        return self.coef + move[:n].reshape(self.coef.shape), self.scale + move[n:] @ self.tie

    def value(self, move: Array) -> Array:
        """`f` over that of the expert itself, or h, on the points."""
        coef, scale = self.parameters(move)
        if self.y is None:
            return np.asarray(self.expert.mean(self.expert.predictors(coef, self.phi), extra_of(scale))[0])
        with np.errstate(over="ignore"):
            return np.exp(log_density(self.expert, coef, scale, self.phi, self.y) - self.base)

    def slopes(self, move: Array) -> Array:
        """Derivatives of `value` in the expert's parameters, `(P, N)`."""
        coef, scale = self.parameters(move)
        if self.y is None:
            first = mean_derivatives(self.expert, coef, scale, self.phi)[0]
        else:
            first = density_derivatives(self.expert, coef, scale, self.phi, self.y)[0]
            first = first * self.value(move)
        d = self.coef.shape[1]
        coefs = (first[:d, None] * self.phi).reshape(-1, self.phi.shape[1])
        return np.concatenate([coefs, self.tie @ first[d:]])

    def part(self, direction: Array) -> tuple[float, Array, Array]:
        """Least gap of two atoms that are apart along a direction, their moves `(2, P)`, and the log of their shares."""
        inverse = 1.0 / np.where(self.size > 0.0, self.size, 1.0)
        unit = direction / np.linalg.norm(direction)
        across = np.eye(len(unit)) - np.outer(unit, unit)
        p = len(unit)

        def moves(free: Array) -> Array:
            ways = np.stack([SPLIT * unit, -SPLIT * unit]) + free[: 2 * p].reshape(2, p) @ across
            return np.asarray(ways * inverse)

        def shares(free: Array) -> Array:
            return np.asarray(expit(np.array([free[-1], -free[-1]])))

        def residual(free: Array) -> Array:
            left, right = (self.value(move) for move in moves(free))
            w = shares(free)
            return np.asarray(w[0] * left + w[1] * right - self.target)

        def jacobian(free: Array) -> Array:
            w, both = shares(free), moves(free)
            blocks = [w[i] * across @ (inverse[:, None] * self.slopes(both[i])) for i in range(2)]
            last = w[0] * w[1] * (self.value(both[0]) - self.value(both[1]))
            return np.concatenate([*blocks, last[None]]).T

        found = least_squares(residual, np.zeros(2 * p + 1), jacobian, xtol=1e-12, ftol=1e-15, gtol=1e-15, max_nfev=100)
        gap = float(np.abs(found.fun).max() / np.abs(self.target).max())
        return gap, moves(found.x), np.log(shares(found.x))


def split_one(probe: Probe, k: int, moves: Array, log_shares: Array, cell: Cell) -> ConditionalMixture | None:
    """The model with expert k as two atoms, where the gate has a row an expert."""
    model = probe.model
    if not can_split(model.gate) or isinstance(model.gate, (SigmoidScores, TopKGate)):
        return None
    order = [*range(k), k, k, *range(k + 1, model.n_experts)]
    shares = np.zeros(len(order))
    shares[k : k + 2] = log_shares
    twin = expanded(model, order, shares, np.zeros((len(order), 0)))
    coef, scale = twin.internal.coef.copy(), twin.internal.scale.copy()
    for i, move in enumerate(moves):
        coef[k + i], scale[k + i] = (part[0] for part in cell.parameters(move))
    out = twin._moved(
        twin.layout.replace_known(scale), Parameters(twin.internal.gate, coef, scale), (twin.gate_map, twin.expert_map)
    )
    return out if probe.gap(out) <= SAME else None
