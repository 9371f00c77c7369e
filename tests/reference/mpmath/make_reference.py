"""Reference numbers for small fits, computed with mpmath and nothing of moestat.

Run ``python tests/reference/mpmath/make_reference.py`` to write ``cases.json`` (data and starts, drawn once, rounded to
three decimals; kept when the file exists) and ``reference.json`` (numbers as strings with 40 digits).

The log-likelihood is written down directly,

    L(theta) = sum_i w_i log sum_k softmax_k(gate_k(x_i)) N(y_i; mean_k(x_i), scale_k^2),

at 130 digits; gradient and Hessian are its central differences with step 1e-30, whose error is about 1e-60 (truncation)
and 1e-70 (rounding). The maximiser is found by damped Newton from the start until every score is below 1e-40.

Free parameters, in order: gate (intercept, slopes) for experts 1..K-1, the last gate being zero; then for each expert
intercept, slopes, log scale (a tied log scale comes once, last). With two responses (``n_outputs`` 2) an expert has two
intercept-slope rows and the covariance ``C C'``, ``C`` lower triangular with entries (log c11, c21, log c22).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

HERE = Path(__file__).parent
DIGITS = 130
STEP = mp.mpf(10) ** -30
Case = dict[str, Any]
Vector = list[Any]


def monomials(row: list[float], degree: int) -> Vector:
    """1 and the features of a row; for one feature its powers up to ``degree``."""
    x = [mp.mpf(v) for v in row]
    if degree == 1:
        return [mp.mpf(1), *x]
    return [x[0] ** power for power in range(degree + 1)]


def unpack(case: Case, theta: Vector) -> tuple[list[Vector], list[list[Vector]], list[Vector]]:
    """Gate rows (K, q), mean rows (K, D, m) and scale parameters (K, .) of a free vector."""
    k, d, outputs = case["n_experts"], case["n_features"], case["n_outputs"]
    q = 1 if case["gate"] == "constant" else 1 + d
    m = 1 + d if case["degree"] == 1 else 1 + case["degree"]
    position = 0

    def take(count: int) -> Vector:
        nonlocal position
        position += count
        return theta[position - count : position]

    gates = [take(q) for _ in range(k - 1)] + [[mp.mpf(0)] * q]
    means, scales = [], []
    for _ in range(k):
        means.append([take(m) for _ in range(outputs)])
        if not case["tied"]:
            scales.append(take(1 if outputs == 1 else 3))
    if case["tied"]:
        shared = take(1)
        scales = [shared] * k
    assert position == len(theta)
    return gates, means, scales


def dot(a: Vector, b: Vector) -> Any:
    return mp.fsum(u * v for u, v in zip(a, b, strict=True))


def loglik(case: Case, theta: Vector) -> Any:
    """The log-likelihood at ``theta``."""
    gates, means, scales = unpack(case, theta)
    half_log_2pi = mp.log(2 * mp.pi) / 2
    total = mp.mpf(0)
    for x, y, weight in zip(case["X"], case["y"], case["sample_weight"], strict=True):
        gate_row = [mp.mpf(1)] if case["gate"] == "constant" else monomials(x, 1)
        features = monomials(x, case["degree"])
        prior = [mp.exp(dot(g, gate_row)) for g in gates]
        joint = []
        for p, rows, scale in zip(prior, means, scales, strict=True):
            residual = [mp.mpf(v) - dot(r, features) for v, r in zip(y, rows, strict=True)]
            z1 = residual[0] * mp.exp(-scale[0])
            log_density = -half_log_2pi - scale[0] - z1 * z1 / 2
            if case["n_outputs"] == 2:
                z2 = (residual[1] - scale[1] * z1) * mp.exp(-scale[2])
                log_density += -half_log_2pi - scale[2] - z2 * z2 / 2
            joint.append(p * mp.exp(log_density))
        total += mp.mpf(weight) * (mp.log(mp.fsum(joint)) - mp.log(mp.fsum(prior)))
    return total


def derivatives(loglik: Callable[[Vector], Any], theta: Vector) -> tuple[Any, Any, Any]:
    """Value, gradient (P, 1) and Hessian (P, P) by central differences."""
    size = len(theta)

    def at(*moves: tuple[int, int]) -> Any:
        point = list(theta)
        for index, sign in moves:
            point[index] += sign * STEP
        return loglik(point)

    centre = loglik(theta)
    plus, minus = [at((a, 1)) for a in range(size)], [at((a, -1)) for a in range(size)]
    gradient, hessian = mp.matrix(size, 1), mp.matrix(size, size)
    for a in range(size):
        gradient[a] = (plus[a] - minus[a]) / (2 * STEP)
        hessian[a, a] = (plus[a] - 2 * centre + minus[a]) / STEP**2
        for b in range(a):
            # six-point formula: reuses the single moves
            both = at((a, 1), (b, 1)) + at((a, -1), (b, -1))
            mixed = (both - plus[a] - minus[a] - plus[b] - minus[b] + 2 * centre) / (2 * STEP**2)
            hessian[a, b] = hessian[b, a] = mixed
    return centre, gradient, hessian


def is_negative_definite(hessian: Any) -> bool:
    try:
        mp.cholesky(-hessian)
    except ValueError:
        return False
    return True


def maximise(loglik: Callable[[Vector], Any], theta: Vector) -> tuple[Vector, Any, int]:
    """Damped Newton to ``max |score| < 1e-40``; a ridge makes the Hessian negative definite where it is not."""
    for iteration in range(200):
        value, gradient, hessian = derivatives(loglik, theta)
        if max(abs(g) for g in gradient) < mp.mpf(10) ** -40:
            return theta, value, iteration
        ridge, identity = mp.mpf(0), mp.eye(len(theta))
        while not is_negative_definite(hessian - ridge * identity):
            ridge = 2 * ridge if ridge else mp.mpf("0.1")
        step, length = mp.lu_solve(ridge * identity - hessian, gradient), mp.mpf(1)
        while loglik([t + length * s for t, s in zip(theta, step, strict=True)]) < value:
            length /= 2
        theta = [t + length * s for t, s in zip(theta, step, strict=True)]
    raise RuntimeError("no maximiser found")


def free_vector(case: Case) -> Vector:
    """The free vector of the start: doubles taken as exact numbers, scales through their exact logarithm."""
    start, k = case["start"], case["n_experts"]
    theta: Vector = []
    for expert in range(k - 1):
        theta.append(mp.mpf(start["gate_intercept"][expert]) - mp.mpf(start["gate_intercept"][-1]))
        if case["gate"] != "constant":
            rows = zip(start["gate_coef"][expert], start["gate_coef"][-1], strict=True)
            theta.extend(mp.mpf(a) - mp.mpf(b) for a, b in rows)
    for expert in range(k):
        if case["n_outputs"] == 1:
            theta.extend(map(mp.mpf, [start["expert_intercept"][expert], *start["expert_coef"][expert]]))
            if not case["tied"]:
                theta.append(mp.log(mp.mpf(start["expert_scale"][expert])))
        else:
            rows = zip(start["expert_intercept"][expert], start["expert_coef"][expert], strict=True)
            for intercept, coef in rows:
                theta.extend(map(mp.mpf, [intercept, *coef]))
            (v11, v12), (_, v22) = start["expert_covariance"][expert]
            c11 = mp.sqrt(mp.mpf(v11))
            c21 = mp.mpf(v12) / c11
            theta.extend([mp.log(c11), c21, mp.log(mp.sqrt(mp.mpf(v22) - c21**2))])
    if case["tied"]:
        theta.append(mp.log(mp.mpf(start["expert_scale"][0])))
    return theta


def text(value: Any) -> str:
    return str(mp.nstr(value, 40, strip_zeros=False))


def public_parameters(case: Case, theta: Vector) -> dict[str, Any]:
    """The maximiser under the public parameter names, last gate zero."""
    gates, means, scales = unpack(case, theta)
    d = case["n_features"]
    result: dict[str, Any] = {
        "gate_intercept": [text(g[0]) for g in gates],
        "gate_coef": [[text(v) for v in (g[1:] or [mp.mpf(0)] * d)] for g in gates],
    }
    if case["n_outputs"] == 1:
        result["expert_intercept"] = [text(rows[0][0]) for rows in means]
        result["expert_coef"] = [[text(v) for v in rows[0][1:]] for rows in means]
        result["expert_scale"] = [text(mp.exp(s[0])) for s in scales]
    else:
        result["expert_intercept"] = [[text(r[0]) for r in rows] for rows in means]
        result["expert_coef"] = [[[text(v) for v in r[1:]] for r in rows] for rows in means]
        result["expert_covariance"] = []
        for s in scales:
            c11, c21, c22 = mp.exp(s[0]), s[1], mp.exp(s[2])
            result["expert_covariance"].append(
                [[text(c11**2), text(c11 * c21)], [text(c11 * c21), text(c21**2 + c22**2)]]
            )
    return result


def reference(case: Case) -> dict[str, Any]:
    theta = free_vector(case)
    value, gradient, hessian = derivatives(partial(loglik, case), theta)
    best, best_value, iterations = maximise(partial(loglik, case), theta)
    print(f"{case['name']}: L(start) = {mp.nstr(value, 12)}, L(max) = {mp.nstr(best_value, 12)}, {iterations} steps")
    return {
        "start": {
            "loglik": text(value),
            "gradient": [text(g) for g in gradient],
            "hessian": [[text(hessian[a, b]) for b in range(len(theta))] for a in range(len(theta))],
        },
        "maximum": {"loglik": text(best_value), "params": public_parameters(case, best)},
    }


def draw(name: str, seed: int, n: int, start: dict[str, Any], **settings: Any) -> Case:
    """Data simulated from parameters near ``start``; three decimals are kept."""
    rng = np.random.default_rng(seed)
    k = len(start["gate_intercept"])
    d = len(start["gate_coef"][0])
    defaults = {"gate": "softmax", "degree": 1, "tied": False, "n_outputs": 1, "weighted": False}
    case: Case = {"name": name, "n_experts": k, "n_features": d, **defaults, **settings}
    x = np.round(rng.uniform(-2.0, 2.0, (n, d)), 3)
    scores = x @ np.array(start["gate_coef"]).T + np.array(start["gate_intercept"])
    label = np.argmax(scores + rng.gumbel(size=(n, k)), axis=1)
    features = x if case["degree"] == 1 else np.column_stack([x[:, 0] ** p for p in range(1, case["degree"] + 1)])
    coef, intercept = np.array(start["expert_coef"]), np.array(start["expert_intercept"])
    if case["n_outputs"] == 1:
        mean = intercept[label] + np.sum(coef[label] * features, axis=1)
        y = (mean + np.array(start["expert_scale"])[label] * rng.normal(size=n))[:, None]
    else:
        factor = np.linalg.cholesky(np.array(start["expert_covariance"]))[label]
        mean = intercept[label] + np.einsum("nop,np->no", coef[label], features)
        y = mean + np.einsum("nij,nj->ni", factor, rng.normal(size=(n, 2)))
    weight = np.round(rng.uniform(0.2, 3.0, n), 2) if case.pop("weighted") else np.ones(n)
    case |= {"X": x.tolist(), "y": np.round(y, 3).tolist(), "sample_weight": weight.tolist(), "start": start}
    return case


def draw_cases() -> list[Case]:
    two_lines = {
        "gate_intercept": [0.3, 0.0],
        "gate_coef": [[1.2], [0.0]],
        "expert_intercept": [1.0, -0.5],
        "expert_coef": [[0.8], [-1.1]],
        "expert_scale": [0.5, 0.7],
    }
    two_planes = {
        "gate_intercept": [-0.2, 0.0],
        "gate_coef": [[1.1, -0.7], [0.0, 0.0]],
        "expert_intercept": [0.6, -0.4],
        "expert_coef": [[1.0, -0.5], [-0.8, 0.9]],
        "expert_scale": [0.4, 0.6],
    }
    three_lines = {
        "gate_intercept": [0.2, 0.4, 0.0],
        "gate_coef": [[1.6], [-1.2], [0.0]],
        "expert_intercept": [2.0, -2.0, 0.0],
        "expert_coef": [[1.0], [1.5], [-1.0]],
        "expert_scale": [0.4, 0.5, 0.3],
    }
    two_parabolas = {
        "gate_intercept": [0.25, 0.0],
        "gate_coef": [[0.0], [0.0]],
        "expert_intercept": [1.0, -1.0],
        "expert_coef": [[0.5, -0.6], [-0.4, 0.7]],
        "expert_scale": [0.35, 0.5],
    }
    two_responses = {
        "gate_intercept": [0.3, 0.0],
        "gate_coef": [[1.0], [0.0]],
        "expert_intercept": [[1.0, 0.5], [-1.0, 0.0]],
        "expert_coef": [[[0.8], [-0.4]], [[-0.6], [0.9]]],
        "expert_covariance": [[[0.3, 0.1], [0.1, 0.2]], [[0.25, -0.08], [-0.08, 0.4]]],
    }
    return [
        draw("k2_d1_softmax", 11, 40, two_lines),
        draw("k2_d2_softmax_weighted", 12, 50, two_planes, weighted=True),
        draw("k3_d1_softmax", 13, 60, three_lines),
        draw("k2_d1_quadratic_constant", 14, 45, two_parabolas, gate="constant", degree=2),
        draw("k2_d1_softmax_tied", 15, 40, {**two_lines, "expert_scale": [0.6, 0.6]}, tied=True),
        draw("k2_d1_two_responses", 16, 40, two_responses, n_outputs=2),
    ]


def main() -> None:
    mp.mp.dps = DIGITS
    path = HERE / "cases.json"
    if not path.exists():
        path.write_text(json.dumps(draw_cases(), indent=1) + "\n")
    cases = json.loads(path.read_text())
    numbers = {case["name"]: reference(case) for case in cases}
    (HERE / "reference.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
