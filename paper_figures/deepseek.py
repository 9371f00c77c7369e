"""Nguyen et al. (2505.10860): shared experts, and softmax or normalised sigmoid gates; theorems 1 to 4."""

SOURCES = (
    "deepseek-1",
    "deepseek-2",
    "deepseek-3",
    "deepseek-4",
)


def draw(sources):
    from moestat.plot import paper_figure

    one, two, three, four = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Theorem 1, exact", one["deepseek-D1"]),
            ("Theorem 1, over-specified", one["deepseek-D1:over"]),
            ("Theorem 2, sharp loss", two["deepseek-D2sharp"]),
            ("Theorem 3, exact", three["deepseek-D3"]),
            ("Theorem 3, over-specified", three["deepseek-D3:over"]),
            ("Theorem 4: density", four["hellinger:over"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
