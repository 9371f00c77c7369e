"""Newton under a box: a step that bounds cut so that the model falls is shortened, not given up."""

from __future__ import annotations

import numpy as np
import pytest

from moestat.fitting import fit_mixture
from moestat.simulate import load_scenario
from moestat.simulate.models import draw_data
from moestat.simulate.starts import perturbed_truth


@pytest.mark.parametrize("rep", range(4))
def test_no_search_stalls_at_a_bound(rep: int) -> None:
    """Of 192 such searches 24 ended up to four nats low before."""
    scenario = load_scenario("softmax-gaussian-over")
    fit = scenario.fit[0]
    X, y, _ = draw_data(scenario, 200, rep)
    for start in perturbed_truth(scenario, fit, 3, np.random.default_rng(rep)):
        result = fit_mixture(X, y, 3, init=[start], solver="newton").result
        assert result.converged, (result.status, result.certificate.decrement)
