"""The bundled data: known totals of the published data, both return forms, immutability."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from moestat import datasets

LOADERS = {name: getattr(datasets, f"load_{name}") for name in ("tonedata", "co2_gnp", "engel", "mcycle")}


@pytest.mark.parametrize(
    ("name", "n", "x_range", "y_range"),
    [
        ("tonedata", 150, (1.35, 3.0), (1.3, 3.494)),
        ("co2_gnp", 28, (2.41, 44.35), (2.7, 20.8)),
        ("engel", 235, (377.0583691983, 4957.8130243), (242.3202021, 2032.6791902)),
        ("mcycle", 133, (2.4, 57.6), (-134.0, 75.0)),
    ],
)
def test_size_and_range(name, n, x_range, y_range):
    data = LOADERS[name]()
    assert data.X.shape == (n, 1)
    assert data.y.shape == (n,)
    np.testing.assert_allclose((data.X.min(), data.X.max()), x_range, rtol=1e-7)
    np.testing.assert_allclose((data.y.min(), data.y.max()), y_range, rtol=1e-7)
    assert "Source:" in data.description
    assert data.X.dtype == data.y.dtype == np.float64


def test_engel_is_the_copy_of_statsmodels():
    from statsmodels.datasets import engel

    frame = engel.load_pandas().data
    pd.testing.assert_frame_equal(datasets.load_engel().frame, frame[["income", "foodexp"]], check_exact=True)


# Parameters that others estimated from their own copy of the data, and the log-likelihood they reached.
# co2_gnp: regmixEM as in Benaglia et al. (2009), J. Statist. Software 32(6). tonedata: mixtools 2.0.0 regmixEM.
# mcycle: meteorits 0.1.1 emMoE, four experts, softmax gate in times. Rows of gate and lines: intercept, slope.
PUBLISHED = {
    "co2_gnp": (
        [[np.log(0.754921375307115), np.log(0.245078624692885)], [0.0, 0.0]],
        [[8.67898662835115, 1.41515000336156], [-0.0233440271825664, 0.676596102941089]],
        [2.04931505876295, 0.809389476268943],
        -66.9397677930701,
    ),
    "tonedata": (
        [[0.0, -0.836474908680087], [0.0, 0.0]],
        [[1.91637984961198, -0.019275511752915], [0.0425486203420674, 0.992295761819472]],
        [0.0461921748085391, 0.132834464371338],
        141.198402298463,
    ),
    "mcycle": (
        [
            [0.0, -52.901439856707, -736.41006021071, -786.692527945753],
            [0.0, 3.65295482835633, 32.4606856282008, 33.9210381539478],
        ],
        [
            [-0.947901424165426, 174.057952950285, -411.975216525789, 10.7356042153299],
            [-0.174623032985296, -13.8708853052211, 14.2064800168429, -0.209048864793958],
        ],
        [1.46817858289878, 22.7171755320702, 27.7751348601226, 21.1423142048726],
        -552.045330779377,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_likelihood_at_the_estimates_of_others(name):
    from scipy.special import log_softmax, logsumexp
    from scipy.stats import norm

    gate, lines, scale, loglik = PUBLISHED[name]
    X, y = LOADERS[name](return_X_y=True)
    design = np.column_stack([np.ones(len(y)), X])
    log_joint = log_softmax(design @ np.array(gate), axis=1) + norm.logpdf(y[:, None], design @ np.array(lines), scale)
    assert logsumexp(log_joint, axis=1).sum() == pytest.approx(loglik, abs=1e-7)


@pytest.mark.parametrize("name", LOADERS)
def test_forms_agree(name):
    data = LOADERS[name]()
    X, y = LOADERS[name](return_X_y=True)
    X_frame, y_series = LOADERS[name](return_X_y=True, as_frame=True)
    np.testing.assert_array_equal(X, X_frame.to_numpy())
    np.testing.assert_array_equal(y, y_series.to_numpy())
    assert tuple(X_frame.columns) == data.feature_names
    assert y_series.name == data.target_name
    pd.testing.assert_frame_equal(data.frame, LOADERS[name](as_frame=True).frame)
    assert list(data.frame.columns) == [*data.feature_names, data.target_name]


def test_frozen_and_fresh():
    data = datasets.load_mcycle()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    data.y[0] = 1e9  # the caller's copy
    assert datasets.load_mcycle().y[0] == 0.0
