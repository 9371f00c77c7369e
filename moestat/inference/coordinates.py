"""Working coordinates of inference: features orthonormal in the data, where the information is well conditioned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from moestat.maps import PolynomialMap
from moestat.mixture import ConditionalMixture
from moestat.objective import Parameters

from .information import sparse_basis

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """A mixture in working coordinates, and the way back to its raw free parameters.

    Attributes
    ----------
    mixture : ConditionalMixture
        The same density; its internal free vector is the working one.
    jacobian : ndarray of shape (P, P')
        Derivative of the raw free vector with respect to the working one.
    invisible : ndarray of shape (P, r)
        Moves of the raw free vector that no row can see, because columns are constant or collinear.
    n_gate : int
        Number of working coordinates of the gate; they come first.
    reference : ndarray of shape (P',)
        Information on each working coordinate if every row spoke about it; zero where there is no such bound.
    """

    mixture: ConditionalMixture
    jacobian: FloatArray
    invisible: FloatArray
    n_gate: int
    reference: FloatArray


def working_coordinates(mixture: ConditionalMixture, X: FloatArray, weights: FloatArray) -> Coordinates:
    """Coordinates in which the features of gate and experts are orthonormal under the weighted rows of ``X``.

    A fitted mixture carries such coordinates (those of its own data) and keeps them, because a translation through raw
    monomials of high degree loses digits; a mixture given by raw parameters is translated.
    """
    if mixture.gate_map.transform is None or mixture.expert_map.transform is None:
        mixture = _orthonormal(mixture, X, weights)
    layout = mixture.layout
    n_gate, n_coef = layout.sizes[0], mixture.n_experts * mixture.n_responses
    n_scale = layout.n_params - sum(layout.sizes[:2])
    gate, expert = _invisible(mixture.gate_map), _invisible(mixture.expert_map)
    blocks = [gate] * layout.n_scored + [expert] * n_coef + [np.zeros((n_scale, 0))]
    # Of orthonormal features: at most a quarter a row for a log-odds, the precision for a coefficient, 2 for a log scale.
    precision = 1.0 / np.diagonal(mixture.expert_covariance(), axis1=1, axis2=2)
    scales = [2.0 if ":log_scale" in name else 0.0 for name in mixture.free_names()[-n_scale:]] if n_scale else []
    reference = weights.sum() * np.r_[np.full(n_gate, 0.25), np.repeat(precision.ravel(), layout.q_expert), scales]
    return Coordinates(mixture, mixture.jacobian(), np.asarray(block_diag(*blocks)), n_gate, reference)


def _orthonormal(mixture: ConditionalMixture, X: FloatArray, weights: FloatArray) -> ConditionalMixture:
    old_gate, old_expert = mixture.gate_map, mixture.expert_map
    gate = PolynomialMap.fit(X, old_gate.degree, old_gate.columns, weights)
    expert = PolynomialMap.fit(X, old_expert.degree, old_expert.columns, weights)
    internal = Parameters(
        gate.from_raw(old_gate.to_raw(mixture.internal.gate)),
        expert.from_raw(old_expert.to_raw(mixture.internal.coef)),
        mixture.internal.scale,
    )
    layout = mixture.layout.with_features(gate.n_features, expert.n_features)
    return ConditionalMixture._from_internal(
        layout, internal, (gate, expert), mixture.n_features, mixture.vector_y, mixture.feature_names
    )


def _invisible(features: PolynomialMap) -> FloatArray:
    """Raw coefficient vectors (q, r) whose polynomial vanishes on the data, as sparse as row reduction makes them."""
    if features.transform is None or features.n_features == features.n_raw:
        return np.zeros((features.n_raw, 0))
    values = features.from_raw(np.eye(features.n_raw))  # row j: monomial j in orthonormal features
    size = np.linalg.norm(values, axis=1)
    size[size == 0.0] = 1.0
    left, singular, _ = np.linalg.svd(values / size[:, None])
    rank = int(np.sum(singular > 1e-9 * singular[0]))
    return np.asarray(sparse_basis(left[:, rank:]) / size[:, None])
