"""The choice of the kernels: the objective on either set, the environment variable, the name of the cache, underflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from moestat import kernels
from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.kernels import plain
from moestat.mixture import ConditionalMixture


@pytest.mark.parametrize("size", [1e3, 1e6, 1e150])
def test_gates_that_underflow_never_give_nan(size: float) -> None:
    X = np.linspace(-1.0, 1.0, 50)[:, None]
    y = np.sin(3.0 * X[:, 0])
    params = {
        "gate_coef": [[size], [-size], [0.0]],
        "gate_intercept": [0.0, 1.0, 0.0],
        "expert_coef": [[1.0], [2.0], [-1.0]],
        "expert_intercept": [0.0, 1.0, 0.5],
        "expert_scale": [0.5, 0.1, 1.0],
    }
    mixture = ConditionalMixture(params=params)
    objective, theta = mixture.objective(X, y)
    value, gradient, hessian = objective.derivatives(theta)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()
    assert np.isfinite(objective.em_pass(theta).value)
    assert value == pytest.approx(mixture.log_density(X, y).sum(), rel=1e-12)


# -- the fallback --------------------------------------------------------------------------------------------------

MODELS = {
    "softmax": ("softmax", GaussianExpert(), 1),
    "polynomial, tied": ("softmax", GaussianExpert(degree=2, variance="tied"), 1),
    "constant": ("constant", GaussianExpert(), 1),
    "sigmoid": ("normalized_sigmoid", GaussianExpert(), 1),
    "two responses": ("softmax", GaussianExpert(), 2),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_objective_on_the_twins_equals_the_compiled_one(
    name: str, weighted: bool, fast: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, expert, n_responses = MODELS[name]
    rng = np.random.default_rng(7)
    n = 9000  # more than one block
    X = rng.uniform(-1.0, 1.0, (n, 2))
    first = X[:, 0] + rng.logistic(scale=0.5, size=n) > 0.0
    y = np.stack([np.where(first, X[:, 1], -2.0 + j) + 0.3 * rng.normal(size=n) for j in range(n_responses)], axis=1)
    y = y[:, 0] if n_responses == 1 else y
    weight = rng.integers(0, 3, n).astype(float) if weighted else None
    found = {}
    for module in (fast, plain):
        monkeypatch.setattr(kernels, "get", lambda module=module: module)
        fitted = fit_mixture(X, y, gate=gate, expert=expert, sample_weight=weight, rng=0, n_init=2, max_iter=3)
        mixture = fitted.mixture if module is fast else found["fast"][0]
        objective, theta = mixture.objective(X, y, weight)
        shifted = theta + 0.05 * np.cos(np.arange(len(theta)))
        result = objective.em_pass(shifted)
        found[module.__name__.split(".")[-1]] = (
            mixture,
            fitted.result.loglik,
            objective.value(shifted),
            objective.gradient(shifted)[1],
            objective.derivatives(shifted)[2],
            objective.row_scores(shifted),
            objective.maximise(shifted, result),
        )
    for mine, twin in zip(found["fast"][1:], found["plain"][1:], strict=True):
        scale = np.abs(np.asarray(twin)).max()
        np.testing.assert_allclose(mine, twin, rtol=1e-10, atol=1e-10 * scale)


def test_environment_variable_selects_the_twins() -> None:
    code = (
        "from moestat import kernels; import sys; import numpy as np; from moestat.fitting import fit_mixture;"
        "x = np.linspace(-1, 1, 200)[:, None]; y = np.abs(x[:, 0]) + 0.05 * np.sin(40 * x[:, 0]);"
        "print(kernels.get().__name__, 'numba' in sys.modules, repr(fit_mixture(x, y, rng=0).result.loglik))"
    )
    name, numba_loaded, loglik = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MOESTAT_DISABLE_NUMBA": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert (name, numba_loaded) == ("moestat.kernels.plain", "False")
    x = np.linspace(-1, 1, 200)[:, None]
    here = fit_mixture(x, np.abs(x[:, 0]) + 0.05 * np.sin(40 * x[:, 0]), rng=0).result.loglik
    assert here == pytest.approx(float(loglik), rel=1e-10)


@pytest.mark.parametrize(("value", "disabled"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)])
def test_values_of_the_switch(value: str, disabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOESTAT_DISABLE_NUMBA", value)
    assert kernels.numba_disabled() is disabled


# -- the cache directory -------------------------------------------------------------------------------------------


def test_cache_directory_is_named_by_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = kernels.cache_directory()
    assert before.is_dir()
    assert before.is_relative_to(tmp_path)
    assert kernels.cache_directory() == before
    copy = tmp_path / "kernels"
    copy.mkdir()
    for source in Path(kernels.__file__).parent.glob("*.py"):
        shutil.copy(source, copy)
    monkeypatch.setattr(kernels, "__file__", str(copy / "__init__.py"))
    assert kernels.cache_directory() == before
    for name in ("compiled_functions.py", "compiled_passes.py", "compiled_sums.py"):
        file = copy / name
        text = file.read_text()
        file.write_text(text + "\n# one more line\n")
        assert kernels.cache_directory() != before
        file.write_text(text)


def test_cache_directory_without_a_writable_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    folder = kernels.cache_directory()
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path / "tmp")
