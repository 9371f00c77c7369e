"""Shards, time limits, and replicates added until a standard error is reached."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pandas as pd
import pytest

from moestat.simulate import Store, TimeIsUp, collect, load_scenario
from moestat.simulate.plan import deal, log_mean_errors, more_replicates, parse_shard, planned_cells
from moestat.simulate.records import digest
from moestat.simulate.slurm import array_script, seconds_until_the_end
from tests.simulate.fake import GRID, NAME, go, slow_cell


@pytest.mark.parametrize("name", [NAME, "polynomial-mendes-jiang"])
@pytest.mark.parametrize("count", [1, 3, 7, 100])
def test_shards_are_a_balanced_partition_that_more_replicates_leave_as_it_is(name, count):
    scenario = load_scenario(name)
    preset = scenario.presets.full
    grid = [n for n in preset.n if n <= 8000]
    cells = planned_cells(scenario, dict.fromkeys(grid, 10))
    shards = [deal(scenario, cells, (i, count)) for i in range(1, count + 1)]
    assert sorted(cell for shard in shards for cell in shard) == sorted(cells)
    work = [sum(map(scenario.cost, shard)) for shard in shards]
    assert max(work) - min(work) <= max(map(scenario.cost, cells))
    more = planned_cells(scenario, dict.fromkeys(grid, 13))
    for i, shard in enumerate(shards, start=1):
        assert set(shard) <= set(deal(scenario, more[::-1], (i, count)))


def test_shards_in_one_folder_equal_an_unsharded_run(tmp_path, expected):
    computed = [go(tmp_path / "run", shard=(i, 3)).computed for i in (2, 1, 3)]
    assert computed == [12, 12, 12]
    assert digest(Store(tmp_path / "run").read()[0]) == expected
    assert go(tmp_path / "run", shard=(1, 3)).computed == 0
    assert go(tmp_path / "run").computed == 0


def test_shards_in_folders_of_their_own_are_collected(tmp_path, expected):
    folders = [tmp_path / f"run{i}" for i in (1, 2, 3)]
    for i, folder in enumerate(folders, start=1):
        assert go(folder, shard=(i, 3)).coverage(Store(folder).read()[0]) == (12, 36)
    merged = collect(folders, out=tmp_path / "all")
    assert digest(merged.frame) == expected
    again = go(tmp_path / "all")
    assert again.computed == 0
    assert digest(again.frame()) == expected
    assert len(list((tmp_path / "all").glob("parts/*/*/*.parquet"))) == len(GRID)


@pytest.mark.parametrize("bad", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_no_shard(bad):
    with pytest.raises(ValueError, match="a shard is i/N with 1 <= i <= N"):
        parse_shard(bad)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_stops_in_time_and_is_taken_up_again(tmp_path, expected, jobs):
    with pytest.raises(TimeIsUp, match=r"Time is up: \d+ of 36 cells done"):
        go(tmp_path / "run", jobs=jobs, compute=slow_cell, max_time=0.05)
    kept = len(Store(tmp_path / "run").read()[0])
    assert kept < 36 * 5
    assert digest(go(tmp_path / "run").frame()) == expected


def test_errors_of_log_means_by_hand():
    scenario = load_scenario(NAME)
    rng = np.random.default_rng(0)
    values = {(n, loss): rng.exponential(n**-0.5, 40) for n in (100, 400) for loss in ("D1", "l2")}
    frame = pd.concat(
        pd.DataFrame({"fit": "k2", "n_experts": 2, "n": n, "rep": range(40), "loss": loss, "value": value})
        for (n, loss), value in values.items()
    )
    errors = log_mean_errors(frame, scenario)
    for n in (100, 400):
        by_hand = [values[n, loss].std(ddof=1) / math.sqrt(40) / values[n, loss].mean() for loss in ("D1", "l2")]
        promised = {loss.name for loss in scenario.loss if loss.exponent is not None}
        assert {"D1", "l2"} <= promised
        assert errors[n] == pytest.approx(max(by_hand), rel=1e-12)


def test_replicates_are_added_until_the_error_is_small(tmp_path):
    grown = go(tmp_path / "run", reps=200, target_se=0.12)
    frame = grown.frame()
    errors = log_mean_errors(frame, grown.scenario)
    counts = frame.groupby("n")["rep"].nunique()
    assert (errors <= 0.12).all()
    assert counts.between(60, 200).all()  # exponential losses: 1 / sqrt(69) = 0.12
    assert grown.coverage(frame) == (len(frame) // 5, counts.sum())
    assert len(set(counts)) > 1


def test_adaptive_replicates_do_not_depend_on_interruptions_or_workers(tmp_path):
    def stop(progress):
        if progress.done >= 100:
            raise KeyboardInterrupt

    plain = go(tmp_path / "a", reps=200, target_se=0.12)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "b", reps=200, target_se=0.12, progress=stop)
    resumed = go(tmp_path / "b", reps=200, target_se=0.12, jobs=2)
    assert digest(resumed.frame()) == digest(plain.frame())


def test_the_cap_holds(tmp_path):
    frame = go(tmp_path / "run", reps=30, target_se=1e-3).frame()
    assert set(frame.groupby("n")["rep"].nunique()) == {30}


def test_an_unknown_error_asks_for_more():
    scenario = load_scenario(NAME)
    frame = pd.DataFrame({"fit": [], "n_experts": [], "n": [], "rep": [], "loss": [], "value": []})
    assert more_replicates(frame, scenario, {100: 1, 200: 8}, 0.1, 10) == {100: 2, 200: 10}


def test_shards_have_no_adaptive_replicates(tmp_path):
    with pytest.raises(ValueError, match="needs the replicates of all shards"):
        go(tmp_path / "run", shard=(1, 2), target_se=0.1)


def test_time_until_the_end_of_a_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert seconds_until_the_end(0.0) is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "10000")
    assert seconds_until_the_end(4000.0) == 10000 - 180 - 4000
    assert seconds_until_the_end(9990.0) == 1.0


def test_the_array_script_is_a_shell_script(tmp_path):
    import subprocess

    script = tmp_path / "job.sh"
    script.write_text(array_script(["my study.toml", "--out", "run"], 8, name="my"), encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)
    called = tmp_path / "moestat"
    called.write_text('#!/bin/bash\nprintf "%s|" "$@" "$SLURM_JOB_END_TIME"\n', encoding="utf-8")
    called.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "2"}
    environment |= {"SLURM_ARRAY_JOB_ID": "17"}
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/bash\n[ "$3" = 17_3 ] && echo 2026-11-24T11:08:21\n', encoding="utf-8")
    squeue.chmod(0o755)
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True)
    end = int(datetime.datetime(2026, 11, 24, 11, 8, 21).timestamp())
    assert done.stdout == f"simulate|my study.toml|--out|run|--shard|3/8|--jobs|2|{end}|"
