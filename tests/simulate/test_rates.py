"""Slopes of synthetic power laws: coverage of the interval, verdicts, dropping, refusals."""

import math

import numpy as np
import pandas as pd
import pytest

from moestat.simulate import estimate_rate, estimate_rates, load_scenario

SIZES = (100, 200, 400, 800, 1600, 3200, 6400, 12800)


def power_law(rng, slope=-0.5, reps=40, sizes=SIZES, spread=0.5, bend=0.0, constant=1.0):
    """Lognormal replicates around ``constant * n^slope * (1 + bend / n)``, with mean one."""
    n = np.repeat(sizes, reps)
    noise = rng.lognormal(-(spread**2) / 2, spread, n.size)
    return pd.DataFrame({"n": n, "value": constant * n**slope * (1 + bend / n) * noise})


def test_interval_covers_the_true_slope():
    rng = np.random.default_rng(5)
    trials, hits = 150, 0
    for _ in range(trials):
        rate = estimate_rate(power_law(rng, reps=30), "D1", theory=-0.5, n_boot=300)
        hits += rate.ci[0] <= -0.5 <= rate.ci[1]
    # 95 % nominal, less two Monte-Carlo errors of 150 trials and the price of testing the line
    assert hits / trials >= 0.9
    assert hits < trials


def test_weighted_slope_against_polyfit():
    rng = np.random.default_rng(1)
    frame = power_law(rng, spread=1e-3)
    rate = estimate_rate(frame, "D1")
    means = frame.groupby("n")["value"].mean()
    expected = np.polyfit(np.log(means.index), np.log(means), 1)  # equal spread at every n: nearly equal weights
    assert rate.slope == pytest.approx(expected[0], abs=2e-4)
    assert rate.intercept == pytest.approx(expected[1], abs=2e-3)
    assert rate.verdict == "no theory"


@pytest.mark.parametrize(
    ("slope", "bound", "verdict"),
    [
        (-0.5, "equal", "consistent"),
        (-0.7, "equal", "faster"),
        (-0.7, "at-most", "consistent"),
        (-0.3, "equal", "slower"),
        (-0.3, "at-most", "slower"),
    ],
)
def test_verdicts(slope, bound, verdict):
    frame = power_law(np.random.default_rng(3), slope=slope)
    assert estimate_rate(frame, "D1", theory=-0.5, bound=bound).verdict == verdict


def test_pre_asymptotic_sizes_are_dropped_and_reported():
    frame = power_law(np.random.default_rng(4), bend=400.0, spread=0.2, reps=60)
    rate = estimate_rate(frame, "D1", theory=-0.5)
    assert rate.n_dropped
    assert rate.n_dropped == SIZES[: len(rate.n_dropped)]
    assert rate.n_used == SIZES[len(rate.n_dropped) :]
    everything = np.polyfit(np.log(frame["n"]), np.log(frame["value"]), 1)[0]
    assert abs(rate.slope + 0.5) < abs(everything + 0.5)
    assert len(rate.local_slopes) == len(SIZES) - 1


def test_a_curve_without_an_end_is_not_asymptotic_yet():
    n = np.repeat([100, 1000, 10_000, 100_000], 50)
    value = np.exp(-(np.log(n) ** 2) / 10) * np.random.default_rng(0).lognormal(0, 0.02, n.size)
    rate = estimate_rate(pd.DataFrame({"n": n, "value": value}), "D1", theory=-1.0)
    assert rate.verdict == "not asymptotic yet"
    two = estimate_rate(power_law(np.random.default_rng(0), sizes=(100, 200)), "D1", theory=-0.5)
    assert two.verdict == "not asymptotic yet"
    assert math.isfinite(two.slope)


def test_a_verdict_against_the_theorem_must_hold_at_the_larger_sizes():
    # saturated below n = 800, as a loss in a box is, and n^(-1/2) from there on; noise hides the bend from the F-test
    rng = np.random.default_rng(11)
    n = np.repeat(SIZES, 12)
    frame = pd.DataFrame({"n": n, "value": np.maximum(n, 800) ** -0.5 * rng.lognormal(0, 1.0, n.size)})
    rate = estimate_rate(frame, "gap", theory=-0.5, bound="at-most")
    assert rate.ci[0] > -0.5
    assert rate.lack_of_fit > 0.01
    assert rate.verdict == "not asymptotic yet"


