"""Commands around scenarios, run as a user runs them: exit codes, JSON, resuming, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moestat.cli.tables import rate_table
from moestat.simulate import estimate_rate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run made by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("study") / "run"
    command = [sys.executable, "-m", "moestat", "simulate", "softmax-gaussian-exact", "--preset", "smoke",
               "--n-grid", "150,300,600", "--reps", "6", "--jobs", "2", "--out", str(folder)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_simulate_ends_with_table_figure_and_records(finished):
    folder, done = finished
    assert "slope" in done.stdout
    assert "verdict" in done.stdout
    assert "18/18" in done.stdout
    for name in ("softmax-gaussian-exact.pdf", "softmax-gaussian-exact.png", "parts"):
        assert str(folder / name)[:-4] in done.stdout
        assert (folder / name).exists()
    assert "18/18 cells" in done.stderr  # progress as plain lines: stderr is no terminal here


def test_rates_json_has_the_documented_shape(finished, moestat):
    code, out, _ = moestat("rates", finished[0], "--json")
    assert code == 0
    content = json.loads(out)
    assert set(content) == {"scenario", "complete", "cells_done", "cells_planned", "losses"}
    assert (content["complete"], content["cells_done"], content["cells_planned"]) == (True, 18, 18)
    assert content["scenario"] == "softmax-gaussian-exact"
    assert list(content["losses"]) == ["D1", "kl", "hellinger", "tv", "l2"]
    for rate in content["losses"].values():
        assert set(rate) == {"slope", "ci", "theory", "verdict", "n_cells", "uncertified"}
        assert rate["ci"][0] <= rate["slope"] <= rate["ci"][1]
        assert rate["n_cells"] == 18
        assert rate["uncertified"] == 0
    assert content["losses"]["kl"]["theory"] == -1.0


def test_rates_table_and_statistics(finished, moestat):
    assert "constant (predicted)" in finished[1].stdout
    code, out, _ = moestat("rates", finished[0], "--statistic", "median")
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["loss", "slope"]
    assert out.splitlines()[1] not in finished[1].stdout
    assert "not complete" not in out


def test_rates_of_an_interrupted_run_say_what_is_missing(finished, moestat, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(manifest | {"reps": 8}), encoding="utf-8")
    assert "the run is not complete: 18 of 24 cells done" in moestat("rates", folder)[1]
    content = json.loads(moestat("rates", folder, "--json")[1])
    assert (content["complete"], content["cells_done"], content["cells_planned"]) == (False, 18, 24)


def test_too_few_sizes_are_said_once_and_without_intervals():
    rng = np.random.default_rng(0)
    n = np.repeat([100.0, 200.0], 2)
    frame = pd.DataFrame({"n": n, "value": n**-0.5 * rng.lognormal(0, 0.3, 4)})
    rates = {name: estimate_rate(frame, name, theory=-0.5) for name in ("D1", "kl")}
    assert {rate.verdict for rate in rates.values()} == {"not asymptotic yet"}
    lines = rate_table(rates).splitlines()
    assert lines[3:] == ["too few sizes (2): run quick or full"]
    assert "[" not in lines[1]
    many = pd.concat([frame.assign(value=n**-0.5 * rng.lognormal(0, 0.3, 4)) for _ in range(20)])
    assert "[" in rate_table({"D1": estimate_rate(many, "D1", theory=-0.5)})


def test_plot_writes_the_asked_file(finished, moestat, tmp_path):
    code, out, _ = moestat("plot", finished[0], "-o", tmp_path / "figure.svg")
    assert code == 0
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert out.strip().endswith("figure.svg")
    code, _, err = moestat("plot", finished[0], "-o", tmp_path / "figure.doc")
    assert code == 2
    assert "pdf, svg or png" in err


def test_replay(finished, moestat):
    code, out, _ = moestat("replay", finished[0], "--n", 300, "--rep", 2)
    assert code == 0
    assert "identical: 5 records, bit for bit" in out
    code, _, err = moestat("replay", finished[0], "--n", 301, "--rep", 2)
    assert code == 2
    assert "no records of n=301" in err
    code, _, err = moestat("replay", finished[0], "--n", 300, "--rep", 2, "--fit", "foo")
    assert code == 2
    assert "has no fit 'foo'; its fits are k2" in err
    _, _, err = moestat("replay", finished[0], "--n", 300, "--rep", 2, "--experts", 7)
    assert "no records of 7 experts at n=300, rep=2; there are 2" in err


def test_list_names_theorem_exponents_and_cost(moestat):
    code, out, _ = moestat("list")
    assert code == 0
    for text in ("softmax-gaussian-over", "polynomial-mendes-jiang", "D1 -0.5", "source", "quick: 120 fits"):
        assert text in out


def test_failed_cells_give_exit_code_3_and_a_replay_line(moestat, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no luck")

    monkeypatch.setattr("moestat.fitting.fit_mixture", broken)
    folder = tmp_path / "run"
    code, out, err = moestat(
        "simulate", "softmax-gaussian-exact", "--n-grid", "100", "--reps", 2, "--jobs", 1, "--out", folder
    )
    assert code == 3
    assert f"2 cells failed (moestat failures {folder}); most often: RuntimeError: no luck" in err
    assert f"moestat replay {folder} --n 100 --rep 0 --fit k2 --experts 2" in err
    assert "uncertified" in out


def test_interrupted_gives_130(moestat, tmp_path, monkeypatch):
    import moestat.simulate.executors as executors

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "compute_chunk", stopped)
    code, _, err = moestat("simulate", "softmax-gaussian-exact", "--jobs", 1, "--out", tmp_path / "run")
    assert code == 130
    assert "Run the same command to resume." in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("simulate", "softmax"), "no scenario 'softmax'; there are"),
        (("simulate", "none.toml"), "no scenario file none.toml"),
        (("simulate", "softmax-gaussian-exact", "--n-grid", "100,x"), "'x' is not a number"),
        (("simulate", "softmax-gaussian-exact", "--n-grid", "1.5"), "an integer of at least 2"),
        (("simulate", "softmax-gaussian-exact", "--preset", "large"), "'large'"),
        (("rates", "nowhere"), "has no run.json"),
        (("nonsense",), "No such command"),
    ],
)
def test_usage_errors(moestat, args, message):
    code, _, err = moestat(*args)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_own_scenario_with_all_errors(moestat, tmp_path):
    text = (ROOT / "simulations/scenarios/softmax-gaussian-exact.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(
        text.replace("reps = 3", "reps = 0").replace("exponent = -1.0", 'exponent = "fast"'), encoding="utf-8"
    )
    code, _, err = moestat("simulate", mine)
    assert code == 2
    assert "2 error(s)" in err
    assert "presets.smoke.reps" in err
    assert "loss[1].exponent" in err


def test_changed_scenario_is_refused(moestat, finished, tmp_path):
    text = (ROOT / "simulations/scenarios/softmax-gaussian-exact.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("gate_intercept = [-8.0, 0.0]", "gate_intercept = [-7.0, 0.0]"), encoding="utf-8")
    code, _, err = moestat("simulate", mine, "--out", finished[0])
    assert code == 2
    assert "truth.params.gate_intercept[0]: recorded -8.0, now -7.0" in err
