"""The derivatives of one atom of a mixture, gate and expert together, as functions on a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from moestat.blocks import NONE, Block
from moestat.experts.formula_blocks import extra_of
from moestat.gates.activation import ActivationGate
from moestat.gates.masked import SoftmaxScores
from moestat.gates.prototype import GroupedSoftmax
from moestat.gates.scores import ScoreGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidScores
from moestat.kernels import plain as _plain
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]
plain: Any = _plain

# Families with a location and the variance of a normal law around it: ∂²f/∂b² = 2 ∂f/∂ν, the heat equation.
HEAT = ("gaussian", "lognormal", "normal", "nonlinear")


@dataclass(frozen=True)
class Pieces:
    """Derivatives of a logarithm's exponential, divided by it: `∂f/f (P, N)` and `∂²f/f (P, P, N)`, with names and groups."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    first: Array
    second: Array


@dataclass(frozen=True)
class Atom:
    """An expert with its gate: `u(x, y) = exp(s(x)) f(y|x)`, or `exp(s(x)) h(x)` under least squares, and its derivatives.

    Attributes
    ----------
    names, groups : tuple of str
        Of the P parameters; groups are `"gate"`, `"temperature"`, `"coef"`, `"intercept"` and those of scalars.
    value, first, second : ndarray (N,), (P, N), (P, P, N)
        On N points, divided by u (by `exp(s)` under least squares).
    n_gate : int
        How many of them are the gate's.
    symbol : str
        `"f"` or `"h"`.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    value: Array
    first: Array
    second: Array
    n_gate: int
    symbol: str

    def columns(self) -> tuple[Array, Array, list[str]]:
        """The functions `u, ∂u, ∂²u` `(N, 1 + P + P(P+1)/2)`, their natural lengths, and names."""
        p = len(self.names)
        rows, cols = np.tril_indices(p)
        value, first = self.value[:, None], self.first.T
        second = self.second[rows, cols].T
        length = np.linalg.norm(first, axis=0)
        size = np.linalg.norm(value)
        natural = np.concatenate([[size], np.maximum(length, 1e-8 * size), self.natural(rows, cols)])
        f = self.symbol
        names = [f, *(f"∂{f}/∂{name}" for name in self.names)]
        for i, j in zip(rows, cols):
            both = f"∂{self.names[i]}²" if i == j else f"∂{self.names[j]}∂{self.names[i]}"
            names.append(f"∂²{f}/{both}")
        return np.concatenate([value, first, second], axis=1), natural, names

    def turned(self, basis: Array) -> Atom:
        """The same in other parameters t, `θ = basis t` with `basis (P, P')`; they have no names."""
        first = np.einsum("pq,pn->qn", basis, self.first)
        second = np.einsum("pq,psn,sr->qrn", basis, self.second, basis, optimize=True)
        return Atom(("",) * len(first), (), self.value, first, second, 0, self.symbol)

    def natural(self, rows: Any, cols: Any) -> Array:
        """Lengths that second derivatives would have as products of first ones."""
        rms = np.sqrt((self.first**2).mean(axis=1)) / np.sqrt((self.value**2).mean())
        rms = np.maximum(rms, 1e-8)
        return np.asarray(rms[rows] * rms[cols] * np.linalg.norm(self.value))


def atom_of(model: ConditionalMixture, k: int, X: Array, y: Array | None) -> Atom:
    """Derivatives of atom k at rows of X and responses `y (n, D)`; without y those of its mean."""
    gate, expert = gate_pieces(model, k, X), expert_pieces(model, k, X, y)
    value = np.ones(len(X)) if y is not None else expert_mean(model, k, X)
    first = np.concatenate([gate.first * value, expert.first])
    g = len(gate.names)
    second = np.empty((len(first), len(first), len(X)))
    second[:g, :g] = gate.second * value
    second[:g, g:] = gate.first[:, None] * expert.first
    second[g:, :g] = second[:g, g:].swapaxes(0, 1)
    second[g:, g:] = expert.second
    names, groups = gate.names + expert.names, gate.groups + expert.groups
    return Atom(names, groups, value, first, second, g, "f" if y is not None else "h")


# -- the gate ---------------------------------------------------------------------------------------------------------


def gate_pieces(model: ConditionalMixture, k: int, X: Array) -> Pieces:
    """Derivatives of `exp(s_k)` in the gate's parameters of expert k but the intercept, which is a weight.

    Of a sigmoid gate those of `σ(s_k)`; in a hierarchy those of the node to which the expert belongs; none for constant weights.
    """
    gate: Any = model.gate
    gamma, z = model.gate_map.to_raw(model.internal.gate), model.gate_map.raw_map().features(X)
    names = gate.names(model.n_experts, ["Intercept", *model.gate_map.names(model.feature_names)])
    if isinstance(gate, SharedExperts):
        if k < gate.n_shared:
            return _none(len(X))
        head = len(gamma) - gate.inner.n_scores(model.n_experts - gate.n_shared)
        gamma, names, k, gate = gamma[head:], names[head:], k - gate.n_shared, gate.inner
        gamma = gamma[:, : gate.n_coef(len(z))]
    reference = isinstance(gate, ActivationGate) and gate.reference and k == model.n_experts - 1
    if not isinstance(gate, ScoreGate) or len(z) == 1 or reference:
        return _none(len(X))
    single = isinstance(gate, (SoftmaxScores, SigmoidScores)) or gate.joint
    jac = gate.score_jacobian(gamma, z) if single else z[None]
    row = jac[k if len(jac) > 1 else 0, 1:]
    curved = _curvatures(gate, gamma, z, k) if single else None
    slope = np.ones(len(X))
    if isinstance(gate, SigmoidScores):  # ∂σ/σ = 1 - σ, ∂²σ/σ = (1 - σ)(1 - 2σ); two atoms share the weight
        slope = 1.0 - 0.5 * expit(gate.scores(gamma, z)[k])
    second = row[:, None] * row * (slope * (2.0 * slope - 1.0) if isinstance(gate, SigmoidScores) else 1.0)
    if curved is not None:
        second = second + curved * slope
    label = [name.partition(":")[2] for name in names[k if single else 0]][1:]
    if getattr(gate, "temperature", 0.0) is not None and label and label[-1] == "log_temperature":
        label, row, second = label[:-1], row[:-1], second[:-1, :-1]  # known
    linear = len(jac) == 1
    shown = tuple(f"β[{name}]" if linear or isinstance(gate, SigmoidScores) else name for name in label)
    groups = tuple("temperature" if name.endswith("temperature") else "gate" for name in label)
    return Pieces(shown, groups, row * slope, second)


def _none(n: int) -> Pieces:
    return Pieces((), (), np.zeros((0, n)), np.zeros((0, 0, n)))


def _curvatures(gate: ScoreGate, gamma: Array, z: Array, k: int) -> Array | None:
    """`∂²s_k` at every row, `(p - 1, p - 1, N)` without the intercept, or None where it vanishes."""
    one = np.zeros((len(gamma), 1))
    one[k] = 1.0
    if gate.score_curvature(gamma, z[:, :1], one) is None:
        return None
    rows = [gate.score_curvature(gamma, z[:, b : b + 1], one) for b in range(z.shape[1])]
    return np.stack([row[k, 1:, 1:] for row in rows if row is not None], axis=-1)


def flat_softmax(gate: Any) -> bool:
    """Whether experts have a score each under one softmax."""
    return isinstance(gate, SoftmaxScores) and not isinstance(gate, GroupedSoftmax)


# -- the expert -------------------------------------------------------------------------------------------------------


def expert_pieces(model: ConditionalMixture, k: int, X: Array, y: Array | None) -> Pieces:
    """Derivatives of the density of expert k, divided by it, or of its mean, in its own parameters."""
    expert, phi = model.expert, model.expert_map.raw_map().features(X)
    coef, scale = one_expert(model, k)
    if y is None:
        first, pairs = mean_derivatives(expert, coef, scale, phi)
    else:
        first, pairs = density_derivatives(expert, coef, scale, phi, y)
    d, q = coef.shape[1:]
    m = len(first)
    rows, cols = np.tril_indices(m)
    full = np.empty((m, m, len(X)))
    full[rows, cols] = full[cols, rows] = pairs
    index = model.layout.scale_index[k]
    free = np.unique(index[index >= 0])
    # from predictors to parameters: coefficients by their features, scalars that are one parameter together
    carry = np.zeros((d * q + len(free), m, len(X)))
    for a in range(d):
        carry[a * q : (a + 1) * q, a] = phi
    for i, value in enumerate(free):
        carry[d * q + i, d + np.flatnonzero(index == value)] = 1.0
    flat = np.einsum("pmn,mn->pn", carry, first)
    bent = np.einsum("pmn,mln,qln->pqn", carry, full, carry, optimize=True)
    labels, links = expert.scalar_names(d, model.vector_y), expert.scalar_links(d)
    names, groups = _coefficient_names(model, d)
    for i, value in enumerate(free):
        s = int(np.flatnonzero(index == value)[0])
        name, slope, curve = _coordinate(expert, labels[s], links[s], float(scale[0, s]), y is not None)
        at = d * q + i
        bent[at, at] = (bent[at, at] - flat[at] * curve / slope) / slope**2
        bent[at, :at] /= slope
        bent[at, at + 1 :] /= slope
        bent[:at, at] /= slope
        bent[at + 1 :, at] /= slope
        flat[at] /= slope
        names.append(name)
        groups.append("variance" if name.startswith("ν") else name.partition("[")[0])
    return Pieces(tuple(names), tuple(groups), flat, bent)


def _coefficient_names(model: ConditionalMixture, d: int) -> tuple[list[str], list[str]]:
    terms = ["Intercept", *model.expert_map.names(model.feature_names)]
    heads = [head.rstrip(":") for head in model.expert.predictor_names(d, model.vector_y)]
    names, groups = [], []
    for head in heads:
        for j, term in enumerate(terms):
            inside = [part for part in (head, term if j else "") if part]
            names.append(("a" if j else "b") + (f"[{','.join(inside)}]" if inside else ""))
            groups.append("coef" if j else "intercept")
    return names, groups


def _coordinate(expert: Any, label: str, link: str, value: float, density: bool) -> tuple[str, float, float]:
    """A scalar in the coordinate of the theory: its name, and first and second derivative in the free value."""
    if density and expert.name in HEAT and label.startswith("log_scale") and not _full(expert, label):
        nu = float(np.exp(2.0 * value))
        return "ν" + label.removeprefix("log_scale"), 2.0 * nu, 4.0 * nu
    if link == "log" and label.startswith("log_"):
        theta = float(np.exp(value))
        return label.removeprefix("log_"), theta, theta
    return label, 1.0, 0.0


def _full(expert: Any, label: str) -> bool:
    """Whether a log scale is one of the factor of a full precision matrix."""
    return "[" in label and getattr(expert, "covariance", "") == "full"


def one_expert(model: ConditionalMixture, k: int) -> tuple[Array, Array]:
    """Raw coefficients `(1, d, q)` and scalars `(1, c)` of an expert."""
    return model.expert_map.to_raw(model.internal.coef)[k : k + 1], model.internal.scale[k : k + 1]


def expert_mean(model: ConditionalMixture, k: int, X: Array) -> Array:
    """Mean of an expert of a regression function, `(N,)`."""
    return np.asarray(model.expert_mean(X)[:, k])


def density_derivatives(expert: Any, coef: Array, scale: Array, phi: Array, y: Array) -> tuple[Array, Array]:
    """`∂f/f (m, N)` and `∂²f/f (m(m+1)/2, N)` in the predictors of one expert."""
    block, ws = _block(coef, scale, phi, y)
    expert.forward(coef, scale, block, ws, plain)
    first, pairs = expert.weighted_derivatives(scale, block, ws, plain)
    return np.array(first[:, 0]), np.array(pairs[:, 0])


def log_density(expert: Any, coef: Array, scale: Array, phi: Array, y: Array) -> Array:
    """`log f`, `(N,)`, of one expert."""
    block, ws = _block(coef, scale, phi, y)
    expert.forward(coef, scale, block, ws, plain)
    return np.array(ws["log_density"][0])


def _block(coef: Array, scale: Array, phi: Array, y: Array) -> tuple[Block, dict[str, Array]]:
    d, n, m = coef.shape[1], phi.shape[1], coef.shape[1] + scale.shape[1]
    shapes = {"log_density": (1,), "scratch": (1,), "kept": (d, 1), "first": (m, 1), "second": (m * (m + 1) // 2, 1)}
    ws = {name: np.empty((*shape, n)) for name, shape in shapes.items()} | {"resp": np.ones((1, n))}
    return Block(NONE, phi, np.ascontiguousarray(y.T), NONE, NONE, 0, n, 0), ws


def mean_derivatives(expert: Any, coef: Array, scale: Array, phi: Array) -> tuple[Array, Array]:
    """`∂h (m, N)` and `∂²h (m(m+1)/2, N)` in the predictors of one mean."""
    first, pairs = expert.mean_derivatives(expert.predictors(coef, phi), extra_of(scale))
    return first[:, 0], np.broadcast_to(pairs[:, 0], (len(pairs), phi.shape[1]))
