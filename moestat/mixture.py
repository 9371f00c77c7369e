"""The density of a mixture of experts with known parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import parameters as pm
from moestat.blocks import Rows
from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.linked import objective_for
from moestat.maps import FeatureMap, make_map
from moestat.objective import Objective
from moestat.predictive import MixturePredictions
from moestat.registry import resolve_expert, resolve_gate

if TYPE_CHECKING:
    from moestat.losses.measures import Measure

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
        expert: str | BaseExpert = "gaussian",
        params: Mapping[str, Any] | None = None,
        *,
        gate_features: Sequence[int] | None = None,
        expert_features: Sequence[int] | None = None,
        n_features: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        if params is None:
            raise ValueError(
                "params is missing; give a dictionary with gate_coef, gate_intercept, expert_coef, expert_intercept, …"
            )
        self.gate, self.expert = resolve_gate(gate), resolve_expert(expert)
        coef = np.asarray(params.get("expert_coef", np.zeros((1, 0))), dtype=float)
        d_expert = self.expert.n_inputs(coef.shape[-1]) if coef.ndim > 1 else 0
        inputs = self.gate.inputs()
        d_gate = self.gate.n_inputs(params)
        if inputs is not None and (gate_features is not None or n_features is not None):
            d_gate = len(gate_features) if gate_features is not None else int(n_features or 0)
        used = [d_expert, d_gate, *(max(f, default=-1) + 1 for f in (gate_features, expert_features) if f is not None)]
        self.n_features = n_features if n_features is not None else max(used)
        if self.n_features < max(used):
            raise ValueError(f"n_features={n_features} is too small: the parameters and columns need {max(used)}.")
        gate_columns = range(d_gate) if gate_features is None or not self.gate.degree else gate_features
        expert_columns = range(d_expert) if expert_features is None or not self.expert.degree else expert_features
        self.gate_map = make_map(self.gate.degree, gate_columns, inputs=inputs)
        self.expert_map = make_map(self.expert.degree, expert_columns)
        self.layout, self.internal = pm.from_dict(params, self.gate, self.expert, self.gate_map, self.expert_map)
        pm.check_consistent(self.layout, self.internal, params)
        self.vector_y = np.asarray(params["expert_intercept"]).ndim == 1
        self._set_names(feature_names)

    @classmethod
    def _from_internal(
        cls,
        layout: Layout,
        internal: Parameters,
        maps: tuple[FeatureMap, FeatureMap],
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
        if not self.expert.exchangeable and (index != np.arange(self.n_experts)).any():
            raise ValueError(f"order={index.tolist()}: the order of {self.expert!r} is part of the model.")
        gate = self.gate.canonical(self.gate.permute(self.internal.gate, index.tolist()))
        internal = Parameters(gate, self.internal.coef[index], self.internal.scale[index])
        layout = self.layout.replace_known(self.layout.known_scale[index])
        return self._moved(layout, internal, (self.gate_map, self.expert_map))

    def _moved(self, layout: Layout, internal: Parameters, maps: tuple[FeatureMap, FeatureMap]) -> ConditionalMixture:
        """A model of the same kind and columns with other parameters and coordinates."""
        return ConditionalMixture._from_internal(
            layout, internal, maps, self.n_features, self.vector_y, self.feature_names
        )

    def canonical(self) -> ConditionalMixture:
        """The same density with gate and experts in their canonical forms: a softmax with its last expert at zero, a ridge function
        with slopes of length one, … (the order is kept)."""
        gated = self.permuted(range(self.n_experts))
        raw = gated._raw_parameters
        coef, scale = self.expert.canonical(raw.coef, raw.scale)
        if np.array_equal(coef, raw.coef) and np.array_equal(scale, raw.scale):
            return gated
        return gated.with_free_vector(gated._raw_layout.pack(Parameters(raw.gate, coef, scale)))

    def mixing_measure(self) -> Measure:
        """The mixing measure, of a softmax gate `Σ_k exp(β0_k) δ_(β1_k, a_k, b_k, σ_k)`; see `moestat.losses.measure_of`."""
        from moestat.losses.assembly import measure_of

        return measure_of(self)

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
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        raw: bool = False,
    ) -> tuple[Objective, Array]:
        """The log-likelihood of data around this mixture, and the mixture's free vector in its coordinates.

        `raw` takes the user's own monomials as features instead of the internal orthonormal ones.
        """
        X, target = self.check_X(X), self.check_y(y, len(self.check_X(X)))
        weight, shift = (np.empty(0) if v is None else np.asarray(v, dtype=float) for v in (sample_weight, offset))
        layout, internal, maps = self.layout, self.internal, (self.gate_map, self.expert_map)
        if raw:
            layout, internal, maps = self._raw_layout, self._raw_parameters, self._raw_maps
        rows = Rows.build(X, target, weight, maps, offset=shift)
        return self._objective(rows, layout), layout.pack(internal)

    def _objective(self, rows: Rows, layout: Layout) -> Objective:
        return objective_for(rows, layout, floor=np.full(self.n_responses, 1e-150))

    # -- the free vector --------------------------------------------------------------------------------------------

    @property
    def _raw_maps(self) -> tuple[FeatureMap, FeatureMap]:
        return self.gate_map.raw_map(), self.expert_map.raw_map()

    @cached_property
    def _raw_layout(self) -> Layout:
        return self.layout.with_features(self.gate_map.n_raw, self.expert_map.n_raw)

    @property
    def _raw_parameters(self) -> Parameters:
        return Parameters(
            self.gate_map.to_raw(self.internal.gate), self.expert_map.to_raw(self.internal.coef), self.internal.scale
        )

    def free_names(self) -> list[str]:
        """Names of the free raw parameters: `gate[1]:Intercept`, …, `expert[1]:x1`, …, `expert[1]:log_scale`."""
        layout, d = self._raw_layout, self.layout.n_predictors
        rows = self.gate.names(self.n_experts, ["Intercept", *self.gate_map.names(self.feature_names)])
        index = layout.gate_index.ravel()
        flat = [name for row in rows for name in row]
        names = [flat[int(np.flatnonzero(index == v)[0])] for v in range(layout.n_gate)]
        terms = self.expert.terms(["Intercept", *self.expert_map.names(self.feature_names)])
        heads = self.expert.predictor_names(d, self.vector_y)
        names += [f"expert[{k + 1}]:{head}{term}" for k in layout.coef_numbers for head in heads for term in terms]
        scalars = self.expert.scalar_names(d, self.vector_y)
        index = layout.scale_index
        tied_experts = self.n_experts > 1 and bool((index == index[0]).all())
        for value in np.unique(index[index >= 0]):
            k, s = np.argwhere(index == value)[0]
            label = scalars[s] if (index[k] == value).sum() == 1 else "log_scale"
            names.append(f"expert:{label}" if tied_experts else f"expert[{k + 1}]:{label}")
        return names

    def free_links(self) -> list[str]:
        """How each free parameter becomes the reported number: "identity", "log", "logit" or "cholesky"."""
        index, links = self.layout.scale_index, self.expert.scalar_links(self.layout.n_predictors)
        scalars = [links[int(np.argwhere(index == v)[0][1])] for v in np.unique(index[index >= 0])]
        layout = self._raw_layout
        gate = self.gate.links(self.n_experts, ["Intercept", *self.gate_map.names(self.feature_names)])
        flat = [link for row in gate for link in row]
        head = [flat[int(np.flatnonzero(layout.gate_index.ravel() == v)[0])] for v in range(layout.n_gate)]
        return head + ["identity"] * layout.n_coef + scalars

    def free_vector(self) -> Array:
        """Values of the free raw parameters, in the order of `free_names`."""
        return self._raw_layout.pack(self._raw_parameters)

    def with_free_vector(self, theta: ArrayLike) -> ConditionalMixture:
        """The mixture whose free raw parameters are `theta`."""
        vector = np.asarray(theta, dtype=float)
        if vector.shape != (self._raw_layout.n_params,):
            raise ValueError(f"theta has shape {vector.shape}; expected ({self._raw_layout.n_params},).")
        layout = self._raw_layout
        return self._moved(layout, layout.unpack(vector), self._raw_maps)

    def jacobian(self) -> Array:
        """`(P, P_internal)`: derivative of the raw free vector in the internal one (they differ in the features only)."""
        raw, inner = self._raw_layout, self.layout
        out = np.zeros((raw.n_params, inner.n_params))
        n_coef = inner.n_gate + inner.n_coef
        for j in range(n_coef):  # linear in every parameter
            moved = inner.unpack(np.eye(1, inner.n_params, j)[0])
            gate, coef = self.gate_map.to_raw(moved.gate), self.expert_map.to_raw(moved.coef)
            out[:, j] = np.concatenate([raw.pack_gate(gate), raw.pack_coef(coef), np.zeros(inner.n_params - n_coef)])
        out[raw.n_params - (inner.n_params - n_coef) :, n_coef:] = np.eye(inner.n_params - n_coef)
        return out

    def scores(self, X: ArrayLike, y: ArrayLike, *, offset: ArrayLike | None = None, internal: bool = False) -> Array:
        """Score of each row `(n, P)`: derivative of its log-density in the free vector (raw, or internal)."""
        objective, theta = self.objective(X, y, offset=offset, raw=not internal)
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
