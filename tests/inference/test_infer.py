"""Standard errors against statsmodels (one expert), against defining formulas (two experts), and their symmetries."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats

from moestat.inference import InferenceWarning, infer

from .plain_mixture import PlainMixture, maximise, two_lines


@pytest.fixture
def line(rng):
    """Heteroscedastic data, one-expert maximum likelihood fit, and statsmodels' least squares."""
    n = 150
    X = rng.normal(size=(n, 2))
    y = 1.0 + X @ [2.0, -0.5] + (0.5 + np.abs(X[:, 0])) * rng.normal(size=n)
    ols = sm.OLS(y, sm.add_constant(X)).fit()
    theta = [*ols.params, 0.5 * np.log(ols.ssr / n)]
    return X, y, PlainMixture(theta, 1, 2), ols


def test_one_expert_observed_is_least_squares(line):
    X, y, mixture, ols = line
    results = infer(mixture.moestat(), X, y)
    n = len(y)
    # Least squares divides by n - 3, maximum likelihood by n; the log scale has variance 1 / (2n).
    assert_allclose(results.bse.iloc[:3], ols.bse * np.sqrt((n - 3) / n), rtol=1e-8)
    assert_allclose(results.bse.iloc[3], np.sqrt(1 / (2 * n)), rtol=1e-8)
    assert_allclose(results.llf, ols.llf, rtol=1e-12)
    assert results.df_model == 4
    assert_allclose(results.aic, -2 * ols.llf + 8)
    assert_allclose(results.bic, -2 * ols.llf + 4 * np.log(n))


def test_one_expert_sandwich_is_hc0(line):
    X, y, mixture, ols = line
    results = infer(mixture.moestat(), X, y, cov_type="sandwich")
    assert_allclose(results.bse.iloc[:3], ols.get_robustcov_results("HC0").bse, rtol=1e-8)


def test_one_expert_cluster_is_statsmodels_cluster(line, rng):
    X, y, mixture, ols = line
    groups = rng.integers(0, 12, size=len(y))
    reference = ols.get_robustcov_results("cluster", groups=groups, use_correction=False)
    results = infer(mixture.moestat(), X, y, cov_type="cluster", groups=np.array([f"g{g}" for g in groups]))
    assert_allclose(results.bse.iloc[:3], reference.bse, rtol=1e-8)
    assert results.n_groups == 12


def test_one_expert_opg(line):
    X, y, mixture, ols = line
    z, e, sigma2 = sm.add_constant(X), ols.resid, ols.ssr / len(y)
    scores = np.column_stack([z * (e / sigma2)[:, None], e**2 / sigma2 - 1])
    assert_allclose(
        infer(mixture.moestat(), X, y, cov_type="opg").cov_params(), np.linalg.inv(scores.T @ scores), rtol=1e-8
    )


def test_two_experts_against_the_defining_formulas(rng):
    X, y, mixture = two_lines(rng)
    weights = rng.integers(1, 4, size=len(y)).astype(float)
    mixture = maximise(mixture, X, y, weights)
    scores = mixture.scores(X, y)
    bread = np.linalg.inv(-mixture.hessian(X, y, weights))
    expected = {
        "observed": bread,
        "opg": np.linalg.inv(np.einsum("i,ip,iq->pq", weights, scores, scores)),
        "sandwich": bread @ np.einsum("i,ip,iq->pq", weights**2, scores, scores) @ bread,
    }
    for cov_type, covariance in expected.items():
        results = infer(mixture.moestat(), X, y, sample_weight=weights, cov_type=cov_type)
        assert_allclose(results.cov_params(), covariance, rtol=1e-7, atol=1e-12)
        assert results.nobs == weights.sum()