def test_uncertified_cells_withhold_the_slope():
    frame = power_law(np.random.default_rng(6))
    frame["certified"] = np.arange(len(frame)) % 10 != 0
    rate = estimate_rate(frame, "D1", theory=-0.5)
    assert rate.verdict == "uncertified"
    assert rate.uncertified == len(frame) // 10
    assert math.isnan(rate.slope)
    assert rate.to_json()["slope"] is None
    assert estimate_rate(frame, "D1", theory=-0.5, allow_uncertified=True).verdict == "consistent"


def test_failures_are_counted_and_not_averaged():
    frame = power_law(np.random.default_rng(7))
    frame.loc[frame.index % 40 == 0, "value"] = np.nan
    rate = estimate_rate(frame, "D1", theory=-0.5)
    assert rate.failures == rate.uncertified == len(frame) // 40
    assert rate.points[0].cells == 40
    assert rate.points[0].failures == 1
    good = frame[(frame["n"] == 100)]["value"].dropna()
    assert rate.points[0].mean == pytest.approx(good.mean())
    assert rate.points[0].mean_se == pytest.approx(good.std() / math.sqrt(39))


def test_medians_and_trimmed_means_have_errors_of_their_own():
    frame = power_law(np.random.default_rng(8), reps=200)
    for statistic in ("median", "trimmed"):
        rate = estimate_rate(frame, "D1", theory=-0.5, statistic=statistic)
        assert rate.verdict == "consistent"
    point = rate.points[0]
    # standard error of a median: sqrt(pi/2) sd / sqrt(n) for nearly normal logarithms
    sd = 0.5 * point.median
    assert point.median_se == pytest.approx(1.2533 * sd / math.sqrt(200), rel=0.35)
    assert point.median < point.trimmed < point.mean


def test_constants():
    frame = power_law(np.random.default_rng(9), slope=-1.0, constant=4.0)
    rate = estimate_rate(frame, "kl", theory=-1.0, predicted_constant=4.0)
    assert rate.constant == pytest.approx(4.0, abs=4 * rate.constant_se)
    assert rate.constant_se == pytest.approx(4.0 * math.sqrt(math.exp(0.25) - 1) / math.sqrt(160), rel=0.2)
    assert rate.constant_agrees
    assert estimate_rate(frame, "kl", theory=-1.0, predicted_constant=5.0).constant_agrees is False


def test_same_records_same_interval():
    frame = power_law(np.random.default_rng(10))
    assert estimate_rate(frame, "D1").ci == estimate_rate(frame, "D1").ci


def test_unknown_loss():
    frame = power_law(np.random.default_rng(0)).assign(loss="D1")
    with pytest.raises(ValueError, match="no records of loss 'kl'"):
        estimate_rate(frame, "kl")


def test_families_are_reduced_to_the_rule_or_the_best_number_of_experts():
    scenario = load_scenario("polynomial-mendes-jiang")
    rows = [
        {"fit": cell.fit, "n_experts": cell.n_experts, "n": cell.n, "loss": "kl", "certified": True,
         "value": (0.01 * (cell.n_experts - 7) ** 2 + 1) / cell.n * (1 + 0.01 * cell.rep)}
        for cell in scenario.cells([500, 2000, 8000], 3)
    ]  # fmt: skip
    rates = estimate_rates(pd.DataFrame(rows), scenario)
    assert set(rates) == {loss.label for loss in scenario.loss}
    # at m(n) = 8, 11, 13 the factor is 1.01, 1.16, 1.36; the best of 3 4 6 8 10 11 12 13 15 is 6 (or 8)
    at_rule = [point.mean * point.n / 1.01 for point in rates["kl@m(n)"].points]
    at_best = [point.mean * point.n / 1.01 for point in rates["kl@best-m"].points]
    np.testing.assert_allclose(at_rule, [1.01, 1.16, 1.36], rtol=1e-9)
    np.testing.assert_allclose(at_best, [1.01, 1.01, 1.01], rtol=1e-9)
