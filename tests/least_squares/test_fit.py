"""Least-squares fits: against ordinary least squares and SciPy, solvers against each other, truths of the theory's designs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize

import moestat as ms
from moestat import gates as g
from moestat.experts import GaussianExpert, NonlinearExpert
from moestat.solvers import EM, Status

TANH = NonlinearExpert(output=False)
SOFTMAX_TANH = {  # THEORY: softmax gate, tanh experts, noise .003
    "gate_coef": [[2.8], [0.0]],
    "gate_intercept": [-0.6, 0.0],
    "expert_coef": [[-0.7], [-0.7]],
    "expert_intercept": [2.0, -1.3],
}
SIGMOID_TANH = {  # THEORY: sigmoid gate, tanh experts
    "gate_coef": [[0.6], [-1.1]],
    "gate_intercept": [-0.5, -0.2],
    "expert_coef": [[-1.8], [1.7]],
    "expert_intercept": [2.0, 1.5],
}
DESIGNS = [
    ("softmax", TANH, SOFTMAX_TANH, 0.003),
    ("sigmoid", TANH, SIGMOID_TANH, 0.1),
    (
        "softmax",
        "gaussian",
        {
            "gate_coef": [[3.0], [0.0]],
            "gate_intercept": [0.5, 0.0],
            "expert_coef": [[-2.0], [2.0]],
            "expert_intercept": [1.0, -1.0],
        },
        0.1,
    ),
]


def data(design: int, n: int = 800, seed: int = 0) -> tuple[ms.RegressionFunction, np.ndarray, np.ndarray]:
    gate, expert, params, noise = DESIGNS[design]
    rng = np.random.default_rng(seed)
    truth = ms.RegressionFunction(gate, expert, params, noise)
    X = rng.uniform(-3.0, 3.0, (n, 1))
    return truth, X, truth.sample(X, rng)


def fit(design: int, X: np.ndarray, y: np.ndarray, K: int = 2, **options: Any) -> Any:
    gate, expert, _, _ = DESIGNS[design]
    return ms.fit_least_squares(X, y, K, **{"gate": gate, "expert": expert, "rng": 0, "n_init": 5, **options})


def squares(function: ms.RegressionFunction, X: np.ndarray, y: np.ndarray) -> float:
    return float(((y - function.mean(X)) ** 2).sum())


@pytest.mark.parametrize("degree", [1, 3])
def test_one_expert_is_ordinary_least_squares(degree: int) -> None:
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(300, 1)) * 10.0 + 3.0, rng.uniform(0.5, 2.0, 300)
    design = np.column_stack([X**p for p in range(degree + 1)])
    y = design @ np.array([1.0, -2.0, 0.3, 0.01])[: degree + 1] + rng.normal(size=300)
    for weight in (None, w):
        fitted = ms.fit_least_squares(X, y, 1, expert=GaussianExpert(degree), sample_weight=weight)
        ols = sm.WLS(y, design, np.ones(300) if weight is None else weight).fit()
        params = fitted.function.params
        found = np.r_[params["expert_intercept"], params["expert_coef"][0]]
        np.testing.assert_allclose(found, ols.params, rtol=1e-9)
        assert fitted.function.noise_std == pytest.approx(np.sqrt(ols.ssr / (300 if weight is None else w.sum())))
        assert fitted.result.converged
        if weight is None:
            assert fitted.result.loglik == pytest.approx(ols.llf, rel=1e-12)


@pytest.mark.parametrize("design", range(3))
def test_solvers_agree_and_the_truth_is_recovered(design: int) -> None:
    truth, X, y = data(design)
    start = truth.with_free_vector(truth.free_vector() + 0.1).params
    fits = {s: fit(design, X, y, solver=s, init=start) for s in ("auto", "lm", "newton", "lbfgs")}
    best = fits["auto"]
    assert fit(design, X, y).result.loglik >= best.result.loglik - 1e-6  # from partitions of the data
    for name, fitted in fits.items():
        assert fitted.result.status is Status.CERTIFIED, name
        assert fitted.result.loglik == pytest.approx(best.result.loglik, abs=1e-6), name
        np.testing.assert_allclose(fitted.function.mean(X), best.function.mean(X), atol=2e-4 * np.std(y), err_msg=name)
    noise = DESIGNS[design][3]
    assert best.function.noise_std == pytest.approx(noise, rel=0.1)
    assert best.result.loglik > truth.log_density(X, y).sum()
    # twice the gain over the truth is chi squared with as many degrees of freedom as there are parameters, and one for the noise
    assert 2.0 * (best.result.loglik - truth.log_density(X, y).sum()) < 35.0
    within = [z_scores(best.function.permuted(order), truth, X, y) for order in ([0, 1], [1, 0])]
    assert min(np.abs(z).max() for z in within) < 4.0


def z_scores(estimate: Any, truth: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Errors of the parameters in standard errors."""
    return (estimate.free_vector() - truth.free_vector()) / ms.inference.infer(estimate, X, y).bse.to_numpy()


