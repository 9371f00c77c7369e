"""Maxima of small fits of every family and of gates, computed with mpmath and nothing of moestat.

Run ``python -m tests.reference.mpmath.make_family_reference [name ...]`` to write ``family_reference.json``: for every case in
``family_cases.json`` (or those named) the maximal log-likelihood, the free parameters there and their standard errors from the
observed information, as strings with 40 digits.

A case has data with three decimals, drawn once from about the model that is fitted, and a start: free parameters by name, to
three digits. Densities and gates are written down below from these names, directly as in the textbooks: at 130 digits nothing
needs care. Derivatives and Newton steps are those of ``make_reference.py``, to ``max |score| < 1e-40``; the Hessian is negative
definite there.

Names: ``expert[k]:Intercept``, ``expert[k]:x1`` (with a class before them, ``expert[k]:class0:x1``), ``expert[k]:log_scale``; a gate
names its own, and what it does not name is zero.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import mpmath as mp

from tests.reference.mpmath.make_reference import (
    DIGITS,
    Case,
    Vector,
    derivatives,
    is_negative_definite,
    maximise,
    text,
)

HERE = Path(__file__).parent
Parameters = dict[str, Any]
Named = Callable[[str], Any]


def polynomial(p: Parameters, head: str, x: Vector) -> Any:
    """Intercept, slopes and squares of the predictor whose names begin with `head`."""
    out = p.get(f"{head}:Intercept", mp.mpf(0))
    for j, value in enumerate(x, start=1):
        out += p.get(f"{head}:x{j}", 0) * value + p.get(f"{head}:x{j}^2", 0) * value**2
    return out


def log_softmax(scores: Vector) -> Vector:
    total = mp.log(mp.fsum(mp.exp(s) for s in scores))
    return [s - total for s in scores]


def log_sigmoid(s: Any) -> Any:
    return -mp.log(1 + mp.exp(-s))


# -- experts: log f(y), for the predictors eta and named scalars --------------------------------------------------------


def log_normal(z: Any) -> Any:
    return -z * z / 2 - mp.log(2 * mp.pi) / 2


def gaussian(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    return log_normal((y[0] - eta[0]) * mp.exp(-v("log_scale"))) - v("log_scale")


def student_t(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
    nu = mp.mpf(options["df"]) if "df" in options else mp.exp(v("log_df"))
    z = (y[0] - eta[0]) * mp.exp(-v("log_scale"))
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2
    return constant - v("log_scale") - (nu + 1) / 2 * mp.log(1 + z * z / nu)


@cache
def bessel(delta: float) -> Any:
    return mp.log(2 * mp.mpf(delta) * mp.besselk(1, mp.mpf(delta)))


def laplace(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
    delta = options.get("smoothing", 1e-3)
    z = (y[0] - eta[0]) * mp.exp(-v("log_scale"))
    return -mp.sqrt(mp.mpf(delta) ** 2 + z * z) - bessel(delta) - v("log_scale")


def skew_normal(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    z = (y[0] - eta[0]) * mp.exp(-v("log_scale"))
    return log_normal(z) - v("log_scale") + mp.log(mp.erfc(-v("shape") * z / mp.sqrt(2)))


def gamma(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    a, mu = mp.exp(v("log_shape")), mp.exp(eta[0])
    return a * mp.log(a / mu) + (a - 1) * mp.log(y[0]) - a * y[0] / mu - mp.loggamma(a)


def lognormal(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    return log_normal((mp.log(y[0]) - eta[0]) * mp.exp(-v("log_scale"))) - v("log_scale") - mp.log(y[0])


def inverse_gaussian(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    shape, mu = mp.exp(v("log_shape")), mp.exp(eta[0])
    return mp.log(shape / (2 * mp.pi * y[0] ** 3)) / 2 - shape * (y[0] - mu) ** 2 / (2 * mu**2 * y[0])


def beta(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    phi, mu = mp.exp(v("log_precision")), 1 / (1 + mp.exp(-eta[0]))
    a, b = mu * phi, (1 - mu) * phi
    constant = mp.loggamma(phi) - mp.loggamma(a) - mp.loggamma(b)
    return constant + (a - 1) * mp.log(y[0]) + (b - 1) * mp.log(1 - y[0])


def multinomial(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    return log_softmax([*eta, mp.mpf(0)])[int(y[0])]


def binomial(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    k, n = y
    return mp.log(mp.binomial(n, k)) + k * log_sigmoid(eta[0]) + (n - k) * log_sigmoid(-eta[0])


@cache
def log_factorial(y: Any) -> Any:
    return mp.loggamma(y + 1)


def poisson(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    return y[0] * eta[0] - mp.exp(eta[0]) - log_factorial(y[0])


def negative_binomial(y: Vector, eta: Vector, v: Named, _: Case) -> Any:
    r, mu = mp.exp(-v("log_dispersion")), mp.exp(eta[0])
    ways = mp.fsum(mp.log(r + j) for j in range(int(y[0]))) - log_factorial(y[0])  # of Γ(y + r)/(Γ(r) y!)
    return ways + r * mp.log(r / (r + mu)) + y[0] * mp.log(mu / (r + mu))


def zero_inflated(counts: Any) -> Any:
    def log_density(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
        omega = 1 / (1 + mp.exp(-v("logit_zero")))
        proba = (1 - omega) * mp.exp(counts(y, eta, v, options))
        return mp.log(proba + omega if y[0] == 0 else proba)

    return log_density


def hurdle(counts: Any) -> Any:
    def log_density(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
        if y[0] == 0:
            return log_sigmoid(v("logit_zero"))
        positive = mp.log(1 - mp.exp(counts([mp.mpf(0)], eta, v, options)))
        return log_sigmoid(-v("logit_zero")) + counts(y, eta, v, options) - positive

    return log_density


def censored(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
    """Of intervals: exact responses, and the probabilities of others; divided by that of the truncation limits."""
    family, cdf = CENSORED[options["family"]]

    def proba(low: Any, high: Any) -> Any:
        return cdf(high, eta, v) - cdf(low, eta, v)

    seen = proba(mp.mpf(options.get("low", "-inf")), mp.mpf(options.get("high", "inf")))
    return (family(y, eta, v, options) if y[0] == y[1] else mp.log(proba(*y))) - mp.log(seen)


def normal_cdf(y: Any, eta: Vector, v: Named) -> Any:
    return mp.erfc(-(y - eta[0]) * mp.exp(-v("log_scale")) / mp.sqrt(2)) / 2


def gamma_cdf(y: Any, eta: Vector, v: Named) -> Any:
    a = mp.exp(v("log_shape"))
    return mp.gammainc(a, 0, a * y * mp.exp(-eta[0]), regularized=True)


def nonlinear(y: Vector, eta: Vector, v: Named, options: Case) -> Any:
    return gaussian(y, [v("output") * mp.tanh(eta[0])], v, options)


EXPERTS = {
    "gaussian": gaussian,
    "student_t": student_t,
    "laplace": laplace,
    "skew_normal": skew_normal,
    "gamma": gamma,
    "lognormal": lognormal,
    "inverse_gaussian": inverse_gaussian,
    "beta": beta,
    "multinomial": multinomial,
    "binomial": binomial,
    "poisson": poisson,
    "negative_binomial": negative_binomial,
    "zero_inflated_poisson": zero_inflated(poisson),
    "zero_inflated_negative_binomial": zero_inflated(negative_binomial),
    "hurdle_poisson": hurdle(poisson),
    "hurdle_negative_binomial": hurdle(negative_binomial),
    "normal": gaussian,
    "censored": censored,
    "nonlinear": nonlinear,
}
CENSORED = {"normal": (gaussian, normal_cdf), "gamma": (gamma, gamma_cdf)}

# -- gates: the logarithms of the weights -----------------------------------------------------------------------------------


def softmax(p: Parameters, x: Vector, k: int, _: Case, head: str = "gate") -> Vector:
    return log_softmax([polynomial(p, f"{head}[{j}]", x) for j in range(1, k + 1)])


def normalized_sigmoid(p: Parameters, x: Vector, k: int, _: Case) -> Vector:
    return log_softmax([log_sigmoid(polynomial(p, f"gate[{j}]", x)) for j in range(1, k + 1)])


def laplace_gate(p: Parameters, x: Vector, k: int, options: Case) -> Vector:
    smoothing = mp.mpf(options.get("smoothing", 1e-3))

    def score(j: int) -> Any:
        place = [p[f"gate[{j}]:location[x{i}]"] for i in range(1, len(x) + 1)]
        distance = mp.sqrt(smoothing**2 + mp.fsum((a - b) ** 2 for a, b in zip(place, x, strict=True)))
        return p.get(f"gate[{j}]:Intercept", 0) - distance

    return log_softmax([score(j) for j in range(1, k + 1)])


def activation(p: Parameters, x: Vector, k: int, options: Case) -> Vector:
    s = {"tanh": mp.tanh, "sigmoid": lambda u: 1 / (1 + mp.exp(-u))}[options.get("activation", "tanh")]
    tau = mp.mpf(options["temperature"]) if "temperature" in options else mp.exp(p["gate:log_temperature"])

    def score(j: int) -> Any:
        intercept = p.get(f"gate[{j}]:Intercept", mp.mpf(0))
        return (s(polynomial(p, f"gate[{j}]", x) - intercept) + intercept) / tau

    return log_softmax([score(j) for j in range(1, k + 1)])


def hierarchical(p: Parameters, x: Vector, k: int, options: Case) -> Vector:
    """Experts below each branch in the order of the tree, which is that of the experts here."""

    def below(tree: Any, path: str) -> Vector:
        if isinstance(tree, int):
            return [mp.mpf(0)]
        paths = [f"{path}.{j}".strip(".") for j in range(1, len(tree) + 1)]
        shares = log_softmax([polynomial(p, f"gate[{q}]", x) for q in paths])
        return [
            share + rest
            for share, branch, q in zip(shares, tree, paths, strict=True)
            for rest in below(branch, q)
        ]  # fmt: skip

    return below(options["tree"], "")


def shared(p: Parameters, x: Vector, k: int, options: Case) -> Vector:
    m, block = options["n_shared"], polynomial(p, "block", x)
    constant = softmax(p, [], m, options, "shared")
    routed = softmax(p, x, k - m, options, "routed")
    return [log_sigmoid(block) + w for w in constant] + [log_sigmoid(-block) + w for w in routed]


def gaussian_gate(p: Parameters, x: Vector, k: int, options: Case) -> Vector:
    """`log π_k N(x; c_k, Γ_k)` with `Γ⁻¹ = L Lᵀ`; given x, divided by their sum."""
    d = len(x)

    def log_density(j: int) -> Any:
        gap = [x[i] - p[f"gate[{j}]:location[x{i + 1}]"] for i in range(d)]
        scale = [p[f"gate[{j}]:log_scale[x{i + 1}]"] for i in range(d)]
        white = [
            gap[c] * mp.exp(-scale[c])
            + mp.fsum(gap[r] * p[f"gate[{j}]:cholesky[x{r + 1},x{c + 1}]"] for r in range(c + 1, d))
            for c in range(d)
        ]
        return mp.fsum(log_normal(w) - s for w, s in zip(white, scale, strict=True))

    weight = log_softmax([p.get(f"gate[{j}]:log_weight", mp.mpf(0)) for j in range(1, k + 1)])
    joint = [w + log_density(j) for j, w in enumerate(weight, start=1)]
    return log_softmax(joint) if options.get("likelihood") == "conditional" else joint


GATES = {
    "softmax": softmax,
    "quadratic": softmax,
    "normalized_sigmoid": normalized_sigmoid,
    "laplace": laplace_gate,
    "activation": activation,
    "hierarchical": hierarchical,
    "shared": shared,
    "gaussian": gaussian_gate,
}


def loglik(case: Case, theta: Vector) -> Any:
    """The log-likelihood at the free parameters, in the order of the start."""
    p = dict(zip(case["start"], theta, strict=True))
    gate, options, total = GATES[case["gate"]], case["expert_options"], mp.mpf(0)
    families = options.get("families", [case["expert"]] * case["n_experts"])
    classes = options.get("n_classes")
    for row, response in zip(case["X"], case["y"], strict=True):
        x, y = [mp.mpf(v) for v in row], [mp.mpf(v) for v in (response if isinstance(response, list) else [response])]
        terms = []
        for j, weight in enumerate(gate(p, x, case["n_experts"], case["gate_options"]), start=1):
            heads = [f"expert[{j}]"] if classes is None else [f"expert[{j}]:class{s}" for s in range(classes - 1)]
            eta = [polynomial(p, head, x) for head in heads]
            scalar = partial(lambda head, name: p[f"{head}:{name}"], f"expert[{j}]")
            terms.append(mp.exp(weight + EXPERTS[families[j - 1]](y, eta, scalar, options)))
        total += mp.log(mp.fsum(terms))
    return total


def reference(case: Case) -> dict[str, Any]:
    function = partial(loglik, case)
    best, value, iterations = maximise(function, [mp.mpf(v) for v in case["start"].values()])
    hessian = derivatives(function, best)[2]
    assert is_negative_definite(hessian)
    covariance = (-hessian) ** -1
    print(f"{case['name']}: L(max) = {mp.nstr(value, 12)}, {iterations} steps", flush=True)
    return {
        "loglik": text(value),
        "params": dict(zip(case["start"], map(text, best), strict=True)),
        "errors": [text(mp.sqrt(covariance[j, j])) for j in range(len(best))],
    }


def main(names: list[str]) -> None:
    mp.mp.dps = DIGITS
    path = HERE / "family_reference.json"
    cases = json.loads((HERE / "family_cases.json").read_text())
    for case in cases:
        if not names or case["name"] in names:
            found = reference(case)
            numbers = json.loads(path.read_text()) if path.exists() else {}
            numbers[case["name"]] = found
            path.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
