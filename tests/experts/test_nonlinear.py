"""Nonlinear experts: activations against mpmath, the density against its definition, symmetries, starts and fits."""

from __future__ import annotations

import pickle
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import integrate, stats

import moestat as ms
from moestat.activations import ACTIVATIONS, resolve_activation
from moestat.experts import NonlinearExpert
from moestat.experts.means import LinearMean, mean_of

mp.mp.dps = 50
MP: dict[str, Any] = {
    "identity": lambda u: u,
    "relu": lambda u: max(u, mp.mpf(0)),
    "gelu": lambda u: u * mp.ncdf(u),
    "tanh": mp.tanh,
    "sigmoid": lambda u: 1 / (1 + mp.exp(-u)),
    "silu": lambda u: u / (1 + mp.exp(-u)),
    "power:2": lambda u: u**2,
    "power:5": lambda u: u**5,
}
POINTS = [-700.0, -45.0, -38.0, -9.5, -2.0, -0.75, -1e-3, 1e-9, 0.3, 1.0, 4.0, 25.0, 39.0, 800.0]
FORMS = [
    NonlinearExpert(),
    NonlinearExpert(activation="relu"),
    NonlinearExpert(activation="gelu", output=False),
    NonlinearExpert(2, activation="silu", tied=True),
    NonlinearExpert(activation="power:3", output=False, tied=True),
    NonlinearExpert(activation="sigmoid"),
    NonlinearExpert(activation="identity"),
]
each = pytest.mark.parametrize("expert", FORMS, ids=repr)


def test_every_activation_is_tried() -> None:
    assert set(ACTIVATIONS) | {"power:2", "power:5"} == set(MP)


@pytest.mark.parametrize("name", list(MP))
def test_activations(name: str) -> None:
    values = resolve_activation(name)(np.array(POINTS))
    for i, point in enumerate(POINTS):
        for order, value in enumerate(values):
            with mp.workdps(350):  # differences of numbers that agree in their first 300 digits
                exact = mp.diff(MP[name], mp.mpf(point), order) if order else MP[name](mp.mpf(point))
            assert float(value[i]) == pytest.approx(float(exact), rel=1e-12, abs=1e-300), (point, order)


