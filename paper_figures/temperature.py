"""Nguyen et al. (ICML 2024): the temperature of a softmax gate is not identified; that of an activation gate is."""

SOURCES = (
    "temperature",
    "activation-temperature",
)


def draw(sources):
    from moestat.plot import paper_figure

    softmax, activation = (sources[name].rates for name in SOURCES)
    return paper_figure(
        [
            ("Softmax, temperature wrong: KL", softmax["kl"]),
            ("Temperature and slopes", softmax["temperature-D2r(2)"]),
            ("Their ratio", softmax["temperature-D1"]),
            ("Activation gate, exact", activation["activation-D2"]),
            ("Activation gate, over-specified", activation["activation-D2:k3"]),
            ("Activation gate, KL", activation["kl:k3"]),
        ]
    )


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)
