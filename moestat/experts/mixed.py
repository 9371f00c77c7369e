"""Experts of different families in one mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.experts.base import Array, Expert, first_bad
from moestat.experts.dictionary import Read, read_coefficients, write_coefficients
from moestat.experts.gaussian import GaussianExpert
from moestat.experts.named import family_named
from moestat.experts.normal import NormalExpert
from moestat.experts.scalar import Scalar


@dataclass(frozen=True, init=False)
class MixedExperts(Expert):
    """One expert of each family given: `f_1` Poisson and `f_2` negative binomial, say; `f_k(y | η_k, v_k)`.

    The families have one predictor each, all of one degree. The order of the experts is that of the families: it is part of the
    model, as is their number. A response must be in the support of one family at least.

    Parameters
    ----------
    families : sequence of experts or names
        One for each expert; `GaussianExpert` stands for `NormalExpert`.
    degree : int, optional
        Degree of families that are given by name; all must agree.

    Raises
    ------
    ValueError
        If there are no families, they differ in degree, or one has several predictors.

    Notes
    -----
    Entries of the parameter dictionary are `expert_intercept (K,)`, `expert_coef (K, p)` and, for each scalar of any family, an array `(K,)`
    with NaN where the family does not have it. A mixing measure is refused: atoms of different families have no distance.

    Examples
    --------
    >>> from moestat.experts import MixedExperts
    >>> MixedExperts(["poisson", "negative_binomial"]).keys
    ('expert_coef', 'expert_intercept', 'expert_dispersion')
    """

    name: ClassVar[str] = "mixed"
    exchangeable: ClassVar[bool] = False

    families: tuple[Expert, ...] = ()

    def __init__(self, families: Any = (), degree: int = 1, tied: bool = False) -> None:
        if tied:
            raise ValueError("tied=True: scalars of different families cannot be equal.")
        members = tuple(_member(family, degree) for family in families)
        if not members:
            raise ValueError("families is empty; give one family for each expert.")
        if len({member.degree for member in members}) > 1:
            raise ValueError(f"families have degrees {[m.degree for m in members]}; all must have one degree.")
        object.__setattr__(self, "families", members)
        object.__setattr__(self, "degree", members[0].degree)
        object.__setattr__(self, "tied", False)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The families."""
        return {"families": self.families}

    # -- scalars ------------------------------------------------------------------------------------------------------

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether every family is one of counts."""
        return all(member.discrete for member in self.families)

    @property
    def support(self) -> str:  # type: ignore[override]
        """Those of the families."""
        return " or ".join(dict.fromkeys(member.support for member in self.families))

    @property
    def _places(self) -> list[list[int]]:
        """For each family the positions of its scalars among all."""
        return [[self._named.index(_tag(member, scalar)) for scalar in member.scalars] for member in self.families]

    @property
    def _named(self) -> list[tuple[str, str, str]]:
        return list(dict.fromkeys(_tag(member, scalar) for member in self.families for scalar in member.scalars))

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalars of all families; of those with one name and link there is one."""
        found = {_tag(m, s): s for m in self.families for s in m.scalars}
        keys = [key for key, _, _ in found]
        out = []
        for (key, _, family), scalar in found.items():
            twice = keys.count(key) > 1
            out.append(scalar._replace(key=f"{key}_{family}", label=f"{scalar.label}_{family}") if twice else scalar)
        return tuple(out)

    def scale_index(self, n_experts: int, n_predictors: int) -> NDArray[np.int64]:
        """Every expert has the scalars of its family."""
        self._check_number(n_experts)
        index = np.full((n_experts, len(self._named)), -1)
        count = 0
        for k, places in enumerate(self._places):
            index[k, places] = np.arange(count, count + len(places))
            count += len(places)
        return index

    def _check_number(self, n_experts: int) -> None:
        if n_experts != len(self.families):
            raise ValueError(
                f"n_experts={n_experts}, but {len(self.families)} families are given; one for each expert."
            )

    def scale_limits(self, floor: Array) -> Array:
        """Those of the families; `floor` has one number a family."""
        low, high = np.full(len(self._named), -np.inf), np.full(len(self._named), np.inf)
        for k, (member, places) in enumerate(zip(self.families, self._places, strict=True)):
            limits = member.scale_limits(floor[k : k + 1] if len(floor) > 1 else floor)
            low[places] = np.maximum(low[places], limits[0])
            high[places] = np.minimum(high[places], limits[1])
        return np.stack([low, high])

    def spikes(self, scale: Array, floor: Array) -> NDArray[np.bool_]:
        """Each by its family."""
        out = np.zeros(len(scale), dtype=bool)
        for k, (member, places) in enumerate(zip(self.families, self._places, strict=True)):
            out[k] = member.spikes(scale[k : k + 1, places], floor[k : k + 1] if len(floor) > 1 else floor)[0]
        return out

    def floor_unit(self, y: Array, weight: Array | None) -> Array:
        """One number a family: the response's standard deviation for location-scale families."""
        center = np.average(y[:, 0], weights=weight)
        spread = float(np.sqrt(np.average((y[:, 0] - center) ** 2, weights=weight))) or 1.0
        return np.array([spread if m.location_scale else float(m.floor_unit(y, weight)[0]) for m in self.families])

    def canonical(self, coef: Array, scale: Array) -> tuple[Array, Array]:
        """Each by its family."""
        coef, scale = coef.copy(), scale.copy()
        for k, (member, places) in enumerate(zip(self.families, self._places, strict=True)):
            coef[k : k + 1], scale[k : k + 1, places] = member.canonical(coef[k : k + 1], scale[k : k + 1, places])
        return coef, scale

    def alternatives(self, coef: Array, scale: Array) -> list[tuple[Array, Array]]:
        """Those of each family, the other experts as they are."""
        out = []
        for k, (member, places) in enumerate(zip(self.families, self._places, strict=True)):
            for new_coef, new_scale in member.alternatives(coef[k : k + 1], scale[k : k + 1, places]):
                moved, scalars = coef.copy(), scale.copy()
                moved[k : k + 1], scalars[k : k + 1, places] = new_coef, new_scale
                out.append((moved, scalars))
        return out

    def for_information(self, n: float) -> MixedExperts:
        """Each by its family."""
        return MixedExperts([member.for_information(n) for member in self.families])

    # -- formulas -----------------------------------------------------------------------------------------------------

    def check(self, y: Array) -> None:
        """Refuse rows that are in no family's support.

        Raises
        ------
        ValueError
            With the first such row.
        """
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} columns; a mixture of families takes one response.")
        zero = np.zeros((1, 1, 1))
        possible = np.zeros(len(y), dtype=bool)
        for member in self.families:
            extra = np.zeros((len(member.scalars), 1, 1))
            possible |= np.isfinite(member.log_density(y.T, np.broadcast_to(zero, (1, 1, len(y))), extra)[0])
        first_bad(y, ~possible, self)

    def _each(self, eta: Array, extra: Array) -> list[tuple[Expert, Array, Array]]:
        return [
            (member, eta[:, k : k + 1], extra[places, k : k + 1])
            for k, (member, places) in enumerate(zip(self.families, self._places, strict=True))
        ]

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """Each by its family."""
        return np.concatenate([m.log_density(y, e, v) for m, e, v in self._each(eta, extra)])

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Each by its family; zero in the scalars that it does not have."""
        m = 1 + len(self._named)
        first, second = np.zeros((m, *eta.shape[1:])), np.zeros((m * (m + 1) // 2, *eta.shape[1:]))
        for k, ((member, e, v), places) in enumerate(zip(self._each(eta, extra), self._places, strict=True)):
            slope, bend = member.derivatives(y, e, v)
            rows = [0, *(1 + place for place in places)]
            for i, a in enumerate(rows):
                first[a, k] = slope[i, 0]
                for j, b in enumerate(rows[: i + 1]):
                    top, low = max(a, b), min(a, b)
                    second[top * (top + 1) // 2 + low, k] = np.where(
                        np.isfinite(bend[i * (i + 1) // 2 + j, 0]), bend[i * (i + 1) // 2 + j, 0], 0.0
                    )
        return np.where(np.isfinite(first), first, 0.0), second

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Each by its family."""
        mean, variance = zip(*(m.moments(e, v) for m, e, v in self._each(eta, extra)), strict=True)
        return np.concatenate(mean), np.concatenate(
            [np.broadcast_to(v, e.shape) for v, e in zip(variance, mean, strict=True)]
        )

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """Each by its family."""
        return np.concatenate([m.cdf(y, e, v) for m, e, v in self._each(eta, extra)])

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """Each by its family."""
        return np.concatenate([m.quantile(q, e, v) for m, e, v in self._each(eta, extra)])

    def sample_rows(self, eta: Array, scale: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Each row by the family of its expert."""
        out = np.empty((1, len(labels)))
        for k, (member, places) in enumerate(zip(self.families, self._places, strict=True)):
            here = labels == k
            extra = np.repeat(scale[k, places][:, None], int(here.sum()), axis=1)
            out[:, here] = member.sample(eta[:, here], extra, rng)
        return out

    def first_coefficients_of(self, k: int, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """A constant fit of the expert's own family, to the rows in its support."""
        member, places = self.families[k], self._places[k]
        scale = np.zeros(len(self._named))
        zero = np.zeros((1, 1, len(y)))
        inside = np.isfinite(member.log_density(y.T, zero, np.zeros((len(member.scalars), 1, 1)))[0])
        coef, scale[places] = member.first_coefficients(y[inside], weight[inside], phi[:, inside])
        return coef, scale

    # -- dictionary ---------------------------------------------------------------------------------------------------

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`; NaN stands where a family does not have a scalar."""
        coef = read_coefficients(params, n_raw)
        self._check_number(len(coef))
        index = self.scale_index(len(coef), 1)
        scale = np.zeros(index.shape)
        for j, scalar in enumerate(self.scalars):
            if scalar.key not in params:
                raise ValueError(f"params lacks {scalar.key!r}; it has {sorted(params)}.")
            value, own = np.asarray(params[scalar.key], dtype=float), index[:, j] >= 0
            if value.shape != (len(coef),) or not np.isfinite(value[own]).all():
                raise ValueError(
                    f"params[{scalar.key!r}] must be {len(coef)} numbers, finite for the families that have it; got {value.tolist()}."
                )
            scale[own, j] = scalar.from_raw(value[own])
        return Read(coef, scale, 1)

    def write(self, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
        """See `BaseExpert.write`."""
        index = self.scale_index(len(coef), 1)
        scalars = {
            scalar.key: np.where(index[:, j] >= 0, scalar.to_raw(scale[:, j]), np.nan)
            for j, scalar in enumerate(self.scalars)
        }
        return write_coefficients(coef, True) | scalars


def _tag(member: Expert, scalar: Scalar) -> tuple[str, str, str]:
    """What makes a scalar of two families the same entry: its name, link and label; a spike at another end makes it another."""
    return (
        scalar.key,
        f"{scalar.link} {scalar.label} {scalar.spike}",
        member.name if scalar.key == "expert_shape" else "",
    )


def _member(family: Any, degree: int) -> Expert:
    if isinstance(family, str):
        family = family_named(family, degree)
    if isinstance(family, GaussianExpert) and family.known_scale is None and not family.tied:
        family = NormalExpert(degree=family.degree)
    if not isinstance(family, Expert) or family.raw_features or isinstance(family, MixedExperts):
        raise ValueError(f"{family!r} cannot be one of several families; give univariate families with free scalars.")
    if family.tied:
        raise ValueError(f"{family!r}: tied scalars need experts of one family.")
    if family.name == "multinomial":
        raise ValueError("multinomial experts have several predictors; all experts must be multinomial.")
    return family
