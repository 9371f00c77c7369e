"""Compiled passes over a block of rows: gates, densities, the E-step and derivatives."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from moestat.kernels.compiled_functions import EXACT, STRIP, _exp, _log

LOWEST = -1e300  # log-densities below it are those of zero


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _affine(coef, features, start, width, out):
    """out[:width] = coef @ features[:, start:start + width], four features at a time."""
    q = coef.size
    c0 = coef[0]
    f0 = features[0, start : start + width]
    for i in range(width):
        out[i] = c0 * f0[i]
    j = 1
    while j + 4 <= q:
        c0, c1, c2, c3 = coef[j], coef[j + 1], coef[j + 2], coef[j + 3]
        f0 = features[j, start : start + width]
        f1 = features[j + 1, start : start + width]
        f2 = features[j + 2, start : start + width]
        f3 = features[j + 3, start : start + width]
        for i in range(width):
            out[i] += c0 * f0[i] + c1 * f1[i] + c2 * f2[i] + c3 * f3[i]
        j += 4
    while j < q:
        c0 = coef[j]
        f0 = features[j, start : start + width]
        for i in range(width):
            out[i] += c0 * f0[i]
        j += 1


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _normalise(top, total, lo, width, log_prob, prob):
    """log_prob and prob of the scores in a strip of log_prob, whose maxima are in `top`; `total` is room."""
    for i in range(width):
        total[i] = 0.0
    for k in range(log_prob.shape[0]):
        score = log_prob[k, lo : lo + width]
        p = prob[k, lo : lo + width]
        for i in range(width):
            score[i] -= top[i]
            p[i] = _exp(score[i])
            total[i] += p[i]
    for i in range(width):
        top[i] = _log(total[i])
        total[i] = 1.0 / total[i]
    for k in range(log_prob.shape[0]):
        score = log_prob[k, lo : lo + width]
        p = prob[k, lo : lo + width]
        for i in range(width):
            score[i] -= top[i]
            p[i] *= total[i]


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def softmax_forward(coef, features, start, stop, log_prob, prob):
    """Softmax gate: log_prob, prob (K, B) of the scores `coef (K, q) @ features`."""
    top = np.empty(STRIP)
    total = np.empty(STRIP)
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        top[:width] = -np.inf
        for k in range(coef.shape[0]):
            score = log_prob[k, lo : lo + width]
            _affine(coef[k], features, start + lo, width, score)
            for i in range(width):
                top[i] = max(top[i], score[i])
        _normalise(top, total, lo, width, log_prob, prob)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def sigmoid_forward(coef, features, start, stop, log_prob, prob, slope, bend):
    """Softmax of log σ(s) of the scores s, and what log σ has as derivatives: σ(-s) and -σ(s) σ(-s), all (K, B)."""
    top = np.empty(STRIP)
    total = np.empty(STRIP)
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        top[:width] = -np.inf
        for k in range(coef.shape[0]):
            score = log_prob[k, lo : lo + width]
            first = slope[k, lo : lo + width]
            second = bend[k, lo : lo + width]
            _affine(coef[k], features, start + lo, width, score)
            for i in range(width):
                s = score[i]
                e = _exp(-abs(s))
                u = 1.0 + e
                inverse = 1.0 / u
                score[i] = min(s, 0.0) - (_log(u) + (e - (u - 1.0)) * inverse)
                first[i] = (e if s > 0.0 else 1.0) * inverse
                second[i] = -e * inverse * inverse
                top[i] = max(top[i], score[i])
        _normalise(top, total, lo, width, log_prob, prob)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def gaussian_forward(coef, log_scale, features, y, start, stop, log_density, residual):
    """Normal experts: log N(y; coef_k · features, exp(2 log_scale_k)) and residuals y - mean, both (K, B)."""
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        target = y[start + lo : start + lo + width]
        for k in range(coef.shape[0]):
            e = residual[k, lo : lo + width]
            f = log_density[k, lo : lo + width]
            _affine(coef[k], features, start + lo, width, e)
            constant = -0.9189385332046727418 - log_scale[k]
            inverse = math.exp(-log_scale[k])
            for i in range(width):
                d = target[i] - e[i]
                e[i] = d
                z = d * inverse
                f[i] = constant - 0.5 * z * z


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def e_step(log_prob, log_density, resp, loglik):
    """Posterior of the expert: resp (K, B) and loglik (B,) of log_prob + log_density; a row of -inf gives loglik -inf and resp 0."""
    n_experts, n_rows = log_prob.shape
    total = np.empty(STRIP)
    for lo in range(0, n_rows, STRIP):
        width = min(STRIP, n_rows - lo)
        top = loglik[lo : lo + width]
        for k in range(n_experts):
            a = log_prob[k, lo : lo + width]
            b = log_density[k, lo : lo + width]
            joint = resp[k, lo : lo + width]
            if k == 0:
                for i in range(width):
                    joint[i] = a[i] + b[i]
                    top[i] = joint[i]
            else:
                for i in range(width):
                    joint[i] = a[i] + b[i]
                    top[i] = max(top[i], joint[i])
        for i in range(width):
            total[i] = 0.0
        for k in range(n_experts):
            joint = resp[k, lo : lo + width]
            for i in range(width):
                # the clipped exponential would give 3e-308 for a forbidden expert: the comparison keeps it an exact zero
                joint[i] = _exp(joint[i] - top[i]) if joint[i] - top[i] > -708.0 else 0.0
                total[i] += joint[i]
        for i in range(width):
            if total[i] > 0.0:
                top[i] += _log(total[i])
                total[i] = 1.0 / total[i]
            else:
                top[i] = -np.inf
        for k in range(n_experts):
            joint = resp[k, lo : lo + width]
            for i in range(width):
                joint[i] *= total[i]


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def gaussian_derivatives(residual, log_scale, resp, first, second):
    """Normal expert in predictor space (mean, log scale), already multiplied by resp.

    first[s, k] = resp_k g_s; second[., k] = resp_k (h + g gᵀ) for the pairs (mean, mean), (scale, mean), (scale, scale), with
    g = (e/σ², e²/σ² - 1) and h = (-1/σ², -2e/σ², -2e²/σ²).
    """
    for k in range(residual.shape[0]):
        inverse = math.exp(-log_scale[k])
        precision = inverse * inverse
        e = residual[k]
        r = resp[k]
        f0 = first[0, k]
        f1 = first[1, k]
        s0 = second[0, k]
        s1 = second[1, k]
        s2 = second[2, k]
        for i in range(e.size):
            z = e[i] * inverse
            zz = z * z
            g0 = z * inverse
            g1 = zz - 1.0
            f0[i] = r[i] * g0
            f1[i] = r[i] * g1
            s0[i] = r[i] * precision * (zz - 1.0)
            s1[i] = r[i] * g0 * (zz - 3.0)
            s2[i] = r[i] * (g1 * g1 - 2.0 * zz)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def formula_derivatives(slope, bend, resp, first, second):
    """Derivatives `slope (m, K, B)` and `bend (m (m+1)/2, K, B)` of log f, multiplied by resp, into `first` and `second`.

    first[i, k] = resp_k g_i; second[., k] = resp_k (h_ij + g_i g_j) for the pairs j <= i.
    """
    for k in range(resp.shape[0]):
        r = resp[k]
        row = 0
        for i in range(slope.shape[0]):
            gi = slope[i, k]
            f = first[i, k]
            for j in range(i + 1):
                gj = slope[j, k]
                h = bend[row, k]
                s = second[row, k]
                for b in range(r.size):
                    s[b] = r[b] * (h[b] + gi[b] * gj[b])
                row += 1
            for b in range(r.size):
                f[b] = r[b] * gi[b]


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def multinomial_derivatives(prob, counts, slope, bend):
    """Derivatives in the log odds of the first C - 1 classes: slope (C - 1, K, B), and bend for the pairs t <= s.

    Of counts (C, B) with probabilities (C, K, B): `y_s (1 - p_s) - (n - y_s) p_s` and `-n p_s (1[s = t] - p_t)`, `1 - p_s` as a sum.
    """
    n_classes, n_experts, n_rows = prob.shape
    total, rest = np.zeros(n_rows), np.empty(n_rows)
    for s in range(n_classes):
        for i in range(n_rows):
            total[i] += counts[s, i]
    for k in range(n_experts):
        row = 0
        for s in range(n_classes - 1):
            ps = prob[s, k]
            rest[:] = 0.0
            for t in range(n_classes):
                pt = prob[t, k]
                if t != s:
                    for i in range(n_rows):
                        rest[i] += pt[i]
                if t < s:
                    o = bend[row + t, k]
                    for i in range(n_rows):
                        o[i] = total[i] * ps[i] * pt[i]
            g, h, y = slope[s, k], bend[row + s, k], counts[s]
            for i in range(n_rows):
                g[i] = y[i] * rest[i] - (total[i] - y[i]) * ps[i]
                h[i] = -total[i] * ps[i] * rest[i]
            row += s + 1


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def mixture_log_density(level, mean, precision, y, out):
    """out (Q, N) = log Σ_k exp(level_k - (precision_k (y - mean_k))²/2), with components (Q, K) of their own for every row of y (Q, N).

    Components that are 45 nats below the largest at every response of a row are left out: they change no digit.
    """
    top = np.empty(y.shape[1])
    for row in range(y.shape[0]):
        at, o = y[row], out[row]
        top[:] = LOWEST
        for k in range(level.shape[1]):
            a, m, p = level[row, k], mean[row, k], precision[row, k]
            for i in range(at.size):
                z = p * (at[i] - m)
                top[i] = max(top[i], a - 0.5 * z * z)
        lowest = top.min()
        o[:] = 0.0
        for k in range(level.shape[1]):
            a, m, p = level[row, k], mean[row, k], precision[row, k]
            if a >= lowest - 45.0:
                for i in range(at.size):
                    z = p * (at[i] - m)
                    o[i] += _exp(a - 0.5 * z * z - top[i])
        for i in range(at.size):
            o[i] = top[i] + _log(o[i]) if top[i] > LOWEST else -np.inf
