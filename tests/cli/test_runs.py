"""Commands around runs and declarations as a user runs them: status, failures, collect, slurm, new, check, schema."""

from __future__ import annotations

import json
import shlex
import traceback
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from moestat.cli.options import seconds_of
from moestat.simulate import Cell, Store, run
from moestat.simulate.cells import failed_rows
from moestat.simulate.records import digest
from tests.simulate.fake import quick_cell

NAME = "softmax-gaussian-exact"


def troubled_cell(scenario, cell):
    if cell.n == 200 and cell.rep in (1, 2):
        message = f"LinAlgError: singular at {cell.rep * 0.37}"
        return failed_rows(scenario, cell, "failed", message, traceback="Traceback\n  here")
    if cell == Cell("k2", 2, 100, 4):
        return failed_rows(scenario, cell, "timeout", "no result within 60 s")
    rows = quick_cell(scenario, cell)
    return [row | {"seconds": 3.0 if cell.rep == 5 else 0.5, "certified": cell.rep != 0} for row in rows]


@pytest.fixture
def troubled(tmp_path):
    """A run in which three cells failed, of 8 planned cells at n = 400 half are missing."""
    folder = tmp_path / "a run"
    run(NAME, n_grid=[400], reps=4, jobs=1, out=folder, compute=troubled_cell)
    run(NAME, n_grid=[100, 200], reps=8, jobs=1, out=folder, compute=troubled_cell)
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(manifest | {"n": [100, 200, 400]}), encoding="utf-8")
    return folder


def test_status(moestat, troubled):
    code, out, _ = moestat("status", troubled, "--slowest", 1)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert out.startswith(f"{NAME}: 20 of 24 cells done")
    assert ["k2", "100", "8/8", "1", "2", "0.5"] in lines
    assert ["k2", "200", "8/8", "2", "3", "0.5"] in lines
    assert ["k2", "400", "4/8", "0", "1", "0.5"] in lines
    slow = [line for line in lines if line[:2] == ["k2", "2"]]
    assert [line[3:5] for line in slow] == [["5", "3"]]
    assert "left: about 2 s of one core" in out


def test_failures_and_their_replay_lines(moestat, troubled):
    code, out, _ = moestat("failures", troubled)
    assert code == 0
    assert "2 failed, n = 200: LinAlgError: singular at 0.37" in out
    assert "1 timeout, n = 100: no result within 60 s" in out
    line = next(line for line in out.splitlines() if "--n 200" in line)
    words = shlex.split(line)
    assert words[:2] == ["moestat", "replay"]
    code, out, _ = moestat(*words[1:])  # the fit itself does not fail
    assert code == 1
    assert "values differ from the record" in out
    assert "    here" in moestat("failures", troubled, "--traceback")[1].replace("      here", "    here")


