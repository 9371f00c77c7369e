"""Working coordinates of inference: features orthonormal in the data, where the information is well conditioned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from moestat.layout import Parameters
from moestat.maps import PolynomialMap
from moestat.mixture import ConditionalMixture

from .information import sparse_basis

FloatArray = npt.NDArray[np.float64]

_ROWS = 8192


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
    feature_size : ndarray of shape (P,)
        Root mean square of each parameter's feature (1 for scale parameters).
    n_gate : int
        Number of working coordinates of the gate; they come first.
    reference : ndarray of shape (P',)
        Information on each working coordinate if every row spoke about it; zero where there is no such bound.
    """

    mixture: ConditionalMixture
    jacobian: FloatArray
    invisible: FloatArray
    feature_size: FloatArray
    n_gate: int
    reference: FloatArray


def working_coordinates(mixture: ConditionalMixture, X: FloatArray, weights: FloatArray) -> Coordinates:
    """Coordinates in which the features of gate and experts are orthonormal under the weighted rows of ``X``.

    A fitted mixture carries such coordinates (those of its own data) and keeps them, because a translation through
    raw monomials of high degree loses digits; a mixture given by raw parameters is translated.
    """
    if mixture.gate_map.transform is None or mixture.expert_map.transform is None:
        mixture = _orthonormal(mixture, X, weights)
    layout = mixture.layout
    n_gate, n_coef = layout.sizes[0], mixture.n_experts * mixture.n_responses
    n_scale = layout.n_params - sum(layout.sizes[:2])
    gate, expert = _monomials(mixture.gate_map, X, weights), _monomials(mixture.expert_map, X, weights)
    invisible = [_vanishing(gate)] * layout.n_scored + [_vanishing(expert)] * n_coef + [np.zeros((n_scale, 0))]
    size = [_row_size(gate)] * layout.n_scored + [_row_size(expert)] * n_coef + [np.ones(n_scale)]
    # Of orthonormal features: at most a quarter a row for a log-odds, the precision for a coefficient, 2 for a log
    # scale.
    precision = 1.0 / np.diagonal(mixture.expert_covariance(), axis1=1, axis2=2)
    scales = [2.0 if ":log_scale" in name else 0.0 for name in mixture.free_names()[-n_scale:]] if n_scale else []
    reference = np.r_[np.full(n_gate, 0.25), np.repeat(precision.ravel(), layout.q_expert), scales]
    return Coordinates(
        mixture=mixture,
        jacobian=mixture.jacobian(),
        invisible=np.asarray(block_diag(*invisible)),
        feature_size=np.concatenate(size),
        n_gate=n_gate,
        reference=weights.sum() * reference,
    )


def _orthonormal(mixture: ConditionalMixture, X: FloatArray, weights: FloatArray) -> ConditionalMixture:
    old_gate, old_expert = mixture.gate_map, mixture.expert_map
    gate = PolynomialMap.fit(X, old_gate.degree, old_gate.columns, weights)
    same = (old_gate.degree, old_gate.columns) == (old_expert.degree, old_expert.columns)
    expert = gate if same else PolynomialMap.fit(X, old_expert.degree, old_expert.columns, weights)
    internal = Parameters(
        old_gate.to_raw(mixture.internal.gate) @ _monomials(gate, X, weights),
        old_expert.to_raw(mixture.internal.coef) @ _monomials(expert, X, weights),
        mixture.internal.scale,
    )
    layout = mixture.layout.with_features(gate.n_features, expert.n_features)
    return ConditionalMixture._from_internal(
        layout, internal, (gate, expert), mixture.n_features, mixture.vector_y, mixture.feature_names
    )


def _monomials(features: PolynomialMap, X: FloatArray, weights: FloatArray) -> FloatArray:
    """Matrix (q, q') of the raw monomials in the map's features, as functions on the weighted rows."""
    if features.n_features == features.n_raw:
        return np.asarray(features.from_raw(np.eye(features.n_raw)))
    # Columns are dependent: other coefficients give the same function, and only its values say which features make
    # it.
    raw = PolynomialMap.raw(features.degree, features.columns)
    cross, gram = np.zeros((raw.n_raw, features.n_features)), np.zeros((features.n_features, features.n_features))
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        values = features.features(X[rows])
        weighted = (values * weights[rows]).T
        cross += raw.features(X[rows]) @ weighted
        gram += values @ weighted
    return np.asarray(np.linalg.lstsq(gram, cross.T, rcond=None)[0].T)


def _row_size(monomials: FloatArray) -> FloatArray:
    size = np.linalg.norm(monomials, axis=1)
    return np.where(size > 0.0, size, 1.0)


def _vanishing(monomials: FloatArray) -> FloatArray:
    """Raw coefficient vectors (q, r) whose polynomial vanishes on the rows, as sparse as row reduction makes them."""
    n_raw, n_features = monomials.shape
    if n_raw == n_features:
        return np.zeros((n_raw, 0))
    size = _row_size(monomials)
    left = np.linalg.svd(monomials / size[:, None])[0]
    return np.asarray(sparse_basis(left[:, n_features:]) / size[:, None])
