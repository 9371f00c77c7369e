"""What the engine asks of an expert, for a block of rows; families that are formulas on points answer it in `base.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from moestat.entries import n_columns
from moestat.experts.dictionary import Read
from moestat.experts.scalar import Scalar

if TYPE_CHECKING:
    from moestat.blocks import Block

Array = NDArray[np.float64]

WIDEST = 27.6  # log of the largest scale in units of the variance floor's root: a billion standard deviations of y by default


class BaseExpert:
    """What the engine asks of an expert; `Expert` answers it by formulas on points, `GaussianExpert` by compiled kernels.

    Predictors `η (d, K, B)` are polynomials in x, scalars `v (K, c)` the same for every x; a block of rows carries `y (cols, n)`.
    """

    name: ClassVar[str] = ""
    support: ClassVar[str] = "real numbers"
    discrete: ClassVar[bool] = False
    intervals: ClassVar[bool] = False  # responses are intervals (lower, upper), whose ends may be infinite
    bounded: ClassVar[bool] = False  # densities are probabilities that may all be one: classes
    location_scale: ClassVar[bool] = False  # η_1 is a location and v_1 a log scale: fitted in standardised responses
    closed_form: ClassVar[bool] = False  # the M-step is exact, not a Newton step
    raw_features: ClassVar[bool] = False  # needs the user's own columns: its predictors are not linear in the features
    by_scores: ClassVar[bool] = False  # no compiled route: every gate answers by scores

    exchangeable: ClassVar[bool] = True  # every expert is of the same family, so that their order means nothing

    degree: int

    @property
    def can_spike(self) -> bool:
        """Whether the likelihood is unbounded where one expert follows a few rows exactly."""
        return any(scalar.spike for scalar in self.scalars) and not getattr(self, "tied", False)

    @property
    def spike_labels(self) -> tuple[str, ...]:
        """Names of the scalars that the variance floor bounds, or what they begin with."""
        return tuple(scalar.label for scalar in self.scalars if scalar.spike)

    @property
    def known_scale(self) -> Array | None:
        """The known standard deviation of Gaussian experts, or None."""
        return None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name (scikit-learn's protocol: `GridSearchCV` reaches them as `expert__…`)."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __sklearn_clone__(self) -> Self:
        """Components are immutable: a copy is the component itself."""
        return self

    # -- shape --------------------------------------------------------------------------------------------------------

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalars `v` of one expert."""
        return ()

    def n_predictors(self, y: Array) -> int:
        """Number d of predictors for responses `y (n, cols)`."""
        return 1

    def n_scale(self, n_predictors: int) -> int:
        """Number c of scalars of one expert."""
        return len(self.scalars)

    def scale_index(self, n_experts: int, n_predictors: int) -> NDArray[np.int64]:
        """For each scalar `(K, c)` the number of the free parameter it equals, or -1 where it is known."""
        c = self.n_scale(n_predictors)
        index = np.arange(n_experts * c).reshape(n_experts, c)
        return np.repeat(index[:1], n_experts, axis=0) if getattr(self, "tied", False) else index

    def coef_design(self, n_experts: int) -> Array | None:
        """The matrix `(K, R)` of full rank that makes the coefficients of K experts from R free rows; None where all are free."""
        return None

    def coef_numbers(self, n_experts: int) -> list[int]:
        """Which experts (from 0) the free rows of coefficients are named after."""
        return list(range(n_experts))

    def scale_limits(self, floor: Array) -> Array:
        """Lower and upper bounds `(2, c)` of the scalars; `floor (D,)` is the smallest standard deviation that is allowed."""
        low, high = (np.array([getattr(s, side) for s in self.scalars], dtype=float) for side in ("low", "high"))
        for j, scalar in enumerate(self.scalars):
            if scalar.spike == "low":
                low[j] = max(low[j], float(np.log(floor[0])))
                if floor[0] > 1e-100:  # in data: an expert that loses its rows must not lose its numbers
                    high[j] = min(high[j], float(np.log(floor[0])) + WIDEST)
            elif scalar.spike == "high":
                high[j] = min(high[j], -2.0 * float(np.log(floor[0])))
        return np.stack([low, high])

    def spikes(self, scale: Array, floor: Array) -> NDArray[np.bool_]:
        """Which experts `(K,)` sit on the bound that keeps their density from degenerating."""
        out = np.zeros(len(scale), dtype=bool)
        limits = self.scale_limits(floor)
        for j, scalar in enumerate(self.scalars):
            if scalar.spike == "low":
                out |= scale[:, j] <= limits[0, j] + 1e-6
            elif scalar.spike == "high":
                out |= scale[:, j] >= limits[1, j] - 1e-6
        return out

    def starting_response(self, y: Array) -> Array:
        """Responses `(n, D)` as real numbers on about the scale of η, for the partitions from which a fit starts."""
        return y

    def alternatives(self, coef: Array, scale: Array) -> list[tuple[Array, Array]]:
        """Coefficients and scalars from which a search that ended at these should be tried again; none here.

        For families whose likelihood has stationary points that are neither maxima nor seen as saddles by second derivatives.
        """
        return []

    def floor_unit(self, y: Array, weight: Array | None) -> Array:
        """What the square root of `variance_floor` is a multiple of, `(D,)`, for families that are not location-scale ones."""
        return np.ones(1)

    # -- parameters ---------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("expert_coef", "expert_intercept", *(scalar.key for scalar in self.scalars))

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """Raw coefficients, scalars and number of responses in a parameter dictionary, for `n_raw` monomials.

        Raises
        ------
        ValueError
            If an entry is missing, of the wrong shape, or outside its range.
        """
        raise NotImplementedError

    def write(self, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
        """The entries of the parameter dictionary of raw coefficients `(K, d, n_raw)` and scalars `(K, c)`."""
        raise NotImplementedError

    def check_consistent(self, free: Array, scale: Array, given: Mapping[str, Any]) -> None:
        """A ValueError where scalars `(K, c)` differ from what they are when tied ones are equal (`free`)."""
        if not np.allclose(free, scale, rtol=1e-8, atol=1e-10):
            names = ", ".join(scalar.key for scalar in self.scalars)
            raise ValueError(f"params contradict {self!r}: the experts' values of {names} must be equal.")

    def columns(self, n_predictors: int, n_responses: int) -> tuple[int, ...]:
        """Numbers of columns in which responses may be given to a model with known parameters."""
        return (n_responses,)

    def n_inputs(self, n_coef: int) -> int:
        """Columns of X for `n_coef` coefficients besides the intercept."""
        return n_columns(n_coef, self.degree, "expert_coef")

    def terms(self, terms: list[str]) -> list[str]:
        """Names of the coefficients of one predictor, from the names of the features (`Intercept` first)."""
        return terms

    def predictor_names(self, n_predictors: int, vector_y: bool) -> list[str]:
        """What the names of the coefficients of each predictor begin with."""
        return [""]

    def reading(self, n_predictors: int) -> str:
        """What the predictors mean where it is not the obvious, for the foot of a table."""
        return ""

    def scalar_names(self, n_predictors: int, vector_y: bool) -> list[str]:
        """Names of the scalars of one expert."""
        return [scalar.label for scalar in self.scalars]

    def scalar_links(self, n_predictors: int) -> list[str]:
        """How each free scalar becomes the reported number; see `Scalar.link`."""
        return [scalar.link for scalar in self.scalars]

    def box_scalars(
        self, n_predictors: int, vector_y: bool
    ) -> dict[str, tuple[list[tuple[int, str]], tuple[int, ...]]]:
        """For each entry that a box may bound: positions and links of its scalars, and its shape after the K axis."""
        return {scalar.key: ([(j, scalar.link)], ()) for j, scalar in enumerate(self.scalars)}

    def check(self, y: Array) -> None:
        """Refuse responses `(n, cols)` outside the support; nothing is refused here.

        Raises
        ------
        ValueError
            With the first offending row and value.
        """

    def rescale(self, coef: Array, scale: Array, center: Array, factor: Array) -> tuple[Array, Array]:
        """Coefficients and scalars for `center + factor * y` from those for `y`, in a location-scale family."""
        if not self.location_scale:
            return coef, scale
        moved = coef * factor[:, None]
        moved[:, :, 0] += center
        out = scale.copy()
        out[:, 0] += np.log(factor[0])
        return moved, out

    def canonical(self, coef: Array, scale: Array) -> tuple[Array, Array]:
        """Raw coefficients `(K, d, n_raw)` and scalars `(K, c)` of the representative under the family's own symmetries.

        Idempotent, and every density stays as it is; here they have none.
        """
        return coef, scale

    def for_information(self, n: float) -> Self:
        """The family that takes this one's place where second derivatives are averaged over n rows an expert; here itself.

        One whose log-density has a kink must round it over more than the gaps between responses: at the kink its expected
        curvature is the density there, which a sum over rows can only estimate.
        """
        return self

    # -- predictions --------------------------------------------------------------------------------------------------

    def predictors(self, coef: Array, phi: Array) -> Array:
        """Predictors `(d, K, B)` from coefficients `(K, d, q)` and features `(q, B)`."""
        return np.asarray(np.matmul(coef.transpose(1, 0, 2), phi))

    def predictor_jacobian(self, coef: Array, phi: Array) -> Array | None:
        """Derivatives `(d, K, q, B)` of the predictors in their coefficients; None for a linear map, where they are the features."""
        return None

    def predictor_curvature(self, coef: Array, phi: Array, weight: Array) -> Array | None:
        """`Σ_b weight ∂²η/∂coef²`, `(d, K, q, q)`, for `weight (d, K, B)`; None where it vanishes."""
        return None

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean and variance of y, `(K, B)` each, or `(D, K, B)`; infinite or nan where they do not exist."""
        raise NotImplementedError

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`, `(K, B)`."""
        raise NotImplementedError

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The smallest y with `P(Y <= y) >= q`, `(K, B)`."""
        raise NotImplementedError

    def sample_rows(self, eta: Array, scale: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Responses `(cols, n)` for predictors `(d, n)`, each row drawn from the expert `labels (n,)`."""
        raise NotImplementedError

    # -- one block of rows --------------------------------------------------------------------------------------------

    def forward(self, coef: Array, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType) -> None:
        """Fill the workspace's `log_density (K, B)` and `kept (d, K, B)` for the rows of the block."""
        raise NotImplementedError

    def weighted_derivatives(
        self, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> tuple[Array, Array]:
        """`resp · ∂log f` `(m, K, B)` and `resp · (∂²log f + ∂log f ∂log fᵀ)` for the lower-triangular pairs of predictors."""
        raise NotImplementedError

    def weighted_slopes(self, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType) -> Array:
        """The first of `weighted_derivatives` alone."""
        return self.weighted_derivatives(scale, block, ws, kernels)[0]

    def accumulators(self, n_experts: int, n_predictors: int, q: int) -> dict[str, Array]:
        """Zero statistics of the M-step, additive over rows; `moments[:, 0]` is the mass of each expert."""
        raise NotImplementedError

    def add_statistics(
        self, acc: dict[str, Array], scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> None:
        """Add a block, whose E-step is in the workspace."""
        raise NotImplementedError

    def maximise(
        self, coef: Array, scale: Array, acc: dict[str, Array], floor: Array, step: float = 1.0
    ) -> tuple[Array, Array]:
        """New coefficients `(K, d, q)` and scalars `(K, c)`; `step` shortens a Newton step."""
        raise NotImplementedError