def test_integer_weights_are_repetitions_for_observed_and_opg(rng):
    X, y, mixture = two_lines(rng)
    weights = rng.integers(0, 4, size=len(y))
    mixture = maximise(mixture, X, y, weights.astype(float))
    rows = np.repeat(np.arange(len(y)), weights)
    for cov_type in ("observed", "opg"):
        weighted = infer(mixture.moestat(), X, y, sample_weight=weights, cov_type=cov_type)
        repeated = infer(mixture.moestat(), X[rows], y[rows], cov_type=cov_type)
        assert_allclose(weighted.bse, repeated.bse, rtol=1e-8)
        assert_allclose([weighted.llf, weighted.bic], [repeated.llf, repeated.bic], rtol=1e-12)
    # A group of copies tells as much as one row of that weight.
    clustered = infer(mixture.moestat(), X[rows], y[rows], cov_type="cluster", groups=rows)
    sandwich = infer(mixture.moestat(), X, y, sample_weight=weights, cov_type="sandwich")
    assert_allclose(clustered.bse, sandwich.bse, rtol=1e-8)


def test_scaling_weights_leaves_the_sandwich_alone(rng):
    X, y, mixture = two_lines(rng)
    one = infer(mixture.moestat(), X, y, cov_type="sandwich")
    ten = infer(mixture.moestat(), X, y, cov_type="sandwich", sample_weight=np.full(len(y), 10.0))
    assert_allclose(ten.bse, one.bse, rtol=1e-8)


def test_tests_and_intervals(rng):
    X, y, mixture = two_lines(rng)
    results = infer(mixture.moestat(), X, y, feature_names=["dose"])
    assert list(results.params.index[:3]) == ["gate[1]:Intercept", "gate[1]:dose", "expert[1]:Intercept"]
    assert_allclose(results.tvalues, results.params / results.bse)
    assert_allclose(results.pvalues, 2 * stats.norm.sf(np.abs(results.tvalues)), rtol=1e-10)
    limits = results.conf_int(alpha=0.1)
    assert list(limits.columns) == ["lower", "upper"]
    half = stats.norm.ppf(0.95) * results.bse
    assert_allclose(limits, np.column_stack([results.params - half, results.params + half]), rtol=1e-12)
    with pytest.raises(ValueError, match="alpha"):
        results.conf_int(alpha=95)


def test_scale_rows_are_back_transformed(rng):
    X, y, mixture = two_lines(rng)
    results = infer(mixture.moestat(), X, y)
    frame = results.params_frame()
    assert frame.index.names == ["part", "expert", "term"]
    row = frame.loc[("expert", 2, "scale")]
    log, error = results.params["expert[2]:log_scale"], results.bse["expert[2]:log_scale"]
    half = stats.norm.ppf(0.975) * error
    assert_allclose(
        row[["estimate", "std_err", "ci_lower", "ci_upper"]].to_numpy(dtype=float),
        [np.exp(log), np.exp(log) * error, np.exp(log - half), np.exp(log + half)],
        rtol=1e-12,
    )
    assert row[["z", "p_value"]].isna().all()
    coefficient = frame.loc[("gate", 1, "x1")]
    assert coefficient["estimate"] == results.params["gate[1]:x1"]
    assert coefficient["p_value"] == results.pvalues["gate[1]:x1"]


def test_contrasts(rng):
    X, y, mixture = two_lines(rng)
    results = infer(mixture.moestat(), X, y)
    covariance = results.cov_params()
    pair = ["expert[1]:x1", "expert[2]:x1"]
    block = covariance.loc[pair, pair].to_numpy()
    difference = results.t_test("expert[1]:x1 - expert[2]:x1 = 1")
    effect = results.params[pair[0]] - results.params[pair[1]]
    sd = np.sqrt(block[0, 0] + block[1, 1] - 2 * block[0, 1])
    assert_allclose([difference.effect[0], difference.sd[0]], [effect, sd], rtol=1e-10)
    assert_allclose(difference.tvalue, (effect - 1) / sd, rtol=1e-10)
    assert_allclose(difference.pvalue, 2 * stats.norm.sf(abs((effect - 1) / sd)), rtol=1e-8)
    assert "expert[1]:x1 - expert[2]:x1" in str(difference.summary())

    joint = results.wald_test(["expert[1]:x1 = 2", "expert[2]:x1 = -1"])
    gap = results.params[pair].to_numpy() - [2.0, -1.0]
    statistic = gap @ np.linalg.solve(block, gap)
    assert_allclose(joint.statistic, statistic, rtol=1e-10)
    assert_allclose(joint.pvalue, stats.chi2.sf(statistic, 2), rtol=1e-8)
    matrix = np.zeros((1, 8))
    matrix[0, 3] = 1.0  # expert[1]:x1
    assert_allclose(results.t_test(matrix).sd[0], results.bse["expert[1]:x1"], rtol=1e-10)
    assert_allclose(results.wald_test({"expert[1]:x1": 2.0}).statistic, results.t_test((matrix, 2.0)).tvalue ** 2)
    with pytest.raises(ValueError, match="Cannot read the contrast"):
        results.t_test("expert[9]:x1 = 0")
    with pytest.raises(ValueError, match="8 columns"):
        results.t_test(np.eye(3))
    with pytest.raises(ValueError, match="linear combinations"):
        results.wald_test(["expert[1]:x1", "2 * expert[1]:x1"])


