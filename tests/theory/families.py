"""Mixtures of every family for the tests of divergences, and their densities in mpmath."""

import mpmath as mp
import numpy as np

import moestat as ms
from moestat import experts

GATE = {"gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0]}
STEEP = {"expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0]}
FLAT = {"expert_coef": [[-0.5], [0.7]], "expert_intercept": [1.0, -0.3]}
SCALES = {"expert_scale": [0.5, 0.4]}


def phi(z):
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def student(y, m, s, nu):
    constant = mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi) / s
    return constant * (1 + ((y - m) / s) ** 2 / nu) ** (-(nu + 1) / 2)


def hyperbolic(y, m, s):
    d, bessel = mp.mpf(0.3), mp.mpf("3.0559920334573251071823113024")  # K_1(d)
    return mp.exp(-mp.sqrt(d * d + ((y - m) / s) ** 2)) / (2 * s * d * bessel)


def skew(y, m, s, a):
    return 2 / s * phi((y - m) / s) * mp.ncdf(a * (y - m) / s)


def gamma(y, eta, a):
    mu = mp.exp(eta)
    return (a / mu) ** a * y ** (a - 1) * mp.exp(-a * y / mu) / mp.gamma(a)


def lognormal(y, eta, s):
    return phi((mp.log(y) - eta) / s) / s / y


def inverse_gaussian(y, eta, shape):
    mu = mp.exp(eta)
    return mp.sqrt(shape / (2 * mp.pi * y**3)) * mp.exp(-shape * (y - mu) ** 2 / (2 * mu**2 * y))


def beta(y, eta, f):
    mu = 1 / (1 + mp.exp(-eta))
    return y ** (mu * f - 1) * (1 - y) ** ((1 - mu) * f - 1) / mp.beta(mu * f, (1 - mu) * f)


def poisson(y, eta):
    return mp.exp(y * eta - mp.exp(eta)) / mp.factorial(y)


def negative_binomial(y, eta, a):
    mu, r = mp.exp(eta), 1 / a
    return mp.gamma(y + r) / mp.gamma(r) / mp.factorial(y) * (r / (r + mu)) ** r * (mu / (r + mu)) ** y


def inflated(y, eta, w):
    return w * (y == 0) + (1 - w) * poisson(y, eta)


def hurdle(y, eta, w):
    return w if y == 0 else (1 - w) * poisson(y, eta) / (1 - mp.exp(-mp.exp(eta)))


def binomial(y, eta):
    p = 1 / (1 + mp.exp(-eta))
    return mp.binomial(7, y) * p**y * (1 - p) ** (7 - y) if y <= 7 else mp.mpf(0)


REAL, POSITIVE, UNIT, COUNTS = "real", "positive", "unit", "counts"
# The real line from the responses, back, and dy/du; heavy tails are short in asinh y.
LINKS = {
    REAL: (mp.asinh, mp.sinh, mp.cosh),
    POSITIVE: (mp.log, mp.exp, mp.exp),
    UNIT: (lambda y: mp.log(y / (1 - y)), lambda u: 1 / (1 + mp.exp(-u)), lambda u: 1 / (2 + mp.exp(u) + mp.exp(-u))),
}
# Expert, parameters, density in mpmath, responses.
FAMILIES = {
    "student_t": (experts.StudentTExpert(), {**STEEP, **SCALES, "expert_df": [3.0, 8.0]}, student, REAL),
    "laplace": (experts.LaplaceExpert(smoothing=0.3), {**STEEP, **SCALES}, hyperbolic, REAL),
    "skew_normal": (experts.SkewNormalExpert(), {**STEEP, **SCALES, "expert_shape": [2.0, -1.0]}, skew, REAL),
    "gamma": (experts.GammaExpert(), {**FLAT, "expert_shape": [0.7, 5.0]}, gamma, POSITIVE),
    "lognormal": (experts.LognormalExpert(), {**FLAT, "expert_scale": [0.5, 0.8]}, lognormal, POSITIVE),
    "inverse_gaussian": (
        experts.InverseGaussianExpert(),
        {**FLAT, "expert_shape": [2.0, 5.0]},
        inverse_gaussian,
        POSITIVE,
    ),
    "beta": (experts.BetaExpert(), {**FLAT, "expert_precision": [3.0, 12.0]}, beta, UNIT),
    "poisson": (experts.PoissonExpert(), FLAT, poisson, COUNTS),
    "negative_binomial": (
        experts.NegativeBinomialExpert(),
        {**FLAT, "expert_dispersion": [0.5, 2.0]},
        negative_binomial,
        COUNTS,
    ),
    "zero_inflated_poisson": (
        experts.ZeroInflatedPoissonExpert(),
        {**FLAT, "expert_zero_proba": [0.2, 0.4]},
        inflated,
        COUNTS,
    ),
    "hurdle_poisson": (experts.HurdlePoissonExpert(), {**FLAT, "expert_zero_proba": [0.2, 0.4]}, hurdle, COUNTS),
    "binomial": (experts.BinomialExpert(trials=7), FLAT, binomial, COUNTS),
}


def mixture(expert, params, gate="softmax", gate_params=GATE):
    arrays = {name: np.asarray(value, dtype=float) for name, value in {**gate_params, **params}.items()}
    return ms.ConditionalMixture(gate=gate, expert=expert, params=arrays)


def family(name):
    expert, params, *_ = FAMILIES[name]
    return mixture(expert, params)


def single(expert, location, **scalars):
    params = {"expert_coef": [[0.0]], "expert_intercept": [location], **{k: [v] for k, v in scalars.items()}}
    return mixture(expert, params, gate_params={"gate_coef": [[0.0]], "gate_intercept": [0.0]})


def classes(shift=0.0):
    params = {
        "expert_coef": [[[2.0], [-0.8]], [[1.7 + shift], [-2.5]]],
        "expert_intercept": [[-0.8 + shift, 0.4], [0.5, -0.6]],
    }
    return mixture(experts.MultinomialExpert(), params)


def exact_density(name, model):
    """The mixture at the point of `POINT` in mpmath, its weights normalised to all digits."""
    _, _, formula, _ = FAMILIES[name]
    x, params = mp.mpf("0.15"), model.params
    scores = [mp.mpf(b[0]) * x + mp.mpf(a) for b, a in zip(params["gate_coef"], params["gate_intercept"])]
    weights = [mp.exp(s) / mp.fsum(mp.exp(t) for t in scores) for s in scores]
    etas = [mp.mpf(b[0]) * x + mp.mpf(a) for b, a in zip(params["expert_coef"], params["expert_intercept"])]
    scalars = [[mp.mpf(v) for v in row] for row in zip(*(params[s.key] for s in model.expert.scalars))] or [[], []]
    return lambda y: mp.fsum(w * formula(y, eta, *s) for w, eta, s in zip(weights, etas, scalars))