@pytest.mark.parametrize("design", range(3))
def test_no_worse_than_scipy_from_the_same_start(design: int) -> None:
    truth, X, y = data(design, 300, seed=4)
    rng = np.random.default_rng(7)
    for _ in range(4):
        start = truth.with_free_vector(truth.free_vector() + 0.3 * rng.normal(size=truth.free_vector().size))

        def residual(theta: np.ndarray, at: Any = start) -> np.ndarray:
            return y - at.with_free_vector(theta).mean(X)

        reference = optimize.least_squares(residual, start.free_vector(), xtol=1e-12, ftol=1e-12, gtol=1e-12)
        for solver in ("auto", "lm"):
            fitted = fit(design, X, y, init=start.params, solver=solver)
            assert squares(fitted.function, X, y) <= 2.0 * reference.cost * (1.0 + 1e-8), solver


def test_linear_parameters_are_solved_for_in_one_step() -> None:
    """With the gate of the truth and no coefficients, variable projection lands on the conditional optimum at once."""
    truth, X, y = data(2)
    start = {**truth.params, "expert_coef": np.zeros((2, 1)), "expert_intercept": np.zeros(2)}
    weights = truth.gate_weights(X)
    design = np.column_stack([weights, weights * X])
    best = float(np.linalg.lstsq(design, y, rcond=None)[1][0])
    fitted = fit(2, X, y, init=start, solver="lm")
    first = -0.5 * len(y) * (np.log(2.0 * np.pi * best / len(y)) + 1.0)
    assert fitted.result.trace[0] == pytest.approx(first, rel=1e-10)


def test_more_linear_experts_than_the_truth_leave_the_function_alone() -> None:
    """THEORY: split an expert at the same gate, coefficients with the same weighted mean: the function is the same to rounding."""
    truth, X, y = data(2)
    p, delta = 0.3, np.array([[1.7]])
    params = {
        "gate_coef": np.array([[3.0], [3.0], [0.0]]),
        "gate_intercept": np.array([0.5 + np.log(p), 0.5 + np.log(1 - p), 0.0]),
        "expert_coef": np.vstack([-2.0 + (1 - p) * delta, -2.0 - p * delta, [[2.0]]]),
        "expert_intercept": np.array([1.0 + (1 - p) * 0.9, 1.0 - p * 0.9, -1.0]),
    }
    twin = ms.RegressionFunction("softmax", "gaussian", params)
    assert np.abs(twin.mean(X) - truth.mean(X)).max() <= 2e-15 * 8.0  # the values reach 8
    fitted = fit(2, X, y, 3)
    assert fitted.result.certificate.certified
    three, two = fitted.function, fit(2, X, y).function
    assert squares(three, X, y) <= squares(two, X, y)
    exact = fit(2, X, y, init=params, K=3, solver="lm", max_iter=1).function  # the start keeps its redundant direction
    assert squares(exact, X, y) <= squares(truth, X, y)


