"""The coordinates in which a model is fitted: maps, response units, known scales, and the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import parameters as pm
from moestat.blocks import Rows
from moestat.box import box_bounds
from moestat.checks import Data
from moestat.experts.base import BaseExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.linked import objective_for
from moestat.maps import FeatureMap, make_map
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective

Array = NDArray[np.float64]


SMALLEST_FLOOR = 1e-12  # relative variances below it are rounding


@dataclass(frozen=True)
class Coordinates:
    """Internal coordinates of a fit.

    Features are orthonormal in the data and responses standardised, except under a box, which is a box in the user's own
    coordinates only.
    """

    gate_map: FeatureMap
    expert_map: FeatureMap
    y_center: Array
    y_scale: Array
    floor_unit: Array  # the variance floor's root is a multiple of it
    gate_unit: Array | None  # likewise for a gate that models x: standard deviations of its columns
    layout: Layout
    n_features: int
    vector_y: bool
    feature_names: tuple[str, ...] | None
    gate_metric: Array | None = None  # covariance of the gate's features under a box, where they are not whitened

    @classmethod
    def choose(
        cls,
        X: Array,
        y: Array,
        weight: Array,
        *,
        gate: Gate,
        expert: BaseExpert,
        n_experts: int,
        gate_columns: Sequence[int],
        expert_columns: Sequence[int],
        raw: bool,
        vector_y: bool,
        feature_names: Sequence[str] | None,
    ) -> Coordinates:
        """Coordinates for data `X (n, d)`, `y (n, D)`; `raw` keeps the user's."""
        w = weight if weight.size else None
        gate_spec = (gate.degree, tuple(gate_columns) if gate.degree else ())
        expert_spec = (expert.degree, tuple(expert_columns) if expert.degree else ())
        gate_map = make_map(*gate_spec, inputs=gate.inputs(), X=None if raw or gate.raw_features else X, weight=w)
        plain = gate.inputs() is None and gate.raw_features == expert.raw_features
        same = gate_spec == expert_spec and plain
        expert_map = gate_map if same else make_map(*expert_spec, X=None if raw or expert.raw_features else X, weight=w)
        expert.check(y)
        d = expert.n_predictors(y)
        center, deviation = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if expert.location_scale:
            center, deviation = weighted_center_scale(y, w)
            _refuse_constant(expert, center, deviation, vector_y)
        cols = y.shape[1]
        y_center, y_scale = np.zeros(cols), np.ones(cols)
        if expert.location_scale and not raw and not expert.raw_features:
            y_center, y_scale = center, np.where(deviation > 0, deviation, 1.0)
        scale = np.zeros((n_experts, expert.n_scale(d)))
        if isinstance(expert, GaussianExpert):
            if expert.covariance == "spherical" and cols > 1:
                y_scale = np.full(cols, np.sqrt(np.mean(y_scale**2)))
            scale = _known_scalars(expert, n_experts, y_scale)
        layout = Layout(gate, expert, n_experts, d, cols, gate_map.n_features, expert_map.n_features, scale)
        names = None if feature_names is None else tuple(feature_names)
        metric = np.atleast_2d(np.cov(gate_map.features(X)[1:], aweights=w, ddof=0)) if raw and gate_spec[1] else None
        unit = deviation if expert.location_scale else expert.floor_unit(y, w)
        gate_unit = None
        if gate.joint:
            gate_unit = weighted_center_scale(X[:, list(gate_columns)], w)[1]
            if not (gate_unit > 0).all():
                column = list(gate_columns)[int(np.flatnonzero(~(gate_unit > 0))[0])]
                raise ValueError(
                    f"column {column} of X is constant; gate={gate!r} models its density. Drop the column."
                )
        return cls(
            gate_map, expert_map, y_center, y_scale, unit, gate_unit, layout, X.shape[1], vector_y, names, metric
        )

    def objective(
        self,
        data: Data,
        *,
        gate_l2: float,
        variance_floor: float,
        bounds: Array | None,
        n_jobs: int = 1,
    ) -> Objective:
        """The log-likelihood of rows."""
        maps = (self.gate_map, self.expert_map)
        rows = Rows.build(data.X, data.y, data.weight, maps, self.y_center, self.y_scale, data.offset)
        floor = np.sqrt(max(variance_floor, SMALLEST_FLOOR)) * self.floor_unit
        if self.layout.expert.location_scale:
            floor = floor / self.y_scale
        if getattr(self.layout.expert, "covariance", "") == "spherical":
            floor = np.full_like(floor, np.sqrt(np.mean(floor**2)))
        return objective_for(
            rows,
            self.layout,
            gate_l2=gate_l2,
            gate_metric=self.gate_metric,
            floor=np.maximum(floor, 1e-150),
            gate_floor=None
            if self.gate_unit is None
            else np.sqrt(max(variance_floor, SMALLEST_FLOOR)) * self.gate_unit,
            bounds=bounds,
            n_jobs=n_jobs,
        )

    def loglik_offset(self, total_weight: float) -> float:
        """What the log-likelihood in internal units lacks."""
        return -total_weight * float(np.log(self.y_scale).sum())

    def mixture(self, theta: Array, order: Sequence[int] | None = None) -> ConditionalMixture:
        """The density of a free vector, responses in the user's units, experts reordered."""
        params = pm.rescale_response(self.layout, self.layout.unpack(theta), self.y_center, self.y_scale)
        out = ConditionalMixture._from_internal(
            self.layout.replace_known(params.scale),
            params,
            (self.gate_map, self.expert_map),
            self.n_features,
            self.vector_y,
            self.feature_names,
        )
        return out if order is None else out.permuted(order)

    def theta(self, params: Mapping[str, Any]) -> Array:
        """Free vector of a public parameter dictionary.

        Raises
        ------
        ValueError
            If a key, shape or value is wrong.
        """
        full = dict(params)
        expert = self.layout.expert
        known = expert.known_scale
        if known is not None and "expert_scale" not in full and "expert_covariance" not in full:
            k, d = self.layout.n_experts, self.layout.n_responses
            sd = np.broadcast_to(_known(known, k, d), (k, d))
            full["expert_scale"] = sd[:, 0] if self.vector_y else sd
        layout, raw = pm.from_dict(full, self.layout.gate, expert, self.gate_map, self.expert_map)
        if (layout.n_experts, layout.n_predictors) != (self.layout.n_experts, self.layout.n_predictors):
            raise ValueError(
                f"the parameters of init are for {layout.n_experts} experts and {layout.n_responses} responses; "
                f"this fit has n_experts={self.layout.n_experts} and {self.layout.n_responses} responses."
            )
        scaled = pm.rescale_response(layout, raw, -self.y_center / self.y_scale, 1.0 / self.y_scale)
        return self.layout.pack(Parameters(scaled.gate, scaled.coef, scaled.scale))

    def bounds(self, box: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Array:
        """Box on the free vector from bounds on raw parameters (raw coordinates only).

        Raises
        ------
        ValueError
            If a name is unknown, bounds are no pair of numbers or do not broadcast, or a lower bound exceeds the upper one.
        """
        layout = self.layout
        low, high = box_bounds(layout, box, self.vector_y)
        bounds = np.stack([layout.pack_bounds(low), layout.pack_bounds(high)])
        if (bounds[0] > bounds[1]).any():
            name = self.mixture_names()[int(np.flatnonzero(bounds[0] > bounds[1])[0])]
            raise ValueError(f"box: the lower bound of {name} exceeds its upper bound.")
        return bounds

    def mixture_names(self) -> list[str]:
        """Names of the free raw parameters."""
        return self.mixture(np.zeros(self.layout.n_params)).free_names()


def weighted_center_scale(y: Array, weight: Array | None) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of each column."""
    if weight is None:
        center = y.mean(axis=0)
        return center, np.sqrt(((y - center) ** 2).mean(axis=0))
    share = weight / weight.sum()
    center = share @ y
    return center, np.sqrt(share @ (y - center) ** 2)


def _refuse_constant(expert: BaseExpert, center: Array, deviation: Array, vector_y: bool) -> None:
    if expert.known_scale is None and not (deviation > 1e-12 * np.abs(center)).all():
        column = int(np.flatnonzero(~(deviation > 1e-12 * np.abs(center)))[0])
        remedy = ", or a known standard deviation (variance=...)" if isinstance(expert, GaussianExpert) else ""
        raise ValueError(
            f"y{'' if vector_y else f' (column {column})'} is constant to rounding ({center[column]:g} ± {deviation[column]:.1g}): "
            f"the likelihood of a {'Gaussian' if remedy else expert.name} expert with free variance is unbounded there. "
            f"Give a response that varies{remedy}."
        )


def _known_scalars(expert: GaussianExpert, n_experts: int, y_scale: Array) -> Array:
    """Known scale parameters `(K, m)` in internal units; zeros where they are free."""
    d = len(y_scale)
    known = expert.known_scale
    if known is None:
        return np.zeros((n_experts, expert.n_scale(d)))
    sd = np.broadcast_to(_known(known, n_experts, d), (n_experts, d)) / y_scale
    if expert.covariance == "spherical" and not (sd == sd[:, :1]).all():
        raise ValueError(
            f"variance={known.tolist()} differs between the responses, but covariance='spherical' makes it the same; "
            "use covariance='diag', or one standard deviation an expert."
        )
    return expert.scale_parameters(sd[:, :, None] ** 2 * np.eye(d), np.full(d, 1e-150))


def _known(known: Array, n_experts: int, n_responses: int) -> Array:
    """Known standard deviations as `(K, D)` or something that broadcasts to it.

    Raises
    ------
    ValueError
        If the shape fits neither K experts nor K experts by D responses.
    """
    if known.ndim == 0:
        return known
    if known.shape == (n_experts,):
        return known[:, None]
    if known.shape == (n_experts, n_responses):
        return known
    raise ValueError(
        f"variance has shape {known.shape}; a known standard deviation is a number, (K,) = ({n_experts},) or (K, D)."
    )
