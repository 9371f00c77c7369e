"""Factorial gate: one independent choice from each of several groups; weights of the joint choices are products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array
from moestat.gates.masked import log_softmax, numbered, softmax_curvature, softmax_jacobian
from moestat.gates.scores import ScoreGate
from moestat.states import check_sizes, groups, incidence, sizes_for


@dataclass(frozen=True)
class FactorialGate(ScoreGate):
    """Factorial gate: `π_z(x) = Π_p g_{p,z_p}(x)` over joint choices `z = (z_1, …, z_P)`, with a softmax g inside each of P groups.

    With `FactorialExpert` it is the factorial mixture of experts: E experts in groups make the product of the group sizes
    regions, the third reading of prototypes (k top-1; see `PrototypeGate`). With other experts each joint choice has one of its own.

    Parameters
    ----------
    sizes : sequence of int, optional
        Experts of each group, by default one group of all, a softmax. The number K of experts of the mixture is their product: one a joint
        choice, the last group's changing fastest.

    Raises
    ------
    ValueError
        If a size is no positive integer, or the product is not K.

    Notes
    -----
    Parameters are those of a softmax in every group: `gate_intercept (E,)`, `gate_coef (E, d)` for the E experts of all groups, the last of
    each group at zero. The number of the joint choice is part of the model: experts keep their order. Factorial models: Ghahramani &
    Jordan, "Factorial hidden Markov models", Machine Learning 29 (1997), 245-273, whose choices follow a chain instead of x.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.factorial import FactorialGate
    >>> np.exp(FactorialGate((2, 2)).log_prob(np.log([[1.0], [3.0], [4.0], [1.0]]))).ravel()
    array([0.2 , 0.05, 0.6 , 0.15])
    """

    name: ClassVar[str] = "factorial"
    exchangeable: ClassVar[bool] = False
    scoring: ClassVar[bool] = True

    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        sizes = check_sizes(self.sizes)
        if sizes != self.sizes:  # a tuple is kept as the object it is
            object.__setattr__(self, "sizes", sizes)

    def n_scores(self, n_experts: int) -> int:
        """One an expert of a group."""
        return sum(sizes_for(self._sizes, n_experts))

    @property
    def _sizes(self) -> tuple[int, ...] | None:
        return None if self.sizes is None else tuple(self.sizes)

    def _groups(self, rows: Array | NDArray[np.bool_]) -> list[slice]:
        """The groups of that many scores."""
        return groups(self._sizes or (len(rows),))

    def _incidence(self, rows: Array) -> Array:
        return incidence(self._sizes or (len(rows),))

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """The last row of every group is pinned."""
        free = np.ones((self.n_scores(n_experts), n_features), dtype=bool)
        free[[group.stop - 1 for group in self._groups(free)]] = False
        return numbered(free)

    def log_prob(self, scores: Array) -> Array:
        """Sums of the groups' log-softmax, `(K, B)`."""
        within = np.concatenate([log_softmax(scores[group]) for group in self._groups(scores)])
        return np.asarray(self._incidence(scores) @ within)

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`1{z uses j} - g_j`."""
        own = np.zeros((len(scores), *scores.shape))
        for group in self._groups(scores):
            own[group, group] = softmax_jacobian(log_softmax(scores[group]))
        return np.asarray(np.tensordot(self._incidence(scores), own, axes=1))

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`-(diag g - ggᵀ) Σ_z weight_z` inside a group."""
        out = np.zeros((len(scores), *scores.shape))
        for group in self._groups(scores):
            out[group, group] = softmax_curvature(log_softmax(scores[group]), weight.sum(axis=0))
        return out

    def canonical(self, gamma: Array) -> Array:
        """The last row of every group subtracted from the group."""
        return np.concatenate([gamma[group] - gamma[group][-1] for group in self._groups(gamma)])

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """Joint choices keep their order.

        Raises
        ------
        ValueError
            If the order is another one.
        """
        if list(order) != sorted(order):
            raise ValueError(f"order={list(order)}: the number of a joint choice says which experts it uses.")
        return gamma

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> NoReturn:
        """None: the weights of joint choices are no weights of atoms."""
        raise ValueError(f"there is no mixing measure of gate={self!r}: its experts act together, not one at a time.")

    def reading(self, n_experts: int) -> str:
        """See `Gate.reading`."""
        return "Gate: log-odds against the last expert of a group; gate[1], gate[2], … are the experts of all groups in turn."
