"""The objects that a declaration names: gate, expert, truth, law of x, and the data that they give."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .parts import Component, Fit, JointLaw, MixtureTruth, RegressionTruthSpec
from .scenario import Scenario, ScenarioError
from .seeds import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..experts.base import BaseExpert
    from ..gates.base import Gate

    Array = NDArray[np.float64]

__all__ = ["build_expert", "build_gate", "build_law", "build_truth", "context", "draw_data", "measure"]


def cosine_series(X: Array, alpha: float, terms: int, amplitude: float) -> Array:
    """``amplitude * sum_l 2^(-alpha l) cos(2 pi 2^l x + l)`` over ``l = 0 .. terms-1``, summed over the columns: smoothness alpha at every scale.

    Parameters
    ----------
    X : ndarray (n, d)

    Returns
    -------
    ndarray (n,)
    """
    order = np.arange(terms)
    x = np.asarray(X, dtype=float)
    x = x.reshape(len(x), -1, 1)
    waves: Array = (np.cos(2 * np.pi * 2.0**order * x + order) @ 2.0 ** (-alpha * order)).sum(axis=1)
    return amplitude * waves


def build_gate(component: Component) -> Gate:
    """The gate of a name, or of a name with settings; a setting that is a table is a gate itself."""
    from ..registry import GATES, resolve_gate

    name, options = _split(component)
    if name not in GATES:
        return resolve_gate(name)
    inner = {key: build_gate(_options(value)) if isinstance(value, dict) else value for key, value in options.items()}
    return GATES[name](**inner) if inner else resolve_gate(name)


def build_expert(component: Component, degree: int = 1, variance: Any = "free") -> BaseExpert:
    """The expert of a name, or of a name with settings; ``degree`` unless these have one, ``variance`` of Gaussian ones."""
    from ..registry import EXPERTS, resolve_expert

    name, options = _split(component)
    if name not in EXPERTS:
        return resolve_expert(name)
    own = {"variance": variance} if name == "gaussian" else {}
    made: BaseExpert = EXPERTS[name](**({"degree": degree} | own | options))
    return made


def _split(component: Component) -> tuple[str, dict[str, Any]]:
    if isinstance(component, str):
        return component, {}
    return component.name, dict(component.model_extra or {})


def _options(value: dict[str, Any]) -> Component:
    from .parts import Options

    return Options.model_validate(value)


def gate_of(scenario: Scenario, fit: Fit) -> Gate:
    """The gate that a fit has: its own, or that of the truth."""
    truth = scenario.truth
    return build_gate(fit.gate or (truth.gate if isinstance(truth, MixtureTruth) else "softmax"))


def expert_of(scenario: Scenario, fit: Fit) -> BaseExpert:
    """The experts that a fit has: its own, or those of the truth."""
    truth = scenario.truth
    chosen = fit.expert or (truth.expert if isinstance(truth, MixtureTruth) else "gaussian")
    return build_expert(chosen, fit.degree, fit.variance)


def build_law(scenario: Scenario) -> Any:
    """The law of x; that of the truth, if it is a joint model."""
    from ..distributions import Uniform

    if isinstance(scenario.x, JointLaw):
        from ..divergences import law_of_x

        return law_of_x(build_truth(scenario))
    return Uniform(scenario.x.low, scenario.x.high)


def build_truth(scenario: Scenario) -> Any:
    """The true conditional density, or regression function.

    Raises
    ------
    ScenarioError
        If its parameters do not suit its gate and experts.
    """
    truth = scenario.truth
    if isinstance(truth, RegressionTruthSpec):
        from ..divergences import RegressionTruth

        def mean(X: Array) -> Array:
            return cosine_series(X, truth.alpha, truth.terms, truth.amplitude)

        return RegressionTruth(mean, truth.scale, scenario.x.n_features)
    try:
        return build_mixture(
            truth, build_gate(truth.gate), build_expert(truth.expert, truth.degree), truth.params, scenario
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ScenarioError(f"{scenario.id}: truth: {error}") from error


def build_mixture(
    truth: MixtureTruth, gate: Gate, expert: BaseExpert, params: dict[str, Any], scenario: Scenario
) -> Any:
    """A mixture, or a regression function if the truth is one."""
    from ..mixture import ConditionalMixture
    from ..regression_function import RegressionFunction

    values = {name: np.asarray(value, dtype=float) for name, value in params.items()}
    d = scenario.x.n_features
    if truth.noise is not None:
        return RegressionFunction(gate, expert, values, truth.noise, n_features=d)
    return ConditionalMixture(gate, expert, values, n_features=d)


@lru_cache(maxsize=8)
def _context(fingerprint: str, scenario_json: str) -> tuple[Any, Any]:
    scenario = Scenario.model_validate_json(scenario_json)
    return build_law(scenario), build_truth(scenario)


def context(scenario: Scenario) -> tuple[Any, Any]:
    """Law of x and truth, built once in a process."""
    return _context(scenario.fingerprint(), scenario.model_dump_json(exclude_none=True))


def draw_data(scenario: Scenario, n: int, rep: int) -> tuple[Array, Array, int]:
    """The data of a replicate, the same for every fit, and its CRC-32."""
    law, truth = context(scenario)
    rng = stream(scenario.root_seed, scenario.id, n, rep, "data")
    X = np.ascontiguousarray(law.sample(n, rng), dtype=np.float64).reshape(n, -1)
    trials = getattr(scenario.truth, "trials", 1)
    y = truth.sample(X, rng) if trials == 1 else grouped(truth, X, trials, rng)
    y = np.ascontiguousarray(y, dtype=np.float64)
    return X, y, zlib.crc32(y.tobytes(), zlib.crc32(X.tobytes()))


def grouped(truth: Any, X: Array, trials: int, rng: np.random.Generator) -> Array:
    """Counts of each class in ``trials`` draws, all from the expert that the gate chose for the row: ``(n, C)``."""
    weights = np.cumsum(truth.gate_proba(X), axis=1)
    label = (rng.random((len(X), 1)) * weights[:, -1:] > weights).sum(axis=1)
    proba = np.asarray(truth.expert_mean(X))[np.arange(len(X)), label]
    return rng.multinomial(trials, proba / proba.sum(axis=1, keepdims=True)).astype(float)


def measure(scenario: Scenario, mixture: Any) -> Any:
    """The mixing measure of a truth or an estimate; of a deviated model, that of its deviation."""
    if not getattr(scenario.truth, "deviated", False):
        return mixture.mixing_measure()
    from ..losses import DeviatedMeasure
    from ..mixing_measure import MixingMeasure

    log_weight = mixture.params["gate_intercept"]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    atoms = {
        key.removeprefix("expert_"): value[1:] for key, value in mixture.params.items() if key.startswith("expert_")
    }
    return DeviatedMeasure(float(1.0 - weight[0]), MixingMeasure(weight[1:] / weight[1:].sum(), atoms))
