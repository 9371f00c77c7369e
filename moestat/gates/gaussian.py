"""Gaussian gate: x itself is a Gaussian mixture, and the weights are its posterior probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import logsumexp

from moestat import precision
from moestat.entries import read_entry
from moestat.gates.base import Array
from moestat.gates.masked import check_choice, log_softmax
from moestat.gates.nonlinear import NonlinearScores, n_location_columns, weighted_means
from moestat.gates.parts import Parts

LOG_ROOT_2PI = 0.9189385332046727418


@dataclass(frozen=True)
class GaussianGate(NonlinearScores):
    """Gaussian gate of the localised mixture of experts (GLLiM): `p(x, y) = Σ_k π_k N_d(x; c_k, Γ_k) f_k(y|x)`.

    The weights given x are `π_k N(x; c_k, Γ_k) / Σ_j π_j N(x; c_j, Γ_j)` (Xu, Jordan & Hinton 1995; Deleforge, Forbes & Horaud 2015;
    Nguyen, Nguyen, Nguyen & Ho, AISTATS 2024). Scores are `s_k = α_k + log N(x; c_k, Γ_k)`, π the softmax of the α, the last α pinned
    at zero. A row of coefficients is `(α, c, ρ)`, ρ the lower triangle by rows of L with `Γ^-1 = L Lᵀ`, its diagonal as `-log L_ii`.

    Parameters
    ----------
    likelihood : {"joint", "conditional"}, default "joint"
        Maximise the joint density of (x, y), in which all parameters are identified, or that of y given x, in which a quadratic
        function of x may be added to all log weights: the gate is then `QuadraticGate` in other, unidentified parameters.

    Raises
    ------
    ValueError
        If the likelihood is another one, the gate has no column, or parameters are not those of a Gaussian mixture.

    Notes
    -----
    Parameters are `gate_weight (K,)`, which sum to one, `gate_location (K, d)` and `gate_covariance (K, d, d)`. The joint density is unbounded as a
    covariance closes on single rows: `floor_bounds` keeps the conditional standard deviations `1/L_ii` above a floor.

    The joint likelihood in scores: `log_prob` and its derivatives are those given x in either case. The joint log-likelihood of rows with
    weights w is `Σ_i w_i log Σ_k exp(s_ik + log f_ik) - (Σ_i w_i) A(α)`, `A = log Σ_k exp α_k`: with `log_weight` in the place of `log_prob` the
    derivative in scores is the identity, the curvature zero, every row's score has `-∇A` added and the Hessian `-(Σ_i w_i) ∇²A`. `log_mass`
    gives `A`, `∇A (K, p)` and `∇²A (K, p, K, p)`. For EM, `maximise_joint` is the M-step in closed form.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.gaussian import GaussianGate
    >>> gate = GaussianGate()
    >>> gamma = gate.from_params({"gate_weight": [0.6, 0.4], "gate_location": [[-0.5], [0.8]],
    ...                           "gate_covariance": [[[0.2]], [[0.1]]]}, 2, 2)
    >>> z = np.array([[1.0, 1.0], [0.0, 1.0]])
    >>> scores, log_prob = gate.forward(gamma, z)
    >>> np.exp(log_prob).round(4)
    array([[0.933 , 0.0047],
           [0.067 , 0.9953]])
    >>> np.exp(gate.log_weight(gamma, scores)).sum(axis=0).round(4)
    array([0.3071, 0.4151])
    """

    name: ClassVar[str] = "gaussian"

    likelihood: Literal["joint", "conditional"] = "joint"

    def __post_init__(self) -> None:
        check_choice("likelihood", self.likelihood, ("joint", "conditional"))

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """Whether the density of x is part of the likelihood."""
        return self.likelihood == "joint"

    def n_coef(self, n_features: int) -> int:
        """`α`, `c` and the lower triangle of L."""
        self.check_columns(n_features, 1)
        return n_features + n_features * (n_features - 1) // 2

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """Given x a quadratic function of x, but for its constant, which is pinned; none of the joint density."""
        return 0 if self.joint else self.n_coef(n_features) - 1

    # -- the map ------------------------------------------------------------------------------------------------------

    def scores(self, gamma: Array, z: Array) -> Array:
        """`α_k + Σ_i log L_ii - ½ |Lᵀ(x - c_k)|² - d/2 log 2π`."""
        d = len(z) - 1
        _, _, white = _pieces(gamma, z)
        rows, cols = np.tril_indices(d)
        constant = gamma[:, 0] - gamma[:, 1 + d :][:, rows == cols].sum(axis=1) - d * LOG_ROOT_2PI
        return np.asarray(constant[:, None] - 0.5 * (white * white).sum(axis=1))

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """With `e = x - c` and `w = Lᵀe`: `L w` in c, `-w_j e_i` in `L_ij`, `L_ii w_i e_i - 1` in `-log L_ii`."""
        d = len(z) - 1
        factor, gap, white = _pieces(gamma, z)
        rows, cols = np.tril_indices(d)
        triangle = white[:, cols] * gap[:, rows] * _slopes(factor)[:, :, None]
        triangle[:, rows == cols] += 1.0
        place = np.einsum("kij,kjb->kib", factor, white, optimize=True)
        return np.concatenate([np.ones((len(gamma), 1, z.shape[1])), place, -triangle], axis=1)

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array:
        """From the weighted moments `m = Σ w e` and `M = Σ w e eᵀ`.

        `-Σw L Lᵀ` in c; `δ_ai (Lᵀm)_j + L_aj m_i` in `(c_a, L_ij)`; `-δ_jl M_ik` in `(L_ij, L_kl)`, and the chain rule for `-log L_ii`.
        """
        d = len(z) - 1
        factor, gap, _ = _pieces(gamma, z)
        rows, cols = np.tril_indices(d)
        first = np.einsum("kb,kib->ki", weight, gap)
        second = np.einsum("kb,kib,kjb->kij", weight, gap, gap, optimize=True)
        slopes = _slopes(factor)
        out = np.zeros((len(gamma), gamma.shape[1], gamma.shape[1]))
        place, tail = slice(1, 1 + d), slice(1 + d, None)
        out[:, place, place] = -weight.sum(axis=1)[:, None, None] * (factor @ factor.swapaxes(1, 2))
        white_first = np.einsum("kij,ki->kj", factor, first)
        mixed = np.eye(d)[:, rows] * white_first[:, None, cols] + factor[:, :, cols] * first[:, None, rows]
        out[:, place, tail] = mixed * slopes[:, None]
        out[:, tail, place] = out[:, place, tail].swapaxes(1, 2)
        pairs = second[:, rows[:, None], rows] * slopes[:, :, None] * slopes[:, None, :]
        out[:, tail, tail] = np.where(cols[:, None] == cols, -pairs, 0.0)
        diagonal = 1 + d + np.flatnonzero(rows == cols)
        moved = np.einsum("kji,kji->ki", factor, second)  # (Lᵀ M)_ii
        out[:, diagonal, diagonal] -= np.diagonal(factor, axis1=1, axis2=2) * moved
        return out

    # -- the joint likelihood -------------------------------------------------------------------------------------------

    def log_weight(self, gamma: Array, scores: Array) -> Array:
        """`log π_k N(x; c_k, Γ_k)`, `(K, B)`, from the scores."""
        return np.asarray(scores - logsumexp(gamma[:, 0]))

    def log_mass(self, gamma: Array) -> tuple[float, Array, Array]:
        """`A = log Σ exp α_k`, its gradient `(K, p)` and Hessian `(K, p, K, p)`."""
        k, p = gamma.shape
        weight = np.exp(log_softmax(gamma[:, :1]))[:, 0]
        gradient, hessian = np.zeros((k, p)), np.zeros((k, p, k, p))
        gradient[:, 0] = weight
        hessian[:, 0, :, 0] = np.diag(weight) - np.outer(weight, weight)
        return float(logsumexp(gamma[:, 0])), gradient, hessian

    def maximise_joint(self, resp: Array, x: Array, floor: Array) -> Array:
        """Closed M-step: coefficients that maximise `Σ resp_k log π_k N(x; c_k, Γ_k)`.

        Parameters
        ----------
        resp : array (K, n)
            Responsibilities, multiplied by the weights of the rows.
        x : array (d, n)
        floor : array (d,)
            Smallest conditional standard deviations; see `floor_bounds`.
        """
        share, means = weighted_means(resp, x)
        gap = x[None] - means[:, :, None]
        mass = np.maximum(resp.sum(axis=1), 1e-300)
        covariance = np.einsum("kn,kin,kjn->kij", resp, gap, gap, optimize=True) / mass[:, None, None]
        return self.canonical(np.column_stack([np.log(share), means, precision.full_scale(covariance, floor)]))

    def moments(self, gamma: Array, z: Array, resp: Array) -> Array:
        """`Σ_b resp (1, x - c_k)(1, x - c_k)ᵀ`, `(K, 1 + d, 1 + d)`: what `maximise_moments` needs, additive over rows."""
        gap = np.concatenate([np.ones((len(gamma), 1, z.shape[1])), z[None, 1:] - gamma[:, 1 : len(z), None]], axis=1)
        return np.asarray(np.matmul(gap * resp[:, None], gap.swapaxes(1, 2)))

    def maximise_moments(self, gamma: Array, moments: Array, floor: Array) -> Array:
        """`maximise_joint` from the moments about the places of `gamma`; an expert without weight keeps its place."""
        mass = np.maximum(moments[:, 0, 0], 1e-12 * moments[:, 0, 0].sum())
        shift = moments[:, 0, 1:] / mass[:, None]
        covariance = moments[:, 1:, 1:] / mass[:, None, None] - shift[:, :, None] * shift[:, None]
        place = gamma[:, 1 : 1 + shift.shape[1]] + shift
        return self.canonical(
            np.column_stack([np.log(mass / mass.sum()), place, precision.full_scale(covariance, floor)])
        )

    def floor_bounds(self, n_experts: int, floor: Array) -> tuple[Array, Array]:
        """Bounds `(K, p)` that keep the conditional standard deviation of column i given the later ones above `floor (d,)`."""
        d = len(floor)
        low = np.full((n_experts, self.n_coef(d + 1)), -np.inf)
        rows, cols = np.tril_indices(d)
        low[:, 1 + d + np.flatnonzero(rows == cols)] = np.log(floor)
        return low, np.full_like(low, np.inf)

    def start(self, resp: Array, z: Array) -> Array:
        """Weighted moments, no standard deviation below a thousandth of that of all rows."""
        x, rows = z[1:], resp.sum(axis=0)[None]
        center = weighted_means(rows, x)[1].T
        variance = weighted_means(rows, (x - center) ** 2)[1][0]
        return self.maximise_joint(resp, x, 1e-3 * np.sqrt(variance) + 1e-150)

    # -- parameters ---------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("gate_weight", "gate_location", "gate_covariance")

    def n_inputs(self, params: Mapping[str, Any]) -> int:
        """Columns of `gate_location`."""
        return n_location_columns(params)

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """`gate_weight`, `gate_location` and `gate_covariance`."""
        d = _n_columns(gamma)
        return {
            "gate_weight": np.exp(log_softmax(gamma[:, :1]))[:, 0],
            "gate_location": gamma[:, 1 : 1 + d],
            "gate_covariance": precision.covariances(precision.factors(gamma[:, 1 + d :], d)),
        }

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (K, p)`.

        Raises
        ------
        ValueError
            If an entry is missing or of the wrong shape, weights are not positive with sum one, or a covariance is not one.
        """
        k, d = n_experts, n_features - 1
        weight = read_entry(params, "gate_weight", (k,))
        if not ((weight > 0.0).all() and abs(float(weight.sum()) - 1.0) <= 1e-8):
            raise ValueError(f"params['gate_weight'] must be positive with sum one; got {weight.tolist()}.")
        location = read_entry(params, "gate_location", (k, d))
        covariance = read_entry(params, "gate_covariance", (k, d, d))
        precision.check_covariances(covariance, "gate_covariance")
        scale = precision.full_scale(covariance, np.full(d, 1e-150))
        return self.canonical(np.column_stack([np.log(weight), location, scale]))

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """π as weights, c and Γ in the atoms; of the conditional likelihood the quadratic softmax that it sees."""
        weight, place, covariance = (params[key] for key in self.keys)
        if self.joint:
            return Parts(np.log(weight), {"gate_location": place, "gate_covariance": covariance}, "none")
        inverse = np.linalg.inv(covariance)
        slopes = np.einsum("kij,kj->ki", inverse, place)
        size = (slopes * place).sum(axis=1) + np.linalg.slogdet(covariance)[1]
        blocks = {"gate": slopes - slopes[-1], "gate_quadratic": -0.5 * (inverse - inverse[-1])}
        return Parts(np.log(weight) - 0.5 * size, blocks, "softmax")

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """`gate[1]:log_weight`, `gate[1]:location[x1]`, …, `gate[1]:log_scale[x1]`, `gate[1]:cholesky[x2,x1]`, …"""
        x = terms[1:]
        row = ["log_weight", *(f"location[{term}]" for term in x)]
        for i, term in enumerate(x):
            row += [*(f"cholesky[{term},{other}]" for other in x[:i]), f"log_scale[{term}]"]
        return [[f"gate[{k + 1}]:{label}" for label in row] for k in range(n_experts)]


def _n_columns(gamma: Array) -> int:
    """d, of which a row of coefficients has `1 + d + d(d + 1)/2`."""
    return int(np.sqrt(2.0 * gamma.shape[1])) - 1


def _pieces(gamma: Array, z: Array) -> tuple[Array, Array, Array]:
    """Factors `L (K, d, d)`, gaps `e = x - c_k` and `Lᵀe`, both `(K, d, B)`."""
    d = len(z) - 1
    factor = precision.factors(gamma[:, 1 + d :], d)
    gap = z[None, 1:] - gamma[:, 1 : 1 + d, None]
    return factor, gap, np.einsum("kij,kib->kjb", factor, gap, optimize=True)


def _slopes(factor: Array) -> Array:
    """`dL_ij` by its parameter, `(K, d(d + 1)/2)`: one below the diagonal, `-L_ii` on it."""
    rows, cols = np.tril_indices(factor.shape[1])
    return np.where(rows == cols, -factor[:, rows, cols], 1.0)
