"""Records do not depend on workers, order or interruptions; damage and deaths are repaired."""

from __future__ import annotations

import copy
import json
import math

import pytest

from moestat.simulate import ChangedScenarioError, Interrupted, Store, load_scenario, run
from moestat.simulate.library import parse_scenario
from moestat.simulate.records import digest
from tests.simulate.fake import GRID, NAME, REPS, go, quick_cell, slow_first


def test_parallel_equals_serial(tmp_path, expected):
    assert digest(go(tmp_path / "run", jobs=2).frame()) == expected


def test_same_call_computes_nothing_twice(tmp_path, expected):
    go(tmp_path / "run")
    again = go(tmp_path / "run")
    assert again.computed == 0
    assert digest(again.frame()) == expected


def test_coverage_counts_the_cells_of_the_last_call(tmp_path):
    assert go(tmp_path / "run").coverage(go(tmp_path / "run").frame()) == (36, 36)
    frame = go(tmp_path / "run").frame()
    some = frame[(frame["n"] != 400) | (frame["rep"] < 4)]
    assert go(tmp_path / "run").coverage(some) == (28, 36)
    assert go(tmp_path / "run", n_grid=[400], reps=6).coverage(some) == (4, 6)


def test_coverage_knows_the_limit_on_experts(tmp_path):
    many = run("polynomial-mendes-jiang", "smoke", jobs=1, out=tmp_path / "run", compute=quick_cell)
    done, planned = many.coverage(many.frame())
    assert done == planned > 0
    manifest = many.path / "run.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    assert content.pop("max_experts") == many.scenario.presets.smoke.max_experts
    manifest.write_text(json.dumps(content), encoding="utf-8")  # as versions before wrote it
    assert many.coverage(many.frame()) == (done, planned)


def test_time_left_is_unknown_until_the_workers_are_warm(tmp_path):
    seen = []
    go(tmp_path / "run", compute=slow_first, progress=lambda state: seen.append(copy.copy(state)))
    assert all(math.isnan(state.time_left) for state in seen if state.done < 3)
    early = next(state for state in seen if state.done >= 3 and not math.isnan(state.time_left))
    assert early.done < early.total
    with_the_first_cell = early.seconds * (early.work_total / early.work_done - 1)
    assert 0 < early.time_left < with_the_first_cell / 1.5
    assert seen[-1].time_left == 0.0


def test_growing_computes_only_what_is_new(tmp_path, expected):
    assert go(tmp_path / "run", n_grid=[100, 400], reps=5).computed == 10
    assert go(tmp_path / "run", n_grid=[100, 400]).computed == 14
    grown = go(tmp_path / "run")
    assert grown.computed == REPS
    assert digest(grown.frame()) == expected


def test_damaged_parts_are_set_aside_and_computed_again(tmp_path, expected):
    go(tmp_path / "run")
    parts = sorted((tmp_path / "run").glob("parts/*/*/*.parquet"))
    assert len(parts) >= 3
    parts[0].write_bytes(parts[0].read_bytes()[:200])  # truncated
    parts[1].write_bytes(b"")
    content = bytearray(parts[2].read_bytes())
    content[len(content) // 3] ^= 0xFF  # one byte of the data
    parts[2].write_bytes(bytes(content))
    damaged = Store(tmp_path / "run").read()[1]
    assert set(parts[:2]) <= set(damaged)
    again = go(tmp_path / "run")
    assert again.computed > 0
    assert digest(again.frame()) == expected
    assert len(list((tmp_path / "run" / "set-aside").iterdir())) == len(damaged)


def test_any_flipped_byte_is_harmless_or_found(tmp_path):
    go(tmp_path / "run", n_grid=[100], reps=2)
    store = Store(tmp_path / "run")
    before = digest(store.read()[0])
    part = next((tmp_path / "run").glob("parts/*/*/*.parquet"))
    content = part.read_bytes()
    for position in range(0, len(content), 97):
        changed = bytearray(content)
        changed[position] ^= 0x10
        part.write_bytes(bytes(changed))
        frame, damaged = store.read()
        assert damaged or digest(frame) == before, position


def test_changed_scenario_is_refused_with_the_difference(tmp_path, raw):
    go(tmp_path / "run", reps=2)
    raw["truth"]["params"]["expert_coef"][0][0] = -19.0
    with pytest.raises(
        ChangedScenarioError, match=r"truth\.params\.expert_coef\[0\]\[0\]: recorded -20\.0, now -19\.0"
    ):
        run(parse_scenario(raw), out=tmp_path / "run", compute=quick_cell)


def test_interrupt_keeps_finished_chunks_and_resumes(tmp_path, expected):
    def stop_in_the_middle(progress):
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"of 36 cells done"):
        go(tmp_path / "run", progress=stop_in_the_middle)
    kept = len(Store(tmp_path / "run").read()[0])
    assert 0 < kept < len(GRID) * REPS * 5
    again = go(tmp_path / "run")
    assert again.computed == len(GRID) * REPS - kept // 5
    assert digest(again.frame()) == expected


def test_missing_and_foreign_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no run\.json"):
        Store(tmp_path).manifest()
    (tmp_path / "run.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(ValueError, match="has not the format"):
        Store(tmp_path).manifest()


@pytest.mark.parametrize("bad", [{"preset": "huge"}, {"reps": 0}, {"jobs": 0}, {"n_grid": []}, {"n_grid": [1]}])
def test_bad_arguments(tmp_path, bad):
    with pytest.raises(ValueError, match=r"preset|n >= 2|jobs >= 1"):
        go(tmp_path / "run", **bad)


def test_longest_cells_come_first():
    from moestat.simulate.chunks import ChunkQueue

    scenario = load_scenario(NAME)
    queue = ChunkQueue(scenario, scenario.cells([100, 10_000, 1000], 3))
    order = []
    while len(queue):
        order += [cell.n for cell in queue.take(1)]
    assert order == [10_000] * 3 + [1000] * 3 + [100] * 3
