"""Nguyen et al. (AISTATS 2024): joint likelihood of Gaussian-gated mixtures; locations away from zero (type I) and at zero (type II)."""

SOURCES = (
    "gaussian-gate-type-1",
    "gaussian-gate-type-2",
)


def draw(sources):
    from moestat.plot import paper_figure

    one, two = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Exact: Voronoi loss", one["gaussian-gate-D1"]),
            ("Type I: sharp loss", one["gaussian-gate-D2sharp"]),
            ("Type II: sharp loss", two["gaussian-gate-D2sharp"]),
            (
                "Type I: gaps",
                {"$c$": one["gap:gate_location"], "$a$": one["gap:expert_coef"], "$b$": one["gap:expert_intercept"]},
            ),
            (
                "Type II: gaps",
                {"$c$": two["gap:gate_location"], "$a$": two["gap:expert_coef"], "$b$": two["gap:expert_intercept"]},
            ),
            ("KL, one expert too many", two["kl:k3"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
