"""Working coordinates of inference: features orthonormal in the data, where the information is well conditioned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from moestat.layout import Parameters
from moestat.maps import FeatureMap, PolynomialMap
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
    mixture = _orthonormal(mixture, X, weights)
    layout = mixture.layout
    n_coef = len(layout.coef_numbers) * layout.n_predictors
    n_scale = layout.n_params - layout.n_gate - layout.n_coef
    gate, expert = (
        _monomials(fixed, X, weights) if fixed.transform is not None else np.eye(fixed.n_raw)
        for fixed in (mixture.gate_map, mixture.expert_map)
    )
    gate_rows = _gate_rows(mixture, gate)
    invisible = [*gate_rows.invisible, *[_vanishing(expert)] * n_coef, np.zeros((n_scale, 0))]
    size = [*gate_rows.size, *[_row_size(expert)] * n_coef, np.ones(n_scale)]
    return Coordinates(
        mixture=mixture,
        jacobian=mixture.jacobian(),
        invisible=np.asarray(block_diag(*invisible)),
        feature_size=np.concatenate(size),
        n_gate=layout.n_gate,
        reference=weights.sum() * _reference(mixture),
    )


def without_kinks(mixture: ConditionalMixture, n: float) -> tuple[ConditionalMixture, str]:
    """The mixture whose second derivatives stand in for those of one with kinks, and the sentence that says so.

    Without kinks it is the mixture itself. See `for_information` of gates and experts; n is the number of rows.
    """
    n = n / mixture.n_experts
    gate, expert = mixture.gate.for_information(n), mixture.expert.for_information(n)
    said = []
    if gate != mixture.gate:
        said.append(
            f"The scores of {mixture.gate!r} have kinks: their curvature, whose mean is zero where the model holds, is left out of the "
            "information."
        )
    if expert != mixture.expert:
        said.append(
            f"Second derivatives are those of {expert!r}: where a log-density has a kink its curvature is a density, which is estimated "
            "over a window that narrows as rows are added."
        )
    if not said:
        return mixture, ""
    layout = replace(mixture.layout, gate=gate, expert=expert)
    return mixture._moved(layout, mixture.internal, (mixture.gate_map, mixture.expert_map)), " ".join(said)


class _GateRows(NamedTuple):
    invisible: list[FloatArray]
    size: list[FloatArray]


def _gate_rows(mixture: ConditionalMixture, monomials: FloatArray) -> _GateRows:
    """What no row can see of the gate, and the size of its features, in the order of the free vector."""
    raw = mixture._raw_layout
    if mixture.layout.gate.general:
        return _GateRows([np.zeros((raw.n_gate, 0))], [np.ones(raw.n_gate)])
    return _GateRows([_vanishing(monomials)] * raw.n_scored, [_row_size(monomials)] * raw.n_scored)


def _reference(mixture: ConditionalMixture) -> FloatArray:
    """Information a row if it spoke about one parameter alone; zero where no such bound is known.

    Of orthonormal features: at most a quarter a row for a log-odds, the precision for a Gaussian coefficient, 2 for its log scale.
    """
    layout = mixture.layout
    out = np.zeros(layout.n_params)
    if not layout.gate.raw_features:
        out[: layout.n_gate] = 0.25
    if mixture.expert.name == "gaussian" and not mixture.expert.raw_features:
        end = layout.n_gate + layout.sizes[1]
        precision = 1.0 / np.diagonal(mixture.expert_covariance(), axis1=1, axis2=2)
        out[layout.n_gate : end] = np.repeat(precision.ravel(), layout.q_expert)
        out[end:] = (
            [2.0 if link == "log" else 0.0 for link in mixture.free_links()[end - layout.n_params :]]
            if end < layout.n_params
            else []
        )
    return out


def _orthonormal(mixture: ConditionalMixture, X: FloatArray, weights: FloatArray) -> ConditionalMixture:
    """The mixture in features that are orthonormal in the data; it keeps those of its own fit, and raw ones that it needs."""
    old_gate, old_expert = mixture.gate_map, mixture.expert_map
    ready = [
        m.transform is not None or c.raw_features for m, c in ((old_gate, mixture.gate), (old_expert, mixture.expert))
    ]
    if all(ready):
        return mixture
    gate = old_gate if mixture.gate.raw_features else old_gate.refit(X, weights)
    shared = isinstance(gate, PolynomialMap) and isinstance(old_expert, PolynomialMap)
    same = shared and (gate.degree, gate.columns) == (old_expert.degree, old_expert.columns)
    if mixture.expert.raw_features:
        expert: FeatureMap = old_expert
    else:
        expert = gate if same and not mixture.gate.raw_features else old_expert.refit(X, weights)
    internal = Parameters(
        mixture.internal.gate
        if gate is old_gate
        else old_gate.to_raw(mixture.internal.gate) @ _monomials(gate, X, weights),
        mixture.internal.coef
        if expert is old_expert
        else old_expert.to_raw(mixture.internal.coef) @ _monomials(expert, X, weights),
        mixture.internal.scale,
    )
    layout = mixture.layout.with_features(gate.n_features, expert.n_features)
    return mixture._moved(layout, internal, (gate, expert))


def _monomials(features: FeatureMap, X: FloatArray, weights: FloatArray) -> FloatArray:
    """Matrix (q, q') of the raw monomials in the map's features, as functions on the weighted rows."""
    if features.n_features == features.n_raw:
        return np.asarray(features.from_raw(np.eye(features.n_raw)))
    # Columns are dependent: other coefficients give the same function, and only its values say which features make
    # it.
    raw = features.raw_map()
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
