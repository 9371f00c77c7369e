"""The page of an atlas: one HTML file with theorems, measured rates, verdicts, figures and provenance; it loads nothing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .tables import rate_cells, rate_notes

if TYPE_CHECKING:
    from ..simulate import RateEstimate, Run
    from ..simulate.atlas import AtlasEntry

    Measured = tuple[AtlasEntry, Mapping[str, RateEstimate]]

__all__ = ["atlas_page", "measured"]

# words carry the meaning; colours (distinguishable without red and green) only repeat it
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.6rem; border-top: 1px solid #ccc; padding-top: 1rem; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .8rem; display: block; overflow-x: auto; }
th, td { padding: .18rem .42rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: #666; } dd { margin: 0; }
code, pre { font: .82rem/1.4 ui-monospace, monospace; } pre { background: #f6f6f6; padding: .5rem .8rem; overflow-x: auto; }
.note { color: #555; font-size: .85rem; } svg { max-width: 100%; height: auto; }
.agrees { color: #1f4e9c; font-weight: 600; } .differs { color: #a33c00; font-weight: 600; } .open { color: #666; }
"""
_KIND = {"consistent": "agrees", "not identified": "agrees", "faster": "differs", "slower": "differs"}
_HEADER = ("loss", "slope", "95 % interval", "s.e.", "theory", "verdict", "regime", "n used", "certified", "at a bound",
           "constant (predicted)")  # fmt: skip


def measured(entries: Iterable[AtlasEntry]) -> list[Measured]:
    """Each entry with the rates of its records."""
    from ..simulate import estimate_rates

    return [(e, {} if e.run is None else estimate_rates(e.run.frame(), e.scenario)) for e in entries]


def atlas_page(found: Sequence[Measured], preset: str = "") -> str:
    """HTML of an atlas, of entries as `measured` gives them; each run is drawn.

    Scenarios that were not run, or only in part, are listed first.
    """
    body = [_overview(found, preset)]
    body += [_section(entry, rates) for entry, rates in found if entry.run is not None]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>moestat: theorem atlas</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _overview(found: Sequence[Measured], preset: str) -> str:
    counts = Counter(rate.verdict for _, rates in found for rate in rates.values())
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    rows = []
    for entry, rates in found:
        name = escape(entry.scenario.id)
        link = f'<a href="#{name}">{name}</a>' if entry.run is not None else name
        verdicts = Counter(rate.verdict for rate in rates.values())
        text = ", ".join(f"{count} {_verdict(verdict)}" for verdict, count in verdicts.most_common()) or escape(
            entry.message[:200]
        )
        shares = sorted({f"{100 * rate.certified[0]:.0f}" for rate in rates.values()}, key=float)
        certified = " to ".join(dict.fromkeys((shares[0], shares[-1]))) + " %" if shares else ""
        rows.append([link, entry.state, certified, text])
    left = [entry.scenario.id for entry, _ in found if entry.state != "complete"]
    note = (
        f'<p class="note">Not complete: {escape(", ".join(left))}. The same command takes them up.</p>' if left else ""
    )
    return (
        "<h1>Theorem atlas</h1>\n<p>Each theorem as a simulated experiment: the measured exponent of n of every loss, from certified "
        "maximum-likelihood fits where the table says so, beside the exponent that the theorem claims. Errors are Monte-Carlo standard "
        f"errors; intervals are bootstrapped over replicates.{' Preset: ' + escape(preset) + '.' if preset else ''}</p>\n"
        f"<p>{escape(said) or 'nothing was run'}</p>\n{_table(('scenario', 'run', 'certified', 'verdicts'), rows)}\n{note}"
    )


