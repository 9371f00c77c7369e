"""Figures of papers and pages: curves of log theories, panels, common scales, SVG as text."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from moestat import plot
from moestat.plot.rates import label_of
from moestat.simulate import estimate_rate


def estimate(law, theory, loss="D1", seed=0):
    n = np.repeat([100, 300, 1000, 3000, 10_000], 30)
    noise = np.random.default_rng(seed).lognormal(0, 0.2, n.size)
    return estimate_rate(pd.DataFrame({"n": n, "value": law(n) * noise}), loss, theory=theory)


def test_a_log_theory_is_drawn_as_a_curve():
    rate = estimate(lambda n: 2 / np.log(n), "log")
    ax = plot.plot_rate(rate)
    dotted = next(line for line in ax.lines if line.get_linestyle() == ":")
    x, y = dotted.get_data()
    np.testing.assert_allclose(y * np.log(x), y[0] * np.log(x[0]))  # constant / log n
    fitted = next(line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2)
    np.testing.assert_allclose(fitted.get_ydata(), rate.line(fitted.get_xdata()))
    assert any("power of log n" in text.get_text() for text in ax.texts)
    assert ax.get_legend().get_texts()[0].get_text() == "theory: 1 / log n"


def test_lines_of_a_rate():
    rate = estimate(lambda n: 3 * n**-0.5, -0.5)
    assert rate.line(1000.0) == pytest.approx(np.exp(rate.intercept + rate.slope * np.log(1000.0)))
    assert rate.law(100.0) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no theory is declared for D1"):
        estimate(lambda n: 3 * n**-0.5, None).law(100.0)


def test_paper_figure():
    rates = {name: estimate(lambda n: n**-0.5, -0.5, name, seed) for seed, name in enumerate(("D1", "kl"))}
    figure = plot.paper_figure([("one", rates["D1"]), ("two", rates), *[("more", rates["kl"])] * 3])
    figure.draw_without_rendering()
    assert figure.get_figwidth() == pytest.approx(6.9)
    assert len(figure.axes) == 5
    assert [ax.get_title(loc="left")[-4:].strip() for ax in figure.axes[:3]] == ["one", "two", "more"]
    for ax in figure.axes:  # labels of neighbouring ticks stay apart
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    names = {text.get_text().split(":")[0] for text in figure.axes[1].texts}
    assert names == {"D1", "kl"}
    with pytest.raises(ValueError, match="a panel at least"):
        plot.paper_figure([])


def test_curves_from_means_and_on_a_common_scale():
    rows = [("k1", "kl", n, m, m**-2.0 + m / n, 0.01) for n in (500, 2000) for m in (2, 4, 8)]
    frame = pd.DataFrame(rows, columns=["fit", "loss", "n", "n_experts", "mean", "sem"])
    ax = plot.plot_u_curves(frame, "k1", limits=(0.01, 2.0))
    assert ax.get_ylim() == (0.01, 2.0)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), [0.254, 0.0705, 0.031625])


def test_svg_as_text_is_an_element_and_the_same_again():
    def draw():
        return plot.figure_svg(plot.rate_panels({"D1": estimate(lambda n: n**-0.5, -0.5)}))

    text = draw()
    assert ET.fromstring(text).tag.endswith("svg")
    assert text == draw()


@pytest.mark.parametrize(
    ("loss", "label"),
    [
        ("D1", "Voronoi loss $D_1$"),
        ("kl:k3", "KL divergence, k3"),
        ("spread:expert_intercept", "Spread of $b$"),
        ("laplace-D2", "laplace-D2"),
    ],
)
def test_labels(loss, label):
    assert label_of(loss) == label
