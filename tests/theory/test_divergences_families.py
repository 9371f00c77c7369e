"""Divergences of every family: mpmath, closed forms, sums over all outcomes, honest errors, refusals."""

import mpmath as mp
import numpy as np
import pytest
from scipy.special import betaln, digamma, gammaln

import moestat as ms
from moestat import experts
from moestat.distributions import Empirical, Uniform
from moestat.divergences import RegressionTruth, hellinger, kl, l2, panels, total_variation
from moestat.divergences.integrands import hellinger_integrand, kl_integrand, total_variation_integrand
from tests.theory.families import (
    COUNTS,
    FAMILIES,
    FLAT,
    GATE,
    LINKS,
    POSITIVE,
    REAL,
    SCALES,
    STEEP,
    classes,
    exact_density,
    family,
    mixture,
    single,
)

BOX, POINT = Uniform(-1.0, 1.0), Empirical([[0.15]])
NAN = float("nan")


@pytest.mark.parametrize("name", FAMILIES)
def test_against_mpmath(name, nudge):
    """Kullback-Leibler of about 1e-7 and Hellinger at one x."""
    truth = family(name)
    estimate = nudge(truth, 5e-4)
    with mp.workdps(25):
        p, q = exact_density(name, truth), exact_density(name, estimate)

        def both(y):
            a, b = p(y), q(y)
            # The real part of this is r - 1 - log r, the imaginary one (√r - 1)²/2.
            return mp.mpc(b - a - a * mp.log(b / a), (mp.sqrt(b) - mp.sqrt(a)) ** 2 / 2) if a > 0 else mp.mpc(0)

        if FAMILIES[name][3] == COUNTS:
            exact = mp.fsum(both(mp.mpf(y)) for y in range(250))
        else:
            levels = [1e-12, 1e-6, 1e-3, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1 - 1e-6]
            inner = [mp.mpf(v) for v in truth.quantile([[0.15]], levels)[0]]
            link, inverse, slope = LINKS[FAMILIES[name][3]]
            ends = [link(v) for v in inner]
            ends = [2 * ends[0] - ends[-1], *ends, 2 * ends[-1] - ends[0]]
            exact = mp.quad(lambda u: both(inverse(u)) * slope(u), ends, maxdegree=5)
    found, distance = kl(truth, estimate, POINT), hellinger(truth, estimate, POINT)
    assert 1e-9 < found.value < 1e-5
    assert found.value == pytest.approx(float(exact.real), rel=1e-5)
    assert distance.value**2 == pytest.approx(float(exact.imag), rel=1e-5)


@pytest.mark.parametrize("name", [*FAMILIES, "multinomial"])
def test_digits_at_any_size(name, nudge):
    """A thousand times closer is a million times less, to three digits."""
    truth = classes() if name == "multinomial" else family(name)
    near, nearer = (kl(truth, nudge(truth, size), BOX).value for size in (1e-4, 1e-7))
    assert nearer * 1e6 == pytest.approx(near, rel=1e-3)
    near, nearer = (total_variation(truth, nudge(truth, size), BOX).value for size in (1e-4, 1e-7))
    assert nearer * 1e3 == pytest.approx(near, rel=1e-3)


@pytest.mark.parametrize("name", [*FAMILIES, "multinomial"])
def test_inequalities_and_invariance(name, nudge):
    truth = classes() if name == "multinomial" else family(name)
    for size, seed in ((1e-3, 1), (0.05, 2), (0.4, 3)):
        estimate = nudge(truth, size, seed)
        k, h, v = (f(truth, estimate, BOX).value for f in (kl, hellinger, total_variation))
        assert h**2 <= v * (1 + 1e-4)
        assert v <= np.sqrt(2.0) * h * (1 + 1e-4)
        assert 2.0 * v**2 <= k * (1 + 1e-4)
        assert h**2 <= k / 2
        if size == 1e-3:
            assert h**2 == pytest.approx(k / 4, rel=0.02)
    for f in (kl, hellinger, total_variation, l2):
        moved = estimate.permuted([1, 0]).canonical()
        assert f(truth, moved, BOX).value == pytest.approx(f(truth, estimate, BOX).value, rel=1e-4)
        assert f(truth, truth.permuted([1, 0]), BOX).value < 1e-13


@pytest.mark.parametrize("seed", range(4))
def test_errors_are_honest(seed, nudge, monkeypatch):
    """Families against themselves and another of the same responses, at random parameters; rules at 1e-7 are the reference."""
    rng = np.random.default_rng(seed)
    names = [name for name in FAMILIES if FAMILIES[name][3] in (REAL, POSITIVE)]
    for name in names:
        truth = nudge(family(name), 0.4, seed)
        other = rng.choice([n for n in names if n != name and FAMILIES[n][3] == FAMILIES[name][3]])
        for estimate in (nudge(truth, 10.0 ** rng.uniform(-4, 0), seed), nudge(family(other), 0.4, seed)):
            for f in (hellinger, total_variation):
                found = f(truth, estimate, BOX)
                with monkeypatch.context() as patch:
                    patch.setattr(panels, "_TOLERANCE", 1e-7)
                    exact = f(truth, estimate, BOX, rtol=1e-6)
                assert exact.error < 1e-5 * exact.value
                assert abs(found.value - exact.value) <= found.error + exact.error
                assert found.error < 5e-4 * found.value


