"""The package's look, applied without touching matplotlib's global settings, and reproducible files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "figure_svg", "new_axes", "new_figure", "save_figure", "style"]

# petroff6: chosen for distinguishability under the common colour-vision deficiencies (Petroff, 2021)
COLOURS = ("#5790fc", "#f89c20", "#e42536", "#964a8b", "#9c9ca1", "#7a21dd")
_STYLE = Path(__file__).with_name("moestat.mplstyle")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Use moestat's style inside a ``with`` block; the former settings come back afterwards."""
    import matplotlib as mpl

    with mpl.rc_context(fname=str(_STYLE)):
        yield


def new_axes(ax: Axes | None, **figure_options: Any) -> Axes:
    """The given axes, or those of a new figure that no global state knows of."""
    if ax is not None:
        return ax
    return new_figure(**figure_options).add_subplot()


def new_figure(**options: Any) -> Figure:
    """A figure with constrained layout, outside pyplot's list, so that nothing has to close it; notebooks show it all the same."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", **options)
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    """What a notebook shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure without dates in it, so that the same figure gives the same file.

    Raises
    ------
    ValueError
        If the ending is none of pdf, svg, png.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}
    }  # fmt: skip
    if kind not in metadata:
        raise ValueError(f"a figure is written as pdf, svg or png, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        figure.savefig(path, metadata=metadata[kind])
    return path


def figure_svg(figure: Figure) -> str:
    """A figure as an ``<svg>`` element for a page, without dates, the same for the same figure."""
    import io

    file = io.StringIO()
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :].strip()
