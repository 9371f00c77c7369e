"""The density of a mixture of experts with known parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import parameters as pm
from moestat.blocks import Rows
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.maps import PolynomialMap
from moestat.objective import Objective
from moestat.predictive import MixturePredictions
from moestat.registry import resolve_expert, resolve_gate

if TYPE_CHECKING:
    from moestat.mixing_measure import MixingMeasure

Array = NDArray[np.float64]


class ConditionalMixture(MixturePredictions):
    """A mixture of experts with known parameters: `p(y|x) = Σ_k π_k(x) f_k(y|x)`.

    Parameters
    ----------
    gate, expert : str or object
        `"softmax"`, `"constant"` or a gate; `"gaussian"` or an expert.
    params : dict
        Raw parameters: `gate_coef (K, d)`, `gate_intercept (K,)`, `expert_coef (K, p)`, `expert_intercept (K,)`,
        `expert_scale (K,)` (standard deviations). With D responses `expert_coef (K, D, p)`, `expert_intercept (K, D)` and
        `expert_covariance (K, D, D)` or `expert_scale (K, D)`.
    gate_features, expert_features : sequence of int, optional
        Columns of X that gate and experts use; default all.
    n_features : int, optional
        Number of columns of X, where the parameters do not tell.
    feature_names : sequence of str, optional
        Names of the columns; default `x1, x2, …`.

    Raises
    ------
    ValueError
        If a key, shape or value of `params` is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> import moestat as ms
    >>> m = ms.ConditionalMixture(params={
    ...     "gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0],
    ...     "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]})
    >>> m.gate_proba([[0.0], [1.0]]).round(4)
    array([[0.6225, 0.3775],
           [0.989 , 0.011 ]])
    >>> m.mean([[0.0]]).round(4)
    array([0.2449])
    """

    def __init__(
        self,
        gate: str | Gate = "softmax",
        expert: str | GaussianExpert = "gaussian",
        params: Mapping[str, Any] | None = None,
        *,
        gate_features: Sequence[int] | None = None,
        expert_features: Sequence[int] | None = None,
        n_features: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        if params is None:
            raise ValueError(f"params is missing; give a dictionary with {list(pm.KEYS[:5])}.")
        self.gate, self.expert = resolve_gate(gate), resolve_expert(expert)
        coef = np.asarray(params.get("expert_coef", np.zeros((1, 0))), dtype=float)
        d_expert = pm.n_columns(coef.shape[-1], self.expert.degree) if coef.ndim > 1 else 0
        d_gate = np.asarray(params.get("gate_coef", np.zeros((1, 0))), dtype=float).shape[-1] if self.gate.degree else 0
        used = [d_expert, d_gate, *(max(f, default=-1) + 1 for f in (gate_features, expert_features) if f is not None)]
        self.n_features = n_features if n_features is not None else max(used)
        if self.n_features < max(used):
            raise ValueError(f"n_features={n_features} is too small: the parameters and columns need {max(used)}.")
        gate_columns = range(d_gate) if gate_features is None or not self.gate.degree else gate_features
        expert_columns = range(d_expert) if expert_features is None or not self.expert.degree else expert_features
        self.gate_map = PolynomialMap.raw(self.gate.degree, gate_columns)
        self.expert_map = PolynomialMap.raw(self.expert.degree, expert_columns)
        self.layout, self.internal = pm.from_dict(params, self.gate, self.expert, self.gate_map, self.expert_map)
        pm.check_consistent(self.layout, self.internal, params)
        self.vector_y = np.asarray(params["expert_intercept"]).ndim == 1
        self._set_names(feature_names)

    @classmethod
    def _from_internal(
        cls,
        layout: Layout,
        internal: Parameters,
        maps: tuple[PolynomialMap, PolynomialMap],
        n_features: int,
        vector_y: bool,
        feature_names: Sequence[str] | None = None,
    ) -> ConditionalMixture:
        """A mixture in the coordinates of a fit (`maps` of gate and experts, responses in the user's units)."""
        self = cls.__new__(cls)
        self.gate, self.expert, self.layout, self.internal = layout.gate, layout.expert, layout, internal
        self.gate_map, self.expert_map = maps
        self.n_features, self.vector_y = n_features, vector_y
        self._set_names(feature_names)
        return self

    def _set_names(self, names: Sequence[str] | None) -> None:
        if names is not None and len(names) != self.n_features:
            raise ValueError(f"feature_names has {len(names)} names for {self.n_features} columns: {list(names)}.")
        self.feature_names = [f"x{j + 1}" for j in range(self.n_features)] if names is None else [str(c) for c in names]

    def __repr__(self) -> str:
        return f"ConditionalMixture(gate={self.gate!r}, expert={self.expert!r}, n_experts={self.n_experts}, n_features={self.n_features})"

    # -- parameters -------------------------------------------------------------------------------------------------

    @property
    def n_experts(self) -> int:
        """Number of experts K."""
        return self.layout.n_experts

    @property
    def n_responses(self) -> int:
        """Number of responses D."""
        return self.layout.n_responses

    @cached_property
    def params(self) -> dict[str, Array]:
        """The parameters in raw coordinates, the last expert's gate at zero."""
        return pm.to_dict(self.layout, self.internal, self.gate_map, self.expert_map, self.vector_y)

    def permuted(self, order: Sequence[int]) -> ConditionalMixture:
        """The same density with its experts in another order."""
        index = np.asarray(order)
        if sorted(index.tolist()) != list(range(self.n_experts)):
            raise ValueError(f"order={list(order)} is not a permutation of 0…{self.n_experts - 1}.")
        gate = self.internal.gate[index]
        internal = Parameters(gate - gate[-1], self.internal.coef[index], self.internal.scale[index])
        known = self.layout.known_scale[index]
        layout = self.layout.replace_known(known)
        return ConditionalMixture._from_internal(
            layout, internal, (self.gate_map, self.expert_map), self.n_features, self.vector_y, self.feature_names
        )

    def canonical(self) -> ConditionalMixture:
        """The same density with the last expert's gate at zero (the order is kept)."""
        return self.permuted(range(self.n_experts))

    def mixing_measure(self) -> MixingMeasure:
        """The mixing measure `Σ_k exp(β0_k) δ_(β1_k, a_k, b_k, σ_k)`, last gate at zero."""
        from moestat.mixing_measure import MixingMeasure

        return MixingMeasure.from_params(self.params)

    # -- evaluation, all through _rows: chunks of (features of the gate, features of the experts, rows) ---------------

    def _rows(self, X: ArrayLike) -> Iterator[tuple[Array, Array, slice]]:
        X = self.check_X(X)
        size = 65536
        for start in range(0, max(len(X), 1), size):
            chunk = X[start : start + size]
            z = self.gate_map.features(chunk)
            phi = z if self.gate_map is self.expert_map else self.expert_map.features(chunk)
            yield z, phi, slice(start, start + len(chunk))

    def objective(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, raw: bool = False
    ) -> tuple[Objective, Array]:
        """The log-likelihood of data around this mixture, and the mixture's free vector in its coordinates.

        `raw` takes the user's own monomials as features instead of the internal orthonormal ones.
        """
        X, target = self.check_X(X), self.check_y(y, len(self.check_X(X)))
        weight = np.empty(0) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        layout, internal, maps = self.layout, self.internal, (self.gate_map, self.expert_map)
        if raw:
            maps = (
                PolynomialMap.raw(self.gate.degree, self.gate_map.columns),
                PolynomialMap.raw(self.expert.degree, self.expert_map.columns),
            )
            internal = Parameters(
                self.gate_map.to_raw(internal.gate), self.expert_map.to_raw(internal.coef), internal.scale
            )
            layout = layout.with_features(maps[0].n_features, maps[1].n_features)
        rows = Rows.build(X, target, weight, maps)
        objective = Objective(rows, layout, floor=np.full(self.n_responses, 1e-150))
        return objective, layout.pack(internal)

    # -- the free vector --------------------------------------------------------------------------------------------

    @cached_property
    def _raw_layout(self) -> Layout:
        return self.layout.with_features(self.gate_map.n_raw, self.expert_map.n_raw)

    def free_names(self) -> list[str]:
        """Names of the free raw parameters: `gate[1]:Intercept`, …, `expert[1]:x1`, …, `expert[1]:log_scale`."""
        layout = self._raw_layout
        gate_terms = ["Intercept", *self.gate_map.names(self.feature_names)]
        expert_terms = ["Intercept", *self.expert_map.names(self.feature_names)]
        names = [f"gate[{k + 1}]:{term}" for k in range(layout.n_scored) for term in gate_terms]
        response = [""] if self.vector_y else [f"y{d + 1}:" for d in range(self.n_responses)]
        names += [
            f"expert[{k + 1}]:{r}{term}" for k in range(self.n_experts) for r in response for term in expert_terms
        ]
        if self.expert.full(self.n_responses):
            pairs = zip(*np.tril_indices(self.n_responses), strict=True)
            scales = [f"log_scale[y{i + 1}]" if i == j else f"cholesky[y{i + 1},y{j + 1}]" for i, j in pairs]
        else:
            scales = ["log_scale" if r == "" else f"log_scale[{r[:-1]}]" for r in response]
        flat = self.expert.scale_index(self.n_experts, self.n_responses)
        tied_experts = self.n_experts > 1 and bool((flat == flat[0]).all())
        for value in np.unique(flat[flat >= 0]):
            k, s = np.argwhere(flat == value)[0]
            label = scales[s] if (flat[k] == value).sum() == 1 else "log_scale"
            names.append(f"expert:{label}" if tied_experts else f"expert[{k + 1}]:{label}")
        return names

    def free_vector(self) -> Array:
        """Values of the free raw parameters, in the order of `free_names`."""
        gate, coef = self.gate_map.to_raw(self.internal.gate), self.expert_map.to_raw(self.internal.coef)
        return self._raw_layout.pack(Parameters(gate, coef, self.internal.scale))

    def with_free_vector(self, theta: ArrayLike) -> ConditionalMixture:
        """The mixture whose free raw parameters are `theta`."""
        vector = np.asarray(theta, dtype=float)
        if vector.shape != (self._raw_layout.n_params,):
            raise ValueError(f"theta has shape {vector.shape}; expected ({self._raw_layout.n_params},).")
        maps = (
            PolynomialMap.raw(self.gate.degree, self.gate_map.columns),
            PolynomialMap.raw(self.expert.degree, self.expert_map.columns),
        )
        layout = self._raw_layout
        return ConditionalMixture._from_internal(
            layout, layout.unpack(vector), maps, self.n_features, self.vector_y, self.feature_names
        )

    def jacobian(self) -> Array:
        """`(P, P_internal)`: derivative of the raw free vector in the internal one (they differ in the features only)."""
        gate, coef = self.gate_map.jacobian(), self.expert_map.jacobian()
        n_scale = self.layout.n_params - self.layout.sizes[0] - self.layout.sizes[1]
        blocks = [gate.T] * self.layout.n_scored + [coef.T] * (self.n_experts * self.n_responses) + [np.eye(n_scale)]
        out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)))
        i = j = 0
        for b in blocks:
            out[i : i + b.shape[0], j : j + b.shape[1]] = b
            i, j = i + b.shape[0], j + b.shape[1]
        return out

    def scores(self, X: ArrayLike, y: ArrayLike, *, internal: bool = False) -> Array:
        """Score of each row `(n, P)`: derivative of its log-density in the free vector (raw, or internal)."""
        objective, theta = self.objective(X, y, raw=not internal)
        return objective.row_scores(theta)

    def hessian(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, internal: bool = False
    ) -> Array:
        """Exact second derivative `(P, P)` of the weighted log-likelihood in the free vector (raw, or internal).

        By Louis' (1982) identity. Internal coordinates are orthonormal in the data of the fit: invert there, and carry the
        covariance over with `jacobian`.
        """
        objective, theta = self.objective(X, y, sample_weight, raw=not internal)
        return objective.derivatives(theta)[2]
