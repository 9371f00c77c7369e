"""Log-likelihoods of a stack of fits: value, statistics of an EM step, gradient and exact Hessian.

The formulas are those of `moestat.objective` (Fisher's and Louis' identities in predictor space, with the shift that replaces the
softmax gate's `e_k - π` by `e_k`). Sums run over blocks of problems and rows; per row there are predictors, scores and features, never
a matrix of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from moestat.batched.arrays import Stacked, log_sum_exp, transposed
from moestat.batched.problem import Parameters, Problem

__all__ = ["Derivatives", "Statistics", "derivatives", "em_statistics", "values"]

Array = Any
Sums = tuple[Array, ...]


class Row(NamedTuple):
    """The E-step of a block: features, responses, predictors `(B, K, d, n)`, gate and responsibilities `(B, K, n)`."""

    z: Array
    phi: Array
    y: Array
    eta: Array
    log_sd: Array
    prob: Array
    resp: Array
    loglik: Array


@dataclass(frozen=True)
class Derivatives(Stacked):
    """Log-likelihood `(B,)`, gradient `(B, P)` and Hessian `(B, P, P)`."""

    value: Array
    gradient: Array
    hessian: Array


@dataclass(frozen=True)
class Statistics(Stacked):
    """Log-likelihood and what an EM step needs, at the point where it starts.

    Attributes
    ----------
    value, mass : (B,), (B, K)
        Log-likelihood; `Σ r`.
    gate_slope, gate_information : (B, K, q), (B, K q, K q)
        Of `Σ r log π` in the scores' coefficients.
    slope, information : (B, K, d p), (B, K, d p, d p)
        Of `Σ r log f` in each expert's coefficients.
    square : (B, K)
        `Σ r (y - η)²/σ²` of Gaussian experts, else zero.
    """

    value: Array
    mass: Array
    gate_slope: Array
    gate_information: Array
    slope: Array
    information: Array
    square: Array


def values(xp: Any, problem: Problem, theta: Array) -> Array:
    """Log-likelihoods `(B,)`."""
    return _sum(xp, problem, theta, lambda row: (xp.sum(row.loglik, axis=-1),))[0]


def derivatives(xp: Any, problem: Problem, theta: Array) -> Derivatives:
    """Log-likelihoods, gradients and Hessians."""
    value, gradient, hessian = _sum(xp, problem, theta, lambda row: _second_order(xp, problem, row))
    (tie,) = problem.tie
    hessian = xp.matmul(xp.matmul(tie, hessian), transposed(tie))
    return Derivatives(value, xp.matmul(gradient, transposed(tie)), 0.5 * (hessian + transposed(hessian)))


def em_statistics(xp: Any, problem: Problem, theta: Array) -> Statistics:
    """Log-likelihoods and the statistics of an EM step."""
    return Statistics(*_sum(xp, problem, theta, lambda row: _em_sums(xp, problem, row)))


def _sum(xp: Any, problem: Problem, theta: Array, work: Callable[[Row], Sums]) -> Sums:
    """`work` added over blocks of rows, and put together over blocks of problems."""
    parts: list[Sums] = []
    for first in range(0, problem.size, problem.block):
        part = slice(first, min(first + problem.block, problem.size))
        params = problem.unpack(xp, theta[part, :], part)
        total: Sums | None = None
        for start in range(0, problem.n, problem.rows):
            found = work(_e_step(xp, problem, params, part, slice(start, min(start + problem.rows, problem.n))))
            total = found if total is None else tuple(a + b for a, b in zip(total, found, strict=True))
        assert total is not None
        parts.append(total)
    return (
        parts[0] if len(parts) == 1 else tuple(xp.concat(list(column), axis=0) for column in zip(*parts, strict=True))
    )


def _e_step(xp: Any, problem: Problem, params: Parameters, part: slice, rows: slice) -> Row:
    frame = problem.frame
    z = problem.z[part, :, rows]
    phi = z if problem.phi is problem.z else problem.phi[part, :, rows]
    y = problem.y[part, :, rows]
    scores = xp.matmul(params.gate, z)
    total, prob = log_sum_exp(xp, scores, axis=1)
    flat = xp.reshape(params.coef, (params.coef.shape[0], frame.n_experts * frame.d, frame.p))
    eta = xp.reshape(xp.matmul(flat, phi), (flat.shape[0], frame.n_experts, frame.d, -1))
    joint = scores - total + frame.family.log_density(xp, y, eta, params.log_sd)
    loglik, resp = log_sum_exp(xp, joint, axis=1)
    return Row(z, phi, y, eta, params.log_sd, prob, resp, loglik[:, 0, :])


def _second_order(xp: Any, problem: Problem, row: Row) -> Sums:
    """Value, gradient `(B, K m)` and Hessian `(B, K m, K m)` in every expert's gate, coefficients and log σ."""
    frame = problem.frame
    k, q, coefs, m = frame.n_experts, frame.q, frame.d * frame.p, frame.width
    resp, phi, z = row.resp, row.phi, row.z
    b, n = resp.shape[0], resp.shape[-1]
    f = frame.family.derivatives(xp, row.y, row.eta, row.log_sd)
    first = resp[:, :, None, :] * f.slope
    second = resp[:, :, None, None, :] * (f.bend + f.slope[:, :, :, None, :] * f.slope[:, :, None, :, :])
    by_mean = xp.reshape(first[:, :, :, None, :] * phi[:, None, None, :, :], (b, k, coefs, n))
    weighted = xp.reshape(second[:, :, :, :, None, :] * phi[:, None, None, None, :, :], (b, k, frame.d**2 * frame.p, n))
    phi_t, z_t = transposed(phi)[:, None, :, :], transposed(z)[:, None, :, :]
    mean_mean = xp.reshape(xp.matmul(weighted, phi_t), (b, k, frame.d, frame.d, frame.p, frame.p))
    mean_mean = xp.reshape(xp.permute_dims(mean_mean, (0, 1, 2, 4, 3, 5)), (b, k, coefs, coefs))
    by_gate = resp[:, :, None, :] * z[:, None, :, :]
    by_prob = row.prob[:, :, None, :] * z[:, None, :, :]
    gate_gate = xp.matmul(by_gate - by_prob, z_t)
    gate_mean = xp.matmul(z[:, None, :, :], transposed(by_mean))
    scores = [by_gate, by_mean]
    blocks = [[gate_gate, gate_mean], [transposed(gate_mean), mean_mean]]
    if frame.sizes[2]:
        by_scale = resp * f.scale_slope
        mixed = resp[:, :, None, :] * (f.scale_mean + f.slope * f.scale_slope[:, :, None, :])
        gate_scale = transposed(xp.matmul(z, transposed(by_scale)))[:, :, :, None]
        mean_scale = xp.reshape(xp.matmul(mixed, phi_t), (b, k, coefs, 1))
        scale_scale = xp.sum(resp * (f.scale_bend + f.scale_slope**2), axis=-1)[:, :, None, None]
        scores.append(by_scale[:, :, None, :])
        blocks[0].append(gate_scale)
        blocks[1].append(mean_scale)
        blocks.append([transposed(gate_scale), transposed(mean_scale), scale_scale])
    score = xp.reshape(xp.concat(scores, axis=2), (b, k * m, n))
    own = xp.concat([xp.concat(line, axis=3) for line in blocks], axis=2)
    hessian = xp.reshape(-xp.matmul(score, transposed(score)), (b, k, m, k, m)) + _on_diagonal(xp, own)
    by_prob = xp.reshape(by_prob, (b, k * q, n))
    corner = xp.reshape(xp.matmul(by_prob, transposed(by_prob)), (b, k, q, k, q))
    hessian[:, :, :q, :, :q] += corner
    # the shift by π, which drops out of the covariance, is put back into the gate's score
    gate_score = xp.matmul(resp - row.prob, transposed(z))
    rest = xp.reshape(xp.sum(score, axis=-1), (b, k, m))[:, :, q:]
    gradient = xp.reshape(xp.concat([gate_score, rest], axis=2), (b, k * m))
    return xp.sum(row.loglik, axis=-1), gradient, xp.reshape(hessian, (b, k * m, k * m))


