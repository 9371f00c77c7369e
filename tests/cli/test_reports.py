"""The commands compare, exponents, atlas and the forms of rates, as a user runs them."""

import csv
import html.parser
import io
from functools import partial

import pytest

import moestat.simulate.runner as runner
from moestat.simulate import run, stream
from moestat.simulate.cells import failed_rows


def compute(scenario, cell):
    """Rows of a cell without a fit: certified, with values that fall as n^(-1/2)."""
    rows = failed_rows(scenario, cell, "converged", "", certified=True, data_crc=1000 * cell.n + cell.rep, seconds=0.0)
    rng = stream(scenario.root_seed, scenario.id, cell.n, cell.rep)
    return [row | {"value": float(rng.lognormal(0.0, 0.3) / cell.n**0.5)} for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs") / "protocol"
    run("softmax-gaussian-protocol", n_grid=[100, 200, 400, 800], reps=6, jobs=1, out=made, compute=compute)
    return made


def test_rates_as_csv(folder, moestat):
    code, out, _ = moestat("rates", folder, "--csv")
    assert code == 0
    rows = {row["loss"]: row for row in csv.DictReader(io.StringIO(out))}
    assert list(rows) == ["D2sharp", "D2sharp:published", "kl", "kl:published", "iterations"]
    row = rows["D2sharp"]
    assert float(row["ci_low"]) < float(row["slope"]) < float(row["ci_high"])
    assert float(row["slope_se"]) > 0
    assert float(row["certified_share"]) == 1
    assert rows["iterations"]["theory"] == ""


def test_points_as_csv(folder, moestat):
    rows = list(csv.DictReader(io.StringIO(moestat("rates", folder, "--points", "--csv")[1])))
    assert len(rows) == 5 * 4
    assert {row["n"] for row in rows} == {"100", "200", "400", "800"}
    assert "mean" in moestat("rates", folder, "--points")[1].splitlines()[0]


def test_rates_as_latex(folder, moestat):
    lines = moestat("rates", folder, "--latex")[1].splitlines()
    assert lines[0] == r"\begin{tabular}{lrcrrlr}"
    assert lines[-1] == r"\end{tabular}"
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {row.count("&") for row in rows} == {6}
    assert all(row.replace(r"\%", "").count("%") == 0 for row in rows)


def test_compare_fits_and_runs(folder, moestat):
    code, out, _ = moestat("compare", folder)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["D2sharp", "protocol:certified"], ["D2sharp", "protocol:published"],
        ["kl", "protocol:certified"], ["kl", "protocol:published"],
    ]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(moestat("compare", folder, folder, "--csv")[1])))
    same = next(row for row in rows if row["first"] == row["second"] and row["loss"] == "kl")
    assert float(same["difference"]) == 0
    assert same["paired"] == "True"
    assert moestat("compare", folder.parent)[0] == 2


def test_exponents(moestat):
    code, out, _ = moestat("exponents", "softmax-gaussian-over", "--component", "coef", "--split", 1)
    assert code == 0
    assert out.splitlines()[1].split()[:6] == ["coef", "1", "2.00", "n^(-0.250)", "n^(-0.250)", "agrees"]
    code, _, err = moestat("exponents", "polynomial-mendes-jiang")
    assert code == 2
    assert "need a mixture" in err


class _Page(html.parser.HTMLParser):
    """Checks that tags are closed, and that nothing is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.outside = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        self.outside += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_atlas_page(moestat, tmp_path, monkeypatch):
    monkeypatch.setattr("moestat.simulate.atlas.run", partial(runner.run, compute=compute))
    names = ("--only", "softmax-gaussian-exact", "--only", "polynomial-mendes-jiang")
    code, out, _ = moestat(
        "atlas",
        "--preset",
        "smoke",
        *names,
        "--time-budget",
        "5m",
        "-j",
        1,
        "--out",
        tmp_path,
        "--results",
        tmp_path / "r",
    )
    assert code == 0
    assert "softmax-gaussian-exact: complete" in out
    assert (tmp_path / "r" / "polynomial-mendes-jiang.json").exists()
    first = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = _Page(first)
    assert page.open == []
    assert page.outside == []
    assert {"softmax-gaussian-exact", "polynomial-mendes-jiang"} <= page.ids
    assert first.count("<svg") == 2
    for text in (
        "moestat replay softmax-gaussian-exact --n",
        "would count against it",
        "Preset: smoke",
        "constant (predicted)",
    ):
        assert text in first
    assert moestat("atlas", "--report-only", "--out", tmp_path)[0] == 0
    whole = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Not complete: " in whole
    assert whole.count("<svg") == 2


def test_atlas_tells_of_failed_cells(moestat, tmp_path, monkeypatch):
    def broken(scenario, cell):
        return (
            failed_rows(scenario, cell, "failed", "RuntimeError: no luck") if cell.rep == 1 else compute(scenario, cell)
        )

    monkeypatch.setattr("moestat.simulate.atlas.run", partial(runner.run, compute=broken))
    code, _, err = moestat("atlas", "--preset", "smoke", "--only", "laplace", "-j", 1, "--out", tmp_path)
    assert code == 3
    assert f"moestat failures {tmp_path}/laplace" in err
    assert "moestat replay laplace --n 500 --rep 1" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_atlas_errors(moestat, tmp_path):
    code, _, err = moestat("atlas", "--only", "nonsense", "--out", tmp_path)
    assert (code, "no scenario 'nonsense'" in err) == (2, True)
    code, _, err = moestat("atlas", "--time-budget", "soon")
    assert (code, "a duration is written" in err) == (2, True)
    code, _, err = moestat("atlas", "--summaries", tmp_path)
    assert (code, "does not exist" in err) == (2, True)
