"""What the mixture is for: a minority of annotators is found, and new annotators are predicted better than by one reward."""

from __future__ import annotations

import numpy as np
import pytest

from moestat.preference import PreferenceMoE

from .choices import simulate

REWARDS = [[1.5, -1.0, 0.5], [-1.5, 1.0, 0.5]]  # the majority's and the minority's
GATE = [[1.36, 2.0], [0.0, 0.0]]  # a minority of 0.30 over standard normal covariates


def replicate(seed):
    """Log-losses and accuracies of one replicate: 200 annotators with 8 comparisons to fit, 8 more to test, and 200 new annotators."""
    rng = np.random.default_rng(seed)
    old = simulate(rng, REWARDS, GATE, n_annotators=200, n_each=16)
    new = simulate(rng, REWARDS, GATE, n_annotators=200, n_each=8)
    seen = np.arange(3200) % 16 < 8
    fit = old["sets"][seen], old["chosen"][seen], old["annotator"][seen], old["U"]
    later = old["sets"][~seen], old["chosen"][~seen], old["annotator"][~seen]
    minority = old["group"][later[2]] == 1
    out = {"minority": float((old["group"] == 1).mean())}
    for name, est in {
        "single": PreferenceMoE(1),
        "mixture": PreferenceMoE(2, gate="constant", random_state=0),
        "gated": PreferenceMoE(2, random_state=0),
    }.items():
        est.fit(*fit)
        right = est.predict(later[0], later[2]) == later[1]
        out |= {
            f"{name} later": est.log_loss(*later),
            f"{name} new": est.log_loss(new["sets"], new["chosen"], U=new["U"][new["annotator"]]),
            f"{name} right, minority": float(right[minority].mean()),
            f"{name} right, majority": float(right[~minority].mean()),
        }
    out["found"] = float((est.responsibilities().argmax(axis=1) == old["group"]).mean())
    out["agree"] = est.result_.certificate.n_agree
    return out


def check(means):
    assert means["gated later"] < means["single later"] - 0.1
    assert means["gated new"] < means["single new"] - 0.04
    assert means["gated new"] < means["mixture new"] - 0.03
    assert means["gated right, minority"] > means["single right, minority"] + 0.25
    assert means["gated right, majority"] > means["single right, majority"] - 0.02
    assert means["found"] > 0.93


def test_minority_is_found_and_new_annotators_are_predicted_better():
    check(replicate(0))


@pytest.mark.slow
def test_minority_in_replicates():
    results = [replicate(seed) for seed in range(20)]
    means = {name: float(np.mean([r[name] for r in results])) for name in results[0]}
    check(means)
    wins = [r["gated new"] < min(r["single new"], r["mixture new"]) for r in results]
    assert all(wins)
