"""Top-K, hierarchical and deviated mixtures: exact fits in the losses of their theorems."""

SOURCES = (
    "topk-gaussian",
    "hierarchical",
    "deviated",
)


def draw(sources):
    from moestat.plot import paper_figure

    topk, hierarchical, deviated = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Top-K: Voronoi loss", topk["topk-D1(2)"]),
            ("Top-K too small: total variation", topk["tv:k1"]),
            ("Hierarchical: Voronoi loss", hierarchical["hierarchical-D1"]),
            ("Hierarchical: KL", hierarchical["kl"]),
            ("Deviated: Voronoi loss", deviated["deviated-D2"]),
            ("Deviated: KL", deviated["kl"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
