"""Binomial experts: successes in a number of trials; logistic regression for one trial."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, expit, log_expit

from moestat.experts.base import Array, Expert, first_bad
from moestat.experts.counts import FUZZ, RARE, is_count, log_multinomial, smallest_count


@dataclass(frozen=True)
class BinomialExpert(Expert):
    """Binomial expert with a polynomial log odds.

    `f(y | η, n) = C(n, y) p^y (1 - p)^(n - y)`, `p = 1/(1 + e^-η)`. The response is one column, the successes in `trials` trials
    (0 or 1 by default), or two, `[successes, trials]`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the log odds; 0 gives experts that do not depend on x.
    tied : bool, default False
        Without effect: there is no scalar to tie.
    trials : int, default 1
        Number of trials behind every row of a response with one column; 1 if they are a column.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` and `expert_coef` (log odds). Moments, quantiles and samples are those of
    the successes in `trials` trials: of one trial where the response has its own column of them, which predictions do not see.
    For one trial this is `MultinomialExpert` with two classes, of which class 0 is the success. The M-step is iteratively reweighted least
    squares: McCullagh & Nelder, Generalized Linear Models (1989), section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.binomial import BinomialExpert
    >>> y, eta = np.array([[1.0], [2.0]]), np.zeros((1, 1, 1))
    >>> float(np.exp(BinomialExpert().log_density(y, eta, np.empty((0, 1, 1)))).item())
    0.5
    """

    name: ClassVar[str] = "binomial"
    support: ClassVar[str] = (
        "integers from 0 to the number of trials (one column of successes, or successes and trials)"
    )
    discrete: ClassVar[bool] = True
    bounded: ClassVar[bool] = True

    trials: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        trials: Any = self.trials
        if isinstance(trials, bool) or not isinstance(trials, Integral) or trials < 1:
            raise ValueError(f"trials={self.trials!r} must be a positive integer.")

    def columns(self, n_predictors: int, n_responses: int) -> tuple[int, ...]:
        """Successes, or successes and trials."""
        return (1, 2)

    def check(self, y: Array) -> None:
        """Refuse responses that are not successes among trials.

        Raises
        ------
        ValueError
            With the first such row and value, or if the trials are given twice.
        """
        if y.shape[1] > 2:
            raise ValueError(
                f"y has {y.shape[1]} columns; binomial experts need one (successes) or two (successes, trials)."
            )
        if y.shape[1] == 2 and self.trials != 1:
            raise ValueError(f"y has a column of trials, but trials={self.trials} says how many: leave trials at 1.")
        first_bad(y, ~self._valid(*self._split(y.T)), self)

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log C(n, y) + y log p + (n - y) log(1 - p)`."""
        k, n = self._split(y)
        valid = self._valid(k, n)
        k, n = np.where(valid, k, 0.0), np.where(valid, n, 0.0)
        log_proba = np.stack([log_expit(eta[0]), log_expit(-eta[0])])
        return np.where(valid, log_multinomial(np.stack([k, n - k]), log_proba), -np.inf)

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`y - n p` and `-n p (1 - p)`."""
        k, n = self._split(y)
        p, q = expit(eta), expit(-eta)
        return k * q - (n - k) * p, -n * p * q

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean and variance of the successes in `trials` trials."""
        p, q = expit(eta[0]), expit(-eta[0])
        return self.trials * p, self.trials * p * q

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """`P(Y <= y)`; with two columns given the second, the trials."""
        return _below(*self._split(y), eta[0])

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """The smallest number of successes in `trials` trials with `P(Y <= y) >= q` to rounding."""
        n = np.asarray(float(self.trials))
        return smallest_count(lambda k: _below(k, n, eta[0]) >= q * (1.0 - FUZZ), self.moments(eta, extra)[0])

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """Successes in `trials` trials for each column of `eta (1, B)`: `(1, B)`."""
        return np.asarray(rng.binomial(self.trials, expit(eta)), dtype=float)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """The log odds of the share of successes."""
        k, n = self._split(y.T)
        share = float(weight @ k) / max(float(weight @ n), 1e-300)
        share = share if 0.0 < share < 1.0 else float(np.clip(share, RARE, 1.0 - RARE))
        return np.log(np.array([share / (1.0 - share)])), np.zeros(0)

    def starting_response(self, y: Array) -> Array:
        """Empirical log odds, with half a success and half a failure more."""
        k, n = self._split(y.T)
        return np.log((k + 0.5) / (n - k + 0.5))[:, None]

    def _split(self, y: Array) -> tuple[Array, Array]:
        """Successes and trials of `y (cols, …)`."""
        return y[0], y[1] if len(y) == 2 else np.full_like(y[0], self.trials)

    @staticmethod
    def _valid(k: Array, n: Array) -> NDArray[np.bool_]:
        return is_count(k) & is_count(n) & (k <= n)


def _below(y: Array, n: Array, eta: Array) -> Array:
    """`P(Y <= y)` for n trials, an incomplete beta function."""
    k = np.floor(y)
    inside = (k >= 0.0) & (k < n)
    proba = betainc(np.where(inside, n - k, 1.0), np.where(inside, k, 0.0) + 1.0, expit(-eta))
    return np.where(inside, proba, np.where(k < 0.0, 0.0, 1.0))
