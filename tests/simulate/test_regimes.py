"""Regimes of synthetic curves, verdicts of exponents 0 and log, and differences of slopes."""

import math

import numpy as np
import pandas as pd
import pytest

from moestat.simulate import compare_regimes, estimate_rate
from moestat.simulate.comparison import Series, compare_slopes
from moestat.simulate.points import share_error

SIZES = (100, 316, 1000, 3162, 10_000, 31_623, 100_000)


def curve(law, spread=0.3, reps=60, seed=0, sizes=SIZES):
    """Lognormal replicates with the mean ``law(n)``."""
    n = np.repeat(sizes, reps).astype(float)
    noise = np.random.default_rng(seed).lognormal(-(spread**2) / 2, spread, n.size)
    rep = np.tile(np.arange(reps), len(sizes))
    return pd.DataFrame({"n": n.astype(int), "rep": rep, "value": law(n) * noise, "data_crc": (n + rep).astype(int)})


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("-1", lambda n: 3 / n),
        ("-1/2", lambda n: n**-0.5),
        ("-1/4", lambda n: 7 * n**-0.25),
        ("-1/8", lambda n: n**-0.125),
        ("1/log n", lambda n: 2 / np.log(n)),
        ("0", lambda n: 0 * n + 0.4),
    ],
)
def test_precise_curves_have_one_regime(name, law):
    found = compare_regimes(curve(law, spread=0.05))
    assert str(found) == name
    assert found.distinguishable
    assert found.regimes[0].weight > 0.999
    assert sum(regime.weight for regime in found.regimes) == pytest.approx(1)


def test_log_and_an_eighth_are_not_distinguishable_in_noise():
    # over 1e2..1e5 the curve 1/log n has the slope -0.13
    found = compare_regimes(curve(lambda n: 1 / np.log(n), spread=0.5, reps=40))
    assert set(found.candidates) == {"1/log n", "-1/8"}
    assert "not distinguishable in this range" in str(found)


def test_bic_against_the_likelihood():
    rate = estimate_rate(curve(lambda n: n**-0.5, spread=0.2, seed=3), "D1")
    log = np.array([math.log(p.mean) for p in rate.points])
    cv2 = np.array([(p.mean_se / p.mean) ** 2 for p in rate.points])
    variance = 0.25 * cv2 + 0.75 * cv2.mean()  # equal numbers of replicates

    def bic(exponent, spread):
        rest = log - exponent * np.log(SIZES)
        rest -= np.average(rest, weights=1 / variance)
        return float((rest**2 / (variance * spread) + np.log(2 * math.pi * variance)).sum()) + math.log(len(SIZES))

    free = len(SIZES) - 1
    spread = max(1.0, (bic(-0.5, 1) - math.log(len(SIZES)) - np.log(2 * math.pi * variance).sum()) / free)
    by_name = {regime.name: regime for regime in compare_regimes(rate.points).regimes}
    assert by_name["-1/4"].delta == pytest.approx(bic(-0.25, spread) - bic(-0.5, spread), rel=1e-9)
    assert by_name["-1/2"].constant == pytest.approx(1, abs=0.05)


def test_other_exponents_fit_none():
    found = compare_regimes(curve(lambda n: n**-0.75, spread=0.05))
    assert not found.fits
    assert found.candidates == ()
    assert str(found).startswith("none of -1, -1/2")


def test_regimes_need_three_sizes():
    with pytest.raises(ValueError, match="3 sizes at least, got 2"):
        compare_regimes(curve(lambda n: 1 / n, sizes=(100, 1000)))


@pytest.mark.parametrize(
    ("law", "theory", "verdict"),
    [
        (lambda n: 0 * n + 0.4, 0.0, "not identified"),
        (lambda n: 0.4 * n**-0.02, 0.0, "not identified"),
        (lambda n: n**-0.25, 0.0, "faster"),
        (lambda n: n**0.25, 0.0, "slower"),
        (lambda n: 0 * n + 0.4, -0.5, "slower"),
        (lambda n: 2 / np.log(n), "log", "consistent"),
        (lambda n: n**-0.5, "log", "faster"),
        (lambda n: np.log(n) ** -0.3, "log", "slower"),
    ],
)
def test_verdicts_of_zero_and_log(law, theory, verdict):
    rate = estimate_rate(curve(law, spread=0.1), "loss", theory=theory)
    assert rate.verdict == verdict
    assert rate.to_json()["theory"] == theory


def test_constant_of_a_logarithm():
    rate = estimate_rate(curve(lambda n: 2 / np.log(n), spread=0.1), "loss", theory="log")
    assert rate.constant == pytest.approx(2, abs=4 * rate.constant_se)
    assert rate.slope == pytest.approx(-1, abs=4 * rate.slope_se)


def test_standard_error_of_the_slope():
    slopes, errors = [], []
    for seed in range(40):
        rate = estimate_rate(curve(lambda n: n**-0.5, spread=0.5, reps=20, seed=seed), "loss", n_boot=300)
        if not rate.n_dropped:
            slopes.append(rate.slope)
            errors.append(rate.slope_se)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.35)


def test_shares_have_errors_even_at_their_ends():
    rng = np.random.default_rng(0)
    estimates = rng.binomial(200, 0.3, size=20_000) / 200
    assert share_error(60, 200) == pytest.approx(estimates.std(), rel=0.02)
    assert 0 < share_error(0, 40) == share_error(40, 40)


def test_patterns_and_bounds_are_counted():
    frame = curve(lambda n: 1 / n, reps=4, sizes=(100, 1000, 10_000))
    frame["pattern"] = ["(2,1)", "(2,1)", "(1,2)", "(2,1)"] * 3
    frame["active_bounds"] = [0, 2, 1, 0] * 3
    rate = estimate_rate(frame, "loss")
    assert rate.points[0].patterns == (("(2,1)", 3), ("(1,2)", 1))
    assert rate.points[0].at_bound[0] == rate.at_bound[0] == 0.5


def series(frame, where):
    return Series(where, "loss", frame, estimate_rate(frame, "loss"))


def test_differences_on_the_same_data_are_sharper():
    one = curve(lambda n: n**-0.5, spread=0.6)
    two = one.assign(value=one["value"] * one["n"] ** -0.02 * np.random.default_rng(1).lognormal(0, 0.02, len(one)))
    found = compare_slopes(series(one, "a"), series(two, "b"))
    apart = compare_slopes(series(one, "a"), series(two.assign(data_crc=0), "b"))
    assert found.paired
    assert not apart.paired
    assert found.difference == pytest.approx(-0.02, abs=3 * found.standard_error)
    assert found.standard_error < apart.standard_error / 5
    assert found.ci[0] <= found.difference <= found.ci[1] < 0 < apart.ci[1]


def test_differences_without_common_sizes_are_withheld():
    one, two = curve(lambda n: 1 / n, sizes=(100, 1000)), curve(lambda n: 1 / n, sizes=(200, 2000))
    assert math.isnan(compare_slopes(series(one, "a"), series(two, "b")).difference)
