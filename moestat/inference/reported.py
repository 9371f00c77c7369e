"""Standard deviations and correlations in place of their parametrisation, on scales fit for intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .names import ParameterName, parse_name

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reported:
    """Functions of the parameters, each on a scale where its estimate is closer to normal.

    Attributes
    ----------
    keys : list of (part, expert, term)
    values : ndarray of shape (m,)
        On the working scale: as it is, the logarithm of a standard deviation, or Fisher's z of a correlation.
    jacobian : ndarray of shape (m, P)
        Derivative of ``values`` with respect to the free parameters.
    is_log, is_fisher : ndarray of shape (m,)
        Which rows are logarithms, and which Fisher's z.
    """

    keys: list[ParameterName]
    values: FloatArray
    jacobian: FloatArray
    is_log: npt.NDArray[np.bool_]
    is_fisher: npt.NDArray[np.bool_]

    def back(self, values: FloatArray) -> FloatArray:
        """Values (m,) of the working scale in the users' units."""
        log, fisher = np.where(self.is_log, values, 0.0), np.where(self.is_fisher, values, 0.0)
        return np.where(self.is_log, np.exp(log), np.where(self.is_fisher, np.tanh(fisher), values))

    def slope(self) -> FloatArray:
        """Derivative of `back` at the estimates (m,)."""
        natural = self.back(self.values)
        return np.where(self.is_log, natural, np.where(self.is_fisher, 1.0 - natural**2, 1.0))


def reported(names: tuple[str, ...], theta: FloatArray) -> Reported:
    """Pass coefficients and log scales through; turn Cholesky factors into log deviations and correlations.

    The covariance of several responses is parametrised by the factor :math:`L` of its inverse :math:`L L^\\top`, in
    rows, the diagonal as :math:`-\\log L_{ii}`.
    """
    keys = [parse_name(name) for name in names]
    values, jacobian = theta.copy(), np.eye(len(names))
    is_log = np.array([key.term.startswith("log_scale") for key in keys], dtype=np.bool_)
    is_fisher = np.array([key.term.startswith("cholesky") for key in keys], dtype=np.bool_)
    for expert in {key.expert for key, factor in zip(keys, is_fisher, strict=True) if factor}:
        block = [i for i, key in enumerate(keys) if key.expert == expert and (is_log[i] or is_fisher[i])]
        values[block] = _deviations_and_correlations(theta[block])
        for i in block:  # complex steps: derivatives to the last digit
            moved = theta[block] + 1e-30j * (np.array(block) == i)
            jacobian[block, i] = _deviations_and_correlations(moved).imag / 1e-30
    terms = [key.term.removeprefix("log_").replace("cholesky", "corr") for key in keys]
    keys = [key._replace(term=term) for key, term in zip(keys, terms, strict=True)]
    return Reported(keys, values, jacobian, is_log, is_fisher)


def _deviations_and_correlations(factor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lower triangle of the precision's factor, by rows → log standard deviations (diagonal), Fisher's z (below)."""
    size = int((np.sqrt(8 * factor.size + 1) - 1) / 2 + 0.5)
    rows, columns = np.tril_indices(size)
    lower = np.zeros((size, size), dtype=factor.dtype)
    lower[rows, columns] = np.where(rows == columns, np.exp(-np.where(rows == columns, factor, 0.0)), factor)
    covariance = np.linalg.inv(lower @ lower.T)
    deviation = np.sqrt(np.diagonal(covariance))
    below = rows != columns
    correlation = (covariance / np.outer(deviation, deviation))[rows, columns]
    return np.where(below, np.arctanh(np.where(below, correlation, 0.0)), np.log(deviation)[rows])
