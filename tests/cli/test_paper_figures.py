"""Scripts of paper figures: each draws the losses that its scenarios declare, and the same records give the same bytes."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from moestat.cli import main
from moestat.cli.figures import _source, build_figure, scripts_in
from moestat.simulate import estimate_rates, list_scenarios, load_scenario, stream
from moestat.simulate.cells import failed_rows
from moestat.simulate.records import frame_of
from moestat.simulate.results import write_results

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = scripts_in(ROOT / "paper_figures", ())


class MadeUp:
    """A run whose records are made up, in memory."""

    def __init__(self, name, path):
        self.scenario, self.path = load_scenario(name), path
        rows = []
        for cell in self.scenario.cells([500, 2000, 8000], 3):
            rng = stream(self.scenario.root_seed, name, cell.n, cell.rep)
            value = float(rng.lognormal(0.0, 0.3) / cell.n**0.5)
            made = failed_rows(self.scenario, cell, "converged", "", certified=True, seconds=0.0)
            rows += [row | {"value": value} for row in made]
        self._frame = frame_of(rows)

    def frame(self):
        return self._frame

    def coverage(self, frame):
        return len(frame), len(frame)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Summaries of made-up records of every scenario that a script draws."""
    folder = tmp_path_factory.mktemp("results")
    for name in sorted({name for script in SCRIPTS for name in runpy.run_path(str(script))["SOURCES"]}):
        made = MadeUp(name, folder / name)
        write_results(made, folder, estimate_rates(made.frame(), made.scenario, constants=False))
    return folder


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem != "stopping_rule"], ids=lambda script: script.stem)
def test_scripts_draw_their_scenarios(script, results):
    names = runpy.run_path(str(script))
    assert set(names["SOURCES"]) <= {scenario.id for scenario in list_scenarios()}
    figure = names["draw"]({name: _source(name, results, None) for name in names["SOURCES"]})
    figure.draw_without_rendering()
    assert figure.axes
    assert len({ax.get_title(loc="left")[:16] for ax in figure.axes}) == len(figure.axes)  # each has its own letter


def test_figure_of_stopping_rules(tmp_path):
    names = runpy.run_path(str(ROOT / "paper_figures" / "stopping_rule.py"))
    names["SIZES"]["smoke"] = ((125, 250), 2)
    names["simulate"]("smoke", tmp_path / "records.csv")
    figure = names["draw"]({}, tmp_path / "records.csv")
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-1] == "certified"


def test_same_records_same_bytes(results, tmp_path):
    first = build_figure(SCRIPTS[0], results, tmp_path / "one")
    assert [path.suffix for path in first] == [".pdf", ".png", ".csv", ".json"]
    made = json.loads(first[-1].read_text(encoding="utf-8"))
    for name, source in made["sources"].items():
        assert source["fingerprint"] == load_scenario(name).fingerprint()
        assert source["n"] == [500, 2000, 8000]
    second = build_figure(SCRIPTS[0], results, tmp_path / "two")
    for one, two in zip(first, second):
        assert one.read_bytes() == two.read_bytes()


def test_panels_show_the_slopes_on_their_lines(results):
    names = runpy.run_path(str(ROOT / "paper_figures" / "gaussian_softmax.py"))
    sources = {name: _source(name, results, None) for name in names["SOURCES"]}
    figure = names["draw"](sources)
    rate = sources["softmax-gaussian-exact"].rates["D1"]
    assert any(f"{rate.slope:.3f}".replace("-", "−") in text.get_text() for text in figure.axes[0].texts)
    points = figure.axes[0].containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(points, [point.mean for point in rate.points])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0].startswith(r"$\mathbf{a}$")


def test_command_says_which_summaries_are_missing(results, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["figures", "laplace_none", "--scripts", str(ROOT / "paper_figures")])
    assert done.value.code == 2
    assert "no script laplace_none" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(
            [
                "figures",
                "em",
                "--scripts",
                str(ROOT / "paper_figures"),
                "--results",
                str(tmp_path),
                "--out",
                str(tmp_path),
            ]
        )
    assert done.value.code == 2
    assert "no summary of em-known-variance with points" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(
            [
                "figures",
                "em",
                "--scripts",
                str(ROOT / "paper_figures"),
                "--results",
                str(results),
                "--out",
                str(tmp_path),
            ]
        )
    assert done.value.code == 0
    assert (tmp_path / "em.pdf").exists()
