"""Dwivedi et al. (2020): one Gaussian fitted by two; statistical rates, and the number of EM steps."""

SOURCES = (
    "em-known-variance",
    "em-free-variance",
)


def draw(sources):
    from moestat.plot import paper_figure

    known, free = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Known variance: location", known["spread:expert_intercept"]),
            ("Known variance: EM steps", known["iterations"]),
            ("Free variance: location", free["spread:expert_intercept"]),
            ("Free variance: variance", free["gap:variance"]),
            ("Free variance: EM steps", free["iterations"]),
            ("Free variance: KL", free["kl"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
