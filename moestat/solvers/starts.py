"""Starting values: responsibilities from partitions of the weighted empirical measure, and moves on parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from moestat.solvers.kmeans import (
    Array,
    Labels,
    canonical_sample,
    draw_rows,
    fill_empty,
    first_smallest,
    standardised,
    weighted_kmeans,
)

__all__ = [
    "START_KINDS",
    "canonical_sample",
    "draw_rows",
    "initial_responsibilities",
    "perturbed",
    "split_merge_candidates",
    "start_plan",
    "weighted_kmeans",
]

Params = dict[str, Array]

# Share of a row that its own expert gets; the rest is shared, so that no expert starts degenerate.
_OWN_SHARE = 0.9
# A residual this small next to the response is rounding: a partition by it would mean nothing.
_RESIDUAL_FLOOR = 1e-6


def initial_responsibilities(
    kind: str,
    X: Array,
    y: Array,
    weight: Array,
    K: int,
    rng: np.random.Generator,
    residual: Array | None = None,
) -> Array:
    """Responsibilities of a start: 0.9 on the label that a partition gives to the row, the rest shared.

    The partitions, of rows in canonical order (`canonical_sample`):

    * ``"kmeans"`` – k-means on standardised x and y, y multiplied by ``sqrt(d / D)`` so that both count alike;
    * ``"kmeans_x"``, ``"kmeans_y"`` – k-means on one of them;
    * ``"residuals"`` – k-means on the residual of a weighted least-squares fit of y on x, x counting lightly;
    * ``"lines"`` – `K` local lines around random rows, each row to the line with the smallest residual;
    * ``"random"`` – a random label for each distinct row.

    Parameters
    ----------
    kind : str
        One of `START_KINDS`.
    X : (n, d) array
    y : (n, D) array
    weight : (n,) array, positive
    K : int
        Number of experts.
    rng : numpy.random.Generator
    residual : (n,) or (n, D) array, optional
        Residual to use by ``"residuals"`` in the place of the least-squares one.

    Returns
    -------
    (K, n) array, positive, columns sum to one

    Raises
    ------
    ValueError
        If `kind` is not known, or there are fewer rows than experts.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> initial_responsibilities("kmeans_y", x, x > 1.5, np.ones(4), 2, np.random.default_rng(0)).shape
    (2, 4)
    """
    if kind not in _PARTITIONS:
        raise ValueError(f"init is {kind!r}; it must be one of {', '.join(START_KINDS)}.")
    n = len(X)
    if n < K:
        raise ValueError(f"There are {n} distinct rows of positive weight for {K} experts; give at least {K}.")
    if K == 1:
        return np.ones((1, n))
    zx = standardised(X, weight)
    zy = standardised(_columns(y if kind != "residuals" or residual is None else residual), weight)
    if kind == "residuals" and residual is None:
        zy = _least_squares_residual(zx, zy, weight)
    labels = _PARTITIONS[kind](zx, zy, weight, K, rng)
    resp = np.full((K, n), (1.0 - _OWN_SHARE) / (K - 1))
    resp[labels, np.arange(n)] = _OWN_SHARE
    return resp


def _columns(y: Array) -> Array:
    return np.asarray(y, dtype=np.float64).reshape(len(y), -1)


def _least_squares_residual(zx: Array, zy: Array, weight: Array) -> Array:
    """Standardised residual of the weighted least-squares fit; `zy` itself where the fit leaves only rounding."""
    root = np.sqrt(weight / weight.sum())[:, None]
    coef = np.linalg.lstsq(root * zx, root * zy, rcond=1e-8)[0]
    residual = zy - zx @ coef
    exact = np.sqrt(np.sum((root * residual) ** 2, axis=0)) <= _RESIDUAL_FLOOR
    return np.where(exact, zy, standardised(residual, weight))


def _by_xy(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    balance = np.sqrt(max(zx.shape[1], 1) / zy.shape[1])
    return weighted_kmeans(np.hstack([zx, balance * zy]), weight, K, rng)


def _by_x(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return weighted_kmeans(zx, weight, K, rng)


def _by_y(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return weighted_kmeans(zy, weight, K, rng)


def _by_residual(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    light = 0.5 * np.sqrt(zy.shape[1] / max(zx.shape[1], 1))
    return weighted_kmeans(np.hstack([light * zx, zy]), weight, K, rng)


def _by_random_label(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return fill_empty(rng.integers(K, size=len(zx)), weight / weight.sum(), K)


def _by_lines(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    """Fit `K` lines, each with Gaussian weights around a random row, and give each row to the nearest line.

    The bandwidth is the distance within which 1/(2K) of the weight lies; a small ridge on the slopes keeps the fit
    defined when the neighbourhood has fewer rows than columns.
    """
    n, d = zx.shape
    share = weight / weight.sum()
    features = np.hstack([np.ones((n, 1)), zx])
    place = np.hstack([zx, np.sqrt(max(d, 1) / zy.shape[1]) * zy])
    ridge = np.diag(np.r_[1e-12, np.full(d, 1e-3)])
    cost = np.empty((K, n))
    for k, row in enumerate(draw_rows(share, rng.random(K))):
        distance = np.sum((place - place[row]) ** 2, axis=1)
        near_first = np.argsort(distance, kind="stable")
        within = draw_rows(share[near_first], np.array([0.5 / K]))[0]
        bandwidth = max(distance[near_first[within]], 1e-6)
        local = share * np.exp(-0.5 * distance / bandwidth)
        weighted = features * local[:, None]
        coef = np.linalg.solve(weighted.T @ features + local.sum() * ridge, weighted.T @ zy)
        cost[k] = np.sum((zy - features @ coef) ** 2, axis=1)
    return fill_empty(first_smallest(cost, 1e-9), share, K)


_PARTITIONS: dict[str, Callable[[Array, Array, Array, int, np.random.Generator], Labels]] = {
    "kmeans": _by_xy,
    "kmeans_x": _by_x,
    "kmeans_y": _by_y,
    "residuals": _by_residual,
    "lines": _by_lines,
    "random": _by_random_label,
}
START_KINDS: tuple[str, ...] = tuple(_PARTITIONS)

# After the first k-means on (x, y): no single kind wins on every problem, so a plan takes turns.
_MIX = ("kmeans_y", "kmeans_x", "kmeans", "residuals", "kmeans", "lines", "kmeans_y", "kmeans", "random")


def start_plan(init: str, n_init: int) -> list[str]:
    """Kinds of the `n_init` starts that `init` asks for.

    ``"kmeans"`` asks for a mix: k-means on (x, y) first, then k-means with new seeds and the other kinds in turn.
    Any other kind is repeated with new draws.

    Parameters
    ----------
    init : str
        One of `START_KINDS`.
    n_init : int
        Number of starts.

    Raises
    ------
    ValueError
        If `init` is not known or `n_init` is not positive.

    Examples
    --------
    >>> start_plan("kmeans", 3)
    ['kmeans', 'kmeans_y', 'kmeans_x']
    >>> start_plan("random", 2)
    ['random', 'random']
    """
    if init not in _PARTITIONS:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(START_KINDS)}.")
    if n_init < 1:
        raise ValueError(f"n_init is {n_init}; it must be at least 1.")
    if init != "kmeans":
        return [init] * n_init
    return ["kmeans", *(_MIX[i % len(_MIX)] for i in range(n_init - 1))]


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
