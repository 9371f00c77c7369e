"""Experts without noise, the means that least squares fits: functions `h(η, v)` of predictors and scalars; linear ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from moestat.experts.base import Array, BaseExpert, check_degree
from moestat.experts.dictionary import Read, read_formula, write_formula
from moestat.experts.formula_blocks import FormulaBlocks, extra_of
from moestat.linalg import solve_psd

if TYPE_CHECKING:
    from moestat.blocks import Block


@dataclass(frozen=True)
class MeanExpert(FormulaBlocks, BaseExpert):
    """A function `h(η, v)` of one predictor η, a polynomial in x, and of scalars v.

    As a density, for the partitions from which a search starts, it is normal with variance one.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the polynomial; 0 gives a constant.
    """

    by_scores: ClassVar[bool] = True
    tied: ClassVar[bool] = False  # type: ignore[misc]
    linear: ClassVar[bool] = False  # in the coefficients; in the scalars every h is linear

    degree: int = 1

    def __post_init__(self) -> None:
        check_degree(self.degree)

    def check(self, y: Array) -> None:
        """Refuse several columns.

        Raises
        ------
        ValueError
            With their number.
        """
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} columns; least squares fits one response, (n,) or (n, 1).")

    def mean(self, eta: Array, extra: Array) -> Array:
        """`h`, `(K, B)`, for `eta (1, K, B)` and `extra (c, K, 1)`."""
        raise NotImplementedError

    def mean_derivatives(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """First `(m, K, B)` and second `(m (m+1)/2, K, B)` derivatives of h in η, then v; the pairs `j <= i` row by row."""
        raise NotImplementedError

    def moments(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """h, and no variance."""
        mean = self.mean(eta, extra)
        return mean, np.zeros_like(mean)

    def log_density(self, y: Array, eta: Array, extra: Array) -> Array:
        """`-(y - h)²/2`, `(K, B)`."""
        return np.asarray(-0.5 * (y[0] - self.mean(eta, extra)) ** 2)

    def add_statistics(
        self, acc: dict[str, Array], scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> None:
        """See `BaseExpert.add_statistics`; least squares keeps predictors only."""
        ws["log_density"][...] = self.log_density(block.y[:, block.start : block.stop], ws["kept"], extra_of(scale))
        super().add_statistics(acc, scale, block, ws, kernels)

    def derivatives(self, y: Array, eta: Array, extra: Array) -> tuple[Array, Array]:
        """Of `log_density` in (η, v): `(y - h) h_u` and `(y - h) h_uv - h_u h_v`."""
        residual = y[0] - self.mean(eta, extra)
        first, second = self.mean_derivatives(eta, extra)
        rows, columns = np.tril_indices(len(first))
        return residual * first, residual * second - first[rows] * first[columns]

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """Coefficients `(1, q)` and scalars `(c,)` of a rough fit to `y (n, 1)`, from which a search starts."""
        raise NotImplementedError

    def first_coefficients_of(self, k: int, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """See `Expert.first_coefficients_of`."""
        return self.first_coefficients(y, weight, phi)

    def degeneracies(self, params: Mapping[str, Any] | None = None) -> list[str]:
        """What of its parameters no data identify, in words; nothing here. See `moestat.experts.ridge.NonlinearMean`."""
        return []

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`."""
        return read_formula(self, params, n_raw)  # type: ignore[arg-type]

    def write(self, coef: Array, scale: Array, vector_y: bool) -> dict[str, Array]:
        """See `BaseExpert.write`."""
        return write_formula(self, coef, scale)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LinearMean(MeanExpert):
    """`h = η`: a polynomial in x, the mean of Gaussian experts.

    Examples
    --------
    >>> LinearMean(degree=2).keys
    ('expert_coef', 'expert_intercept')
    """

    name: ClassVar[str] = "linear"
    linear: ClassVar[bool] = True

    def mean(self, eta: Array, extra: Array) -> Array:
        """η."""
        return np.asarray(eta[0])

    def mean_derivatives(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """One and zero."""
        return np.ones_like(eta), np.zeros_like(eta)

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """Weighted least squares."""
        return regression(y[:, 0], weight, phi)[None], np.zeros(0)

    def rescale(self, coef: Array, scale: Array, center: Array, factor: Array) -> tuple[Array, Array]:
        """See `BaseExpert.rescale`."""
        moved = coef * factor[:, None]
        moved[:, :, 0] += center
        return moved, scale


def regression(target: Array, weight: Array, phi: Array) -> Array:
    """Coefficients `(q,)` of weighted least squares on features `(q, n)`."""
    return np.asarray(solve_psd((phi * weight) @ phi.T, (phi * weight) @ target[:, None])[:, 0])


def mean_of(expert: BaseExpert) -> MeanExpert:
    """The mean of an expert as a function, which is all that least squares sees of it.

    Raises
    ------
    ValueError
        If the expert is no location family with a mean of its own, or has a known standard deviation.
    """
    if isinstance(expert, MeanExpert):
        return expert
    part = getattr(expert, "mean_part", None)
    if part is not None:
        return part()  # type: ignore[no-any-return]
    if expert.name != "gaussian":
        raise ValueError(
            f"expert={expert!r} is no mean with additive noise; least squares takes 'gaussian' (polynomial means) or 'nonlinear' experts. "
            "Use the likelihood for other families."
        )
    if expert.known_scale is not None:
        raise ValueError(
            f"{expert!r} has a known standard deviation, which means nothing to least squares; leave variance out."
        )
    return LinearMean(expert.degree)
