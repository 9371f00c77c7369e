"""The coordinates in which a model is fitted: maps, response units, known scales, and the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import parameters as pm
from moestat.blocks import Rows
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.maps import PolynomialMap
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

    gate_map: PolynomialMap
    expert_map: PolynomialMap
    y_center: Array
    y_scale: Array
    y_deviation: Array
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
        expert: GaussianExpert,
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
        build = PolynomialMap.raw if raw else (lambda degree, columns: PolynomialMap.fit(X, degree, columns, w))
        gate_map = build(*gate_spec)
        expert_map = gate_map if gate_spec == expert_spec else build(*expert_spec)
        center, deviation = weighted_center_scale(y, w)
        known = expert.known_scale
        if known is None and not (deviation > 1e-12 * np.abs(center)).all():
            column = int(np.flatnonzero(~(deviation > 1e-12 * np.abs(center)))[0])
            raise ValueError(
                f"y{'' if vector_y else f' (column {column})'} is constant to rounding ({center[column]:g} ± {deviation[column]:.1g}): "
                "the likelihood of a Gaussian expert with free variance is unbounded there. "
                "Give a response that varies, or a known standard deviation (variance=...)."
            )
        d = y.shape[1]
        y_center, y_scale = (np.zeros(d), np.ones(d)) if raw else (center, np.where(deviation > 0, deviation, 1.0))
        if expert.covariance == "spherical" and d > 1:
            y_scale = np.full(d, np.sqrt(np.mean(y_scale**2)))
        scale = np.zeros((n_experts, expert.n_scale(d)))
        if known is not None:
            sd = np.broadcast_to(_known(known, n_experts, d), (n_experts, d)) / y_scale
            if expert.covariance == "spherical" and not (sd == sd[:, :1]).all():
                raise ValueError(
                    f"variance={known.tolist()} differs between the responses, but covariance='spherical' makes it the same; "
                    "use covariance='diag', or one standard deviation an expert."
                )
            scale = expert.scale_parameters(sd[:, :, None] ** 2 * np.eye(d), np.full(d, 1e-150))
        layout = Layout(gate, expert, n_experts, d, gate_map.n_features, expert_map.n_features, scale)
        names = None if feature_names is None else tuple(feature_names)
        metric = np.atleast_2d(np.cov(gate_map.features(X)[1:], aweights=w, ddof=0)) if raw and gate_spec[1] else None
        return cls(gate_map, expert_map, y_center, y_scale, deviation, layout, X.shape[1], vector_y, names, metric)

    def objective(
        self,
        X: Array,
        y: Array,
        weight: Array,
        *,
        gate_l2: float,
        variance_floor: float,
        bounds: Array | None,
        n_jobs: int = 1,
    ) -> Objective:
        """The log-likelihood of rows `X`, `y (n, D)`."""
        rows = Rows.build(X, y, weight, (self.gate_map, self.expert_map), self.y_center, self.y_scale)
        floor = np.sqrt(max(variance_floor, SMALLEST_FLOOR)) * self.y_deviation / self.y_scale
        if self.layout.expert.covariance == "spherical":
            floor = np.full_like(floor, np.sqrt(np.mean(floor**2)))
        floor = np.maximum(floor, 1e-150)
        return Objective(
            rows, self.layout, gate_l2=gate_l2, gate_metric=self.gate_metric, floor=floor, bounds=bounds, n_jobs=n_jobs
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
        known = self.layout.expert.known_scale
        if known is not None and "expert_scale" not in full and "expert_covariance" not in full:
            k, d = self.layout.n_experts, self.layout.n_responses
            sd = np.broadcast_to(_known(known, k, d), (k, d))
            full["expert_scale"] = sd[:, 0] if self.vector_y else sd
        layout, raw = pm.from_dict(full, self.layout.gate, self.layout.expert, self.gate_map, self.expert_map)
        if (layout.n_experts, layout.n_responses) != (self.layout.n_experts, self.layout.n_responses):
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
        k, d = layout.n_experts, layout.n_responses
        tail = () if self.vector_y else (d,)
        shapes = {
            "gate_intercept": (k,),
            "gate_coef": (k, layout.q_gate - 1),
            "expert_intercept": (k, *tail),
            "expert_coef": (k, *tail, layout.q_expert - 1),
            "expert_scale": (k, *tail),
        }
        unknown = sorted(set(box) - set(shapes))
        if unknown:
            raise ValueError(f"box has unknown parameters {unknown}; it may bound {sorted(shapes)}.")
        if "expert_scale" in box and layout.expert.full(d):
            raise ValueError("box on 'expert_scale' needs covariance='diag' or 'spherical' when y has several columns.")
        for name, pair in box.items():
            if not _is_pair(pair):
                raise ValueError(f"box[{name!r}]={pair!r} must be a pair (lower, upper) of numbers; use ±inf for none.")
        out = []
        for side, default in ((0, -np.inf), (1, np.inf)):
            value = {}
            for name, shape in shapes.items():
                try:
                    value[name] = np.broadcast_to(
                        np.asarray(box[name][side] if name in box else default, dtype=float), shape
                    )
                except ValueError as error:
                    raise ValueError(f"box[{name!r}] has bounds that do not broadcast to the shape {shape}.") from error
            sd = value["expert_scale"].reshape(k, d)
            if side == 1 and not (sd > 0).all():
                raise ValueError(f"box['expert_scale'] must leave positive values; its upper bound is {sd.tolist()}.")
            with np.errstate(divide="ignore"):  # a lower bound of zero is none
                log_sd = np.log(np.maximum(sd, 0.0))
            gate = np.column_stack([value["gate_intercept"], value["gate_coef"]])
            coef = np.concatenate(
                [value["expert_intercept"].reshape(k, d, 1), value["expert_coef"].reshape(k, d, -1)], axis=2
            )
            scale = np.full(layout.known_scale.shape, default) if layout.expert.full(d) else log_sd
            for group in layout.tied_groups():  # bounds on equal scales: all of them hold
                scale[group] = scale[group].max() if side == 0 else scale[group].min()
            head = gate[: layout.n_scored].ravel()
            packed = layout.pack(Parameters(np.zeros((k, layout.q_gate)), coef, scale))
            packed[: len(head)] = head
            out.append(packed)
        low, high = out
        if (low > high).any():
            name = self.mixture_names()[int(np.flatnonzero(low > high)[0])]
            raise ValueError(f"box: the lower bound of {name} exceeds its upper bound.")
        return np.vstack(out)

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


def _is_pair(value: Any) -> bool:
    """Whether these are two bounds: numbers or arrays of them, infinite perhaps but never NaN."""
    try:
        low, high = value
        return not any(np.isnan(np.asarray(side, dtype=float)).any() for side in (low, high))
    except (TypeError, ValueError):
        return False


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
