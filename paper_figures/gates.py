"""Laplace and quadratic gates (FuseMoE, 2024; 2410.11222): exact fits, and one expert too many."""

SOURCES = (
    "laplace",
    "quadratic-monomial",
    "quadratic-polynomial",
)


def draw(sources):
    from moestat.plot import paper_figure

    laplace, monomial, polynomial = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Laplace, exact", laplace["laplace-D1"]),
            ("Laplace, over-specified", laplace["laplace-D2"]),
            ("Laplace: gaps", {"$W$": laplace["gap:gate_location"], "$a$": laplace["gap:expert_coef"]}),
            ("Monomial, exact", monomial["D1"]),
            ("Monomial, over-specified", monomial["quadratic-monomial-D2"]),
            ("Polynomial, over-specified", polynomial["quadratic-polynomial-D2sharp"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
