"""Figures: what is drawn is what was computed; global settings stay; files are reproducible."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from moestat import plot
from moestat.simulate import estimate_rate, estimate_rates, load_scenario


@pytest.fixture
def rate():
    rng = np.random.default_rng(0)
    n = np.repeat([100, 200, 400, 800, 1600], 30)
    frame = pd.DataFrame({"n": n, "value": 3 * n**-0.5 * rng.lognormal(0, 0.3, n.size)})
    frame["certified"] = np.arange(n.size) % 50 != 0
    return estimate_rate(frame, "D1", theory=-0.5)


@pytest.fixture
def records():
    rng = np.random.default_rng(1)
    scenario = load_scenario("polynomial-mendes-jiang")
    rows = [
        {"fit": c.fit, "n_experts": c.n_experts, "n": c.n, "rep": c.rep, "loss": "kl", "certified": True,
         "value": (3 * c.n_experts**-4.0 + c.n_experts / c.n) * rng.lognormal(0, 0.1)}
        for c in scenario.cells([500, 2000], 3, max_experts=12)
    ]  # fmt: skip
    return pd.DataFrame(rows), scenario


def test_rate_figure_shows_points_line_and_slope(rate):
    ax = plot.plot_rate(rate)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    container = ax.containers[0]
    np.testing.assert_allclose(container.lines[0].get_ydata(), [point.mean for point in rate.points])
    fitted = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    x, y = fitted[0].get_data()
    assert np.diff(np.log(y))[0] / np.diff(np.log(x))[0] == pytest.approx(rate.slope)
    dotted = next(line for line in ax.lines if line.get_linestyle() == ":")
    assert np.diff(np.log(dotted.get_ydata()))[0] / np.diff(np.log(dotted.get_xdata()))[0] == pytest.approx(-0.5)
    texts = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in ax.texts]
    assert any(f"slope {rate.slope:.3f}  [{rate.ci[0]:.3f}, {rate.ci[1]:.3f}]" in text for text in texts)
    assert any(text.startswith("3 of 150 cells uncertified") for text in texts)


def test_slope_text_lies_along_the_line(rate):
    ax = plot.plot_rate(rate)
    ax.figure.draw_without_rendering()
    label = next(text for text in ax.texts if text.get_text().startswith("slope"))
    points = ax.transData.transform([(n, np.exp(rate.intercept) * n**rate.slope) for n in (100.0, 1600.0)])
    angle = np.degrees(np.arctan2(*(points[1] - points[0])[::-1]))
    assert label.get_rotation() == pytest.approx(angle % 360, abs=0.5)


def test_given_axes_are_used_and_global_settings_kept(rate):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    figure, ax = plt.subplots()
    assert plot.plot_rate(rate, ax) is ax
    assert plot.plot_rates([rate], ax) is ax
    plt.close(figure)
    assert dict(mpl.rcParams) == before
    own = plot.plot_rate(rate).figure
    assert plt.get_fignums() == []  # new figures are nobody else's business
    assert type(own.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"


@pytest.mark.parametrize("own", [False, True])
def test_labels_of_several_rates_are_whole_and_apart(own):
    """On a default axis, too: names inside the axis, none over another, tick labels apart, no data under the names."""
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    n = np.repeat([100.0 * 2**i for i in range(11)], 20)
    rates = {
        name: estimate_rate(pd.DataFrame({"n": n, "value": c * n**-0.5 * rng.lognormal(0, 0.3, n.size)}), name)
        for name, c in (("D1", 5), ("hellinger", 1), ("tv", 1.05), ("l2", 0.95), ("merged", 5.1))
    }
    ax = plot.plot_rates(rates) if own else plot.plot_rates(rates, plt.figure().add_subplot())
    plt.close("all")
    ax.figure.draw_without_rendering()
    names = [text.get_window_extent() for text in ax.texts]
    assert len(names) == 5
    inside = ax.get_window_extent()
    data_end = ax.transData.transform((n.max(), 0.01))[0]
    for box in names:
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1
        assert inside.y0 - 5 <= box.y0 <= box.y1 <= inside.y1 + 5
        assert box.x0 > data_end
    ticks = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert len(ticks) >= 3
    for boxes in (names, ticks):
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_slope_text_lies_over_the_error_bars_and_without_an_empty_interval(rate):
    label = next(text for text in plot.plot_rate(rate).texts if text.get_text().startswith("slope"))
    bars = [bar.get_zorder() for bar in plot.plot_rate(rate).collections]
    assert label.get_zorder() > max(bars)
    assert label.get_path_effects()
    few = pd.DataFrame({"n": [100, 100, 200, 200], "value": [1.0, 1.5, 0.6, 0.8]})
    texts = [text.get_text() for text in plot.plot_rate(estimate_rate(few, "D1", theory=-0.5)).texts]
    assert any(text.startswith("slope") for text in texts)
    assert not any("[" in text for text in texts)


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_files_are_reproducible(rate, tmp_path, kind):
    files = [plot.save_figure(plot.plot_rate(rate).figure, tmp_path / f"{i}.{kind}") for i in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(ValueError, match="pdf, svg or png"):
        plot.save_figure(plot.plot_rate(rate).figure, tmp_path / "figure.eps")


def test_u_curves_mark_the_smallest_mean(records):
    frame, scenario = records
    rule = {n: scenario.fit_by_id("k1").rule.n_experts(n) for n in (500, 2000)}
    ax = plot.plot_u_curves(frame, "k1", rule=rule, bias_slope=-4.0)
    means = frame[frame["fit"] == "k1"].groupby(["n", "n_experts"])["value"].mean()
    circles = [line for line in ax.lines if line.get_marker() == "o"]
    best = {(int(means.loc[n].idxmin()), means.loc[n].min()) for n in (500, 2000)}
    assert {(int(line.get_xdata()[0]), line.get_ydata()[0]) for line in circles} == best
    squares = [line for line in ax.lines if line.get_marker() == "s"]
    assert {int(line.get_xdata()[0]) for line in squares} == set(rule.values())


def test_equal_budgets(records):
    frame, _ = records
    ax = plot.plot_budget(frame, {"k0": 0, "k1": 1, "k2": 2, "k3": 3}, 12)
    labels = {text.get_text() for text in ax.texts}
    assert labels == {"k = 0, m = 12", "k = 1, m = 6", "k = 2, m = 4", "k = 3, m = 3"}


def test_run_figure_chooses_its_panels(records):
    frame, scenario = records
    figure = plot.run_figure(frame, scenario, estimate_rates(frame, scenario))
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]
    assert "Degree k = 1 (squares: m(n))" in titles
    assert "KL divergence at the best m, k = 2" in titles
    assert "Equal budget m (k+1) = 12" in titles
    assert "Equal budget m (k+1) = 24" in titles


def test_fit_figure():
    from moestat.mixture import ConditionalMixture

    params = {
        "gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0], "expert_coef": [[-2.0], [2.0]],
        "expert_intercept": [1.0, -1.0], "expert_scale": [0.3, 0.2],
    }  # fmt: skip
    model = ConditionalMixture(gate="softmax", expert="gaussian", params={k: np.array(v) for k, v in params.items()})
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (60, 1))
    y = model.sample(x, rng)
    ax = plot.plot_fit(model, x, y)
    assert ax.collections[0].get_offsets().shape == (60, 2)
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(dashed.get_ydata(), model.mean(dashed.get_xdata()[:, None]))
    assert len(ax.figure.axes) == 2
    with pytest.raises(ValueError, match="one feature"):
        plot.plot_fit(model, np.zeros((5, 2)), np.zeros(5))


def test_losses_at_one_size_and_losses_of_zero(rate):
    """Neither gives limits of a logarithmic axis by itself; a warning would be an error here."""
    one = replace(rate, points=rate.points[:1], n_used=(), n_dropped=(), slope=float("nan"), local_slopes=())
    assert plot.plot_rate(one).get_xlim()[0] < one.points[0].n < plot.plot_rate(one).get_xlim()[1]
    zero = replace(one, points=tuple(replace(p, mean=0.0, median=0.0, trimmed=0.0) for p in rate.points))
    assert "zero at every n" in [text.get_text() for text in plot.plot_rate(zero).texts]