def test_power_tails():
    """A t-distribution and a normal one: the second moment is infinite at two degrees of freedom, and long before it is slow to come."""
    normal = single("gaussian", 0.0, expert_scale=1.0)
    for nu in (2.2, 3.0, 10.0):
        t = single("student_t", 0.0, expert_scale=1.0, expert_df=nu)
        entropy = (nu + 1) / 2 * (digamma((nu + 1) / 2) - digamma(nu / 2)) + 0.5 * np.log(nu) + betaln(nu / 2, 0.5)
        exact = 0.5 * np.log(2 * np.pi) + 0.5 * nu / (nu - 2) - entropy
        assert kl(t, normal, BOX).value == pytest.approx(exact, rel=1e-9)
    for nu in (1.5, 2.0):
        with pytest.raises(ValueError, match="raise max_relative_error"):
            kl(single("student_t", 0.0, expert_scale=1.0, expert_df=nu), normal, BOX)
    assert kl(normal, single("student_t", 0.0, expert_scale=1.0, expert_df=0.5), BOX).error < 1e-5


@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("shape", [0.05, 30.0])
def test_lognormal_and_gamma(scale, shape):
    p = single("lognormal", 0.0, expert_scale=scale)
    q = single("gamma", 0.2, expert_shape=shape)
    mean = np.exp(0.2)
    log_q = shape * np.log(shape / mean) - shape / mean * np.exp(scale**2 / 2) - gammaln(shape)
    exact = -0.5 * np.log(2 * np.pi * np.e) - np.log(scale) - log_q
    found = kl(p, q, BOX)
    assert found.value == pytest.approx(exact, rel=1e-8)
    assert abs(found.value - exact) <= found.error


def test_mass_that_numbers_cannot_hold():
    """Gamma with shape 0.01: a thousandth of the mass is below 1e-308, and the error says so; 0.05 is fine."""
    p, q = (single("gamma", 0.0, expert_shape=a) for a in (0.05, 0.06))

    def part(a, b):
        return (a * np.log(a) - gammaln(a)) - (b * np.log(b) - gammaln(b)) + (a - b) * (digamma(a) - np.log(a) - 1)

    assert kl(p, q, BOX).value == pytest.approx(part(0.05, 0.06), rel=1e-8)
    p, q = (single("gamma", 0.0, expert_shape=a) for a in (0.01, 0.011))
    with pytest.raises(ValueError, match="raise max_relative_error"):
        kl(p, q, BOX)
    found = kl(p, q, BOX, max_relative_error=np.inf)
    assert abs(found.value - part(0.01, 0.011)) <= found.error


def test_overlooked_component():
    """A narrow component of the estimate far from the truth, of any family."""
    p = single("student_t", 0.0, expert_scale=1.0, expert_df=5.0)
    params = {
        "expert_coef": [[0.0], [0.0]],
        "expert_intercept": [0.0, 1e6],
        "expert_scale": [1.0, 1e-6],
        "expert_df": [5.0, 5.0],
    }
    q = mixture("student_t", params, gate_params={"gate_coef": [[0.0], [0.0]], "gate_intercept": [0.0, 0.0]})
    for f, exact in ((kl, np.log(2.0)), (total_variation, 0.5)):
        found = f(p, q, BOX)
        assert found.value == pytest.approx(exact, rel=1e-5)
        assert abs(found.value - exact) <= found.error


def test_different_families_in_one_mixture(nudge):
    """A gamma density that is infinite at zero beside a normal one, and counts of two families."""
    scalars = {"expert_scale": [NAN, 0.6], "expert_shape": [0.7, NAN]}
    truth = mixture(experts.MixedExperts(["gamma", "normal"]), {**FLAT, **scalars})
    estimate = mixture(
        experts.MixedExperts(["gamma", "normal"]), {**FLAT, "expert_scale": [NAN, 0.6], "expert_shape": [0.9, NAN]}
    )
    grid = np.concatenate([-np.geomspace(20.0, 1e-9, 60_001), np.geomspace(1e-14, 300.0, 60_001)])
    rows = np.full((grid.size, 1), 0.15)
    values = truth.log_density(rows, grid), estimate.log_density(rows, grid)
    for f, integrand, power in (
        (kl, kl_integrand, 1),
        (hellinger, hellinger_integrand, 2),
        (total_variation, total_variation_integrand, 1),
    ):
        exact = np.trapezoid(integrand.weighted(*values)[0], grid)
        assert f(truth, estimate, POINT).value ** power == pytest.approx(exact, rel=1e-3)
    counts = {**FLAT, "expert_dispersion": [NAN, 1e-6]}
    mixed = mixture(experts.MixedExperts(["poisson", "negative_binomial"]), counts)
    assert kl(family("poisson"), mixed, BOX).value < 1e-9
    refused = mixture(experts.MixedExperts(["poisson", "normal"]), {**FLAT, "expert_scale": [NAN, 1.0]})
    with pytest.raises(ValueError, match="mixes counts and continuous"):
        kl(refused, refused, BOX)


