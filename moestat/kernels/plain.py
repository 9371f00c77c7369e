"""NumPy twins of the compiled row kernels: the readable definitions, the oracle of the tests, and the fallback without numba.

Same names, same arguments and same in-place outputs as `fast.py`.
"""

from __future__ import annotations

import numpy as np

LOG_ROOT_2PI = 0.9189385332046727418
LOWEST = -1e300  # log-densities below it are those of zero


def softmax_forward(coef, features, start, stop, log_prob, prob):
    """Softmax gate: log_prob, prob (K, B) of the scores `coef (K, q) @ features`."""
    _softmax(coef @ features[:, start:stop], log_prob, prob)


def sigmoid_forward(coef, features, start, stop, log_prob, prob, slope, bend):
    """Softmax of log σ(s) of the scores s, and what log σ has as derivatives: σ(-s) and -σ(s) σ(-s), all (K, B)."""
    scores = coef @ features[:, start:stop]
    small = np.exp(-np.abs(scores))
    slope[...] = np.where(scores > 0.0, small, 1.0) / (1.0 + small)
    bend[...] = -small / (1.0 + small) ** 2
    _softmax(np.minimum(scores, 0.0) - np.log1p(small), log_prob, prob)


def _softmax(scores, log_prob, prob):
    scores -= scores.max(axis=0)
    weight = np.exp(scores)
    total = weight.sum(axis=0)
    log_prob[...] = scores - np.log(total)
    prob[...] = weight / total


def gaussian_forward(coef, log_scale, features, y, start, stop, log_density, residual):
    """Normal experts: log N(y; coef_k · features, exp(2 log_scale_k)) and residuals y - mean, both (K, B)."""
    residual[...] = y[start:stop] - coef @ features[:, start:stop]
    z = residual * np.exp(-log_scale)[:, None]
    log_density[...] = (-LOG_ROOT_2PI - log_scale)[:, None] - 0.5 * z * z


def e_step(log_prob, log_density, resp, loglik):
    """Posterior of the expert: resp (K, B) and loglik (B,) of log_prob + log_density; a row of -inf gives loglik -inf and resp 0."""
    joint = log_prob + log_density
    top = joint.max(axis=0)
    finite = np.where(np.isneginf(top), 0.0, top)
    weight = np.exp(joint - finite)
    total = weight.sum(axis=0)
    with np.errstate(divide="ignore"):
        loglik[...] = finite + np.log(total)
    resp[...] = weight / np.where(total > 0.0, total, 1.0)


def weighted_sum(values, weight, start, stop):
    """Σ weight_i values_i over the block; an empty weight means one."""
    return float(values.sum() if weight.size == 0 else weight[start:stop] @ values)


def scale_rows(weight, start, stop, rows):
    """rows (K, B) *= weight[start:stop] in place; an empty weight means one."""
    if weight.size:
        rows *= weight[start:stop]


def weighted_grams(features, weights, start, stop, out):
    """out[k] += features diag(weights[k]) featuresᵀ for each row k of weights (K, B)."""
    block = features[:, start:stop]
    for k, w in enumerate(weights):
        out[k] += np.tril((block * w) @ block.T)


def weighted_moments(features, weights, start, stop, out):
    """out[k] += features @ weights[k] for each row k of weights (K, B)."""
    out += weights @ features[:, start:stop].T


def scaled_features(features, weights, start, stop, out):
    """out[k q + j] = weights[k] * features[j]: the rows of a per-row score matrix (K q, B)."""
    out[...] = (weights[:, None, :] * features[None, :, start:stop]).reshape(out.shape)


def outer_sum(rows, out):
    """out += rows rowsᵀ for rows (P, B); only the lower triangle is filled."""
    out += np.tril(rows @ rows.T)


def gaussian_moments(resp, residual, weighted_residual, out):
    """weighted_residual = resp * residual; out[k] += (Σ resp_k, Σ resp_k residual_k²)."""
    np.multiply(resp, residual, out=weighted_residual)
    out[:, 0] += resp.sum(axis=1)
    out[:, 1] += (weighted_residual * residual).sum(axis=1)


def gaussian_derivatives(residual, log_scale, resp, first, second):
    """Normal expert in predictor space (mean, log scale), already multiplied by resp; see `fast.gaussian_derivatives`."""
    inverse = np.exp(-log_scale)[:, None]
    z = residual * inverse
    g = np.stack([z * inverse, z * z - 1.0])
    first[...] = resp * g
    second[0] = resp * (g[0] ** 2 - inverse**2)
    second[1] = resp * (g[0] * g[1] - 2.0 * z * inverse)
    second[2] = resp * (g[1] ** 2 - 2.0 * z * z)


