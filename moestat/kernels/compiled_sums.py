"""Compiled sums over a block of rows, and what they are weighted by."""

from __future__ import annotations

import numpy as np
from numba import njit

from moestat.kernels.compiled_functions import STRIP

# Reassociation lets LLVM vectorise the reductions; never in one function with `_exp`, whose range reduction it breaks.
SUMS = {"reassoc", "contract", "nsz"}


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


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
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