def test_other_densities(sgb, nudge):
    """A censored family is compared before censoring; a regression function by its normal noise."""
    params = {**STEEP, **SCALES}
    censored, near = (
        mixture(experts.CensoredExpert("normal"), {**params, "expert_scale": [s, 0.4]}) for s in (0.5, 0.55)
    )
    plain = mixture("gaussian", {**params, "expert_scale": [0.55, 0.4]})
    assert kl(censored, near, BOX).value == pytest.approx(kl(sgb, plain, BOX).value, rel=1e-5)
    p, q = (
        ms.RegressionFunction(
            gate="sigmoid",
            noise_std=0.3,
            params={
                **{k: np.array(v) for k, v in GATE.items()},
                "expert_coef": np.array([[2.0], [s]]),
                "expert_intercept": np.zeros(2),
            },
        )
        for s in (-2.0, -1.8)
    )
    assert kl(p, q, BOX).value == pytest.approx(l2(p, q, BOX).value ** 2 / (2 * 0.09), rel=1e-5)
    truth = RegressionTruth(lambda X: np.sin(X[:, 0]), 0.5)
    near = single("student_t", 0.0, expert_scale=0.5, expert_df=1e6)
    alike = RegressionTruth(lambda X: 0.0 * X[:, 0], 0.5)
    assert kl(truth, near, BOX).value == pytest.approx(kl(truth, alike, BOX).value, rel=1e-4)


def test_rows_of_several_draws():
    """Sums over all outcomes, of which a single draw is a special case."""
    x, truth, estimate = np.array([[0.15]]), classes(), classes(0.1)
    p, q = (
        np.einsum("k,kc->kc", m.gate_proba(x)[0], np.ones((2, 1))) * 0 + m.expert_mean(x)[0] for m in (truth, estimate)
    )
    g, h = truth.gate_proba(x)[0], estimate.gate_proba(x)[0]
    exact = np.sum((g @ p) * np.log((g @ p) / (h @ q)))
    assert kl(truth, estimate, POINT).value == pytest.approx(exact, rel=1e-9)
    # Two draws from one expert: unordered pairs of classes.
    exact = 0.0
    for a in range(3):
        for b in range(a, 3):
            times = 1 if a == b else 2
            first, second = (times * np.sum(w * e[:, a] * e[:, b]) for w, e in ((g, p), (h, q)))
            exact += first * np.log(first / second)
    assert kl(truth, estimate, POINT, trials=2).value == pytest.approx(exact, rel=1e-9)
    # Seven Bernoulli draws in a row are a binomial number.
    one, seven = (mixture(experts.BinomialExpert(trials=t), FLAT) for t in (1, 7))
    near = {**FLAT, "expert_intercept": [1.1, -0.3]}
    one_near, seven_near = (mixture(experts.BinomialExpert(trials=t), near) for t in (1, 7))
    for f in (kl, hellinger, total_variation):
        assert f(one, one_near, BOX, trials=7).value == pytest.approx(f(seven, seven_near, BOX).value, rel=1e-4)
    with pytest.raises(ValueError, match="at most 200000"):
        kl(truth, estimate, POINT, trials=10_000)
    with pytest.raises(ValueError, match="no rows of several draws"):
        kl(family("poisson"), family("poisson"), POINT, trials=2)
    with pytest.raises(ValueError, match="positive integer"):
        kl(truth, estimate, POINT, trials=0)


def test_large_counts():
    """Means of 1e4 are summed, of 1e11 drawn; the divergence of close Poisson laws is about (Δ log μ)² μ/2."""
    for log_mean in (np.log(1e4), np.log(1e11)):
        shift = 0.01 * np.exp(-0.5 * log_mean)
        p, q = (single("poisson", log_mean + s) for s in (0.0, shift))
        found = kl(p, q, BOX)
        assert found.value == pytest.approx(0.5e-4, rel=0.01)
        assert ("Monte Carlo" in found.method) == (log_mean > 20.0)


def test_refusals(nudge):
    with pytest.raises(ValueError, match="truth is a density on real numbers, the estimate on positive responses"):
        kl(family("student_t"), family("gamma"), BOX)
    with pytest.raises(ValueError, match="3 classes, the estimate on counts"):
        kl(classes(), family("binomial"), BOX)
    with pytest.raises(ValueError, match="3 means at each x, the estimate 1"):
        l2(classes(), family("binomial"), BOX)
    with pytest.raises(ValueError, match="kl is infinite"):
        kl(family("poisson"), family("binomial"), BOX)
    assert hellinger(family("poisson"), family("binomial"), BOX).value < 1.0
    with pytest.raises(ValueError, match="x is missing"):
        kl(family("poisson"), family("poisson"))
