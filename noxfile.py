"""Sessions of nox: tests on each Python, on the oldest dependencies, lint, types, docs."""

import pathlib

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests"]


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the default tests; arguments after -- go to pytest."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11", venv_backend="uv")
def floor(session: nox.Session) -> None:
    """Run the tests on the oldest dependencies that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def plain(session: nox.Session) -> None:
    """Run the tests on the NumPy twins of the kernels."""
    session.install(".[test]")
    session.run("pytest", *session.posargs, env={"MOESTAT_DISABLE_NUMBA": "1"})


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Run all tests, the slow ones too, and report the lines that no test reaches."""
    session.install("-e", ".[test]", "pytest-cov")
    session.run("pytest", "--run-slow", "--cov", "--cov-report=term-missing:skip-covered", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Check format, style, types and layers."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the pages; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python="3.11")
def notebooks(session: nox.Session) -> None:
    """Execute the notebooks and write them as .ipynb; MOESTAT_PRESET says how long the simulations are."""
    session.install("-e", ".[notebooks]")
    for path in sorted(pathlib.Path("notebooks").glob("*.py")):
        session.run("jupytext", "--to", "ipynb", "--execute", str(path))


@nox.session(python="3.11")
def slurm(session: nox.Session) -> None:
    """Run the job-array tests where a SLURM answers; tests/simulate/one_node_slurm.sh starts one of one node."""
    session.install("-e", ".[test,dask]")
    session.run("pytest", "--run-slow", "tests/simulate/test_slurm.py", *session.posargs)
