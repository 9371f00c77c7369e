"""Nguyen, Nguyen and Ho (NeurIPS 2023): maximum likelihood in softmax-gated Gaussian mixtures of experts.

a, b: number of experts known, with the constants that the Fisher information predicts. c, d: one expert too many. e: single
parameters of the split atom. f: the same loss of certified fits and of fits that stop as published code does.
"""

SOURCES = ("softmax-gaussian-exact", "softmax-gaussian-over", "softmax-gaussian-protocol")


def draw(sources):
    from moestat.plot import paper_figure

    exact, over, protocol = (sources[name].rates for name in SOURCES)
    gaps = {"$\\beta_1$": "gate_coef", "$a$": "expert_coef", "$b$": "expert_intercept", "$\\sigma^2$": "variance"}
    return paper_figure(
        [
            ("Exact: Voronoi loss $D_1$", exact["D1"]),
            ("Exact: KL divergence", exact["kl"]),
            ("Over-specified: sharp loss", over["D2sharp"]),
            ("Over-specified: merged moments", over["merged"]),
            ("Gaps within the split atom", {name: over[f"gap:{block}"] for name, block in gaps.items()}),
            ("KL: certified, as published", {"certified": protocol["kl"], "published": protocol["kl:published"]}),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