def points(expert: NonlinearExpert, n: int = 12, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses `(1, n)`, predictors `(1, 2, n)` and scalars `(c, 2, 1)`."""
    rng = np.random.default_rng(3)
    extra = np.array([[1.3, -0.6], [-0.4, 0.5]])[-len(expert.scalars) :][:, :, None]
    return spread * 2.0 * rng.normal(size=(1, n)), spread * rng.normal(size=(1, 2, n)), extra


def exact_log_density(expert: NonlinearExpert, y: Any, eta: Any, *scalars: Any) -> Any:
    mean = (
        MP[expert.activation if expert.activation in MP else "power:2"](eta)
        if expert.activation != "power:3"
        else eta**3
    )
    if expert.output:
        mean = scalars[0] * mean
    z = (y - mean) * mp.exp(-scalars[-1])
    return -z * z / 2 - scalars[-1] - mp.log(2 * mp.pi) / 2


@pytest.mark.parametrize("spread", [1.0, 30.0])
@each
def test_density_and_derivatives(expert: NonlinearExpert, spread: float) -> None:
    y, eta, extra = points(expert, 4, spread)
    value = expert.log_density(y, eta, extra)
    first, second = expert.derivatives(y, eta, extra)
    m = 1 + len(extra)
    for k in range(2):
        for i in range(y.shape[1]):
            at = [mp.mpf(float(eta[0, k, i])), *(mp.mpf(float(v[k, 0])) for v in extra)]

            def f(*u: Any, i: int = i) -> Any:
                return exact_log_density(expert, mp.mpf(float(y[0, i])), *u)

            assert float(value[k, i]) == pytest.approx(float(f(*at)), rel=1e-12)
            unit = np.eye(m, dtype=int)
            for a in range(m):
                exact = float(mp.diff(f, tuple(at), tuple(unit[a].tolist())))
                assert first[a, k, i] == pytest.approx(exact, rel=1e-10, abs=1e-12)
                for b in range(a + 1):
                    exact = float(mp.diff(f, tuple(at), tuple((unit[a] + unit[b]).tolist())))
                    assert second[a * (a + 1) // 2 + b, k, i] == pytest.approx(exact, rel=1e-10, abs=1e-11)


@each
def test_extreme_predictors_are_numbers(expert: NonlinearExpert) -> None:
    y, eta, extra = points(expert, 6)
    for size in (1e3, 1e8):
        value = expert.log_density(y, size * eta, extra)
        first, second = expert.derivatives(y, size * eta, extra)
        assert not np.isnan(value).any()
        assert np.isfinite(first).all()
        assert np.isfinite(second).all()


@each
def test_moments_distribution_and_sampler(expert: NonlinearExpert) -> None:
    y, eta, extra = points(expert, 3)
    mean, variance = expert.moments(eta, extra)
    sd = np.exp(extra[-1])
    for k in range(2):
        law = stats.norm(mean[k, 0], sd[k, 0])

        def density(t: float, k: int = k) -> float:
            return float(np.exp(expert.log_density(np.array([[t]]), eta[:, :, :1], extra)[k, 0]))

        assert integrate.quad(density, *law.interval(1 - 1e-14), epsabs=1e-12)[0] == pytest.approx(1.0, abs=1e-10)
        assert variance[k, 0] == pytest.approx(sd[k, 0] ** 2)
        assert expert.cdf(y, eta, extra)[k, 0] == pytest.approx(law.cdf(y[0, 0]), rel=1e-12)
        for q in (1e-9, 0.3, 0.999):
            assert expert.quantile(q, eta, extra)[k, 0] == pytest.approx(law.ppf(q), rel=1e-12)
        draws = expert.sample(
            np.repeat(eta[:, k, :1], 20_000, axis=1), np.repeat(extra[:, k], 20_000, axis=1), np.random.default_rng(1)
        )
        assert stats.kstest(draws[0], law.cdf).pvalue > 1e-3


# -- symmetries -------------------------------------------------------------------------------------------------------


def function(expert: NonlinearExpert, a: Any, b: Any, c: Any) -> ms.RegressionFunction:
    """The expert's mean alone."""
    params = {"gate_coef": [[0.0]], "gate_intercept": [0.0], "expert_coef": [[a]], "expert_intercept": [b]}
    return ms.RegressionFunction("softmax", expert, params | ({"expert_output": [c]} if expert.output else {}))


@pytest.mark.parametrize("k", [0.01, 3.7, 250.0])
@pytest.mark.parametrize(("activation", "p"), [("identity", 1), ("relu", 1), ("power:2", 2), ("power:3", 3)])
def test_homogeneous_activations_have_a_scale_that_nothing_identifies(activation: str, p: int, k: float) -> None:
    X = np.linspace(-3.0, 3.0, 201)[:, None]
    expert = NonlinearExpert(activation=activation)
    one, other = function(expert, -8.0, 1.0, 6.0), function(expert, -8.0 * k, k, 6.0 / k**p)
    scale = np.abs(one.mean(X)).max()
    np.testing.assert_allclose(one.mean(X), other.mean(X), rtol=0, atol=3e-14 * max(scale, 1.0))
    assert any("scale that no data identify" in text for text in expert.degeneracies())
    assert not NonlinearExpert(activation=activation, output=False).degeneracies()
    forms = [f.canonical().params for f in (one, other)]
    for name in forms[0]:
        np.testing.assert_allclose(forms[0][name], forms[1][name], rtol=1e-12, atol=1e-14)
    assert np.linalg.norm(forms[0]["expert_coef"][0]) == pytest.approx(1.0)
    np.testing.assert_allclose(one.canonical().mean(X), one.mean(X), rtol=0, atol=3e-14 * scale)


@pytest.mark.parametrize("activation", ["tanh", "power:2", "power:3", "identity", "relu", "gelu", "sigmoid"])
def test_the_canonical_form_is_idempotent_and_leaves_the_function_alone(activation: str) -> None:
    X = np.linspace(-2.0, 2.0, 50)[:, None]
    f = function(NonlinearExpert(activation=activation), -1.5, 0.4, -2.0)
    g = f.canonical()
    np.testing.assert_allclose(g.mean(X), f.mean(X), rtol=1e-12, atol=1e-13)
    for name, value in g.canonical().params.items():
        np.testing.assert_allclose(value, g.params[name], rtol=1e-14)
    if activation in ("tanh", "identity", "power:3"):  # odd: the sign goes to the slopes
        assert g.params["expert_output"][0] > 0.0
    if activation == "power:2":
        assert g.params["expert_coef"][0, 0] > 0.0


def test_degeneracies_in_words() -> None:
    assert "steep slopes" in NonlinearExpert(activation="gelu").degeneracies()[0]
    assert NonlinearExpert(activation="tanh").degeneracies() == []
    params = {
        "expert_output": [0.0, 1.0, 2.0],
        "expert_coef": [[1.0], [0.0], [1.0]],
        "expert_intercept": [0.0, 1.0, 0.0],
    }
    said = NonlinearExpert().degeneracies(params)
    assert [text[:8] for text in said] == ["expert 1", "expert 2"]


def test_canonical_of_the_expert_keeps_its_noise() -> None:
    expert = NonlinearExpert(activation="relu")
    coef, scale = expert.canonical(np.array([[[2.0, 3.0, 4.0]]]), np.array([[2.0, -0.3]]))
    np.testing.assert_allclose(coef, [[[0.4, 0.6, 0.8]]])
    np.testing.assert_allclose(scale, [[10.0, -0.3]])


# -- maximum likelihood -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_maximum_likelihood_recovers_the_truth_by_every_solver(tied: bool) -> None:
    rng = np.random.default_rng(5)
    X = rng.uniform(-3.0, 3.0, (600, 1))
    expert = NonlinearExpert(tied=tied)
    truth = ms.ConditionalMixture(
        "softmax",
        expert,
        {
            "gate_coef": [[2.0], [0.0]],
            "gate_intercept": [0.5, 0.0],
            "expert_coef": [[1.2], [-0.8]],
            "expert_intercept": [-1.0, 0.3],
            "expert_output": [2.0, 1.5],
            "expert_scale": [0.1, 0.1 if tied else 0.2],
        },
    )
    y = truth.sample(X, rng)
    fits = {s: ms.fit_mixture(X, y, 2, expert=expert, solver=s, rng=0, n_init=2) for s in ("auto", "newton", "lbfgs")}
    best = fits["auto"].result
    for name, fitted in fits.items():
        assert fitted.result.converged, name
        assert fitted.result.loglik == pytest.approx(best.loglik, abs=1e-5), name
    assert best.loglik > truth.log_density(X, y).sum()
    em = ms.fit_mixture(X, y, 2, expert=expert, solver="em", rng=0, n_init=2, max_iter=40).result
    assert (np.diff(em.trace) >= -1e-9).all()
    assert em.loglik > best.loglik - 1.0
    estimate = fits["auto"].mixture
    assert len(estimate.free_names()) == (9 if tied else 10)
    signs = np.sign(estimate.params["expert_output"])  # tanh is odd
    found = np.sort(estimate.params["expert_coef"][:, 0] * signs)
    np.testing.assert_allclose(found, [-0.8, 1.2], atol=0.1)
    np.testing.assert_allclose(np.sort(estimate.params["expert_scale"]), [0.1, 0.1 if tied else 0.2], rtol=0.1)


@each
def test_starts_follow_the_data(expert: NonlinearExpert) -> None:
    rng = np.random.default_rng(2)
    phi = np.vstack([np.ones(400), rng.normal(size=(2 if expert.degree == 1 else 5, 400)) + 0.5])
    eta = (np.array([0.3, 1.0, -0.5, 0.2, 0.1, -0.1])[: len(phi)] @ phi)[None, None]
    extra = np.array([[1.5], [-2.0]])[-len(expert.scalars) :][:, :, None]
    y = expert.moments(eta, extra)[0][0]
    for unit in (1.0, 1e4) if expert.output else (1.0,):
        coef, scalars = expert.first_coefficients(unit * y[:, None], np.ones(400), phi)
        fitted = expert.moments((coef @ phi)[:, None], scalars[:, None, None])[0][0]
        left = np.mean((unit * y - fitted) ** 2) / np.var(unit * y)
        assert left < (0.9 if expert.output else 1.5)
        assert np.exp(2.0 * scalars[-1]) == pytest.approx(left * np.var(unit * y), rel=1e-8)


# -- objects ----------------------------------------------------------------------------------------------------------


def test_dictionary_names_and_copies() -> None:
    expert = NonlinearExpert(2, True, "relu")
    assert pickle.loads(pickle.dumps(expert)) == expert
    assert expert.keys == ("expert_coef", "expert_intercept", "expert_output", "expert_scale")
    assert "expert_output" not in NonlinearExpert(output=False).keys
    assert mean_of(expert) == expert.mean_part()
    assert mean_of(ms.experts.GaussianExpert(3)) == LinearMean(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "swish"}, "activation='swish' is not known; give one of"),
        ({"activation": "power:1"}, "'power:p' with p = 2"),
        ({"activation": "power:x"}, "is not known"),
        ({"activation": 3}, "activation=3 is not known"),
        ({"output": 1}, "output=1 must be True or False"),
        ({"degree": -1}, "degree=-1 must be a non-negative integer"),
        ({"tied": "yes"}, "tied='yes' must be True or False"),
    ],
)
def test_bad_hyperparameters(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NonlinearExpert(**arguments)
