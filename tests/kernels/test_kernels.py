"""Compiled kernels against their NumPy twins, their own exp and log against mpmath, hard zeros."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moestat.kernels import functions, plain

TOLERANCE = 1e-12
MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

# Rows around the strips of 512: shorter, equal, one more, several.
ROWS = st.one_of(st.integers(1, 40), st.sampled_from([511, 512, 513, 1024, 1025, 1700]))


class Case:
    """Random inputs of one block: `n` rows in the data, of which `start…stop` are worked on."""

    def __init__(self, seed: int, width: int, before: int, n_experts: int, q: int, weighted: bool) -> None:
        rng = np.random.default_rng(seed)
        self.start, self.stop = before, before + width
        n = self.stop + int(rng.integers(0, 5))
        self.k, self.q, self.width = n_experts, q, width
        self.features = np.vstack([np.ones(n), rng.normal(size=(q - 1, n)) * 10.0 ** rng.uniform(-2, 2)])
        self.other = rng.normal(size=(int(rng.integers(1, 8)), n))
        self.coef = rng.normal(size=(n_experts, q)) * 10.0 ** rng.uniform(-2, 1)
        self.log_scale = rng.uniform(-3.0, 3.0, n_experts)
        self.y = rng.normal(size=n) * 5.0
        self.weight = rng.uniform(0.0, 3.0, n) * (rng.random(n) > 0.2) if weighted else np.empty(0)
        self.rows = rng.normal(size=(n_experts, width))
        self.residual = rng.normal(size=(n_experts, width)) * 3.0
        self.resp = rng.dirichlet(np.ones(n_experts), width).T.copy()
        self.rng = rng


CASES = st.builds(
    Case, st.integers(0, 10**6), ROWS, st.integers(0, 9), st.integers(1, 6), st.integers(1, 7), st.booleans()
)


def both(
    fast: ModuleType, name: str, arguments: Callable[[], list[np.ndarray | int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Arguments after the compiled call and after the twin's, pairwise (fresh arguments for each)."""
    mine, twin = arguments(), arguments()
    a, b = getattr(fast, name)(*mine), getattr(plain, name)(*twin)
    pairs = [(x, y) for x, y in zip(mine, twin, strict=True) if isinstance(x, np.ndarray)]
    return pairs if a is None else [*pairs, (np.asarray(a), np.asarray(b))]


def close(pairs: list[tuple[np.ndarray, np.ndarray]], size: float | np.ndarray = 1.0) -> None:
    """Equal to 1e-12 of the value and of `size`, the magnitude of what was summed."""
    for mine, twin in pairs:
        assert np.isfinite(mine).all()
        assert (np.abs(mine - twin) <= TOLERANCE * (np.abs(twin) + size)).all(), np.abs(mine - twin).max()


def test_the_twins_have_the_same_names_and_arguments(fast: ModuleType) -> None:
    def signatures(module: ModuleType) -> dict[str, list[str]]:
        found = {n: getattr(f, "py_func", f) for n, f in vars(module).items() if callable(f) and not n.startswith("_")}
        return {
            n: list(inspect.signature(f).parameters) for n, f in found.items() if f.__module__.startswith("moestat.")
        }

    compiled = signatures(fast)
    for name in ("exp_rows", "log_rows", "log1p_rows", "tanh_rows"):  # their twins are NumPy's functions
        compiled.pop(name)
    assert compiled == signatures(plain)


@MANY
@given(CASES)
def test_softmax_forward(fast: ModuleType, case: Case) -> None:
    out = lambda: np.empty((case.k, case.width))  # noqa: E731
    pairs = both(fast, "softmax_forward", lambda: [case.coef, case.features, case.start, case.stop, out(), out()])
    size = (np.abs(case.coef) @ np.abs(case.features[:, case.start : case.stop])).max(axis=0)
    close(pairs[:2])
    close(pairs[2:], size)
    np.testing.assert_allclose(pairs[-1][0].sum(axis=0), 1.0, rtol=0, atol=4e-16 * case.k)


@MANY
@given(CASES)
def test_gaussian_forward(fast: ModuleType, case: Case) -> None:
    def arguments() -> list[np.ndarray | int]:
        out, residual = np.empty((case.k, case.width)), np.empty((case.k, case.width))
        return [case.coef, case.log_scale, case.features, case.y, case.start, case.stop, out, residual]

    pairs = both(fast, "gaussian_forward", arguments)
    block = slice(case.start, case.stop)
    size = np.abs(case.coef) @ np.abs(case.features[:, block]) + np.abs(case.y[block])
    close(pairs[-1:], size)
    z = size * np.exp(-case.log_scale)[:, None]
    close(pairs[-2:-1], 1.0 + z * z)


