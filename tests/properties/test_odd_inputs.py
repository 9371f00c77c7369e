"""Odd inputs: the answer is finite, or an error or warning names the trouble.

The full run: ``MOESTAT_FUZZ=10000 pytest tests/properties/test_odd_inputs.py -n0``.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, note, target
from hypothesis import strategies as st

from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture

# what an error about each kind of damage must mention
DAMAGE: dict[str, str] = {
    "nan in X": r"nan|missing|finite",
    "inf in X": r"inf",
    "nan in y": r"nan|missing|finite",
    "inf in y": r"inf",
    "short y": r"length|rows|samples|shape",
    "empty": r"row|sample|empty|0",
    "flat X": r"dimension|2d|shape|reshape|column",
    "cubic X": r"dimension|2d|shape|dim",
    "negative weight": r"weight",
    "nan weight": r"weight",
    "all weights zero": r"weight",
    "short weight": r"weight",
    "text": r"numeric|number|convert|float|dtype|str",
    "no experts": r"n_experts",
}
COLUMNS = [
    "normal",
    "integers",
    "constant",
    "zero",
    "binary",
    "huge",
    "tiny",
    "far",
    "duplicate",
    "combination",
    "heavy",
]
RESPONSES = ["two lines", "one line", "exact line", "constant", "huge", "tiny", "far", "binary", "heavy", "separated"]
CONTAINERS = ["plain", "float32", "integer", "bool", "read-only", "fortran", "strided", "list", "object"]


@dataclass
class Odd:
    """One odd call of ``fit_mixture``."""

    X: Any
    y: Any
    weight: Any
    n_experts: int
    gate: str
    degree: int
    variance: str
    damage: str | None
    story: str


def column(kind: str, previous: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=n)
    if kind == "duplicate" and previous:
        return previous[0].copy()
    if kind == "combination" and previous:
        return np.sum(previous, axis=0) - 1.0
    simple = {
        "integers": np.round(3 * x),
        "constant": np.full(n, 7.25),
        "zero": np.zeros(n),
        "binary": (x > 0).astype(float),
        "huge": 1e150 * x,
        "tiny": 1e-150 * x,
        "far": x + 1e9,
        "heavy": x / rng.uniform(size=n) ** 4,
    }
    return np.asarray(simple.get(kind, x), dtype=float)


def response(kind: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n, noise = len(x), rng.normal(size=len(x))
    u = x / max(float(np.max(np.abs(x), initial=0.0)), 1e-300)
    lines = np.where(rng.uniform(size=n) < 0.5, 1 + 2 * u, -1 - u) + 0.1 * noise
    simple = {
        "one line": u + 0.3 * noise,
        "exact line": 2 * u + 1,
        "constant": np.full(n, -3.0),
        "huge": 1e150 * lines,
        "tiny": 1e-150 * lines,
        "far": lines + 1e9,
        "binary": (lines > 0).astype(float),
        "heavy": noise / rng.uniform(size=n) ** 4,
        "separated": np.where(u > 0, 5 + u, -5 - u) + 0.01 * noise,
    }
    return np.asarray(simple.get(kind, lines))


def packed(array: np.ndarray, container: str) -> Any:
    with np.errstate(over="ignore"):
        if container == "float32":
            return array.astype(np.float32)
        if container == "integer":
            return np.clip(np.round(array), -(10**9), 10**9).astype(np.int64)
    if container == "bool":
        return array > 0
    if container == "read-only":
        array.setflags(write=False)
    if container == "fortran":
        return np.asfortranarray(array)
    if container == "strided":
        wide = np.empty((2 * array.shape[0], *array.shape[1:]))
        wide[::2] = array
        return wide[::2]
    if container == "list":
        return array.tolist()
    return array.astype(object) if container == "object" else array


@st.composite
def odd_inputs(draw: st.DrawFn) -> Odd:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.one_of(st.integers(1, 12), st.integers(13, 60)))
    kinds = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3))
    columns: list[np.ndarray] = []
    for kind in kinds:
        columns.append(column(kind, columns, n, rng))
    X = np.column_stack(columns)
    of_y = draw(st.sampled_from(RESPONSES))
    outputs = draw(st.sampled_from([1, 1, 1, 2]))
    y: np.ndarray = np.column_stack([response(of_y, X[:, 0], rng) for _ in range(outputs)])
    if outputs == 1 and draw(st.booleans()):
        y = y[:, 0]
    if draw(st.integers(0, 4)) == 0:  # duplicated rows
        rows = rng.integers(0, max(1, n // 4), size=n)
        X, y = X[rows], y[rows]
    weight_kind = draw(st.sampled_from(["none", "none", "ones", "random", "some zero", "huge", "tiny", "integer"]))
    weight: Any = {
        "none": None,
        "ones": np.ones(n),
        "random": rng.uniform(size=n),
        "some zero": np.where(rng.uniform(size=n) < 0.5, 0.0, 1.0),
        "huge": 1e12 * rng.uniform(size=n),
        "tiny": 1e-12 * rng.uniform(size=n),
        "integer": rng.integers(0, 4, size=n),
    }[weight_kind]
    container = draw(st.sampled_from(CONTAINERS))
    of_x: Any = packed(X, container)
    if draw(st.integers(0, 30)) == 0:
        of_x = X[:, :0]  # intercepts alone are a model
    k = draw(st.integers(1, 4))
    damage = draw(st.one_of(st.none(), st.none(), st.none(), st.sampled_from(sorted(DAMAGE))))
    out_y: Any = y
    row = int(rng.integers(n))
    if damage in ("nan in X", "inf in X"):
        of_x = X.astype(float)
        of_x[row, 0] = np.nan if damage == "nan in X" else draw(st.sampled_from([np.inf, -np.inf]))
    elif damage in ("nan in y", "inf in y"):
        out_y = y.astype(float)
        out_y[row] = np.nan if damage == "nan in y" else draw(st.sampled_from([np.inf, -np.inf]))
    elif damage == "short y":
        out_y = np.concatenate([y, y[:1]])
    elif damage == "empty":
        of_x, out_y, weight = X[:0], y[:0], None
    elif damage == "flat X":
        of_x = X[:, 0]
    elif damage == "cubic X":
        of_x = X[:, :, None]
    elif damage in ("negative weight", "nan weight"):
        weight = np.ones(n)
        weight[row] = -1.0 if damage == "negative weight" else np.nan
    elif damage == "all weights zero":
        weight = np.zeros(n)
    elif damage == "short weight":
        weight = np.ones(n + 1)
    elif damage == "text":
        of_x = np.full(X.shape, "a", dtype=object)
    elif damage == "no experts":
        k = draw(st.integers(-2, 0))
    degree = draw(st.sampled_from([1, 1, 1, 2, 3]))
    gate = draw(st.sampled_from(["softmax", "softmax", "constant"]))
    variance = draw(st.sampled_from(["free", "free", "tied"]))
    story = f"n={n} K={k} X={kinds} as {container} y={of_y}x{outputs} weight={weight_kind} damage={damage}"
    return Odd(of_x, out_y, weight, k, gate, degree, variance, damage, f"{story} {gate} degree={degree} {variance}")


def assert_message(error: Exception, odd: Odd) -> None:
    """The error names the damage; an undamaged input may only be refused for too few rows or for its scale."""
    text = str(error)
    assert not isinstance(error, np.linalg.LinAlgError), text
    assert len(text) > 10, text
    # two troubles at once: naming either will do
    patterns = [r"rows|distinct|rescale|constant|zero for every row", *([DAMAGE[odd.damage]] if odd.damage else [])]
    assert re.search("|".join(patterns), text, re.IGNORECASE), f"{odd.story}: {text}"


@given(odd_inputs())
def test_finite_or_named(odd: Odd) -> None:
    note(odd.story)
    event(f"damage: {odd.damage}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = fit_mixture(
                odd.X,
                odd.y,
                n_experts=odd.n_experts,
                gate=odd.gate,
                expert=GaussianExpert(degree=odd.degree, variance=odd.variance),
                sample_weight=odd.weight,
                n_init=2,
                max_iter=60,
                rng=np.random.default_rng(0),
            )
        except (ValueError, TypeError) as error:
            event("refused")
            assert_message(error, odd)
            return
    assert odd.damage is None, f"accepted in silence: {odd.story}"
    # a RuntimeWarning of NumPy names no trouble
    assert not [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    result = fitted.result
    event(f"status: {result.status.name}")
    assert np.isfinite(result.loglik)
    for name, value in fitted.mixture.params.items():
        assert np.all(np.isfinite(value)), name
    scale = fitted.mixture.params["expert_scale"]
    assert np.all(scale > 0)
    density = fitted.mixture.log_density(np.asarray(odd.X, dtype=float), np.asarray(odd.y, dtype=float))
    assert np.all(np.isfinite(density))
    weight = np.ones(len(density)) if odd.weight is None else np.asarray(odd.weight, dtype=float)
    own, size = float(weight @ density), float(weight @ np.abs(density))
    target(float(np.log10(1e-300 + abs(own - result.loglik) / max(size, 1e-300))))
    # a response far from zero is only known to its last digit, which may be much of a small scale
    digits = 1e-6 + 1e-15 * float(np.max(np.abs(np.asarray(odd.y, dtype=float)))) / float(np.min(scale))
    assert own == pytest.approx(result.loglik, rel=1e-6, abs=digits * size), odd.story
    # what is not certified is explained
    assert result.certificate.certified or result.messages or str(result.status.value)
