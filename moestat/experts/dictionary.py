"""Between the public parameter dictionary and the coefficients and scalars of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.entries import read_array, read_entry
from moestat.precision import check_covariances

if TYPE_CHECKING:
    from moestat.experts.base import Expert
    from moestat.experts.gaussian import GaussianExpert

Array = NDArray[np.float64]


class Read(NamedTuple):
    """What a dictionary says of the experts: raw coefficients `(K, d, 1 + p)`, scalars `(K, c)`, number of columns of y."""

    coef: Array
    scale: Array
    n_responses: int


def read_coefficients(params: Mapping[str, Any], n_raw: int) -> Array:
    """Raw coefficients `(K, d, 1 + p)`, the intercept first, from `expert_intercept (K,)` or `(K, d)` and `expert_coef`."""
    intercept = read_array(params, "expert_intercept")
    if intercept.ndim not in (1, 2):
        raise ValueError(f"params['expert_intercept'] has shape {intercept.shape}; expected (K,) or (K, D).")
    k = len(intercept)
    d = 1 if intercept.ndim == 1 else intercept.shape[1]
    tail = () if intercept.ndim == 1 else (d,)
    p = n_raw - 1
    coef = read_entry(params, "expert_coef", (k, *tail, p)) if p else np.zeros((k, *tail, 0))
    return np.concatenate([intercept.reshape(k, d, 1), coef.reshape(k, d, p)], axis=2)


def write_coefficients(coef: Array, vector: bool) -> dict[str, Array]:
    """The entries of raw coefficients `(K, d, 1 + p)`; `vector`: one predictor without its own axis."""
    if vector:
        return {"expert_coef": coef[:, 0, 1:], "expert_intercept": coef[:, 0, 0]}
    return {"expert_coef": coef[:, :, 1:], "expert_intercept": coef[:, :, 0]}


def read_gaussian(expert: GaussianExpert, params: Mapping[str, Any], n_raw: int) -> Read:
    """Coefficients and (co)variances of Gaussian experts."""
    coef = read_coefficients(params, n_raw)
    k, d = coef.shape[:2]
    if "expert_covariance" in params:
        covariance = read_entry(params, "expert_covariance", (k, d, d))
    else:
        tail = () if np.ndim(params["expert_intercept"]) == 1 else (d,)
        sd = read_entry(params, "expert_scale", (k, *tail)).reshape(k, d)
        covariance = sd[:, :, None] ** 2 * np.eye(d)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    if "expert_covariance" not in params and not (variance > 0).all():
        raise ValueError(f"params['expert_scale'] must be positive; got {np.sqrt(np.maximum(variance, 0.0)).tolist()}.")
    check_covariances(covariance, "expert_covariance")
    return Read(coef, expert.scale_parameters(covariance, np.full(d, 1e-150)), d)


def check_gaussian(expert: GaussianExpert, free: Array, scale: Array, given: Mapping[str, Any]) -> None:
    """A ValueError where (co)variances contradict what the expert ties, knows, or takes as spherical or diagonal."""
    k = len(scale)
    d = 1 if np.ndim(given["expert_intercept"]) == 1 else np.shape(given["expert_intercept"])[1]
    covariance = expert.covariances(scale, d)
    if "expert_covariance" in given and not np.allclose(
        read_array(given, "expert_covariance"), covariance, rtol=1e-6, atol=1e-8 * covariance.max()
    ):
        raise ValueError(f"params['expert_covariance'] contradicts {expert!r}, which makes it {covariance.tolist()}.")
    if not np.allclose(free, scale, rtol=1e-8, atol=1e-10):
        raise ValueError(
            f"params['expert_scale'] contradicts {expert!r}: scales that it ties, or takes as spherical, must be equal."
        )
    known = expert.known_scale
    if known is not None:
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        wanted = np.broadcast_to(known[:, None] if known.shape == (k,) else known, (k, d))
        if not np.allclose(sd, wanted, rtol=1e-8):
            raise ValueError(
                f"params['expert_scale'] is {sd.tolist()}, but {expert!r} takes it as known: {wanted.tolist()}."
            )


def write_gaussian(expert: GaussianExpert, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
    """The entries of Gaussian experts."""
    covariance = expert.covariances(scale, coef.shape[1])
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    out = write_coefficients(coef, vector_y)
    return out | ({"expert_scale": sd[:, 0]} if vector_y else {"expert_scale": sd, "expert_covariance": covariance})


def read_formula(expert: Expert, params: Mapping[str, Any], n_raw: int) -> Read:
    """Coefficients and scalars of a family of formulas."""
    coef = read_coefficients(params, n_raw)
    scale = np.zeros((len(coef), len(expert.scalars)))
    for j, scalar in enumerate(expert.scalars):
        value = read_array(params, scalar.key)
        if value.ndim == 0:
            value = np.full(len(coef), float(value))
        if value.shape != (len(coef),):
            raise ValueError(f"params[{scalar.key!r}] has shape {value.shape}; expected ({len(coef)},).")
        scale[:, j] = scalar.from_raw(value)
    return Read(coef, scale, 1)


def write_formula(expert: Expert, coef: Array, scale: Array) -> dict[str, Array]:
    """The entries of a family of formulas."""
    scalars = {scalar.key: scalar.to_raw(scale[:, j]) for j, scalar in enumerate(expert.scalars)}
    return write_coefficients(coef, coef.shape[1] == 1) | scalars