@MANY
@given(CASES, st.sampled_from([1.0, 50.0, 2000.0]))
def test_e_step(fast: ModuleType, case: Case, spread: float) -> None:
    log_prob, log_density = case.rows * spread, case.residual * spread
    pairs = both(fast, "e_step", lambda: [log_prob, log_density, np.empty_like(case.rows), np.empty(case.width)])
    # a rounding error of the exponents is a relative error of the posterior
    close(pairs, 1e-3 * spread)


@MANY
@given(CASES)
def test_weighted_sum_and_scale_rows(fast: ModuleType, case: Case) -> None:
    values = case.residual[0].copy()
    weight = case.weight[case.start : case.stop] if case.weight.size else np.ones(case.width)
    pairs = both(fast, "weighted_sum", lambda: [values, case.weight, case.start, case.stop])
    close(pairs[-1:], float(weight @ np.abs(values)))
    assert float(pairs[-1][0]) == pytest.approx(
        float(np.sum(weight * values)), abs=1e-12 * float(weight @ np.abs(values)) + 1e-300
    )
    pairs = both(fast, "scale_rows", lambda: [case.weight, case.start, case.stop, case.rows.copy()])
    np.testing.assert_array_equal(pairs[-1][0], case.rows * weight)


@MANY
@given(CASES)
def test_additive_sums(fast: ModuleType, case: Case) -> None:
    a, b, k, q = case.start, case.stop, case.k, case.q
    f, g, w = np.abs(case.features[:, a:b]), np.abs(case.other[:, a:b]), np.abs(case.rows)
    begin = case.rng.normal(size=(k, 8, 8))  # kernels add to what is there

    def check(name: str, head: list[np.ndarray | int], shape: tuple[int, ...], size: np.ndarray) -> None:
        start = begin.ravel()[: int(np.prod(shape))] if np.prod(shape) <= begin.size else np.zeros(int(np.prod(shape)))
        pairs = both(fast, name, lambda: [*head, start.reshape(shape).copy()])
        if name == "weighted_grams":  # what is above the diagonal is not meant to be read
            pairs = [(np.tril(mine), np.tril(twin)) for mine, twin in pairs[-1:]]
        close(pairs[-1:], size + 1.0)

    gram = np.einsum("kn,in,jn->kij", w, f, f)
    check("weighted_grams", [case.features, case.rows, a, b], (k, q, q), gram)
    check("weighted_moments", [case.features, case.rows, a, b], (k, q), w @ f.T)
    check(
        "cross_grams", [case.features, case.other, case.rows, a, b], (k, q, len(g)), np.einsum("kn,in,jn->kij", w, f, g)
    )
    check("outer_sum", [case.rows], (k, k), w @ w.T)
    mass = np.column_stack([case.resp.sum(axis=1), (case.resp * case.residual**2).sum(axis=1)])
    check("gaussian_moments", [case.resp, case.residual, np.empty_like(case.rows)], (k, 2), mass)


@MANY
@given(CASES)
def test_grams_are_the_lower_triangle_of_the_definition(fast: ModuleType, case: Case) -> None:
    a, b = case.start, case.stop
    out = np.zeros((case.k, case.q, case.q))
    fast.weighted_grams(case.features, case.rows, a, b, out)
    f = case.features[:, a:b]
    expected = np.einsum("kn,in,jn->kij", case.rows, f, f)
    size = np.einsum("kn,in,jn->kij", np.abs(case.rows), np.abs(f), np.abs(f))
    lower = np.tri(case.q, dtype=bool)
    assert (np.abs(out - expected)[:, lower] <= TOLERANCE * size[:, lower]).all()


@MANY
@given(CASES)
def test_scaled_features(fast: ModuleType, case: Case) -> None:
    shape = (case.k * case.q, case.width)
    pairs = both(fast, "scaled_features", lambda: [case.features, case.rows, case.start, case.stop, np.empty(shape)])
    np.testing.assert_array_equal(*pairs[-1])


