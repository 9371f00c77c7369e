"""Nguyen et al. (ICML 2024): multinomial logistic experts; slopes that are distinct, vanish, or meet a bounded gate."""

SOURCES = (
    "multinomial-exact",
    "multinomial-over",
    "multinomial-vanishing",
    "multinomial-modified",
)


def draw(sources):
    from moestat.plot import paper_figure

    exact, over, vanishing, modified = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Exact: Voronoi loss", exact["multinomial-D1"]),
            ("Over-specified: Voronoi loss", over["multinomial-D1"]),
            ("Modified gate: Voronoi loss", modified["multinomial-D1"]),
            ("Gaps within the split atom", {"gate": over["gap:gate_coef"], "slopes": over["gap:expert_coef"]}),
            ("A slope vanishes: parameters", vanishing["multinomial-D2r(2)"]),
            ("A slope vanishes: KL", vanishing["kl"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
