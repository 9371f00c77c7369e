"""Moves on the parameters of a fit: split and merge, and random perturbation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Params = dict[str, Array]


def split_merge_candidates(
    params: Mapping[str, Array],
    resp_overlap: Array,
    *,
    gate_center: Array | None = None,
    expert_center: Array | None = None,
    radius: float = 0.6,
    keep_scale: bool = False,
    n_candidates: int = 4,
) -> list[Params]:
    """Starts in which two experts of a fit are merged and a third one is split.

    Merging experts i and j, with masses ``a`` and ``b`` (``a + b = 1`` after division): coefficients are averaged,
    the variance is ``a s_i^2 + b s_j^2 + a b (m_i - m_j)^2`` with the means at `expert_center`, and the gate takes
    the two probabilities together at `gate_center`. Splitting expert k: two copies with intercepts
    ``b_k ± radius s_k``, standard deviation ``s_k sqrt(1 - radius^2)`` and gate intercept less ``log 2``: mean and
    variance of expert k are kept. Pairs come in decreasing order of overlap
    ``G_ij / sqrt(G_ii G_jj)``; for each pair the experts of largest mass times scale are split.

    Parameters
    ----------
    params : mapping
        Public parameter dictionary of a fit with K >= 3 experts.
    resp_overlap : (K, K) array
        ``G_ij = sum_n w_n r_in r_jn``; its row sums are the masses of the experts.
    gate_center : (d,) array, optional
        Mean of the gate's columns; the origin by default.
    expert_center : (p,) array, optional
        Mean of the experts' columns; the origin by default.
    radius : float in (0, 1)
    keep_scale : bool
        Leave the standard deviations alone (known variance).
    n_candidates : int
        Largest number of starts returned.

    Returns
    -------
    list of parameter dictionaries; empty when K < 3

    Raises
    ------
    ValueError
        If `radius` is not in (0, 1) or `resp_overlap` has another shape than (K, K).

    References
    ----------
    Ueda, Nakano, Ghahramani and Hinton (2000), SMEM algorithm for mixture models.
    """
    K = len(params["gate_intercept"])
    if resp_overlap.shape != (K, K):
        raise ValueError(f"resp_overlap has shape {resp_overlap.shape}; it must be {(K, K)}.")
    if not 0.0 < radius < 1.0:
        raise ValueError(f"radius is {radius}; it must lie between 0 and 1.")
    if K < 3:
        return []
    mass = np.maximum(resp_overlap.sum(axis=1), np.finfo(float).tiny)
    own = np.sqrt(np.maximum(np.diag(resp_overlap), np.finfo(float).tiny))
    first, second = np.triu_indices(K, 1)
    affinity = (resp_overlap / own / own[:, None])[first, second]
    room = mass * params["expert_scale"].reshape(K, -1).mean(axis=1)
    splits = np.argsort(-room, kind="stable")
    # Rank of the pair plus rank of the split: the best of each first, then one step down in either.
    ranked = sorted(
        (pair_rank + split_rank, pair_rank, int(first[pair]), int(second[pair]), int(k))
        for pair_rank, pair in enumerate(np.argsort(-affinity, kind="stable"))
        for split_rank, k in enumerate(k for k in splits if k not in (first[pair], second[pair]))
    )
    candidates = []
    for _, _, i, j, k in ranked[:n_candidates]:
        moved = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
        _merge_into(moved, i, j, mass[i] / (mass[i] + mass[j]), gate_center, expert_center, keep_scale)
        _split_into(moved, k, j, radius, keep_scale)
        candidates.append(moved)
    return candidates


def _merge_into(
    params: Params,
    i: int,
    j: int,
    a: float,
    gate_center: Array | None,
    expert_center: Array | None,
    keep_scale: bool,
) -> None:
    """Put the merged experts i and j in the place of i; `a` is the share of i."""
    b = 1.0 - a
    gate, coef, intercept = params["gate_coef"], params["expert_coef"], params["expert_intercept"]
    origin = np.zeros(gate.shape[-1]) if gate_center is None else gate_center
    score = gate[[i, j]] @ origin + params["gate_intercept"][[i, j]]
    gate[i] = a * gate[i] + b * gate[j]
    params["gate_intercept"][i] = np.logaddexp(score[0], score[1]) - gate[i] @ origin
    center = np.zeros(coef.shape[-1]) if expert_center is None else expert_center
    gap = coef[i] @ center + intercept[i] - coef[j] @ center - intercept[j]
    coef[i] = a * coef[i] + b * coef[j]
    intercept[i] = a * intercept[i] + b * intercept[j]
    if keep_scale:
        return
    if "expert_covariance" in params:
        covariance = params["expert_covariance"]
        covariance[i] = a * covariance[i] + b * covariance[j] + a * b * np.outer(gap, gap)
        params["expert_scale"][i] = np.sqrt(np.diagonal(covariance[i]))
    else:
        scale = params["expert_scale"]
        scale[i] = np.sqrt(a * scale[i] ** 2 + b * scale[j] ** 2 + a * b * gap**2)


def _split_into(params: Params, k: int, j: int, radius: float, keep_scale: bool) -> None:
    """Split expert k into k and j along its residual spread."""
    params["gate_intercept"][k] -= np.log(2.0)
    if "expert_covariance" in params:  # along the longest axis of the residual ellipsoid
        values, vectors = np.linalg.eigh(params["expert_covariance"][k])
        step = radius * np.sqrt(max(values[-1], 0.0)) * vectors[:, -1]
        if not keep_scale:
            params["expert_covariance"][k] -= np.outer(step, step)
            params["expert_scale"][k] = np.sqrt(np.diagonal(params["expert_covariance"][k]))
    else:
        step = radius * params["expert_scale"][k]
        if not keep_scale:
            params["expert_scale"][k] *= np.sqrt(1.0 - radius**2)
    for value in params.values():
        value[j] = value[k]
    params["expert_intercept"][k] += step
    params["expert_intercept"][j] -= step


def perturbed(
    params: Mapping[str, Array],
    radius: float,
    rng: np.random.Generator,
    *,
    gate_center: Array | None = None,
    gate_spread: Array | None = None,
    expert_center: Array | None = None,
    expert_spread: Array | None = None,
    keep_scale: bool = False,
) -> Params:
    """Parameters with Gaussian noise: expert means move by about `radius` of their own standard deviation.

    In standardised columns ``(x - center) / spread`` each intercept and slope of expert k gets ``radius s_k N(0, 1)``,
    each gate intercept and slope ``radius N(0, 1)`` (the last expert's stay: the gauge is kept), and each standard
    deviation is multiplied by ``exp(radius N(0, 1) / 2)``.

    Parameters
    ----------
    params : mapping
        Public parameter dictionary.
    radius : float, not negative
    rng : numpy.random.Generator
    gate_center, gate_spread : (d,) arrays, optional
        Mean and standard deviation of the gate's columns; 0 and 1 by default.
    expert_center, expert_spread : (p,) arrays, optional
        The same of the experts' columns.
    keep_scale : bool
        Leave the standard deviations alone (known variance).

    Returns
    -------
    parameter dictionary of the same shapes

    Raises
    ------
    ValueError
        If `radius` is negative.
    """
    if not radius >= 0.0:
        raise ValueError(f"radius is {radius}; it must not be negative.")
    moved = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    scale = moved["expert_scale"]
    noise = radius * rng.standard_normal(moved["gate_coef"].shape)
    level = radius * rng.standard_normal(moved["gate_intercept"].shape)
    _shift(moved, "gate", noise - noise[-1], level - level[-1], gate_center, gate_spread)
    noise = radius * scale[..., None] * rng.standard_normal(moved["expert_coef"].shape)
    level = radius * scale * rng.standard_normal(moved["expert_intercept"].shape)
    _shift(moved, "expert", noise, level, expert_center, expert_spread)
    if not keep_scale:
        factor = np.exp(0.5 * radius * rng.standard_normal(scale.shape[:1]))
        if "expert_covariance" in moved:
            moved["expert_covariance"] *= factor[:, None, None] ** 2
        moved["expert_scale"] = scale * factor.reshape(factor.shape + (1,) * (scale.ndim - 1))
    return moved


def _shift(params: Params, part: str, slope: Array, level: Array, center: Array | None, spread: Array | None) -> None:
    """Add noise given in standardised columns to the raw coefficients of the gate or the experts, in place."""
    slope = slope if spread is None else slope / np.where(spread > 0, spread, 1.0)
    params[f"{part}_coef"] += slope
    params[f"{part}_intercept"] += level if center is None else level - slope @ center
