"""Summaries of runs, the page of results, and the atlas within its time."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from moestat.simulate import estimate_rates, list_scenarios, load_scenario, run, store
from moestat.simulate.atlas import open_atlas, run_atlas
from moestat.simulate.results import curves_of_results, rates_of_results, read_results, run_results, write_results
from moestat.simulate.summaries import results_page, write_results_page

from .fake import quick_cell as compute

SIZES = [100, 200, 400]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas") / "run"
    return run("softmax-gaussian-over", n_grid=SIZES, reps=3, jobs=1, out=folder, compute=compute)


def test_results_have_the_keys_of_rates_json_and_more(finished):
    content = run_results(finished)
    assert list(content)[:5] == ["scenario", "complete", "cells_done", "cells_planned", "losses"]
    rates = estimate_rates(finished.frame(), finished.scenario)
    for label, rate in rates.items():
        assert content["losses"][label].items() >= rate.to_json().items()
    made = content["provenance"]
    assert made["n"] == SIZES
    assert made["reps"] == [3, 3, 3]
    assert made["fingerprint"] == finished.scenario.fingerprint()
    assert set(made["versions"]) >= {"moestat", "numpy"}


def test_the_commits_are_those_of_the_writers_not_of_the_reader(finished, monkeypatch):
    monkeypatch.setattr(store, "_commit", lambda: "of the reader")
    (env,) = (finished.path / "env").glob("*.json")
    written = json.loads(env.read_text(encoding="utf-8"))
    assert "commit" in written
    for commit, listed in (("abc", ["abc"]), (None, [])):
        env.write_text(json.dumps(written | {"commit": commit}), encoding="utf-8")
        assert run_results(finished)["provenance"]["commits"] == listed
    env.write_text(json.dumps(written), encoding="utf-8")


def test_rates_come_back_from_a_summary(finished, tmp_path):
    path = write_results(finished, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert write_results(finished, tmp_path).read_text(encoding="utf-8") == text
    back = rates_of_results(read_results(tmp_path)["softmax-gaussian-over"])
    for label, rate in estimate_rates(finished.frame(), finished.scenario).items():
        assert back[label].slope == rate.slope or math.isnan(rate.slope)
        assert back[label].verdict == rate.verdict
        assert back[label].n_used == rate.n_used
        assert str(back[label].regimes) == str(rate.regimes)
        mine, theirs = (dataclasses.asdict(entry.points[-1]) for entry in (back[label], rate))
        assert mine["patterns"] == theirs["patterns"]
        assert mine["mean"] == pytest.approx(theirs["mean"], rel=1e-7)


def test_curves_over_the_number_of_experts_are_kept(tmp_path):
    scenario = load_scenario("polynomial-mendes-jiang")
    found = run(scenario, n_grid=[500], reps=2, jobs=1, out=tmp_path / "run", compute=compute)
    curves = curves_of_results(run_results(found))
    frame = found.frame()
    row = curves.iloc[5]
    chosen = frame[
        (frame["fit"] == row["fit"]) & (frame["n_experts"] == row["n_experts"]) & (frame["loss"] == row["loss"])
    ]
    assert row["mean"] == pytest.approx(chosen["value"].mean())
    assert row["sem"] == pytest.approx(chosen["value"].sem())


def test_page_of_results(finished, tmp_path):
    write_results(finished, tmp_path / "results")
    (tmp_path / "results" / "old.json").write_text(
        json.dumps({"scenario": "softmax-gaussian-exact", "complete": True, "cells_done": 6, "cells_planned": 6, "losses": {
            "kl": {"slope": -1.02, "ci": [-1.03, -1.01], "theory": -1.0, "verdict": "consistent", "n_cells": 6, "uncertified": 0}}}),
        encoding="utf-8",
    )  # fmt: skip
    text = write_results_page(tmp_path).read_text(encoding="utf-8")
    assert "| kl | −1.020 | −1.030, −1.010 | −1 | consistent | 100 % |" in text
    assert "n = 100 to 400 (3 sizes of 3 replicates)" in text
    waiting = text.split("## Without a result yet")[1]
    for scenario in list_scenarios():
        assert (f"`{scenario.id}`" in waiting) == (
            scenario.id not in ("softmax-gaussian-over", "softmax-gaussian-exact")
        )
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_results_page(tmp_path / "results")


def test_the_page_in_the_repository_is_up_to_date():
    folder = Path(__file__).resolve().parents[2] / "simulations"
    made = results_page(list_scenarios(), read_results(folder / "results"))
    assert (folder / "README.md").read_text(encoding="utf-8") == made, "run: moestat atlas --summaries"


def test_results_that_are_none_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="is no summary of a run"):
        read_results(tmp_path)


def test_atlas_runs_what_is_asked_and_resumes(tmp_path):
    names = ["softmax-gaussian-exact", "laplace"]
    first = list(run_atlas(tmp_path, "smoke", only=names, jobs=1, compute=compute))
    assert {entry.scenario.id: entry.state for entry in first} == dict.fromkeys(names, "complete")
    assert all(entry.run.computed > 0 for entry in first)
    again = list(run_atlas(tmp_path, "smoke", only=names, jobs=1, compute=compute))
    assert [entry.run.computed for entry in again] == [0, 0]
    states = {entry.scenario.id: entry.state for entry in open_atlas(tmp_path)}
    assert {name for name, state in states.items() if state == "complete"} == set(names)
    assert set(states.values()) == {"complete", "not run"}


def test_atlas_says_what_was_not_run_in_time(tmp_path):
    entries = list(run_atlas(tmp_path, "smoke", only=["laplace"], jobs=1, compute=compute, time_budget=1e-9))
    assert [(entry.scenario.id, entry.state) for entry in entries] == [("laplace", "not run")]


def test_atlas_goes_on_after_a_folder_that_it_may_not_use(tmp_path):
    (tmp_path / "laplace").mkdir()
    (tmp_path / "laplace" / "run.json").write_text("{", encoding="utf-8")
    entries = run_atlas(tmp_path, "smoke", only=["laplace", "softmax-gaussian-exact"], jobs=1, compute=compute)
    states = {entry.scenario.id: entry for entry in entries}
    assert states["laplace"].state == "refused"
    assert "cannot be read" in states["laplace"].message
    assert states["softmax-gaussian-exact"].state == "complete"


def test_unknown_scenarios():
    with pytest.raises(ValueError, match="no scenario 'nonsense'"):
        list(run_atlas("nowhere", only=["nonsense"]))
