"""Compiled functions of numbers: own exp and log, which LLVM vectorises, and what they make."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Contraction alone: reassociation breaks the magic-number range reduction of `_exp`.
EXACT = {"contract"}
STRIP = 512  # rows that are worked on at a time; keeps a strip of a few rows in the first-level cache

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


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _log1p(x):
    """log(1 + x) for -1 < x < 1e300; what rounding took from 1 + x is given back."""
    u = 1.0 + x
    return _log(u) + (x - (u - 1.0)) / u


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
    """out = log(1 + x) elementwise for -1 < x < 1e300."""
    for i in range(x.size):
        out[i] = _log1p(x[i])


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy", inline="always")
def _largest(eta, lo, width, top):
    """top = the largest log odds of a strip of eta (C - 1, M), the last class's zero included."""
    top[:] = 0.0
    for s in range(eta.shape[0]):
        e = eta[s, lo : lo + width]
        for i in range(width):
            top[i] = max(top[i], e[i])


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def class_log_rows(eta, out):
    """out (C, M) = log-probabilities of classes with log odds eta (C - 1, M) against the last; those near zero keep their digits."""
    d, m = eta.shape
    top, below, ties = np.empty(STRIP), np.empty(STRIP), np.empty(STRIP)
    for lo in range(0, m, STRIP):
        width = min(STRIP, m - lo)
        _largest(eta, lo, width, top)
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
            top[i] = _log1p(below[i] + ties[i])
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
        _largest(eta, lo, width, top)
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
def student_t_rows(z, nu, out):
    """out (7, K, B): derivatives of the standard log-density of Student's t at z (K, B), for ν (K,); see `plain.student_t_rows`."""
    for k in range(z.shape[0]):
        v = nu[k]
        c = 1.0 + 1.0 / v
        row = z[k]
        slope, bend, twist, score, shape, mixed, twice = (
            out[0, k],
            out[1, k],
            out[2, k],
            out[3, k],
            out[4, k],
            out[5, k],
            out[6, k],
        )
        for i in range(row.size):
            x = row[i]
            u = x * x / v
            q = 1.0 / (1.0 + u)
            p = u * q
            zq = x * q
            own = q * (x - 1.0) * (x + 1.0)
            small = min(u, 0.5)
            r = small / (2.0 + small)
            square = r * r
            series = 1.0 / 25.0
            series = 1.0 / 23.0 + square * series
            series = 1.0 / 21.0 + square * series
            series = 1.0 / 19.0 + square * series
            series = 1.0 / 17.0 + square * series
            series = 1.0 / 15.0 + square * series
            series = 1.0 / 13.0 + square * series
            series = 1.0 / 11.0 + square * series
            series = 1.0 / 9.0 + square * series
            series = 1.0 / 7.0 + square * series
            series = 1.0 / 5.0 + square * series
            series = 1.0 / 3.0 + square * series
            log1p = _log1p(u)
            excess = u * p - r * (small - 2.0 * square * series) if u <= 0.5 else log1p - p
            slope[i] = -c * zq
            bend[i] = -c * q * (q - p)
            twist[i] = -2.0 * c * zq * q
            score[i] = own
            shape[i] = 0.5 * (p - v * excess)
            mixed[i] = -zq * own / v
            twice[i] = 0.5 * (v * (p * p - excess) - p * q)