def test_equal_experts_leave_the_gate_unidentified(rng):
    # Truth without a gate, a density flatter than normal: two equal experts are then a maximum (not strict).
    n = 200
    X = rng.normal(size=(n, 1))
    y = 1.0 + X[:, 0] + rng.uniform(-1, 1, size=n)
    ols = sm.OLS(y, sm.add_constant(X)).fit()
    log_scale = 0.5 * np.log(ols.ssr / n)
    mixture = PlainMixture([0.0, 0.0, *ols.params, *ols.params, log_scale, log_scale], 2, 1)
    with pytest.warns(InferenceWarning) as caught:
        results = infer(mixture.moestat(), X, y)
    text = " ".join(str(warning.message) for warning in caught)
    eigenvalues = np.linalg.eigvalsh(-mixture.hessian(X, y))
    assert results.rank == np.sum(eigenvalues > 1e-4)
    for words in (f"rank {results.rank} of 8", "gate[1]:x1", "fewer experts"):
        assert words in text
    gate = ["gate[1]:Intercept", "gate[1]:x1"]
    flat = {
        name for direction in results.unidentified if direction.eigenvalue == 0.0 for name in direction.coefficients
    }
    assert flat == set(gate)
    assert results.bse[gate].isna().all()
    assert results.cov_params().loc["gate[1]:x1"].isna().all()
    # The average of the experts is the least-squares line, identified whatever else is not.
    total = results.t_test("0.5 * expert[1]:x1 + 0.5 * expert[2]:x1")
    assert_allclose(total.sd[0], ols.bse[1] * np.sqrt((n - 2) / n), rtol=1e-6)
    assert f"rank {results.rank} of 8" in results.summary().as_text().replace("\n  ", " ")
    with pytest.raises(ValueError, match="do not identify gate"):
        results.wald_test("gate[1]:x1")
    assert np.isnan(results.t_test("gate[1]:x1").sd[0])


def test_saddle_is_said(rng):
    X, y, _ = two_lines(rng)
    ols = sm.OLS(y, sm.add_constant(X)).fit()
    log_scale = 0.5 * np.log(ols.ssr / len(y))
    saddle = PlainMixture([0.0, 0.0, *ols.params, *ols.params, log_scale, log_scale], 2, 1)
    with pytest.warns(InferenceWarning) as caught:
        results = infer(saddle.moestat(), X, y)
    assert any("no maximum" in str(warning.message) for warning in caught)
    assert min(direction.eigenvalue for direction in results.unidentified) < -1e-3


