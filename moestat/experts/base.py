"""What every expert is: a log-density in its predictors, with derivatives, moments, distribution function and sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.experts.checks import check_degree, first_bad
from moestat.experts.dictionary import Read, read_formula, write_formula
from moestat.experts.engine import Array, BaseExpert
from moestat.experts.formula_blocks import FormulaBlocks
from moestat.experts.scalar import Scalar

__all__ = ["Array", "BaseExpert", "Expert", "Scalar", "check_degree", "first_bad"]


@dataclass(frozen=True)
class Expert(FormulaBlocks, BaseExpert):
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

    degree: int = 1
    tied: bool = False

    def __post_init__(self) -> None:
        check_degree(self.degree)
        if not isinstance(self.tied, (bool, np.bool_)):
            raise ValueError(f"tied={self.tied!r} must be True or False.")

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`."""
        return read_formula(self, params, n_raw)

    def write(self, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
        """See `BaseExpert.write`."""
        return write_formula(self, coef, scale)

    # -- formulas on points -------------------------------------------------------------------------------------------

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f`, `(K, B)`; `-inf` outside the support, never nan."""
        raise NotImplementedError

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """First `(m, K, B)` and second `(m (m+1)/2, K, B)` derivatives of `log f` in (η, v)."""
        raise NotImplementedError

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """One response for each column of `eta (d, B)`, `extra (c, B)`: `(cols, B)`."""
        raise NotImplementedError

    def sample_rows(self, eta: Array, scale: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """See `BaseExpert.sample_rows`."""
        return self.sample(eta, scale[labels].T, rng)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Predictors `(d,)` and scalars `(c,)` (free values) of about the best constant fit to `y (n, cols)` with weights."""
        raise NotImplementedError

    def first_coefficients_of(self, k: int, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """`first_coefficients` of expert k (from 0); experts of one family do not differ."""
        return self.first_coefficients(y, weight, phi)

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """Coefficients `(d, q)` and scalars `(c,)` from which the first M-step of one expert starts: a constant fit."""
        eta, scale = self.origin(y, weight)
        coef = np.zeros((len(eta), len(phi)))
        coef[:, 0] = eta
        return coef, scale
