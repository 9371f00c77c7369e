"""Between the public parameter dictionary (raw coordinates) and internal parameters."""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.maps import PolynomialMap

Array = NDArray[np.float64]

KEYS = ("gate_coef", "gate_intercept", "expert_coef", "expert_intercept", "expert_scale", "expert_covariance")


def read_array(params: Mapping[str, Any], name: str) -> Array:
    """A finite float array of the dictionary.

    Raises
    ------
    ValueError
        If it is missing, not numeric, or not finite.
    """
    if name not in params:
        raise ValueError(f"params lacks {name!r}; it has {sorted(params)}.")
    try:
        value = np.array(params[name], dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"params[{name!r}] must be a numeric array; got {params[name]!r}.") from error
    if not np.isfinite(value).all():
        raise ValueError(f"params[{name!r}] must be finite; got {value}.")
    return value


def n_columns(n_monomials: int, degree: int) -> int:
    """Number of columns whose polynomial of this degree has `n_monomials` coefficients besides the constant."""
    if degree == 0:
        return 0
    d = 0
    while comb(d + degree, degree) - 1 < n_monomials:
        d += 1
    if comb(d + degree, degree) - 1 != n_monomials:
        raise ValueError(
            f"expert_coef has {n_monomials} columns, which is no number of monomials of degree 1…{degree}; "
            f"{d} columns of X would give {comb(d + degree, degree) - 1}."
        )
    return d


def check_shape(name: str, value: Array, shape: tuple[int, ...]) -> Array:
    """The array if its shape is right; else a ValueError that says both."""
    if value.shape != shape:
        raise ValueError(f"params[{name!r}] has shape {value.shape}; expected {shape}.")
    return value


def from_dict(
    params: Mapping[str, Any], gate: Gate, expert: GaussianExpert, gate_map: PolynomialMap, expert_map: PolynomialMap
) -> tuple[Layout, Parameters]:
    """Layout and internal parameters of a public dictionary.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a shape or value is wrong.
    """
    unknown = sorted(set(params) - set(KEYS))
    if unknown:
        raise ValueError(f"params has unknown keys {unknown}; the keys are {list(KEYS)}.")
    intercept = read_array(params, "expert_intercept")
    if intercept.ndim not in (1, 2):
        raise ValueError(f"params['expert_intercept'] has shape {intercept.shape}; expected (K,) or (K, D).")
    k = len(intercept)
    d = 1 if intercept.ndim == 1 else intercept.shape[1]
    tail = () if intercept.ndim == 1 else (d,)
    p = expert_map.n_raw - 1
    coef = (
        check_shape("expert_coef", read_array(params, "expert_coef"), (k, *tail, p)) if p else np.zeros((k, *tail, 0))
    )
    q = gate_map.n_raw - 1
    if gate.n_free(k) or "gate_intercept" in params:
        gate_intercept = check_shape("gate_intercept", read_array(params, "gate_intercept"), (k,))
    else:
        gate_intercept = np.zeros(k)
    gate_coef = check_shape("gate_coef", read_array(params, "gate_coef"), (k, q)) if q else np.zeros((k, 0))
    raw_gate = np.column_stack([gate_intercept, gate_coef])
    raw_coef = np.concatenate([intercept.reshape(k, d, 1), coef.reshape(k, d, p)], axis=2)
    if "expert_covariance" in params:
        covariance = check_shape("expert_covariance", read_array(params, "expert_covariance"), (k, d, d))
    else:
        sd = check_shape("expert_scale", read_array(params, "expert_scale"), (k, *tail)).reshape(k, d)
        covariance = sd[:, :, None] ** 2 * np.eye(d)
    if not np.allclose(covariance, covariance.swapaxes(1, 2), rtol=1e-8):
        raise ValueError("params['expert_covariance'] must be symmetric.")
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    if not (variance > 0).all():
        raise ValueError(f"params['expert_scale'] must be positive; got {np.sqrt(np.maximum(variance, 0.0)).tolist()}.")
    unit = covariance / np.sqrt(variance[:, :, None] * variance[:, None, :])
    smallest = float(np.linalg.eigvalsh(unit).min())
    if smallest <= 1e-14:
        raise ValueError(
            f"params['expert_covariance'] must be positive definite; its correlation has eigenvalue {smallest:.1e}."
        )
    scale = expert.scale_parameters(covariance, np.full(d, 1e-150))
    layout = Layout(gate, expert, k, d, gate_map.n_features, expert_map.n_features, scale)
    return layout, Parameters(gate_map.from_raw(raw_gate - raw_gate[-1]), expert_map.from_raw(raw_coef), scale)


