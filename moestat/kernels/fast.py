"""Compiled row kernels: the only file of moestat that contains numba.

Every function works on one block of rows, `(…, B)` with the rows in the inner loop, and is compiled once per machine.
Features are read from arrays `(q, n)` between the columns `start` and `stop`; block results are `(…, B)`. Additive statistics are *added* to `out`.
The twins in `plain.py` are the readable definitions and the oracle in the tests.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Reassociation lets LLVM vectorise the reductions, but breaks the magic-number range reduction of `_exp`: never both in one function.
SUMS = {"reassoc", "contract", "nsz"}
EXACT = {"contract"}
STRIP = 512  # rows that are worked on at a time; keeps a strip of a few rows in the first-level cache

LOWEST = -1e300  # log-densities below it are those of zero
LOG2E = 1.4426950408889634
LN2_HI = 6.93147180369123816490e-01
LN2_LO = 1.90821492927058770002e-10
MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer whose low bits are the exponent


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _expm1_near_zero(r):
    """exp(r) - 1 for |r| <= log(2)/2."""
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.3888888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    return p * r * r + r


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _exp(x):
    """Branch-free exp for x <= 709 (about 1 ulp); below -708 it is 3e-308 instead of 0."""
    x = min(max(x, -708.0), 709.0)
    shifted = x * LOG2E + MAGIC
    k = shifted - MAGIC
    r = (x - k * LN2_HI) - k * LN2_LO
    p = 1.0 + _expm1_near_zero(r)
    bits = (np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)
    return p * np.int64(bits).view(np.float64)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _log(x):
    """Branch-free logarithm of a positive normal number (about 1 ulp; after fdlibm's e_log.c)."""
    bits = np.float64(x).view(np.int64)
    # the exponent is taken so that the mantissa lies in [sqrt(1/2), sqrt(2))
    shifted = bits + np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    k = (shifted >> np.int64(52)) - np.int64(1023)
    mantissa = np.int64(bits - (k << np.int64(52))).view(np.float64)
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    t2 = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    kf = np.float64(k)
    return kf * LN2_HI - ((half - (s * (half + t1 + t2) + kf * LN2_LO)) - f)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def exp_rows(x, out):
    """out = exp(x) elementwise for x <= 709, zero below -708; not a number stays one."""
    for i in range(x.size):
        value = _exp(x[i])
        value = value if x[i] > -708.0 else 0.0
        out[i] = value if x[i] == x[i] else np.nan


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def tanh_rows(x, value, slope):
    """value = tanh(x) and slope = 1 - tanh(x)² elementwise, both to a small relative error."""
    for i in range(x.size):
        u = -2.0 * min(abs(x[i]), 350.0)
        shifted = u * LOG2E + MAGIC
        k = shifted - MAGIC
        r = (u - k * LN2_HI) - k * LN2_LO
        rest = _expm1_near_zero(r)
        power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
        e, less = power + power * rest, (power - 1.0) + power * rest  # exp(u) and exp(u) - 1
        value[i] = math.copysign(less / (2.0 + less), x[i])
        slope[i] = 4.0 * e / ((1.0 + e) * (1.0 + e))
        if x[i] != x[i]:
            value[i] = slope[i] = np.nan


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def log_rows(x, out):
    """out = log(x) elementwise for positive normal x."""
    for i in range(x.size):
        out[i] = _log(x[i])


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def log1p_rows(x, out):
    """out = log(1 + x) elementwise for -1 < x < 1e300; what rounding took from 1 + x is given back."""
    for i in range(x.size):
        u = 1.0 + x[i]
        out[i] = _log(u) + (x[i] - (u - 1.0)) / u


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


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def weighted_sum(values, weight, start, stop):
    """Σ weight_i values_i over the block; `weight` is read between start and stop, or taken as one when it is empty."""
    total = 0.0
    if weight.size == 0:
        for i in range(values.size):
            total += values[i]
    else:
        w = weight[start:stop]
        for i in range(values.size):
            total += w[i] * values[i]
    return total


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def scale_rows(weight, start, stop, rows):
    """rows (K, B) *= weight[start:stop] in place; an empty weight means one."""
    if weight.size > 0:
        w = weight[start:stop]
        for k in range(rows.shape[0]):
            r = rows[k]
            for i in range(w.size):
                r[i] *= w[i]


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def weighted_grams(features, weights, start, stop, out):
    """out[k] += features diag(weights[k]) featuresᵀ for each row k of weights (K, B); only j >= m is meant to be read.

    Two rows by four: eight sums share six loads.
    """
    q = features.shape[0]
    t0 = np.empty(STRIP)
    t1 = np.empty(STRIP)
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        a = start + lo
        b = a + width
        for k in range(weights.shape[0]):
            w = weights[k, lo : lo + width]
            j = 0
            while j + 2 <= q:
                fj = features[j, a:b]
                fi = features[j + 1, a:b]
                for i in range(width):
                    t0[i] = w[i] * fj[i]
                    t1[i] = w[i] * fi[i]
                m = 0
                while m + 4 <= j + 2:
                    f0 = features[m, a:b]
                    f1 = features[m + 1, a:b]
                    f2 = features[m + 2, a:b]
                    f3 = features[m + 3, a:b]
                    s00 = 0.0
                    s01 = 0.0
                    s02 = 0.0
                    s03 = 0.0
                    s10 = 0.0
                    s11 = 0.0
                    s12 = 0.0
                    s13 = 0.0
                    for i in range(width):
                        s00 += t0[i] * f0[i]
                        s01 += t0[i] * f1[i]
                        s02 += t0[i] * f2[i]
                        s03 += t0[i] * f3[i]
                        s10 += t1[i] * f0[i]
                        s11 += t1[i] * f1[i]
                        s12 += t1[i] * f2[i]
                        s13 += t1[i] * f3[i]
                    out[k, j, m] += s00
                    out[k, j, m + 1] += s01
                    out[k, j, m + 2] += s02
                    out[k, j, m + 3] += s03
                    out[k, j + 1, m] += s10
                    out[k, j + 1, m + 1] += s11
                    out[k, j + 1, m + 2] += s12
                    out[k, j + 1, m + 3] += s13
                    m += 4
                while m + 2 <= j + 2:
                    f0 = features[m, a:b]
                    f1 = features[m + 1, a:b]
                    s00 = 0.0
                    s01 = 0.0
                    s10 = 0.0
                    s11 = 0.0
                    for i in range(width):
                        s00 += t0[i] * f0[i]
                        s01 += t0[i] * f1[i]
                        s10 += t1[i] * f0[i]
                        s11 += t1[i] * f1[i]
                    out[k, j, m] += s00
                    out[k, j, m + 1] += s01
                    out[k, j + 1, m] += s10
                    out[k, j + 1, m + 1] += s11
                    m += 2
                j += 2
            if j < q:
                fj = features[j, a:b]
                for i in range(width):
                    t0[i] = w[i] * fj[i]
                for m in range(q):
                    f0 = features[m, a:b]
                    s00 = 0.0
                    for i in range(width):
                        s00 += t0[i] * f0[i]
                    out[k, j, m] += s00


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def weighted_moments(features, weights, start, stop, out):
    """out[k] += features @ weights[k] for each row k of weights (K, B)."""
    q = features.shape[0]
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        for k in range(weights.shape[0]):
            w = weights[k, lo : lo + width]
            for j in range(q):
                f = features[j, start + lo : start + lo + width]
                a = 0.0
                for i in range(width):
                    a += w[i] * f[i]
                out[k, j] += a


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def scaled_features(features, weights, start, stop, out):
    """out[k q + j] = weights[k] * features[j]: the rows of a per-row score matrix (K q, B)."""
    q = features.shape[0]
    for k in range(weights.shape[0]):
        w = weights[k]
        for j in range(q):
            f = features[j, start:stop]
            o = out[k * q + j]
            for i in range(w.size):
                o[i] = w[i] * f[i]


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def outer_sum(rows, out):
    """out += rows rowsᵀ for rows (P, B); only i >= j is filled."""
    n_rows, n = rows.shape
    for lo in range(0, n, STRIP):
        width = min(STRIP, n - lo)
        for a in range(n_rows):
            ra = rows[a, lo : lo + width]
            b = 0
            while b + 4 <= a + 1:
                r0 = rows[b, lo : lo + width]
                r1 = rows[b + 1, lo : lo + width]
                r2 = rows[b + 2, lo : lo + width]
                r3 = rows[b + 3, lo : lo + width]
                s0 = 0.0
                s1 = 0.0
                s2 = 0.0
                s3 = 0.0
                for i in range(width):
                    s0 += ra[i] * r0[i]
                    s1 += ra[i] * r1[i]
                    s2 += ra[i] * r2[i]
                    s3 += ra[i] * r3[i]
                out[a, b] += s0
                out[a, b + 1] += s1
                out[a, b + 2] += s2
                out[a, b + 3] += s3
                b += 4
            while b <= a:
                r0 = rows[b, lo : lo + width]
                s0 = 0.0
                for i in range(width):
                    s0 += ra[i] * r0[i]
                out[a, b] += s0
                b += 1


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def gaussian_moments(resp, residual, weighted_residual, out):
    """weighted_residual = resp * residual; out[k] += (Σ resp_k, Σ resp_k residual_k²)."""
    for k in range(resp.shape[0]):
        r = resp[k]
        e = residual[k]
        t = weighted_residual[k]
        mass = 0.0
        square = 0.0
        for i in range(r.size):
            t[i] = r[i] * e[i]
            mass += r[i]
            square += t[i] * e[i]
        out[k, 0] += mass
        out[k, 1] += square


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
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


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
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


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def cross_grams(left, right, weights, start, stop, out):
    """out[k] += left diag(weights[k]) rightᵀ for two feature sets."""
    scaled = np.empty(STRIP)
    for lo in range(0, stop - start, STRIP):
        width = min(STRIP, stop - start - lo)
        for k in range(weights.shape[0]):
            w = weights[k, lo : lo + width]
            for j in range(left.shape[0]):
                f = left[j, start + lo : start + lo + width]
                for i in range(width):
                    scaled[i] = w[i] * f[i]
                for m in range(right.shape[0]):
                    g = right[m, start + lo : start + lo + width]
                    a = 0.0
                    for i in range(width):
                        a += scaled[i] * g[i]
                    out[k, j, m] += a


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def softmax_pairs(prob, out):
    """Curvature of the softmax in its scores: rows `δ_ab π_a - π_a π_b` of `out` for the pairs b <= a."""
    row = 0
    for a in range(prob.shape[0]):
        pa = prob[a]
        for b in range(a + 1):
            pb = prob[b]
            o = out[row]
            if a == b:
                for i in range(pa.size):
                    o[i] = pa[i] - pa[i] * pa[i]
            else:
                for i in range(pa.size):
                    o[i] = -pa[i] * pb[i]
            row += 1


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


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def scale_pairs(factor, pairs):
    """The rows of `pairs` for b <= a are multiplied by factor[a] factor[b], in place."""
    row = 0
    for a in range(factor.shape[0]):
        fa = factor[a]
        for b in range(a + 1):
            fb = factor[b]
            o = pairs[row]
            for i in range(fa.size):
                o[i] *= fa[i] * fb[i]
            row += 1


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def class_log_rows(eta, out):
    """out (C, M) = log-probabilities of classes with log odds eta (C - 1, M) against the last; those near zero keep their digits."""
    d, m = eta.shape
    top, below, ties = np.empty(STRIP), np.empty(STRIP), np.empty(STRIP)
    for lo in range(0, m, STRIP):
        width = min(STRIP, m - lo)
        top[:] = 0.0
        for s in range(d):
            e = eta[s, lo : lo + width]
            for i in range(width):
                top[i] = max(top[i], e[i])
        below[:] = 0.0
        ties[:] = -1.0
        for s in range(d + 1):
            o = out[s, lo : lo + width]
            if s < d:
                e = eta[s, lo : lo + width]
                for i in range(width):
                    o[i] = e[i] - top[i]
            else:
                for i in range(width):
                    o[i] = -top[i]
            for i in range(width):
                value = _exp(o[i])
                below[i] += value if o[i] < 0.0 else 0.0
                ties[i] += 0.0 if o[i] < 0.0 else 1.0
        for i in range(width):
            x = below[i] + ties[i]
            u = 1.0 + x
            top[i] = _log(u) + (x - (u - 1.0)) / u
        for s in range(d + 1):
            o = out[s, lo : lo + width]
            for i in range(width):
                o[i] -= top[i]


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def class_rows(eta, out):
    """out (C, M) = probabilities of classes with log odds eta (C - 1, M) against the last."""
    d, m = eta.shape
    top, total = np.empty(STRIP), np.empty(STRIP)
    for lo in range(0, m, STRIP):
        width = min(STRIP, m - lo)
        top[:] = 0.0
        for s in range(d):
            e = eta[s, lo : lo + width]
            for i in range(width):
                top[i] = max(top[i], e[i])
        last = out[d, lo : lo + width]
        for i in range(width):
            last[i] = _exp(-top[i])
            total[i] = last[i]
        for s in range(d):
            e = eta[s, lo : lo + width]
            o = out[s, lo : lo + width]
            for i in range(width):
                o[i] = _exp(e[i] - top[i])
                total[i] += o[i]
        for i in range(width):
            total[i] = 1.0 / total[i]
        for s in range(d + 1):
            o = out[s, lo : lo + width]
            for i in range(width):
                o[i] *= total[i]


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