def formula_derivatives(slope, bend, resp, first, second):
    """Derivatives of log f multiplied by resp: `first = resp g`, `second = resp (h + g gᵀ)`; see `fast.formula_derivatives`."""
    rows, columns = np.tril_indices(len(slope))
    np.multiply(resp, slope, out=first)
    second[...] = resp * (bend + slope[rows] * slope[columns])


def cross_grams(left, right, weights, start, stop, out):
    """out[k] += left diag(weights[k]) rightᵀ for two feature sets."""
    a = left[:, start:stop]
    b = right[:, start:stop]
    for k, w in enumerate(weights):
        out[k] += (a * w) @ b.T


def softmax_pairs(prob, out):
    """Curvature of the softmax in its scores: rows `δ_ab π_a - π_a π_b` of `out` for the pairs b <= a."""
    pairs = [(a, b) for a in range(len(prob)) for b in range(a + 1)]
    for row, (a, b) in enumerate(pairs):
        out[row] = (a == b) * prob[a] - prob[a] * prob[b]


def mixture_log_density(level, mean, precision, y, out):
    """out (Q, N) = log Σ_k exp(level_k - (precision_k (y - mean_k))²/2), with components (Q, K) of their own for every row of y (Q, N)."""
    terms = y[None] - mean.T[:, :, None]
    terms *= precision.T[:, :, None]
    np.square(terms, out=terms)
    terms *= -0.5
    terms += level.T[:, :, None]
    top = np.maximum(terms.max(axis=0), LOWEST)
    terms -= top
    np.exp(terms, out=terms)
    with np.errstate(divide="ignore"):
        out[...] = np.log(terms.sum(axis=0)) + top


def scale_pairs(factor, pairs):
    """The rows of `pairs` for b <= a are multiplied by factor[a] factor[b], in place."""
    a, b = np.tril_indices(len(factor))
    pairs *= factor[a] * factor[b]


def class_log_rows(eta, out):
    """out (C, M) = log-probabilities of classes with log odds eta (C - 1, M) against the last; those near zero keep their digits."""
    z = _below_largest(eta)
    terms, below = np.exp(z), z < 0.0
    out[...] = z - np.log1p((terms * below).sum(axis=0) + ((terms * ~below).sum(axis=0) - 1.0))


def class_rows(eta, out):
    """out (C, M) = probabilities of classes with log odds eta (C - 1, M) against the last."""
    terms = np.exp(_below_largest(eta))
    out[...] = terms / terms.sum(axis=0)


def _below_largest(eta):
    z = np.concatenate([eta, np.zeros_like(eta[:1])])
    return z - z.max(axis=0)


def multinomial_derivatives(prob, counts, slope, bend):
    """Derivatives in the log odds of the first C - 1 classes: slope (C - 1, K, B), and bend for the pairs t <= s.

    Of counts (C, B) with probabilities (C, K, B): `y_s (1 - p_s) - (n - y_s) p_s` and `-n p_s (1[s = t] - p_t)`, `1 - p_s` as a sum.
    """
    n = counts.sum(axis=0)
    row = 0
    for s in range(len(slope)):
        rest = prob[:s].sum(axis=0) + prob[s + 1 :].sum(axis=0)
        slope[s] = counts[s] * rest - (n - counts[s]) * prob[s]
        for t in range(s):
            bend[row + t] = n * prob[s] * prob[t]
        bend[row + s] = -n * prob[s] * rest
        row += s + 1


def student_t_rows(z, nu, out):
    """out (7, K, B): derivatives of the standard log-density of Student's t at z (K, B), for ν (K,), without cancellation at large ν or z.

    In z: g', g'', `g' + z g''` and `-1 - z g'`; in log ν, without what does not depend on z: `∂g`, `∂g'` and `∂²g`. With `u = z²/ν`, `q = 1/(1 + u)`,
    `p = u q` they are made of `log(1 + u) - p`.
    """
    v = nu[:, None]
    u = z * z / v
    q, p = 1.0 / (1.0 + u), u / (1.0 + u)  # ν/(ν + z²) and z²/(ν + z²)
    k, zq, score = 1.0 + 1.0 / v, z * q, q * (z - 1.0) * (z + 1.0)
    small = np.minimum(u, 0.5)
    r = small / (2.0 + small)  # log(1 + u) = 2 artanh r
    square, series = r * r, np.zeros_like(r)
    for odd in range(25, 1, -2):
        series = 1.0 / odd + square * series
    excess = np.where(u <= 0.5, u * p - r * (small - 2.0 * square * series), np.log1p(u) - p)
    out[0], out[1], out[2], out[3] = -k * zq, -k * q * (q - p), -2.0 * k * zq * q, score
    out[4] = 0.5 * (p - v * excess)
    out[5] = -zq * score / v
    out[6] = 0.5 * (v * (p * p - excess) - p * q)
