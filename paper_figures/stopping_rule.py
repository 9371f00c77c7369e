"""Why a stopping rule fakes a rate: slopes of an over-specified model against the tolerance that ends EM, and of certified fits.

The figure is drawn from ``stopping_rule.csv`` beside this script, which is simulated by

    python paper_figures/stopping_rule.py simulate quick

(smoke: half a minute; quick: a few minutes; full: hours). Without arguments the figure alone is made again.
"""

import sys
from pathlib import Path

SOURCES = ()
RECORDS = Path(__file__).with_name("stopping_rule.csv")
SCENARIO = "softmax-gaussian-protocol"
SIZES = {
    "smoke": ((125, 250, 500, 1000), 4),
    "quick": ((250, 500, 1000, 2000, 4000, 8000, 16000), 12),
    "full": ((250, 500, 1000, 2000, 4000, 8000, 16000), 100),
}


def simulate(preset="smoke", path=RECORDS):
    from moestat.simulate import load_scenario
    from moestat.simulate.stopping import stopping_study

    sizes, reps = SIZES[preset]
    stopping_study(load_scenario(SCENARIO), sizes, reps, max_iter=2000).to_csv(path, index=False, float_format="%.8g")


def draw(sources, path=RECORDS):
    import pandas as pd

    from moestat.plot import stopping_figure
    from moestat.simulate import load_scenario
    from moestat.simulate.stopping import rates_by_rule

    frame = pd.read_csv(path, dtype={"rule": str})
    return stopping_figure(frame, rates_by_rule(frame, load_scenario(SCENARIO)))


if __name__ == "__main__":
    from moestat.cli.figures import main

    if sys.argv[1:2] == ["simulate"]:
        simulate(*sys.argv[2:3])
    main(__file__)
