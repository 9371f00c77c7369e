"""The rules of ARCHITECTURE.md as tests: what is imported when, layers, module lengths, names, docs, the wheel."""

import ast
import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import moestat

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "moestat"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numba", "matplotlib", "pandas", "sklearn", "scipy.stats", "statsmodels")
MAX_LINES = 350


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the checkout in a fresh process, without the coverage or thread settings of this one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LOADED = f"import sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"


@pytest.mark.parametrize(
    "code",
    [
        "import moestat",
        "import moestat; dir(moestat); moestat.__version__",
        "import moestat; moestat.datasets.load_tonedata().y.mean()",
        "import moestat; moestat.distributions",
        "import moestat; moestat.MixingMeasure",
    ],
)
def test_light_imports(code):
    done = _python(f"{code}\n{LOADED}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"], ["--version"]])
def test_light_command_line(arguments):
    code = f"""
import runpy, sys
sys.argv = ["moestat", *{arguments!r}]
try:
    runpy.run_module("moestat", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
{LOADED}"""
    done = _python(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("name", sorted(set(moestat.__all__)))
def test_public_name_resolves(name):
    assert getattr(moestat, name) is not None
    assert name in dir(moestat)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MoERegresor'"):
        moestat.MoERegresor  # noqa: B018


def test_type_checkers_see_the_public_names():
    """The imports under TYPE_CHECKING, `__all__` and the table of homes list the same names."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(moestat.__all__)
    assert seen == moestat._SUBMODULES | set(moestat._HOME)


def test_layers():
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = _python(code, "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_is_short_and_says_its_purpose(path):
    text = path.read_text(encoding="utf-8")
    # All kernels are in one file on purpose: numba's cache does not notice an edit in another one.
    n_lines = len(text.splitlines())
    assert n_lines < MAX_LINES or path.parent.name == "kernels"
    assert ast.get_docstring(ast.parse(text)), "no docstring"


def test_imports_of_numba_and_matplotlib():
    """numba in moestat/kernels only, matplotlib in moestat/plot only: also where the import hides in a function."""
    for path in MODULES:
        home = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert "numba" not in tops or home == "kernels", path
            assert "matplotlib" not in tops or home == "plot", path


def test_no_global_randomness():
    pattern = re.compile(r"np\.random\.(?!Generator|default_rng|SeedSequence|PCG64|BitGenerator|RandomState\b)\w+")
    found = [f"{p}: {m.group()}" for p in MODULES for m in pattern.finditer(p.read_text(encoding="utf-8"))]
    assert not found


def test_only_the_command_line_prints():
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] == "cli":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert "print" not in calls, path
        assert "sys.argv" not in path.read_text(encoding="utf-8"), path


def test_every_component_is_documented():
    """Every row of the registry and every public name appears in the pages of docs/."""
    registry = importlib.import_module("moestat.registry")
    pages = "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md")))
    tables = [table for name, table in vars(registry).items() if name.isupper() and isinstance(table, dict)]
    assert tables
    names = {str(key) for table in tables for key in table} | set(moestat.__all__) - {"__version__"}
    assert not {name for name in names if name not in pages}


def test_wheel_carries_the_data():
    """The installed distribution has scenarios, data, plot style and the typing marker (not for editable installs)."""
    try:
        files = importlib.metadata.files("moestat") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    if not any(f.as_posix() == "moestat/__init__.py" for f in files):
        pytest.skip("moestat is not installed from a wheel")
    names = {f.as_posix() for f in files}
    for scenario in (ROOT / "simulations" / "scenarios").glob("*.toml"):
        assert f"moestat/simulate/scenarios/{scenario.name}" in names
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".csv", ".mplstyle", ".typed", ".json"} or path.name == "py.typed":
            assert f"moestat/{path.relative_to(PACKAGE).as_posix()}" in names


def test_readme_commands_are_the_checked_ones():
    """`.ci/run` reads its two commands from README.md; the markers must frame exactly these."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- ci:(\w+) -->\n```bash\n(.*?)\n```", text, flags=re.DOTALL))
    assert set(blocks) == {"install", "test"}
    assert all("\n" not in command for command in blocks.values())
