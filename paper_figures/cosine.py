"""Nguyen et al. (2024): the norm in a cosine router is not identified; a perturbed one is."""

SOURCES = (
    "cosine",
    "perturbed-cosine",
)


def draw(sources):
    from moestat.plot import paper_figure

    plain, perturbed = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Cosine: function", plain["l2"]),
            ("Cosine: directions", plain["cosine-L2"]),
            ("Perturbed: function", perturbed["l2"]),
            ("Perturbed: Voronoi loss", perturbed["perturbed-cosine-L2"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
