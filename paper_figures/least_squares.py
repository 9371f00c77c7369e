"""Nguyen, Ho and Rinaldo (2024): least squares with strongly identifiable and with linear experts."""

SOURCES = (
    "least-squares-tanh",
    "least-squares-linear",
)


def draw(sources):
    from moestat.plot import paper_figure

    tanh, linear = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("tanh, exact", tanh["lse-L1"]),
            ("tanh, over-specified", tanh["lse-L1:k3"]),
            ("tanh: gaps", {"slopes": tanh["gap:expert_coef"], "gate": tanh["gap:gate_coef"]}),
            ("Linear, exact", linear["lse-L1"]),
            ("Linear, over-specified: function", linear["l2:k3"]),
            ("Linear, over-specified: atoms", linear["lse-L2r(2)"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
