"""The compiled route of normalised sigmoid gates against the general one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from moestat.blocks import Rows
from moestat.experts import GaussianExpert, MultinomialExpert, PoissonExpert, StudentTExpert
from moestat.experts.nonlinear import NonlinearExpert
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.general import GeneralObjective
from moestat.linked import LinkedObjective, objective_for
from moestat.mixture import ConditionalMixture

from . import family

EXPERTS: list[Any] = [
    GaussianExpert(),
    GaussianExpert(degree=2, variance="tied"),
    PoissonExpert(),
    StudentTExpert(),
    MultinomialExpert(n_classes=3),
    NonlinearExpert(),
]


def pair(gate: Any, expert: Any, weighted: bool) -> tuple[LinkedObjective, GeneralObjective, np.ndarray]:
    """Both objectives on the same rows, and a free vector."""
    case = family.Case(gate, expert, 2 if expert.name == "multinomial" else 1)
    mixture = family.mixture(case)
    X, y = family.data(case, 700)
    weight = np.random.default_rng(2).uniform(0.0, 2.0, len(X)) if weighted else None
    objective, theta = mixture.objective(X, y, weight, raw=True)
    assert type(objective) is LinkedObjective
    general = GeneralObjective(objective.rows, objective.layout, floor=objective.floor)
    return objective, general, theta


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("expert", EXPERTS, ids=repr)
def test_sums_equal_those_of_the_general_route(expert: Any, degree: int, weighted: bool) -> None:
    linked, general, theta = pair(NormalizedSigmoidGate(degree=degree), expert, weighted)
    for shift in (0.0, 0.4, -6.0, 25.0):  # low and saturated scores too
        moved = theta.copy()
        moved[: linked.layout.n_gate] += shift
        mine, twin = linked.derivatives(moved), general.derivatives(moved)
        for a, b in zip([*mine, *linked.gradient(moved)], [*twin, *general.gradient(moved)], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * (1.0 + np.abs(b).max()))
        rows = general.row_scores(moved)
        np.testing.assert_allclose(linked.row_scores(moved), rows, rtol=1e-10, atol=1e-11 * (1.0 + np.abs(rows).max()))
        mine_em, twin_em = linked.em_pass(moved), general.em_pass(moved)
        for name, sums in twin_em.statistics.items():
            scale = 1e-11 * (1.0 + np.abs(sums).max(initial=0.0))
            np.testing.assert_allclose(mine_em.statistics[name], sums, rtol=1e-10, atol=scale, err_msg=name)
        np.testing.assert_allclose(
            mine_em.information, twin_em.information, atol=1e-11 * (1.0 + np.abs(twin_em.information).max())
        )


@dataclass(frozen=True)
class Another(NormalizedSigmoidGate):
    """A gate with a normaliser of its own."""

    def log_prob(self, scores: np.ndarray) -> np.ndarray:
        """A constant weight."""
        return np.full_like(scores, -np.log(len(scores)))


def test_subclasses_and_single_experts_take_the_general_route() -> None:
    params = {"gate_coef": [[1.0], [-1.0]], "gate_intercept": [0.0, 0.0]}
    expert = {"expert_coef": [[1.0], [0.0]], "expert_intercept": [0.0, 1.0], "expert_scale": [1.0, 1.0]}
    mixture = ConditionalMixture(gate=Another(), params=params | expert)
    X, y = np.linspace(-1.0, 1.0, 20)[:, None], np.zeros(20)
    objective, theta = mixture.objective(X, y)
    assert type(objective) is GeneralObjective
    assert objective.value(theta) == pytest.approx(mixture.log_density(X, y).sum(), rel=1e-12)
    single = mixture.layout.__class__(**{**vars_of(mixture.layout), "gate": NormalizedSigmoidGate(), "n_experts": 1})
    rows: Rows = objective.rows
    assert type(objective_for(rows, single, floor=np.full(1, 1e-3))) is GeneralObjective


def vars_of(layout: Any) -> dict[str, Any]:
    """The fields of a layout, for one expert."""
    from dataclasses import fields

    found = {f.name: getattr(layout, f.name) for f in fields(layout)}
    return found | {"known_scale": found["known_scale"][:1]}