def test_replay_opens_the_debugger_where_a_fit_raises(moestat, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no luck")

    opened = []
    monkeypatch.setattr("moestat.fitting.fit_mixture", broken)
    monkeypatch.setattr("pdb.post_mortem", lambda trace: opened.append(traceback.extract_tb(trace)[-1].name))
    run(NAME, n_grid=[100], reps=1, jobs=1, out=tmp_path / "run")
    code, out, _ = moestat("replay", tmp_path / "run", "--n", 100, "--rep", 0, "--pdb")
    assert (code, opened) == (0, ["broken"])  # it fails as it did before
    assert "RuntimeError: no luck" in out
    assert moestat("replay", tmp_path / "run", "--n", 100, "--rep", 0)[0] == 0
    assert len(opened) == 1


def test_no_failures(moestat, tmp_path):
    run(NAME, n_grid=[100], reps=2, jobs=1, out=tmp_path / "run", compute=quick_cell)
    assert moestat("failures", tmp_path / "run")[:2] == (0, "no cell failed\n")


@pytest.fixture
def shards(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for i, folder in enumerate(folders, start=1):
        run(NAME, n_grid=[100, 200], reps=4, jobs=1, out=folder, compute=quick_cell, shard=(i, 2))
    whole = run(NAME, n_grid=[100, 200], reps=4, jobs=1, out=tmp_path / "whole", compute=quick_cell)
    return folders, whole.frame()


def test_collect_into_tables_and_a_run(moestat, shards, tmp_path):
    folders, whole = shards
    table, csv, merged = tmp_path / "t.parquet", tmp_path / "t.csv", tmp_path / "merged"
    code, out, _ = moestat("collect", *folders, "-t", table, "--out", merged)
    assert code == 0
    assert "40 rows of 8 cells" in out
    assert moestat("collect", *folders, "-t", csv)[0] == 0
    assert digest(Store(merged).read()[0]) == digest(whole)
    read = duckdb.sql(f"SELECT * FROM '{table}'").df()
    pd.testing.assert_series_equal(read["value"], whole["value"])
    assert pd.read_csv(csv)["value"].tolist()[4:9] == whole["value"].tolist()[4:9]
    key = duckdb.sql(f"SELECT value FROM parquet_kv_metadata('{table}') WHERE key = 'digest'").fetchall()[0]
    assert bytes(key[0]).decode() == digest(whole)
    assert moestat("rates", merged)[0] == 0


def test_collect_prefers_results_and_counts_differences(moestat, shards, tmp_path):
    folders, whole = shards

    def late(scenario, cell):
        if cell.rep == 1:
            return failed_rows(scenario, cell, "timeout", "no result within 1 s")
        return [row | {"loglik": 1.0 if cell.rep == 2 else float("nan")} for row in quick_cell(scenario, cell)]

    run(NAME, n_grid=[100, 200], reps=4, jobs=1, out=tmp_path / "late", compute=late)
    code, _, err = moestat("collect", *folders, tmp_path / "late", "--out", tmp_path / "merged")
    assert code == 0
    assert "2 cells differ between the folders" in err
    assert digest(Store(tmp_path / "merged").read()[0]) == digest(whole)
    assert moestat("collect", tmp_path / "late", *folders, "--out", tmp_path / "other")[0] == 0
    frame = Store(tmp_path / "other").read()[0]
    assert set(frame["status"]) == {"converged"}
    assert (frame["loglik"] == 1.0).sum() == 2 * 5


def test_collect_refuses_what_it_cannot_do(moestat, shards, tmp_path):
    folders, _ = shards
    other = run("softmax-gaussian-over", n_grid=[100], reps=1, jobs=1, out=tmp_path / "other", compute=quick_cell)
    for args, message in (
        ((folders[0],), "say where to"),
        ((folders[0], "-t", "t.xls"), "written as .parquet or .csv"),
        ((folders[0], "--out", folders[1]), "needs a new folder"),
        ((folders[0], other.path, "-t", "t.csv"), "different declarations"),
        (("nowhere", "-t", "t.csv"), "has no run.json"),
    ):
        code, _, err = moestat("collect", *args)
        assert code == 2
        assert message in err


def test_simulate_a_shard_draws_nothing(moestat, tmp_path):
    options = ("--n-grid", "100", "--reps", 3, "-j", 1, "--out", tmp_path / "run")
    code, out, _ = moestat("simulate", NAME, *options, "--shard", "2/3")
    assert code == 0
    assert "shard 2/3 is done: 1 cells computed" in out
    assert "holds 1 of 3 cells of all shards" in out
    assert not list((tmp_path / "run").glob("*.pdf"))


def test_simulate_stops_in_time(moestat, tmp_path, monkeypatch):
    options = ("--n-grid", "100", "--reps", 3, "-j", 1, "--out", tmp_path / "run")
    code, _, err = moestat("simulate", NAME, *options, "--max-time", "0.001s")
    assert code == 130
    assert "Time is up: 0 of 3 cells done. Run the same command to resume." in err
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000")  # long ago: one second is left
    monkeypatch.setattr("moestat.simulate.slurm.MARGIN", 1e12)
    monkeypatch.setattr("moestat.simulate.cells.run_cell", lambda scenario, cell: __import__("time").sleep(1.1))
    monkeypatch.setattr("moestat.simulate.slurm.seconds_until_the_end", lambda now: 0.01)
    code, _, err = moestat("simulate", NAME, *options)
    assert code == 130


def test_a_full_disk_is_one_line_and_resumable(moestat, tmp_path, monkeypatch):
    import errno
    import os

    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    code, _, err = moestat("simulate", NAME, "--n-grid", "100", "--reps", 1, "-j", 1, "--out", tmp_path / "run")
    assert code == 130
    assert "No space left on device" in err
    assert "run the same command to resume" in err


def test_target_se_that_was_not_reached_is_said(moestat, tmp_path):
    code, out, _ = moestat(
        "simulate", NAME, "--n-grid", "100,200", "--reps", 3, "--target-se", "0.001", "-j", 1, "--out", tmp_path / "run"
    )
    assert code == 0
    assert "standard errors of log means still above 0.001" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--shard", "4/3"), "a shard is i/N"),
        (("--max-time", "soon"), "a duration is written 3h50m"),
        (("--executor", "threads"), "'threads'"),
        (("--executor", "serial", "--cell-timeout", "1m"), "needs workers that can be ended"),
        (("--target-se", "0"), "--target-se"),
    ],
)
def test_usage_of_simulate(moestat, tmp_path, args, message):
    code, _, err = moestat("simulate", NAME, "--out", tmp_path / "run", *args)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h50m", 13800), ("90s", 90), ("1.5h", 5400), ("03:50:00", 13800), ("1:30", 5400), ("1d", 86400), ("20", 20)]
)  # fmt: skip
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "3x", "-1s", "0", "1h2", "nan"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="a duration is written"):
        seconds_of(text)


