"""Figures outside pyplot's list are shown by notebooks all the same."""

from __future__ import annotations

from moestat.plot.look import new_figure


def test_a_figure_is_a_picture_in_a_notebook() -> None:
    figure = new_figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    assert figure._repr_png_().startswith(b"\x89PNG")
