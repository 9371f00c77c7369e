"""Nguyen, Ho and Rinaldo (2024): sigmoid gates under least squares, in the regimes of vanishing and of other slopes."""

SOURCES = (
    "sigmoid-regime-1",
    "sigmoid-regime-2",
)


def draw(sources):
    from moestat.plot import paper_figure

    one, two = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Exact: Voronoi loss", one["sigmoid-L1"]),
            ("Regime 1: Voronoi loss", one["sigmoid-L1:k3"]),
            ("Regime 1: gap of the slopes", one["gap:expert_coef"]),
            ("Regime 1: function", one["l2:k3"]),
            ("Regime 2, exact", two["sigmoid-L1"]),
            ("Regime 2: function", two["l2:k3"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
