"""The printed table of an inference: head, gate, experts, notes; as text, HTML, LaTeX and CSV."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary

    from .results import InferenceResults

_WIDTH = 88

_COVARIANCE = {
    "observed": "observed information",
    "opg": "outer product of scores",
    "sandwich": "sandwich (robust)",
    "cluster": "sandwich, clustered",
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
        notes = [textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in self._notes()]
        text = str(self._tables(str, notes).as_text())
        return "\n".join(line.rstrip() for line in text.splitlines())

    def as_html(self) -> str:
        """The tables as HTML; names are escaped."""
        return str(self._tables(html.escape, [html.escape(note) for note in self._notes()]).as_html())

    def as_latex(self) -> str:
        """The tables as LaTeX tabulars (package booktabs)."""
        return str(self._tables(str, [_latex(note) for note in self._notes()]).as_latex())

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
        rank = f"{results.rank} of {results.df_model - len(results.fixed)}"
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
        # As wide as the body in text: what the stubs, the labels and three blanks leave goes to the two columns of values.
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
        table = frame.to_numpy(dtype=float)
        rows, stubs = [], []
        section = ""
        for position, (part, index, term) in sorted(enumerate(frame.index), key=lambda item: _section(item[1])):
            title = "Gate" if part == "gate" else f"Expert {index}" if index else "All experts"
            if title != section:
                stubs.append(title)
                rows.append([""] * len(headers))
                section = title
            label = f"{part}[{index}]:" if index else f"{part}:"
            stubs.append("  " + escape(label + term))
            rows.append(_row(table[position], fixed=self.results.names[position] in self.results.fixed))
        formats = ["%12s", "%11s", "%9s", "%8s", "%12s", "%12s"]
        return SimpleTable(rows, headers=headers, stubs=stubs, txt_fmt=_text_format(formats))

    def _notes(self) -> list[str]:
        results = self.results
        notes = []
        if any(name.startswith("gate[") for name in results.names):
            notes.append(f"Gate: log-odds against expert {results.n_experts}, whose gate coefficients are zero.")
        if any(":log_" in name for name in results.names):
            notes.append("Scales are standard deviations; their limits are exponentials of limits on the log scale.")
        return notes + list(results.notes)


def _section(key: tuple[str, int, str]) -> tuple[bool, bool, int]:
    """Order of the sections: gate, experts by number, what all experts share."""
    part, index, _ = key
    return part != "gate", index == 0, 0 if part == "gate" else index


def _row(values: np.ndarray[Any, np.dtype[np.float64]], *, fixed: bool) -> list[str]:
    """Format estimate, error, z, p, limits: four decimals, or four significant digits in rows of other magnitude."""
    estimate, error, z, p, low, high = values
    sizes = np.abs([estimate, low, high])
    plain = np.nanmax(sizes) < 1e5 and not error < 1e-3
    number = "{:.4f}" if plain else "{:.4g}"
    if np.isnan(error):
        missing = "bound" if fixed else "nan"
        return [number.format(estimate), missing, "", "", "", ""]
    tests = ["", ""] if np.isnan(z) else [f"{z:.2f}" if abs(z) < 1e4 else f"{z:.3g}", f"{p:.3f}"]
    return [number.format(estimate), number.format(error), *tests, number.format(low), number.format(high)]


def _text_format(formats: list[str]) -> dict[str, Any]:
    from statsmodels.iolib.tableformatting import fmt_base

    return {**fmt_base, "data_fmts": formats, "colwidths": 1}


def _latex(text: str) -> str:
    for symbol in "\\&%$#_{}":
        text = text.replace(symbol, "\\textbackslash " if symbol == "\\" else "\\" + symbol)
    return text