def test_slurm_prints_a_script(moestat, tmp_path):
    code, out, _ = moestat("slurm", NAME, "-N", 7, "--out", "runs/a", "--preset", "full", "--cell-timeout", "1h")
    assert code == 0
    assert "#SBATCH --array=1-7" in out
    assert out.splitlines()[-1] == (
        f"moestat simulate {NAME} --preset full --cell-timeout 1h --out runs/a "
        '--shard "$SLURM_ARRAY_TASK_ID/7" --jobs "$SLURM_CPUS_PER_TASK"'
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((NAME, "-N", 2), "Missing option '--out'"),
        ((NAME, "-N", 2, "--out", "a", "--presets", "full"), "No such option"),
        ((NAME, "-N", 2, "--out", "a", "--shard", "1/2"), "sets --shard and --jobs itself"),
        (("nothing", "-N", 2, "--out", "a"), "no scenario 'nothing'"),
    ],
)
def test_usage_of_slurm(moestat, args, message):
    code, _, err = moestat("slurm", *args)
    assert code == 2
    assert message in err


def test_new_check_simulate(moestat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = moestat("new", "my-own.toml")
    assert code == 0
    assert "moestat check my-own.toml" in out
    code, out, _ = moestat("check", "my-own.toml", "--budget", "1s")
    assert code == 0
    assert "my-own is valid" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["smoke", "quick", "full"]
    assert moestat("simulate", "my-own.toml", "--preset", "smoke", "-j", 1)[0] == 0
    assert (tmp_path / "moestat-runs" / "my-own-smoke" / "run.json").exists()


def test_new_overwrites_nothing_and_wants_a_name(moestat, tmp_path):
    (tmp_path / "a.toml").write_text("mine", encoding="utf-8")
    for name, message in (("a.toml", "exists"), ("b.txt", "a scenario is a .toml file"), ("B C.toml", "small letters")):
        code, _, err = moestat("new", tmp_path / name)
        assert code == 2
        assert message in err
    assert (tmp_path / "a.toml").read_text(encoding="utf-8") == "mine"


def test_check_lists_all_errors(moestat, tmp_path):
    file = tmp_path / "bad.toml"
    moestat("new", file)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("reps = 20\n", "reps = 0\n").replace('"D1"', '"D9"'), encoding="utf-8")
    code, _, err = moestat("check", file)
    assert code == 2
    assert "2 error(s)" in err
    assert "presets.quick.reps" in err
    assert "loss[0].name" in err


def test_check_shows_fits_that_fail(moestat, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no luck")

    monkeypatch.setattr("moestat.fitting.fit_mixture", broken)
    code, out, err = moestat("check", NAME, "--budget", "1s")
    assert code == 3
    assert "RuntimeError: no luck" in err
    assert "failed" in out


def test_schema_accepts_what_moestat_accepts(moestat):
    code, out, _ = moestat("schema")
    schema = json.loads(out)
    assert code == 0
    assert schema["additionalProperties"] is False
    assert {"truth", "x", "fit", "starts", "loss", "presets"} <= set(schema["required"])
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    import tomllib

    validator = jsonschema.Draft202012Validator(schema)
    for file in (Path(__file__).parents[2] / "simulations" / "scenarios").glob("*.toml"):
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        validator.validate(raw)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(raw | {"nonsense": 1})
