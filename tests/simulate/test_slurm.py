"""A job array and a Dask cluster on a real SLURM; opt-in: `eval "$(bash tests/simulate/one_node_slurm.sh start)"`, --run-slow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moestat.simulate import Store, run
from moestat.simulate.records import digest
from tests.simulate.fake import quick_cell

NAME, GRID, REPS = "softmax-gaussian-exact", [100, 200], 4


def _answers() -> bool:
    return shutil.which("sbatch") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _answers(), reason="no SLURM answers here")]


def _wait(command: list[str], done, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not done(subprocess.run(command, capture_output=True, text=True, check=True).stdout):
        assert time.monotonic() < deadline, command
        time.sleep(0.5)


def _submit(script: Path, folder: Path) -> None:
    """Submit and wait for the end."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    sent = subprocess.run(
        ["sbatch", "--parsable", str(script)], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    _wait(["squeue", "-h", "-j", sent.stdout.strip()], lambda text: not text.strip())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Digest of a run with real fits in this process."""
    return digest(run(NAME, n_grid=GRID, reps=REPS, jobs=1, out=tmp_path_factory.mktemp("serial") / "run").frame())


def _array(folder: Path, shards: int, minutes: int, *options: str) -> str:
    """What the tasks of the printed script logged."""
    command = [sys.executable, "-m", "moestat", "slurm", NAME, "-N", str(shards), "--out", "run", "--mem", "500M"]
    command += ["--time", f"00:{minutes:02d}:00", *options]
    script = folder / "job.sh"
    script.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout, encoding="utf-8")
    _submit(script, folder)
    return "\n".join(log.read_text(encoding="utf-8") for log in folder.glob("*.log"))


def test_a_job_array(tmp_path, expected):
    logs = _array(tmp_path, 3, 10, "--n-grid", ",".join(map(str, GRID)), "--reps", str(REPS))
    assert len(re.findall(r"shard \d/3 is done", logs)) == 3, logs
    assert digest(Store(tmp_path / "run").read()[0]) == expected


def test_a_job_stops_before_its_time_is_up(tmp_path):
    """Three minutes before the end of a job of three minutes is at once."""
    logs = _array(tmp_path, 1, 3, "--preset", "full")
    assert re.search(r"Time is up: \d of 2200 cells done\. Run the same command to resume\.", logs), logs


def test_dask_jobqueue(tmp_path):
    jobqueue = pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra dask)")
    expected = digest(run(NAME, n_grid=GRID, reps=REPS, jobs=1, out=tmp_path / "a", compute=quick_cell).frame())
    root = Path(__file__).resolve().parents[2]
    threads = " ".join(f"{name}_NUM_THREADS=1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"))
    with jobqueue.SLURMCluster(
        cores=1, processes=1, memory="500MB", walltime="00:10:00", python=sys.executable, log_directory=str(tmp_path),
        job_script_prologue=[f"export {threads} PYTHONPATH={root}"], scheduler_options={"dashboard_address": ":0"},
    ) as cluster:  # fmt: skip
        cluster.scale(jobs=1)
        found = run(
            NAME, n_grid=GRID, reps=REPS, out=tmp_path / "b", compute=quick_cell, address=cluster.scheduler_address
        )
    assert digest(found.frame()) == expected
