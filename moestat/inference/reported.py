"""Scales, probabilities and correlations in place of their parametrisation, on scales fit for intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from .names import ParameterName, parse_name

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reported:
    """Functions of the parameters, each on a scale where its estimate is closer to normal.

    Attributes
    ----------
    keys : list of (part, expert, term)
    values : ndarray of shape (m,)
        On the working scale: as it is, the logarithm of a scale, the log-odds of a probability, or Fisher's z of a
        correlation.
    jacobian : ndarray of shape (m, P)
        Derivative of ``values`` with respect to the free parameters.
    is_log, is_logit, is_fisher : ndarray of shape (m,)
        Which rows are logarithms, log-odds, and Fisher's z.
    """

    keys: list[ParameterName]
    values: FloatArray
    jacobian: FloatArray
    is_log: npt.NDArray[np.bool_]
    is_logit: npt.NDArray[np.bool_]
    is_fisher: npt.NDArray[np.bool_]

    def back(self, values: FloatArray) -> FloatArray:
        """Values (m,) of the working scale in the users' units."""
        log, fisher = np.where(self.is_log, values, 0.0), np.where(self.is_fisher, values, 0.0)
        with np.errstate(over="ignore"):  # the limit of a scale that is hardly identified may be infinite
            natural = np.exp(log)
        out = np.where(self.is_log, natural, np.where(self.is_fisher, np.tanh(fisher), values))
        return np.where(self.is_logit, expit(values), out)

    def slope(self) -> FloatArray:
        """Derivative of `back` at the estimates (m,)."""
        natural = self.back(self.values)
        out = np.where(self.is_log, natural, np.where(self.is_fisher, 1.0 - natural**2, 1.0))
        return np.where(self.is_logit, natural * (1.0 - natural), out)

    @property
    def untested(self) -> npt.NDArray[np.bool_]:
        """Rows for which the hypothesis of zero has no meaning."""
        return self.is_log | self.is_logit


def reported(names: tuple[str, ...], theta: FloatArray, links: tuple[str, ...]) -> Reported:
    """Pass coefficients, logarithms and log-odds through; turn Cholesky factors into log deviations and correlations.

    The covariance of several responses is parametrised by the factor :math:`L` of its inverse :math:`L L^\\top`, in
    rows, the diagonal as :math:`-\\log L_{ii}`.
    """
    keys, links = [parse_name(name) for name in names], links or ("identity",) * len(names)
    values, jacobian = theta.copy(), np.eye(len(names))
    is_log, is_logit, is_fisher = (np.array([link == kind for link in links]) for kind in ("log", "logit", "cholesky"))
    for expert in {key.expert for key, factor in zip(keys, is_fisher, strict=True) if factor}:
        block = [i for i, key in enumerate(keys) if key.expert == expert and (is_log[i] or is_fisher[i])]
        values[block] = _deviations_and_correlations(theta[block])
        for i in block:  # complex steps: derivatives to the last digit
            moved = theta[block] + 1e-30j * (np.array(block) == i)
            jacobian[block, i] = _deviations_and_correlations(moved).imag / 1e-30
    keys = [key._replace(term=_reported_term(key.term, link)) for key, link in zip(keys, links, strict=True)]
    return Reported(keys, values, jacobian, is_log, is_logit, is_fisher)


def _reported_term(term: str, link: str) -> str:
    """The name of the reported number: that of the free one without its link."""
    prefixes = {"log": "log_", "logit": "logit_"}
    return (
        term.removeprefix(prefixes[link])
        if link in prefixes
        else term.replace("cholesky", "corr")
        if link == "cholesky"
        else term
    )


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