def _section(entry: AtlasEntry, rates: Mapping[str, RateEstimate]) -> str:
    from ..plot import figure_svg, run_figure

    assert entry.run is not None
    scenario, frame = entry.scenario, entry.run.frame()
    rows = []
    for label, rate in rates.items():
        cells = [escape(cell) for cell in rate_cells(label, rate, all_constants=True)]
        cells[5] = _verdict(rate.verdict)
        rows.append(cells)
    keep = [i for i in range(len(_HEADER)) if any(row[i] for row in rows)]
    notes = "".join(
        f'<p class="note">{escape(note)}</p>' for label, rate in rates.items() for note in rate_notes(label, rate)
    )
    facts = _facts(
        [("claim", scenario.claim), ("source", scenario.source), ("would count against it", scenario.against)]
    )
    figure = figure_svg(run_figure(frame, scenario, rates))
    return (
        f'<h2 id="{escape(scenario.id)}">{escape(scenario.title)}</h2>\n{facts}\n'
        f"{_table([_HEADER[i] for i in keep], [[row[i] for i in keep] for row in rows])}\n{notes}\n{_patterns(rates)}\n{_exponents(entry)}\n"
        f"<figure>{figure}</figure>\n{_provenance(entry.run, frame)}"
    )


def _exponents(entry: AtlasEntry) -> str:
    """Population exponents beside the declared ones, if they were computed."""
    from ..simulate.exponents import stored_exponents

    assert entry.run is not None
    rows = []
    for row in stored_exponents(entry.scenario, entry.run.path):
        found = (
            "not identified"
            if row["exponent"] is None
            else f"{row['exponent']:.2f}" + ("" if row["steady"] else " (unsteady)")
        )
        declared = "" if row["declared"] is None else f"{row['declared']:.3f}"
        said = {None: "", True: "agrees", False: "differs"}[row["agrees"]]
        verdict = f'<span class="{said}">{said}</span>'
        rows.append(
            [row["component"], str(row["expert"]), str(row["atoms"]), found, f"{row['rate']:.3f}", declared, verdict]
        )
    header = ("split component", "expert", "atoms", "population exponent", "implied power of n", "declared", "")
    return _table(header, rows) if rows else ""


def _patterns(rates: Mapping[str, RateEstimate]) -> str:
    """How often each pattern of cells was seen, at the smallest and the largest n."""
    for rate in rates.values():
        points = [point for point in rate.points if point.patterns]
        if len({pattern for point in points for pattern, _ in point.patterns}) > 1:
            lines = [
                f"n = {point.n}: " + ", ".join(f"{pattern} {count}" for pattern, count in point.patterns)
                for point in dict.fromkeys((points[0], points[-1]))
            ]
            return f'<p class="note">Fitted atoms in the cells of the true ones, {escape("; ".join(lines))}.</p>'
    return ""


def _provenance(run: Run, frame: Any) -> str:
    from ..simulate.results import provenance

    made = provenance(run, frame)
    versions = ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
    reps = ", ".join(map(str, dict.fromkeys(made["reps"])))
    facts = _facts(
        [
            ("sizes", f"n = {', '.join(map(str, made['n']))}; {reps} replicates; {made['failed']} cells failed"),
            ("made", f"{made['date']}, Python {made.get('python', '?')}, {versions}"),
            ("commit", ", ".join(made["commits"]) or "not known (an installed package)"),
            ("declaration, records", f"{made['fingerprint']}, {made['records']}"),
        ]
    )
    worst = frame.loc[frame["n"] == frame["n"].max()].iloc[0]
    failed = frame.loc[frame["value"].isna()].drop_duplicates(["n", "rep"]).head(5)
    folder = shlex.quote(run.path.name)
    lines = [f"moestat replay {folder} --n {row['n']} --rep {row['rep']}" for _, row in failed.iterrows()]
    lines = lines or [f"moestat replay {folder} --n {worst['n']} --rep {worst['rep']}"]
    return f'{facts}\n<p class="note">Any replicate again, from the folder of this page:</p>\n<pre>{escape(chr(10).join(lines))}</pre>'


def _verdict(verdict: str) -> str:
    return f'<span class="{_KIND.get(verdict, "open")}">{escape(verdict)}</span>'


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs) + "</dl>"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
