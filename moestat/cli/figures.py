"""Figures of papers: scripts that draw summaries of runs, their files, and what these were made from."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import Trouble
from .options import RUN
from .tables import csv_text, point_records

if TYPE_CHECKING:
    import pandas as pd

    from ..simulate import RateEstimate

__all__ = ["Source", "build_figure", "figures_command", "main"]


@dataclass(frozen=True)
class Source:
    """What a script draws: the rates of a scenario by label, and means by number of experts."""

    content: Mapping[str, Any]
    rates: Mapping[str, RateEstimate]

    @property
    def curves(self) -> pd.DataFrame:
        """As `curves_of_results` gives them."""
        from ..simulate.results import curves_of_results

        return curves_of_results(self.content)


def build_figure(script: Path, results: Path, out: Path, runs: Path | None = None) -> list[Path]:
    """Run a script and write its figure as PDF and PNG, the points of its losses as CSV, and as JSON what it was made from.

    A script defines ``SOURCES``, names of scenarios, and ``draw(sources)``, which takes a dictionary of `Source` and returns
    a figure; records of its own lie beside it as ``<stem>.csv``. The same summaries and records give the same bytes.

    Parameters
    ----------
    script : path
        ``paper_figures/<stem>.py``.
    results : path
        Folder of summaries, one JSON file a scenario.
    runs : path, optional
        Folder of runs, taken instead of the summaries of those scenarios that it holds.

    Raises
    ------
    FileNotFoundError
        If a scenario has neither a summary with points nor a run, or these lack a loss.
    """
    from ..plot import save_figure
    from ..simulate.files import write_text

    names = runpy.run_path(str(script))
    sources = {name: _source(name, results, runs) for name in names["SOURCES"]}
    try:
        figure = names["draw"](sources)
    except KeyError as error:
        raise FileNotFoundError(f"the records of {', '.join(sources)} lack what is drawn: {error}") from error
    paths = [save_figure(figure, out / f"{script.stem}{ending}") for ending in (".pdf", ".png")]
    points = [{"scenario": name} | row for name, source in sources.items() for row in point_records(source.rates)]
    if points:  # for those who draw with other tools
        paths.append(out / f"{script.stem}.csv")
        write_text(paths[-1], csv_text(points) + "\n")
    made = out / f"{script.stem}.json"
    write_text(made, json.dumps(_provenance(script, sources, paths), indent=1) + "\n")
    return [*paths, made]


def _source(name: str, results: Path, runs: Path | None) -> Source:
    from ..simulate import Run
    from ..simulate.results import rates_of_results, read_results, run_results

    if runs is not None and (runs / name / "run.json").exists():
        content = json.loads(json.dumps(run_results(Run.open(runs / name))))
    else:
        content = read_results(results).get(name, {})
    rates = rates_of_results(content) if content else {}
    if not rates:
        raise FileNotFoundError(
            f"{results} has no summary of {name} with points; run it, then: moestat atlas --report-only --results {results}"
        )
    return Source(content, rates)


def _provenance(script: Path, sources: Mapping[str, Source], paths: Iterable[Path]) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "figure": script.stem,
        "script": hashlib.sha256(script.read_bytes()).hexdigest(),
        "matplotlib": version("matplotlib"),
        "records": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in [script.with_suffix(".csv")]
            if path.exists()
        },
        "sources": {name: source.content["provenance"] for name, source in sources.items()},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
    }


def scripts_in(folder: Path, only: Sequence[str]) -> list[Path]:
    """The scripts of a folder that draw summaries (they define ``SOURCES``), or those named.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or script.
    """
    found = {
        path.stem: path for path in sorted(folder.glob("*.py")) if "SOURCES = " in path.read_text(encoding="utf-8")
    }
    missing = [name for name in only if name not in found]
    if not found or missing:
        raise FileNotFoundError(
            f"{folder} has no script {missing[0] if missing else ''}".strip() + f"; it has {', '.join(found) or 'none'}"
        )
    return [path for stem, path in found.items() if not only or stem in only]


@click.command("figures")
@click.argument("only", nargs=-1)
@click.option("--scripts", type=RUN, default=Path("paper_figures"), show_default=True, help="Folder of the scripts.")
@click.option(
    "--results", type=RUN, default=Path("simulations/results"), show_default=True, help="Folder of summaries."
)
@click.option("--runs", type=RUN, help="Folder of runs, such as an atlas, in place of the summaries.")
@click.option("--out", type=RUN, default=Path("paper_figures/built"), show_default=True, help="Folder of the figures.")
def figures_command(only: tuple[str, ...], scripts: Path, results: Path, runs: Path | None, out: Path) -> None:
    """Rebuild the figures of papers, all of them or those named in ONLY.

    A figure whose summaries are missing is left out, and said.
    """
    left = []
    try:
        for script in scripts_in(scripts, only):
            try:
                for path in build_figure(script, results, out, runs):
                    click.echo(path)
            except FileNotFoundError as error:
                left.append(f"{script.stem}: {error}")
    except (OSError, ValueError) as error:
        raise Trouble(str(error)) from error
    if left:
        raise Trouble("\n".join(left))


def main(script: str) -> None:
    """Build one script's figure beside it: ``python paper_figures/<stem>.py``."""
    path = Path(script).resolve()
    root = path.parent.parent
    for made in build_figure(path, root / "simulations" / "results", path.parent / "built"):
        click.echo(made)
