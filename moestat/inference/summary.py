"""The printed table of an inference: head, gate, experts, notes; as text, HTML, LaTeX and CSV."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .names import section_order

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary

    from .results import InferenceResults

_LATEX_REST = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    "{": r"\{",
    "}": r"\}",
}

_COVARIANCE = {
    "observed": "observed information",
    "opg": "outer product of scores",
    "sandwich": "sandwich (robust)",
    "cluster": "sandwich, clustered",
    "classical": "Gauss-Newton, n - p",
}


class InferenceSummary:
    """Summary of an `InferenceResults`; prints as text and shows as HTML in notebooks.

    Parameters
    ----------
    results : InferenceResults
    alpha : float
        The intervals have level ``1 - alpha``.
    """

    def __init__(self, results: InferenceResults, alpha: float = 0.05) -> None:
        self.results = results
        self.alpha = alpha

    def as_text(self) -> str:
        """The tables as plain text."""
        lines = str(self._tables(str, []).as_text()).splitlines()
        lines += [""] if self._notes() else []
        for note in self._notes():
            lines += textwrap.wrap(note, len(lines[1]), subsequent_indent="  ")
        return "\n".join(line.rstrip() for line in lines)

    def as_html(self) -> str:
        """The tables as HTML; names are escaped."""
        return str(self._tables(html.escape, [html.escape(note) for note in self._notes()]).as_html())

    def as_latex(self) -> str:
        """The tables as LaTeX tabulars (package booktabs)."""
        return str(self._tables(_latex_cell, [_latex(note) for note in self._notes()]).as_latex())

    def as_csv(self) -> str:
        """The tables as comma-separated text."""
        return str(self._tables(str, self._notes()).as_csv())

    def __str__(self) -> str:
        return self.as_text()

    def __repr__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return self.as_html()

    def _repr_latex_(self) -> str:
        return self.as_latex()

    def _tables(self, escape: Callable[[str], str], notes: list[str]) -> Summary:
        from statsmodels.iolib.summary import Summary

        summary = Summary()
        body = self._body(escape)
        summary.tables = [self._head(escape, len(str(body).splitlines()[0])), body]
        if notes:
            summary.add_extra_txt(notes)
        return summary

    def _head(self, escape: Callable[[str], str], width: int) -> Any:
        from statsmodels.iolib.table import SimpleTable

        results = self.results
        left = [*results.header.items(), ("Covariance:", _COVARIANCE[results.cov_type])]
        rank = f"{results.rank} of {results.n_free}"
        right = [
            ("No. observations:", f"{results.nobs:.10g}"),
            ("No. parameters:", str(results.df_model)),
            ("Information rank:", rank),
            ("Log-likelihood:", f"{results.llf:.4f}"),
            ("AIC:", f"{results.aic:.3f}"),
            ("BIC:", f"{results.bic:.3f}"),
        ]
        if results.n_groups:
            right.insert(1, ("No. groups:", str(results.n_groups)))
        height = max(len(left), len(right))
        left += [("", "")] * (height - len(left))
        right += [("", "")] * (height - len(right))
        cells = [[escape(a), b, escape(c)] for (_, a), (b, c) in zip(left, right, strict=True)]
        stubs = [name for name, _ in left]
        # As wide as the body in text: what the stubs, the labels and three blanks leave goes to the two columns of
        # values.
        label = max(len(b) for b, _ in right) + 4
        room = width - max(map(len, stubs)) - label - 3
        first = max(room // 2, *(len(value) for _, value in left))
        formats = [f"%{first}s", f"%{label}s", f"%{max(room - first, 1)}s"]
        return SimpleTable(cells, stubs=stubs, title="Mixture of experts", txt_fmt=_text_format(formats))

    def _body(self, escape: Callable[[str], str]) -> Any:
        from statsmodels.iolib.table import SimpleTable

        tail = f"{self.alpha / 2:.4g}"
        headers = ["estimate", "std err", "z", "P>|z|", f"[{tail}", f"{1 - self.alpha / 2:.4g}]"]
        frame = self.results.params_frame(self.alpha)
        names = [self.results.names[position] for position in section_order(self.results.names)]
        rows, stubs = [], []
        section = ""
        for name, (part, index, term), values in zip(names, frame.index, frame.to_numpy(dtype=float), strict=True):
            title = "Gate" if part == "gate" else f"Expert {index}" if index else "All experts"
            if title != section:
                stubs.append(title)
                rows.append([""] * len(headers))
                section = title
            label = f"{part}[{index}]:" if index else f"{part}:"
            stubs.append("  " + escape(label + term))
            rows.append(_row(values, fixed=name in self.results.fixed))
        formats = ["%12s", "%11s", "%9s", "%8s", "%12s", "%12s"]
        return SimpleTable(rows, headers=headers, stubs=stubs, txt_fmt=_text_format(formats))

    def _notes(self) -> list[str]:
        results = self.results
        notes = []
        if results.gate_note and any(name.startswith("gate") for name in results.names):
            notes.append(results.gate_note)
        if results.expert_note:
            notes.append(results.expert_note)
        logs = [n.rpartition(":")[2] for n, link in zip(results.names, results.links, strict=False) if link == "log"]
        terms = list(dict.fromkeys(term.removeprefix("log_").partition("[")[0] for term in logs))
        if terms:
            gaussian = results.header.get("Experts:") == "gaussian"
            what = "Scales are standard deviations; their" if gaussian else f"{', '.join(terms).capitalize()}:"
            notes.append(f"{what} limits are exponentials of limits on the log scale.")
        if "logit" in results.links:
            notes.append("Probabilities have limits on the log-odds scale.")
        if any(":cholesky" in name for name in results.names):
            notes.append("Correlations have limits and tests on the scale of Fisher's z.")
        return notes + list(results.notes)


def _row(values: np.ndarray[Any, np.dtype[np.float64]], *, fixed: bool) -> list[str]:
    """Format estimate, error, z, p, limits: four decimals, or four significant digits in rows of other magnitude."""
    estimate, error, z, p, low, high = values
    sizes = np.abs([estimate, low, high])
    plain = np.nanmax(sizes) < 1e5 and not error < 1e-3
    number = "{:.4f}" if plain else "{:#.4g}"
    if np.isnan(error):
        missing = "bound" if fixed else "nan"
        return [number.format(estimate), missing, "", "", "", ""]
    tests = ["", ""] if np.isnan(z) else [f"{z:.2f}" if abs(z) < 1e4 else f"{z:.3g}", f"{p:.3f}"]
    return [number.format(estimate), number.format(error), *tests, number.format(low), number.format(high)]


def _text_format(formats: list[str]) -> dict[str, Any]:
    from statsmodels.iolib.tableformatting import fmt_base

    return {**fmt_base, "data_fmts": formats, "colwidths": 1}


def _latex_cell(text: str) -> str:
    """Escape what statsmodels' tables do not escape themselves."""
    return "".join(_LATEX_REST.get(symbol, symbol) for symbol in text)


def _latex(text: str) -> str:
    """Escape all symbols that have a meaning in LaTeX."""
    return "".join(_LATEX_REST.get(symbol, "\\" + symbol if symbol in "&%$#_" else symbol) for symbol in text)
