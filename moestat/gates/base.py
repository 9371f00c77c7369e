"""What every gate is: scores linear in a map, a normaliser, and the M-step of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from moestat.entries import n_columns, read_entry
from moestat.gates.parts import NestedParts, Parts, SharedParts

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """A gate: coefficients `γ (S, p)`, of which some are free, and the weights of the experts that they make.

    `name` is the registry's key and `degree` that of the polynomial map (0: no features). Softmax gates that are linear in their
    features run through compiled kernels; all others are `general` and answer by scores, see `moestat.gates.scores.ScoreGate`.
    """

    name: ClassVar[str] = ""
    degree: ClassVar[int] = 1
    general: ClassVar[bool] = False  # not a softmax of linear scores
    normalised: ClassVar[bool] = True  # the weights sum to one
    open_threshold: ClassVar[bool] = False  # has a number that a fit of its dense counterpart must set first
    exchangeable: ClassVar[bool] = True  # experts may be put in any order
    linked: ClassVar[bool] = False  # the softmax of log σ of linear scores; not inherited
    joint: ClassVar[bool] = False  # a model of x as well
    raw_features: ClassVar[bool] = False  # needs the user's own columns, not orthonormal combinations of them

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name (scikit-learn's protocol: `GridSearchCV` reaches them as `gate__…`)."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __sklearn_clone__(self) -> Self:
        """Components are immutable: a copy is the component itself."""
        return self

    def inputs(self) -> Any:
        """The transform of the columns before the map, or None; see `moestat.maps.InputMap`."""
        return None

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """For each coefficient `(S, p)` the number of the free parameter it equals; -1 where it is pinned at zero.

        Here: one row an expert, the last one pinned.
        """
        out = np.arange(n_experts * n_features).reshape(n_experts, n_features)
        out[-1] = -1
        return out

    def bounds(self, n_experts: int, n_features: int) -> tuple[Array, Array] | None:
        """Lower and upper bounds `(S, p)` of the coefficients, or None."""
        return None

    def dense(self) -> Any:
        """For a gate that switches experts off: the gate with the same coefficients that does not, on which a search warms up."""
        return None

    def calibrate(self, scores: Array, weight: Array | None = None) -> Any:
        """Of a gate with an open threshold: the gate with its number, from scores `(K, n)` of the dense counterpart."""
        raise NotImplementedError

    def floor_bounds(self, n_experts: int, floor: Array) -> tuple[Array, Array]:
        """Of a gate that models x: bounds `(S, p)` that keep its standard deviations above `floor (d,)`."""
        raise NotImplementedError

    def links(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """How each coefficient `(S, p)` becomes the number that a table shows: by the beginning of its name."""
        prefixes = {"log_scale": "log", "log_temperature": "log"}
        names = self.names(n_experts, terms)
        return [
            [next((v for k, v in prefixes.items() if name.partition(":")[2].startswith(k)), "identity") for name in row]
            for row in names
        ]

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """Number of directions in the free coefficients that leave the likelihood as it is, wherever they start and whatever the data.

        `canonical` picks a representative along some of them; none counts as a parameter in information criteria.
        """
        return 0

    def for_information(self, n: float) -> Any:
        """The gate that takes this one's place where second derivatives are summed over n rows an expert; here itself.

        A gate whose scores have kinks leaves their curvature out: see `moestat.gates.nonlinear.straight`.
        """
        return self

    def canonical(self, gamma: Array) -> Array:
        """The representative of `γ (S, p)` under the gate's own invariances; idempotent. Here: the last row zero."""
        return np.asarray(gamma - gamma[-1])

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """Coefficients of the gate with its experts in another order.

        Raises
        ------
        ValueError
            If the gate does not allow the order (a hierarchy, say).
        """
        return gamma[list(order)]

    def maximise(
        self, coef: Array, gradient: Array, information: Array, gram: Array, mass: Array, step: float
    ) -> Array:
        """New free coefficients from the gradient and the information of Σ resp log π at `coef`.

        `gram` is Σ w zzᵀ and `mass` the total responsibility of each expert.
        A Newton step of the given length; `step = 0` takes the step of Böhning's (1992) bound instead, which never
        decreases the likelihood.
        """
        raise NotImplementedError

    # -- parameters ---------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("gate_coef", "gate_intercept")

    def n_inputs(self, params: Mapping[str, Any]) -> int:
        """Columns that the map sees, as far as a parameter dictionary tells."""
        width = np.asarray(params.get("gate_coef", np.zeros((1, 0))), dtype=float).shape[-1]
        return n_columns(width, self.degree, "gate_coef")

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """Entries of the public parameter dictionary of raw coefficients `γ (S, p)`."""
        return {"gate_coef": gamma[:, 1:], "gate_intercept": gamma[:, 0]}

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (S, p)` of a public parameter dictionary, for q raw features.

        Raises
        ------
        ValueError
            If an entry is missing or of the wrong shape.
        """
        s = len(self.index(n_experts, n_features))
        intercept = read_entry(params, "gate_intercept", (s,))
        coef = read_entry(params, "gate_coef", (s, n_features - 1)) if n_features > 1 else np.zeros((s, 0))
        return np.column_stack([intercept, coef])

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts | NestedParts | SharedParts:
        """What the gate adds to the mixing measure, from the public parameters of its canonical form.

        Here: `exp(β0)` as weights and the slopes in the atoms, both translated by the gauge of a softmax.

        Raises
        ------
        ValueError
            If the gate has no mixing measure, with the reason.
        """
        blocks = {"gate": params["gate_coef"]} if "gate_coef" in params else {}
        return Parts(params["gate_intercept"], blocks, "softmax")

    def reading(self, n_experts: int) -> str:
        """What the coefficients mean, for the foot of a table."""
        return f"Gate: log-odds against expert {n_experts}, whose gate coefficients are zero."

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """Names of the coefficients `(S, p)`, `terms` the names of the features (`Intercept` first)."""
        rows = len(self.index(n_experts, len(terms)))
        return [[f"gate[{j + 1}]:{term}" for term in terms] for j in range(rows)]