def test_collinear_columns_keep_their_sum(rng):
    X, y, mixture = two_lines(rng)
    half = [0.5, 0.5]
    gate, coef, log_scale = mixture.split()
    theta = [gate[0, 0], *(gate[0, 1] * np.array(half)), coef[0, 0], *(coef[0, 1] * np.array(half))]
    double = PlainMixture([*theta, coef[1, 0], coef[1, 1], 0.0, *log_scale], 2, 2)
    with pytest.warns(InferenceWarning, match="3 combinations of the coefficients"):
        results = infer(double.moestat(), np.column_stack([X, X]), y)
    assert results.bse[["expert[1]:x1", "expert[1]:x2", "gate[1]:x1"]].isna().all()
    single = infer(mixture.moestat(), X, y)
    total = results.t_test("expert[1]:x1 + expert[1]:x2")
    assert_allclose(total.sd[0], single.bse["expert[1]:x1"], rtol=1e-6)
    assert_allclose(results.bse["expert[1]:log_scale"], single.bse["expert[1]:log_scale"], rtol=1e-6)


def test_active_bound_is_taken_as_known(rng):
    X, y, mixture = two_lines(rng)
    name = "expert[2]:log_scale"
    results = infer(mixture.moestat(), X, y, active_bounds=[name])
    keep = [i for i, other in enumerate(mixture.free_names()) if other != name]
    reduced = np.linalg.inv(-mixture.hessian(X, y)[np.ix_(keep, keep)])
    assert_allclose(results.bse.drop(name), np.sqrt(np.diag(reduced)), rtol=1e-7)
    assert np.isnan(results.bse[name])
    assert results.rank == 7
    assert np.isnan(results.t_test(f"{name} + expert[1]:log_scale").sd[0])
    text = results.summary().as_text()
    assert f"On a bound, taken as known: {name}" in text
    assert "7 of 7" in text


def test_elsewhere_than_the_maximum_is_said(rng):
    X, y, mixture = two_lines(rng)
    mixture.theta = mixture.theta + 0.05
    with pytest.warns(InferenceWarning, match="not the maximiser"):
        infer(mixture.moestat(), X, y)


def test_few_groups_are_said(rng):
    X, y, mixture = two_lines(rng)
    with pytest.warns(InferenceWarning, match="3 groups for 8 parameters"):
        infer(mixture.moestat(), X, y, cov_type="cluster", groups=np.arange(len(y)) % 3)


def test_zero_weight_rows_do_not_count(rng):
    X, y, mixture = two_lines(rng)
    weights = np.ones(len(y) + 5)
    weights[-5:] = 0.0
    groups = np.r_[np.arange(len(y)) % 40, np.full(5, 99)]
    padded = infer(
        mixture.moestat(),
        np.r_[X, X[:5]],
        np.r_[y, y[:5] + 50],
        sample_weight=weights,
        cov_type="cluster",
        groups=groups,
    )
    plain = infer(mixture.moestat(), X, y, cov_type="cluster", groups=groups[:-5])
    assert padded.n_groups == plain.n_groups == 40
    assert_allclose(padded.bse, plain.bse, rtol=1e-8)
    assert padded.nobs == plain.nobs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cov_type": "robust"}, "cov_type must be one of"),
        ({"groups": [1] * 400}, "only used by"),
        ({"cov_type": "cluster"}, "needs groups"),
        ({"cov_type": "cluster", "groups": [1, 2]}, "one label a row"),
        ({"cov_type": "cluster", "groups": [1] * 400}, "at least 2"),
        ({"cov_type": "cluster", "groups": [np.nan] + [1.0] * 399}, "1 missing label"),
        ({"cov_type": "cluster", "groups": np.array([None] + ["a"] * 399)}, "1 missing label"),
        ({"sample_weight": [1.0, 2.0]}, "one weight a row"),
        ({"sample_weight": [-1.0] + [1.0] * 399}, "non-negative"),
        ({"sample_weight": [0.0] * 400}, "positive for at least one"),
        ({"active_bounds": ["expert[7]:x1"]}, "the free parameters are"),
    ],
)
def test_wrong_arguments(rng, arguments, message):
    X, y, mixture = two_lines(rng)
    with pytest.raises(ValueError, match=message):
        infer(mixture.moestat(), X, y, **arguments)


def test_regular_fits_do_not_warn(rng):
    X, y, mixture = two_lines(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = infer(mixture.moestat(), X, y)
    assert results.unidentified == ()
    assert results.notes == ()
