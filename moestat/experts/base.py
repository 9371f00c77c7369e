"""What every expert is: a log-density in its predictors, with derivatives, moments, distribution function and sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Scalar(NamedTuple):
    """A predictor that does not depend on x: one number an expert, such as a scale or a dispersion.

    Attributes
    ----------
    key : str
        Name in the parameter dictionary, as `expert_dispersion`.
    label : str
        Name of the free parameter, as `log_dispersion`.
    link : str
        How the free value `v` becomes the reported one: "log" (`exp v`), "logit" (`1/(1 + exp -v)`) or "identity".
    low, high : float
        Bounds of the free value, beyond which the model is a limit of another family to rounding.
    at_low, at_high : str
        What the limit is, for the message when an estimate ends there.
    """

    key: str
    label: str
    link: str = "log"
    low: float = -np.inf
    high: float = np.inf
    at_low: str = ""
    at_high: str = ""

    def to_raw(self, value: Array) -> Array:
        """The reported value of a free one."""
        if self.link == "log":
            return np.exp(value)
        if self.link == "logit":
            return np.asarray(1.0 / (1.0 + np.exp(-value)))
        return np.asarray(value)

    def from_raw(self, value: Array) -> Array:
        """The free value of a reported one.

        Raises
        ------
        ValueError
            If the value is outside the range of the link.
        """
        value = np.asarray(value, dtype=float)
        if self.link == "log":
            if not (value > 0).all():
                raise ValueError(f"params[{self.key!r}] must be positive; got {value.tolist()}.")
            return np.asarray(np.log(value))
        if self.link == "logit":
            if not ((value > 0) & (value < 1)).all():
                raise ValueError(f"params[{self.key!r}] must lie strictly between 0 and 1; got {value.tolist()}.")
            return np.asarray(np.log(value) - np.log1p(-value))
        return value


@dataclass(frozen=True)
class Expert:
    """A family of conditional densities `f(y | η_1, …, η_d, v_1, …, v_c)`.

    `η` are *predictors*, polynomials in x whose coefficients are estimated; `v` are *scalars*, the same for every x. All formulas are
    elementwise: `y (cols, B)`, `eta (d, K, B)`, `extra (c, K, 1)`, results `(K, B)`. A subclass gives

    * `log_density(y, eta, extra)`;
    * `derivatives(y, eta, extra)`: first `(m, K, B)` and second `(m (m+1)/2, K, B)` derivatives in the `m = d + c` predictors, the
      pairs `(i, j)`, `j <= i`, row by row;
    * `moments(eta, extra)`: mean and variance; `cdf`, `quantile` where the response is one number; `sample(eta, extra, rng)`;
    * `check(y)`: refuse responses outside the support, naming the first such row;
    * `origin(y, weight)`: predictors of a sensible constant fit, from which a search starts.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the polynomials; 0 gives experts that do not depend on x.
    tied : bool, default False
        One value of each scalar for all experts.
    """

    name: ClassVar[str] = ""
    support: ClassVar[str] = "real numbers"
    discrete: ClassVar[bool] = False
    location_scale: ClassVar[bool] = False  # η_1 is a location and v_1 a log scale: fitted in standardised responses
    closed_form: ClassVar[bool] = False  # the M-step is exact, not a Newton step
    known_scale: ClassVar[Array | None] = None  # only Gaussian experts know theirs

    degree: int = 1
    tied: bool = False

    def __post_init__(self) -> None:
        degree: Any = self.degree
        if isinstance(degree, bool) or not isinstance(degree, Integral) or degree < 0:
            raise ValueError(f"degree={self.degree!r} must be a non-negative integer.")
        if not isinstance(self.tied, (bool, np.bool_)):
            raise ValueError(f"tied={self.tied!r} must be True or False.")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name (scikit-learn's protocol: `GridSearchCV` reaches them as `expert__…`)."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    # -- shape --------------------------------------------------------------------------------------------------------

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalars `v` of one expert."""
        return ()

    def n_predictors(self, y: Array) -> int:
        """Number d of predictors for responses `y (n, cols)`."""
        return 1

    def n_columns(self, n_predictors: int) -> int:
        """Number of columns of y that go with d predictors."""
        return 1

    def n_scale(self, n_predictors: int) -> int:
        """Number c of scalars of one expert."""
        return len(self.scalars)

    def scale_index(self, n_experts: int, n_predictors: int) -> NDArray[np.int64]:
        """For each scalar `(K, c)` the number of the free parameter it equals, or -1 where it is known."""
        c = self.n_scale(n_predictors)
        index = np.arange(n_experts * c).reshape(n_experts, c)
        return np.repeat(index[:1], n_experts, axis=0) if self.tied else index

    # -- formulas on points -------------------------------------------------------------------------------------------

    def check(self, y: Array) -> None:
        """Refuse responses `(n, cols)` outside the support.

        Raises
        ------
        ValueError
            With the first offending row and value.
        """

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f`, `(K, B)`; `-inf` outside the support, never nan."""
        raise NotImplementedError

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """First `(m, K, B)` and second `(m (m+1)/2, K, B)` derivatives of `log f` in (η, v)."""
        raise NotImplementedError

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean and variance of y, `(K, B)` each; infinite or nan where they do not exist."""
        raise NotImplementedError

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`, `(K, B)`."""
        raise NotImplementedError

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The smallest y with `P(Y <= y) >= q`, `(K, B)`."""
        raise NotImplementedError

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column of `eta (d, B)`, `extra (c, B)`: `(cols, B)`."""
        raise NotImplementedError

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Predictors `(d,)` and scalars `(c,)` (free values) of about the best constant fit to `y (n, cols)` with weights."""
        raise NotImplementedError

    def starting_response(self, y: Array) -> Array:
        """Responses `(n, D)` as real numbers on about the scale of η, for the partitions from which a fit starts."""
        return y

    # -- parameters ---------------------------------------------------------------------------------------------------

    def read_scalars(self, params: Mapping[str, Any], n_experts: int) -> Array:
        """Free values `(K, c)` of the scalars in a parameter dictionary.

        Raises
        ------
        ValueError
            If one is missing, of the wrong shape, or outside its range.
        """
        out = np.zeros((n_experts, len(self.scalars)))
        for j, scalar in enumerate(self.scalars):
            if scalar.key not in params:
                raise ValueError(f"params lacks {scalar.key!r}; it has {sorted(params)}.")
            value = np.asarray(params[scalar.key], dtype=float)
            if value.ndim == 0:
                value = np.full(n_experts, float(value))
            if value.shape != (n_experts,):
                raise ValueError(f"params[{scalar.key!r}] has shape {value.shape}; expected ({n_experts},).")
            if not np.isfinite(value).all():
                raise ValueError(f"params[{scalar.key!r}] must be finite; got {value.tolist()}.")
            out[:, j] = scalar.from_raw(value)
        return out

    def write_scalars(self, extra: Array) -> dict[str, Array]:
        """The scalars `(K, c)` as entries `(K,)` of a parameter dictionary."""
        return {scalar.key: scalar.to_raw(extra[:, j]) for j, scalar in enumerate(self.scalars)}


def first_bad(y: Array, bad: Array, expert: Expert) -> None:
    """A ValueError that names the first row of `y (n, cols)` where `bad (n,)` holds.

    Raises
    ------
    ValueError
        If there is such a row.
    """
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = y[row].tolist()
        shown = value[0] if len(value) == 1 else value
        raise ValueError(f"y is {shown} in row {row}; {expert.name} experts need {expert.support}.")
