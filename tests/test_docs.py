"""The pages: links lead somewhere, names of moestat exist. Their code is run by pytest's doctests of *.md files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import moestat

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and link != "#" and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_exist(page):
    """`ms.a.b` in running text and code is an attribute of moestat."""
    for path in set(re.findall(r"\bms\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)", page.read_text(encoding="utf-8"))):
        value = moestat
        for name in path.split("."):
            assert hasattr(value, name), f"moestat.{path}"
            value = getattr(value, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_doctest_blocks_end_with_an_empty_line(page):
    """Without it the closing fence would be taken for expected output."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert all(block.endswith("\n\n") for block in blocks if ">>>" in block)


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.stem for page in (ROOT / "docs").iterdir() if page.suffix in {".md", ".rst"}} - {"index"}
    toctree = set(index.split("```{toctree}")[1].split("```")[0].split()) - {":hidden:"}
    assert toctree == pages


@pytest.mark.slow
def test_rate_table_of_readme(tmp_path):
    """The slopes and intervals printed in README.md are those of the command above them."""
    rows = re.findall(
        r"^(\w+) +(-[\d.]+) +\[(-[\d.]+), (-[\d.]+)\]",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert len(rows) == 5

    def moestat_command(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "moestat", *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    moestat_command("simulate", "softmax-gaussian-exact", "--preset", "quick", "--out", str(tmp_path / "run"))
    losses = json.loads(moestat_command("rates", str(tmp_path / "run"), "--json"))["losses"]
    for name, *numbers in rows:
        found = [losses[name]["slope"], *losses[name]["ci"]]
        assert found == pytest.approx([float(number) for number in numbers], abs=2e-3)