def test_weights_are_repetitions_and_order_is_nothing() -> None:
    _, X, y = data(0, 150)
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = fit(0, X, y, sample_weight=counts)
    repeated = fit(0, np.repeat(X, counts, axis=0), np.repeat(y, counts))
    shuffled = np.random.default_rng(1).permutation(len(y))
    moved = fit(0, X[shuffled], y[shuffled], sample_weight=counts[shuffled])
    for other in (repeated, moved):
        assert other.result.loglik == pytest.approx(weighted.result.loglik, rel=1e-10)
        for name, value in weighted.function.params.items():
            np.testing.assert_allclose(other.function.params[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("gate", "shift"), [("softmax", -3e6), ("sigmoid", 0.0)])
def test_units_of_y(gate: str, shift: float) -> None:
    """Weights that sum to one follow a shift, all weights a factor."""
    _, X, y = data(2, 300)
    one, other = (fit(2, X, target, gate=gate, n_init=2) for target in (y, shift + 1e6 * y))
    np.testing.assert_allclose(other.function.mean(X), shift + 1e6 * one.function.mean(X), rtol=1e-6, atol=1.0)
    assert other.function.noise_std == pytest.approx(1e6 * one.function.noise_std, rel=1e-8)
    assert other.result.loglik == pytest.approx(one.result.loglik - len(y) * np.log(1e6), rel=1e-9)


def test_box_is_respected_and_optimal() -> None:
    _, X, y = data(2, 400)
    box = {"expert_coef": (-1.5, 1.5), "gate_coef": (-2.0, 2.0)}
    fits = [fit(2, X, y, box=box, solver=s, n_init=2) for s in ("auto", "lm", "newton", "lbfgs")]
    for fitted in fits:
        params = fitted.function.params
        assert np.abs(params["expert_coef"]).max() <= 1.5
        assert np.abs(params["gate_coef"]).max() <= 2.0
        assert fitted.result.loglik == pytest.approx(fits[0].result.loglik, abs=1e-6)
        assert fitted.result.active_bounds
    free = fit(2, X, y, init=fits[0].function.params)
    assert free.result.loglik > fits[0].result.loglik
    names = fits[0].result.active_bounds
    errors = ms.inference.infer(fits[0].function, X, y, active_bounds=names).bse
    assert np.isnan(errors[list(names)]).all()
    assert np.isfinite(errors.drop(list(names))).all()


def test_gate_penalty_shrinks_the_gate() -> None:
    _, X, y = data(2)
    sizes = [np.abs(fit(2, X, y, gate_l2=l2).function.params["gate_coef"]).max() for l2 in (0.0, 10.0, 1000.0)]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize(
    "gate",
    [g.QuadraticGate(), g.LaplaceGate(), g.TopKGate(1), g.PrototypeGate(2, combine="mean"), g.SharedExperts(1)],
    ids=repr,
)
def test_other_gates(gate: Any) -> None:
    _, X, y = data(2, 200)
    experts = {"prototype": 4, "shared": 3}.get(gate.name, 2)
    fitted = ms.fit_least_squares(X, y, experts, gate=gate, rng=0, n_init=1, max_iter=60)
    line = float(np.polyfit(X[:, 0], y, 1, full=True)[1][0])
    assert squares(fitted.function, X, y) < 0.9 * line
    assert fitted.function.gate == gate


def test_neural_layer_of_relus() -> None:
    """Homogeneous experts with output weights: the symmetry is said, and the fit is as good as without it."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-2.0, 2.0, (400, 2))
    y = 2.0 * np.maximum(X[:, 0] + 0.5, 0.0) - np.maximum(X[:, 1], 0.0) + 0.05 * rng.normal(size=400)
    fitted = ms.fit_least_squares(X, y, 2, gate="sigmoid", expert=NonlinearExpert(activation="relu"), rng=0)
    assert "scale that no data identify" in " ".join(fitted.result.messages)
    assert squares(fitted.function, X, y) < 400 * 0.06**2
    slopes = fitted.function.canonical().params["expert_coef"]
    np.testing.assert_allclose(np.linalg.norm(slopes, axis=1), 1.0)


def test_exact_fits() -> None:
    X = np.linspace(-3.0, 3.0, 60)[:, None]
    truth = ms.RegressionFunction("softmax", TANH, SOFTMAX_TANH)
    fitted = ms.fit_least_squares(X, truth.mean(X), 2, expert=TANH, rng=0)
    assert fitted.result.converged
    assert "exact to rounding" in " ".join(fitted.result.messages)
    np.testing.assert_allclose(fitted.function.mean(X), truth.mean(X), atol=1e-7)
    constant = ms.fit_least_squares(X, np.full(60, 5.0), 2, rng=0)
    np.testing.assert_allclose(constant.function.mean(X), 5.0, rtol=1e-12)


def test_y_as_a_column_callback_and_columns() -> None:
    _, X, y = data(2, 200)
    seen: list[float] = []
    wide = np.column_stack([X, np.random.default_rng(0).normal(size=200)])
    options = {"gate_features": [0], "expert_features": [0], "n_init": 1}
    one = fit(2, wide, y[:, None], callback=lambda i, value: seen.append(value), **options)
    assert one.function.mean(wide).shape == (200,)
    assert one.function.params["expert_coef"].shape == (2, 1)
    assert seen[-1] == pytest.approx(one.result.loglik, abs=1e-6)
    two = fit(2, X, y, n_init=1)
    assert one.result.loglik == pytest.approx(two.result.loglik, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "em"}, "solver='em' is not for least squares; give one of"),
        ({"solver": EM()}, "is not for least squares"),
        ({"solver": "quick"}, "solver='quick' is not known"),
        ({"gate": "constant"}, "least squares cannot tell from the experts' coefficients"),
        ({"gate": g.GaussianGate()}, "give likelihood='conditional'"),
        ({"gate": g.LaplaceGate(), "gate_l2": 1.0}, "gate_l2=1 penalises slopes"),
        ({"expert": "poisson"}, "is no mean with additive noise"),
        ({"expert": "student_t"}, "is no mean with additive noise"),
        ({"expert": GaussianExpert(variance=0.5)}, "means nothing to least squares"),
        ({"tol": -1.0}, "tol=-1.0 must be a finite number"),
        ({"n_init": 0}, "n_init=0 must be a positive integer"),
        ({"init": {"gate_coef": [[1.0], [0.0]]}}, "params lacks"),
        ({"box": {"expert_scale": (0.1, 1.0)}}, "unknown parameters|needs"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    _, X, y = data(2, 50)
    with pytest.raises(ValueError, match=message):
        ms.fit_least_squares(X, y, 2, **options)


def test_bad_data_and_the_likelihood_refuses_what_is_ours() -> None:
    _, X, y = data(2, 50)
    with pytest.raises(ValueError, match="y has 2 columns; least squares fits one response"):
        ms.fit_least_squares(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="y contains nan"):
        ms.fit_least_squares(X, np.where(np.arange(50) == 3, np.nan, y))
    with pytest.raises(ValueError, match="solver='lm' is not for a likelihood; give one of"):
        ms.fit_mixture(X, y, solver="lm")
    with pytest.raises(ValueError, match="use objective='least_squares'"):
        ms.fit_mixture(X, y, gate="sigmoid")