def check_consistent(layout: Layout, params: Parameters, given: Mapping[str, Any]) -> None:
    """A ValueError where parameters contradict what gate and expert fix: no slopes, tied, known, spherical or diagonal
    scales, equal weights. `given` is the public dictionary.

    Raises
    ------
    ValueError
        With the name of what is contradicted.
    """
    for name, component in (("gate_coef", layout.gate), ("expert_coef", layout.expert)):
        if component.degree == 0 and name in given and read_array(given, name).any():
            raise ValueError(f"params[{name!r}] contradicts {component!r}, which does not depend on x; leave it out.")
    if "expert_covariance" in given:
        wanted = layout.expert.covariances(params.scale, layout.n_responses)
        if not np.allclose(read_array(given, "expert_covariance"), wanted, rtol=1e-6, atol=1e-8 * wanted.max()):
            raise ValueError(
                f"params['expert_covariance'] contradicts {layout.expert!r}, which makes it {wanted.tolist()}."
            )
    free = layout.unpack(layout.pack(params))
    if not np.allclose(free.scale, params.scale, rtol=1e-8, atol=1e-10):
        raise ValueError(
            f"params['expert_scale'] contradicts {layout.expert!r}: scales that it ties, or takes as spherical, must be equal."
        )
    if not np.allclose(free.gate, params.gate - params.gate[-1], rtol=1e-8, atol=1e-10):
        raise ValueError(
            f"params['gate_intercept'] contradicts {layout.gate!r}, whose weights are equal; leave it out."
        )
    known = layout.expert.known_scale
    if known is not None:
        k, d = layout.n_experts, layout.n_responses
        sd = np.sqrt(np.diagonal(layout.expert.covariances(params.scale, d), axis1=1, axis2=2))
        wanted = np.broadcast_to(known[:, None] if known.shape == (k,) else known, (k, d))
        if not np.allclose(sd, wanted, rtol=1e-8):
            raise ValueError(
                f"params['expert_scale'] is {sd.tolist()}, but {layout.expert!r} takes it as known: {wanted.tolist()}."
            )


def to_dict(
    layout: Layout, params: Parameters, gate_map: PolynomialMap, expert_map: PolynomialMap, vector_y: bool
) -> dict[str, Array]:
    """The public dictionary of internal parameters; `vector_y`: a single response without its own axis."""
    gate = gate_map.to_raw(params.gate - params.gate[-1])
    coef = expert_map.to_raw(params.coef)
    covariance = layout.expert.covariances(params.scale, layout.n_responses)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    out = {"gate_coef": gate[:, 1:], "gate_intercept": gate[:, 0]}
    if vector_y:
        return out | {"expert_coef": coef[:, 0, 1:], "expert_intercept": coef[:, 0, 0], "expert_scale": sd[:, 0]}
    return out | {
        "expert_coef": coef[:, :, 1:],
        "expert_intercept": coef[:, :, 0],
        "expert_scale": sd,
        "expert_covariance": covariance,
    }


def rescale_response(layout: Layout, params: Parameters, center: Array, scale: Array) -> Parameters:
    """Parameters for `center + scale * y` from those for `y`; both `(D,)`."""
    coef = params.coef * scale[:, None]
    coef[:, :, 0] += center
    if layout.expert.full(layout.n_responses):
        rows, cols = np.tril_indices(layout.n_responses)
        log_scale, factor = params.scale + np.log(scale)[rows], params.scale / scale[rows]
        return Parameters(params.gate, coef, np.where(rows == cols, log_scale, factor))
    return Parameters(params.gate, coef, params.scale + np.log(scale))