@MANY
@given(CASES)
def test_softmax_pairs(fast: ModuleType, case: Case) -> None:
    shape = (case.k * (case.k + 1) // 2, case.width)
    pairs = both(fast, "softmax_pairs", lambda: [case.resp, np.empty(shape)])
    close(pairs[-1:])
    curvature = np.einsum("ij,in->nij", np.eye(case.k), case.resp) - np.einsum("in,jn->nij", case.resp, case.resp)
    rows, columns = np.tril_indices(case.k)
    np.testing.assert_allclose(pairs[-1][0].T, curvature[:, rows, columns], rtol=0, atol=1e-15)


@MANY
@given(CASES)
def test_gaussian_derivatives(fast: ModuleType, case: Case) -> None:
    def arguments() -> list[np.ndarray | int]:
        first, second = np.empty((2, case.k, case.width)), np.empty((3, case.k, case.width))
        return [case.residual, case.log_scale, case.resp, first, second]

    pairs = both(fast, "gaussian_derivatives", arguments)
    z = np.abs(case.residual) * np.exp(-case.log_scale)[:, None]
    close(pairs[-2:], ((1.0 + z) ** 4 * np.exp(2.0 * np.abs(case.log_scale))[:, None]))


@MANY
@given(CASES)
def test_formula_derivatives(fast: ModuleType, case: Case) -> None:
    m = int(case.rng.integers(1, 4))
    shape = (case.k, case.width)
    slope, bend = case.rng.normal(size=(m, *shape)), case.rng.normal(size=(m * (m + 1) // 2, *shape))
    pairs = both(
        fast, "formula_derivatives", lambda: [slope, bend, case.resp, np.empty_like(slope), np.empty_like(bend)]
    )
    close(pairs[-2:], 10.0)
    rows, columns = np.tril_indices(m)
    np.testing.assert_allclose(pairs[-2][0], case.resp * slope, rtol=1e-14)
    np.testing.assert_allclose(pairs[-1][0], case.resp * (bend + slope[rows] * slope[columns]), rtol=1e-12, atol=1e-13)


def test_derivatives_of_the_log_density_by_complex_steps(fast: ModuleType) -> None:
    rng = np.random.default_rng(0)
    mean, log_scale, y = rng.normal(size=5), rng.normal(size=1), rng.normal(size=5)

    def log_density(m: np.ndarray, s: complex) -> np.ndarray:
        return -0.5 * np.log(2.0 * np.pi) - s - 0.5 * ((y - m) * np.exp(-s)) ** 2

    h = 1e-30
    slope = [log_density(mean + 1j * h, log_scale[0]).imag / h, log_density(mean, log_scale[0] + 1j * h).imag / h]
    first, second = np.empty((2, 1, 5)), np.empty((3, 1, 5))
    fast.gaussian_derivatives((y - mean)[None], log_scale, np.ones((1, 5)), first, second)
    np.testing.assert_allclose(first[:, 0], slope, rtol=1e-13)
    precision = np.exp(-2.0 * log_scale[0])
    e = y - mean
    curvature = [np.full(5, -precision), -2.0 * e * precision, -2.0 * e * e * precision]
    products = [slope[0] ** 2, slope[0] * slope[1], slope[1] ** 2]
    np.testing.assert_allclose(second[:, 0], np.add(curvature, products), rtol=1e-12, atol=1e-12)


# -- exp and log ---------------------------------------------------------------------------------------------------


def ulps(found: np.ndarray, exact: list[mpmath.mpf]) -> float:
    """Largest error in units of the last place of the exact value."""
    return max(
        float(abs(mpmath.mpf(float(a)) - b) / mpmath.mpf(float(np.spacing(abs(float(b))))))
        for a, b in zip(found, exact, strict=True)
    )


def test_exp_is_accurate_to_two_ulp(fast: ModuleType) -> None:
    rng = np.random.default_rng(1)
    halves = (np.arange(-1020, 1020) + 0.5) * np.log(2.0)  # where the range reduction rounds the other way
    near = rng.choice([-1.0, 1.0], 500) * 10.0 ** rng.uniform(-20, 0, 500)
    x = np.concatenate(
        [rng.uniform(-707.9, 709.0, 2000), halves, np.nextafter(halves, 0.0), near, [0.0, -0.0, 1.0, -1.0, 709.0]]
    )
    x = x[(x > -708.0) & (x <= 709.0)]
    out = np.empty_like(x)
    fast.exp_rows(x, out)
    assert ulps(out, [mpmath.exp(mpmath.mpf(float(v))) for v in x]) <= 2.0
    assert out[x == 0.0].tolist() == [1.0, 1.0]


def test_exp_stays_finite_and_tiny_outside_its_range(fast: ModuleType) -> None:
    x = np.array([-np.inf, -1e300, -1000.0, -708.0])
    out = np.empty_like(x)
    fast.exp_rows(x, out)
    assert (out >= 0.0).all()
    assert (out < 1e-307).all()


def test_log_is_accurate_to_two_ulp(fast: ModuleType) -> None:
    rng = np.random.default_rng(2)
    wide = 10.0 ** rng.uniform(-307.0, 308.0, 2000)
    near_one = 1.0 + rng.choice([-1.0, 1.0], 1000) * 10.0 ** rng.uniform(-15.5, -0.4, 1000)
    switch = np.sqrt(0.5) * 2.0 ** np.arange(-30, 30)
    x = np.concatenate(
        [wide, near_one, switch, np.nextafter(switch, 0), np.nextafter(switch, np.inf), np.arange(1.0, 200.0)]
    )
    x = np.append(x, [np.finfo(float).tiny, np.finfo(float).max])
    x = x[x != 1.0]
    out = np.empty_like(x)
    fast.log_rows(x, out)
    assert ulps(out, [mpmath.log(mpmath.mpf(float(v))) for v in x]) <= 2.0
    one = np.empty(1)
    fast.log_rows(np.ones(1), one)
    assert one[0] == 0.0


def test_log1p_is_accurate_to_two_ulp(fast: ModuleType) -> None:
    rng = np.random.default_rng(4)
    size = 10.0 ** np.concatenate(
        [rng.uniform(-300.0, -16.0, 100), rng.uniform(-17.0, 1.0, 2000), rng.uniform(0.0, 299.0, 500)]
    )
    x = np.concatenate([size, -size[size < 1.0], [1e-300, 0.5, -0.5, np.nextafter(-1.0, 0.0)]])
    out = np.empty_like(x)
    fast.log1p_rows(x, out)
    assert ulps(out, [mpmath.log1p(mpmath.mpf(float(v))) for v in x]) <= 2.0
    zero = np.empty(1)
    fast.log1p_rows(np.zeros(1), zero)
    assert zero[0] == 0.0


@pytest.mark.parametrize("name", ["exp", "log", "log1p"])
def test_functions_of_arrays_use_the_compiled_rows(
    name: str, fast: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(5).uniform(0.1, 3.0, (3, functions.SMALL))[:, ::2]
    expected = np.empty(x.size)
    getattr(fast, f"{name}_rows")(x.ravel(), expected)
    monkeypatch.setitem(sys.modules, "moestat.kernels.fast", fast)
    found = getattr(functions, name)(x)
    np.testing.assert_array_equal(found.ravel(), expected)
    monkeypatch.delitem(sys.modules, "moestat.kernels.fast")
    np.testing.assert_array_equal(getattr(functions, name)(x), getattr(np, name)(x))
    np.testing.assert_allclose(found, getattr(np, name)(x), rtol=5e-16)


def test_functions_at_the_ends(fast: ModuleType) -> None:
    wide = np.resize([-np.inf, -1000.0, -30.0, 0.0, 30.0, 1000.0, np.nan], 2 * functions.SMALL)
    with np.errstate(over="ignore"):
        exact = 1.0 / (1.0 + np.exp(-wide))
    np.testing.assert_allclose(functions.expit(wide), exact, rtol=1e-15)
    low = np.resize([-np.inf, -np.inf, -800.0, np.nan], 2 * functions.SMALL)
    np.testing.assert_array_equal(functions.exp(low), np.where(np.isnan(low), np.nan, 0.0))


def test_log_total_keeps_small_remainders_and_counts_ties() -> None:
    z = np.array([[0.0, 0.0, -50.0], [-50.0, 0.0, 0.0], [-np.inf, 0.0, -60.0]])
    exact = [
        float(mpmath.log1p(mpmath.exp(-50))),
        float(mpmath.log(3)),
        float(mpmath.log1p(mpmath.exp(-50) + mpmath.exp(-60))),
    ]
    np.testing.assert_allclose(functions.log_total(z), exact, rtol=1e-15)


# -- hard zeros ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["fast", "plain"])
def test_hard_zeros_never_give_nan(module: str, fast: ModuleType) -> None:
    kernel = fast if module == "fast" else plain
    n = 700
    rng = np.random.default_rng(3)
    log_prob = np.log(rng.dirichlet(np.ones(3), n).T)
    log_density = rng.normal(size=(3, n)) * 100.0
    log_prob[rng.random((3, n)) < 0.4] = -np.inf
    log_density[rng.random((3, n)) < 0.2] = -np.inf
    log_prob[:, :20] = -np.inf  # no expert is possible
    resp, loglik = np.full((3, n), np.nan), np.full(n, np.nan)
    with np.errstate(invalid="ignore"):
        kernel.e_step(log_prob, log_density, resp, loglik)
    joint = log_prob + log_density
    possible = np.isfinite(joint).any(axis=0)
    assert not np.isnan(resp).any()
    assert not np.isnan(loglik).any()
    assert not resp[np.isneginf(joint)].any()
    np.testing.assert_allclose(resp[:, possible].sum(axis=0), 1.0, rtol=1e-15)
    assert np.isneginf(loglik[~possible]).all()
    assert (~possible).sum() >= 20
    np.testing.assert_allclose(loglik[possible], np.logaddexp.reduce(joint[:, possible], axis=0), rtol=1e-13)