def _on_diagonal(xp: Any, own: Array) -> Array:
    """Blocks `(B, K, m, m)` on the diagonal of `(B, K, m, K, m)`."""
    eye = xp.eye(own.shape[1], dtype=own.dtype, device=own.device)
    return own[:, :, :, None, :] * eye[None, :, None, :, None]


def _em_sums(xp: Any, problem: Problem, row: Row) -> Sums:
    """See `Statistics`, in the order of its fields."""
    frame = problem.frame
    k, q, coefs = frame.n_experts, frame.q, frame.d * frame.p
    resp, phi = row.resp, row.phi
    b, n = resp.shape[0], resp.shape[-1]
    f = frame.family.derivatives(xp, row.y, row.eta, row.log_sd)
    phi_t, z_t = transposed(phi)[:, None, :, :], transposed(row.z)[:, None, :, :]
    slope = xp.reshape(xp.matmul(xp.reshape(resp[:, :, None, :] * f.slope, (b, k, frame.d, n)), phi_t), (b, k, coefs))
    weighted = (-resp[:, :, None, None, :] * f.bend)[:, :, :, :, None, :] * phi[:, None, None, None, :, :]
    information = xp.matmul(xp.reshape(weighted, (b, k, frame.d**2 * frame.p, n)), phi_t)
    information = xp.reshape(information, (b, k, frame.d, frame.d, frame.p, frame.p))
    information = xp.reshape(xp.permute_dims(information, (0, 1, 2, 4, 3, 5)), (b, k, coefs, coefs))
    by_prob = row.prob[:, :, None, :] * row.z[:, None, :, :]
    flat = xp.reshape(by_prob, (b, k * q, n))
    gate_information = xp.reshape(_on_diagonal(xp, xp.matmul(by_prob, z_t)), (b, k * q, k * q))
    gate_information = gate_information - xp.matmul(flat, transposed(flat))
    mass = xp.sum(resp, axis=-1)
    square = mass + xp.sum(resp * f.scale_slope, axis=-1) if f.scale_slope is not None else xp.zeros_like(mass)
    gate_slope = xp.matmul(resp - row.prob, transposed(row.z))
    return xp.sum(row.loglik, axis=-1), mass, gate_slope, gate_information, slope, information, square
