"""Multinomial experts: classes, or how many of each; multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from moestat.experts.base import Array, Expert, first_bad
from moestat.experts.counts import RARE, is_count, log_multinomial
from moestat.kernels import plain
from moestat.kernels.functions import kernel


@dataclass(frozen=True)
class MultinomialExpert(Expert):
    """Multinomial expert with polynomial log odds against the last class.

    `f(s | η) = exp(η_s) / (1 + Σ_l exp η_l)` for classes s = 0, …, C - 1, where `η_{C-1} = 0`: d = C - 1 predictors. The response is
    one column of codes s, or C columns of counts `y_s`, with density `n! / Π y_s! · Π f(s)^y_s`, `n = Σ y_s`.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the log odds; 0 gives experts that do not depend on x.
    tied : bool, default False
        Without effect: there is no scalar to tie.
    n_classes : int, optional
        Number of classes C; by default the largest code plus one, or the number of columns.
    labels : sequence of str, optional
        Names of the classes, for the names of parameters; by default their codes.

    Raises
    ------
    ValueError
        If a parameter is outside its range; by `cdf` and `quantile`, which classes do not have.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept` (K, C - 1) and `expert_coef` (K, C - 1, p), the log odds of each class but the
    last against the last; without their middle axis for two classes, where this is `BinomialExpert` with class 0 as the success.
    Moments are those of the C indicators of one draw, `(C, K, B)`, and samples are codes. The experts of Chen, Xu & Chi, Neural Networks 12
    (1999), 1229-1252; the identifiability of over-specified ones: Nguyen, Akbarian, Nguyen & Ho, ICML (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.experts.multinomial import MultinomialExpert
    >>> eta = np.log([2.0, 1.0]).reshape(2, 1, 1)
    >>> MultinomialExpert().class_proba(eta).ravel().tolist()
    [0.5, 0.25, 0.25]
    """

    name: ClassVar[str] = "multinomial"
    support: ClassVar[str] = "codes 0, 1, … below the number of classes, or counts in a column a class"
    discrete: ClassVar[bool] = True
    bounded: ClassVar[bool] = True

    n_classes: int | None = None
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        c: Any = self.n_classes
        if c is not None and (isinstance(c, bool) or not isinstance(c, Integral) or c < 2):
            raise ValueError(f"n_classes={c!r} must be an integer of at least 2, or None for what the response says.")
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
            if c is None or len(self.labels or ()) != c:
                raise ValueError(f"labels={self.labels!r} must be one for each of n_classes={c!r} classes.")

    def n_predictors(self, y: Array) -> int:
        """One a class but the last."""
        return self._classes(y) - 1

    def columns(self, n_predictors: int, n_responses: int) -> tuple[int, ...]:
        """Codes, or a count a class."""
        return (1, n_predictors + 1)

    def predictor_names(self, n_predictors: int, vector_y: bool) -> list[str]:
        """The class, where there are more than two."""
        if n_predictors == 1:
            return [""]
        return [f"class{s}:" if self.labels is None else f"class[{self.labels[s]}]:" for s in range(n_predictors)]

    def reading(self, n_predictors: int) -> str:
        """See `BaseExpert.reading`."""
        names = self.labels or [f"class {s}" for s in range(n_predictors + 1)]
        which = names[0] if n_predictors == 1 else "each class"
        return f"Experts: log-odds of {which} against {names[-1]}."

    def check(self, y: Array) -> None:
        """Refuse responses that are neither codes nor counts.

        Raises
        ------
        ValueError
            With the first such row and value, or if the number of columns contradicts `n_classes`.
        """
        bad = ~is_count(y).all(axis=1)
        if y.shape[1] == 1:
            if self.n_classes is not None:
                bad |= y[:, 0] >= self.n_classes
        elif self.n_classes not in (None, y.shape[1]):
            raise ValueError(
                f"y has {y.shape[1]} columns, but n_classes={self.n_classes}; give a column a class, or one of codes."
            )
        first_bad(y, np.asarray(bad), self)

    def log_proba(self, eta: Array) -> Array:
        """`log f(s)` for every class, `(C, K, B)`; none is minus infinity, and those near zero keep their digits."""
        return _of_classes("class_log_rows", eta)

    def class_proba(self, eta: Array) -> Array:
        """`f(s)` for every class, `(C, K, B)`."""
        return _of_classes("class_rows", eta)

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`log f` of a code, or of counts with their multinomial coefficient."""
        log_p = self.log_proba(eta)
        if len(y) > 1:
            valid = is_count(y).all(axis=0)
            return np.where(valid, log_multinomial(np.where(valid, y, 0.0), log_p), -np.inf)
        out = np.full(log_p.shape[1:], -np.inf)
        for s, value in enumerate(log_p):
            np.copyto(out, value, where=y[0] == s)
        return out

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`y_s - n f_s` and `-n f_s (1[s = l] - f_l)`."""
        p = self.class_proba(eta)
        d = len(eta)
        first, second = np.empty(eta.shape), np.empty((d * (d + 1) // 2, *eta.shape[1:]))
        name = "multinomial_derivatives"
        (kernel(name, p) or getattr(plain, name))(p, self._counts(y, len(p)), first, second)
        return first, second

    def slopes(self, y: Array, eta: Array, extra: Array) -> Array:
        """`y_s - n f_s`."""
        p = self.class_proba(eta)
        counts = self._counts(y, len(p))
        return _slopes(p, counts, counts.sum(axis=0))

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Mean and variance of the indicators of the classes, `(C, K, B)` each: `f_s` and `f_s (1 - f_s)`."""
        p = self.class_proba(eta)
        return p, np.stack([p[s] * _rest(p, s) for s in range(len(p))])

    def cdf(self, y: Array, eta: Array, extra: Array) -> Array:
        """A ValueError: classes have no order."""
        raise ValueError("multinomial experts have no distribution function: classes have no order. Use class_proba.")

    def quantile(self, q: float, eta: Array, extra: Array) -> Array:
        """A ValueError: classes have no order."""
        raise ValueError("multinomial experts have no quantiles: classes have no order. Use class_proba.")

    def sample(self, eta: Array, extra: Array, rng: np.random.Generator) -> Array:
        """A code for each column of `eta (d, B)`: `(1, B)`."""
        reached = np.cumsum(self.class_proba(eta), axis=0)[:-1]
        return np.asarray((rng.random(eta.shape[1]) >= reached).sum(axis=0, keepdims=True), dtype=float)

    def origin(self, y: Array, weight: Array) -> tuple[Array, Array]:
        """Log odds of the shares of the classes."""
        total = self._counts(y.T, self._classes(y)) @ weight
        total = np.where(total > 0.0, total, RARE * max(total.sum(), 1.0))
        return np.log(total[:-1] / total[-1]), np.zeros(0)

    def starting_response(self, y: Array) -> Array:
        """Empirical log odds of each class against their mean, with half an observation more in each."""
        logs = np.log(self._counts(y.T, self._classes(y)).T + 0.5)
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))

    def _classes(self, y: Array) -> int:
        """Number of classes of responses `(n, cols)`."""
        if y.shape[1] > 1:
            return int(y.shape[1])
        return self.n_classes or max(int(y.max()) + 1, 2)

    @staticmethod
    def _counts(y: Array, n_classes: int) -> Array:
        """Counts `(C, …)` of `y (cols, …)`, which may be codes."""
        return y if len(y) > 1 else np.stack([np.where(y[0] == s, 1.0, 0.0) for s in range(n_classes)])


def _of_classes(name: str, eta: Array) -> Array:
    """A kernel of log odds `(C - 1, …)` with a result for every class."""
    out = np.empty((len(eta) + 1, eta[0].size))
    (kernel(name, eta) or getattr(plain, name))(np.ascontiguousarray(eta).reshape(len(eta), -1), out)
    return out.reshape(-1, *eta.shape[1:])


def _rest(p: Array, s: int) -> Array:
    """`1 - p_s` without cancellation."""
    return np.asarray(p[:s].sum(axis=0) + p[s + 1 :].sum(axis=0))


def _slopes(p: Array, counts: Array, n: Array) -> Array:
    """`y_s - n p_s`, as `y_s (1 - p_s) - (n - y_s) p_s`, for every class but the last."""
    return np.stack([counts[s] * _rest(p, s) - (n - counts[s]) * p[s] for s in range(len(p) - 1)])
