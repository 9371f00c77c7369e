"""Solvers: monotone steps, one maximiser for all, saddles, the trust-region problem, and the box against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from moestat.experts import GaussianExpert
from moestat.fitting import Start, fit_mixture
from moestat.mixture import ConditionalMixture
from moestat.solvers import EM, SOLVERS, SQUAREM, Newton, Status
from moestat.solvers.newton import trust_region_step

TRUTH = {
    "gate_coef": [[2.0, -1.0], [0.0, 0.0]],
    "gate_intercept": [0.3, 0.0],
    "expert_coef": [[1.0, 0.5], [-1.0, 2.0]],
    "expert_intercept": [2.0, -2.0],
    "expert_scale": [0.5, 0.8],
}


def data(n: int = 400, seed: int = 0, n_responses: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A draw from `TRUTH`; further responses are noisy copies."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, (n, 2))
    y = ConditionalMixture(params=TRUTH).sample(X, rng)
    more = [(j + 2.0) * y + rng.normal(size=n) for j in range(n_responses - 1)]
    return X, np.column_stack([y, *more]) if more else y


def rough_start(n_experts: int, seed: int, n_responses: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tail = () if n_responses == 1 else (n_responses,)
    out = {
        "gate_coef": rng.normal(size=(n_experts, 2)),
        "gate_intercept": rng.normal(size=n_experts),
        "expert_coef": rng.normal(size=(n_experts, *tail, 2)),
        "expert_intercept": 2.0 * rng.normal(size=(n_experts, *tail)),
        "expert_scale": np.full((n_experts, *tail), 1.5),
    }
    return out | {
        "gate_coef": out["gate_coef"] - out["gate_coef"][-1],
        "gate_intercept": out["gate_intercept"] - out["gate_intercept"][-1],
    }


CASES: dict[str, dict[str, Any]] = {
    "two experts": {},
    "three experts": {"n_experts": 3},
    "constant gate": {"gate": "constant"},
    "tied variance": {"expert": GaussianExpert(variance="tied")},
    "weighted": {"sample_weight": np.random.default_rng(1).integers(0, 4, 400)},
    "two responses": {"n_responses": 2},
    "penalised": {"gate_l2": 5.0},
    "boxed": {"box": {"gate_coef": (-1.0, 1.0), "expert_scale": (0.7, 3.0)}},
}


@pytest.mark.parametrize(
    ("case", "solver"),
    [
        (case, solver)
        for case, arguments in CASES.items()
        for solver in ("em", "squarem", "newton", "auto")
        if "box" not in arguments or solver in ("newton", "auto")  # EM refuses a box, see below
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_step_lowers_the_loglik(solver: str, case: str, seed: int) -> None:
    arguments = dict(CASES[case])
    d = arguments.pop("n_responses", 1)
    X, y = data(n_responses=d)
    start = rough_start(arguments.get("n_experts", 2), seed, d)
    trace = fit_mixture(X, y, init=start, solver=solver, max_iter=80, **arguments).result.trace
    assert len(trace) > 3
    assert (np.diff(trace) >= -1e-10 * np.abs(trace[1:])).all(), np.diff(trace).min()


@pytest.mark.parametrize("case", [name for name in CASES if name not in ("three experts", "weighted")])
def test_all_solvers_reach_the_same_maximiser(case: str) -> None:
    arguments = dict(CASES[case])
    d = arguments.pop("n_responses", 1)
    X, y = data(n_responses=d)
    reference = fit_mixture(X, y, rng=0, tol=1e-12, **arguments)
    shaken = {name: np.asarray(value) * 1.05 for name, value in reference.mixture.params.items()}
    if d > 1:
        shaken.pop("expert_scale")
    for solver in ("newton", "lbfgs", "auto") if "box" in arguments else ("em", "squarem", "newton", "lbfgs", "auto"):
        found = fit_mixture(X, y, init=shaken, solver=solver, tol=1e-10, max_iter=5000, **arguments)
        assert found.result.status in (Status.CERTIFIED, Status.STALLED), solver
        assert found.result.certificate.decrement < 1e-8, solver
        assert found.result.penalised == pytest.approx(reference.result.penalised, abs=1e-7), solver
        np.testing.assert_allclose(
            found.mixture.free_vector(), reference.mixture.free_vector(), atol=2e-4, err_msg=solver
        )


def test_a_solver_object_and_a_callback() -> None:
    X, y = data()
    seen: list[tuple[int, float]] = []
    for solver in (EM(), SQUAREM(), Newton()):
        seen.clear()
        fitted = fit_mixture(X, y, init=TRUTH, solver=solver, callback=lambda i, v: seen.append((i, v)))
        assert fitted.result.converged
        assert fitted.result.solver == solver.name
        assert [i for i, _ in seen] == list(range(1, len(seen) + 1))
    with pytest.raises(ValueError, match="solver='nothing'"):
        fit_mixture(X, y, solver="nothing")


def test_cem_ends_when_the_partition_repeats() -> None:
    X, y = data()
    fitted = fit_mixture(X, y, init=TRUTH, solver="cem")
    assert fitted.result.status is Status.PARTITION
    assert not fitted.result.converged
    labels = fitted.mixture.responsibilities(X, y).argmax(axis=1)
    for k in range(2):  # each expert is the least-squares fit of its own rows
        design = np.column_stack([np.ones(len(X)), X])[labels == k]
        coef = np.linalg.lstsq(design, y[labels == k], rcond=None)[0]
        np.testing.assert_allclose(coef[1:], fitted.mixture.params["expert_coef"][k], rtol=1e-6)
    assert set(SOLVERS) == {"em", "squarem", "newton", "lbfgs", "cem", "daem", "lm"}


def test_newton_leaves_an_exactly_symmetric_saddle() -> None:
    X, y = data()
    one = fit_mixture(X, y, 1)
    same = {name: np.repeat(value, 2, axis=0) for name, value in one.mixture.params.items()}
    objective, theta = ConditionalMixture(params=same).objective(X, y)
    value, gradient, hessian = objective.derivatives(theta)
    assert value == pytest.approx(one.result.loglik, rel=1e-12)
    assert np.abs(gradient).max() < 1e-6 * len(y)
    assert np.linalg.eigvalsh(hessian)[-1] > 1.0
    for solver in ("newton", "auto"):
        left = fit_mixture(X, y, init=same, solver=solver)
        assert left.result.converged, solver
        assert left.result.loglik > value + 50.0, solver


# -- the trust-region problem --------------------------------------------------------------------------------------


def assert_solves(values: np.ndarray, along: np.ndarray, radius: float) -> np.ndarray:
    """The conditions of Moré & Sorensen: `(A + μ)p = g`, `A + μ` positive semidefinite, `μ >= 0`, `μ (|p| - radius) = 0`."""
    p = trust_region_step(values, along, radius)
    size = float(np.linalg.norm(p))
    scale = np.abs(values).max() + np.abs(along).max() / radius
    assert size <= radius * (1.0 + 1e-5)
    mu = float(p @ (along - values * p)) / max(size**2, 1e-300)
    assert mu >= -1e-8 * scale
    assert np.linalg.norm(along - values * p - mu * p) <= 1e-6 * scale * radius
    assert values[0] + mu >= -1e-6 * scale
    assert mu <= 1e-6 * scale or size >= radius * (1.0 - 1e-5)
    return np.asarray(p)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.floats(-3.0, 3.0), st.sampled_from(["any", "positive", "hard", "zero"])
)
def test_trust_region_step_is_optimal(seed: int, n: int, log_radius: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=n))
    values = np.sort(np.abs(values)) + 0.1 if kind == "positive" else values - (values[0] + 0.5)
    along = np.zeros(n) if kind == "zero" else rng.normal(size=n)
    if kind == "hard":
        along[0] = 0.0
    p = assert_solves(values, along, 10.0**log_radius)
    if kind == "zero":  # a saddle is left as far as allowed
        assert np.linalg.norm(p) == pytest.approx(10.0**log_radius, rel=1e-6)


@pytest.mark.parametrize("seed", range(9))
def test_trust_region_step_beats_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=2)) + 0.5 * (seed // 3)
    along = rng.normal(size=2) * (seed % 3)

    def gain(p: np.ndarray) -> np.ndarray:
        return np.asarray(along @ p - 0.5 * values @ p**2)

    angle, size = np.meshgrid(np.linspace(0, 2 * np.pi, 1441), np.linspace(0, 0.7, 201))
    brute = gain(np.stack([(size * np.cos(angle)).ravel(), (size * np.sin(angle)).ravel()])).max()
    best = float(gain(trust_region_step(values, along, 0.7)))
    assert brute - 1e-6 <= best <= brute + 1e-3


# -- the box -------------------------------------------------------------------------------------------------------

BOX = {"gate_coef": (-1.0, 1.0), "expert_scale": (0.6, 3.0), "expert_intercept": ([1.0, -1.5], [1.9, -1.0])}


@pytest.mark.parametrize("solver", ["em", "squarem", "cem"])
def test_em_refuses_a_box_that_its_m_step_cannot_respect(solver: str) -> None:
    X, y = data()
    with pytest.raises(ValueError, match=f"solver='{solver}' cannot respect a box"):
        fit_mixture(X, y, box=BOX, init=TRUTH, solver=solver)


@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP"])
def test_box_is_that_of_scipy(solver: str, method: str) -> None:
    X, y = data()
    inside = TRUTH | {
        "gate_coef": [[0.5, -0.5], [0.0, 0.0]],
        "expert_intercept": [1.5, -1.2],
        "expert_scale": [0.9, 0.9],
    }
    fitted = fit_mixture(X, y, init=inside, box=BOX, solver=solver, max_iter=3000)
    mixture = ConditionalMixture(params=inside)
    objective, start = mixture.objective(X, y, raw=True)
    names = mixture.free_names()
    bounds = [(None, None)] * len(names)
    for i, name in enumerate(names):
        if name in ("gate[1]:x1", "gate[1]:x2"):
            bounds[i] = (-1.0, 1.0)
        elif name.endswith("log_scale"):
            bounds[i] = (np.log(0.6), np.log(3.0))
        elif name.startswith("expert") and name.endswith("Intercept"):
            bounds[i] = (1.0, 1.9) if "[1]" in name else (-1.5, -1.0)

    def negative(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective.gradient(theta)
        return -value, -gradient

    options = {"maxiter": 5000, "ftol": 1e-15}
    scipys = optimize.minimize(negative, start, jac=True, bounds=bounds, method=method, options=options)
    theta = fitted.mixture.free_vector()
    assert fitted.result.loglik == pytest.approx(-scipys.fun, abs=1e-6)
    assert fitted.result.loglik >= -scipys.fun - 1e-8
    np.testing.assert_allclose(theta, scipys.x, atol=2e-4)
    gradient = objective.gradient(theta)[1]
    active = set()
    for name, value, slope, (low, high) in zip(names, theta, gradient, bounds, strict=True):
        at_low, at_high = low is not None and value <= low + 1e-12, high is not None and value >= high - 1e-12
        assert low is None or low - 1e-12 <= value <= high + 1e-12
        if at_low or at_high:
            active.add(name)
            assert slope <= 0.0 if at_low else slope >= 0.0, name
        else:
            assert abs(slope) <= 1e-3 * np.sqrt(len(y)), name
    assert active == set(fitted.result.active_bounds)
    assert len(active) >= 3
    assert fitted.result.converged


def test_box_errors_name_the_parameter() -> None:
    X, y = data(60)
    for box, message in (
        ({"slope": (0, 1)}, "slope"),
        ({"gate_coef": (1.0, -1.0)}, r"gate\[1\]:x1"),
        ({"gate_coef": (np.zeros(7), 1.0)}, "broadcast"),
        ({"expert_scale": (0.0, 0.0)}, "positive"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_mixture(X, y, box=box)


def test_starts_with_boxes_of_their_own() -> None:
    X, y = data()
    narrow = {"expert_scale": (2.0, 3.0)}
    fitted = fit_mixture(X, y, init=[Start(TRUTH | {"expert_scale": [2.5, 2.5]}, narrow), Start(TRUTH)])
    alone = fit_mixture(X, y, init=TRUTH)
    assert fitted.result.loglik == pytest.approx(alone.result.loglik, abs=1e-7)
    assert len(fitted.result.starts) == 2
    assert fitted.result.starts[0] > fitted.result.starts[1] + 10.0
    assert fitted.result.active_bounds == ()
