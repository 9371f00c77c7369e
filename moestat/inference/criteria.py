"""Information criteria in one sign convention: smaller is better."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def aic(loglik: float, n_params: int) -> float:
    r"""Akaike's criterion :math:`-2\ell + 2p`.

    Examples
    --------
    >>> aic(-10.0, 3)
    26.0
    """
    return -2.0 * loglik + 2.0 * n_params


def bic(loglik: float, n_params: int, nobs: float) -> float:
    r"""Schwarz's criterion :math:`-2\ell + p \log n`; ``nobs`` is the number of rows, or the sum of their weights."""
    if not nobs > 0:
        raise ValueError(f"nobs must be positive, got {nobs!r}.")
    return -2.0 * loglik + math.log(nobs) * n_params


def icl(
    loglik: float,
    n_params: int,
    responsibilities: npt.NDArray[np.float64],
    sample_weight: npt.NDArray[np.float64] | None = None,
) -> float:
    r"""Integrated completed likelihood: BIC plus twice the entropy of the responsibilities.

    :math:`\mathrm{ICL} = \mathrm{BIC} - 2 \sum_i w_i \sum_k r_{ik} \log r_{ik}` (Biernacki, Celeux and Govaert 2000,
    with soft assignments), so it equals BIC when every row belongs to one expert and is larger otherwise.

    Parameters
    ----------
    loglik : float
        Weighted log-likelihood.
    n_params : int
        Number of free parameters.
    responsibilities : ndarray of shape (n, K)
    sample_weight : ndarray of shape (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> icl(-10.0, 3, np.eye(2)) == bic(-10.0, 3, 2)
    True
    """
    weights = np.ones(len(responsibilities)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    positive = np.where(responsibilities > 0.0, responsibilities, 1.0)
    entropy = -float(weights @ np.sum(responsibilities * np.log(positive), axis=1))
    return bic(loglik, n_params, float(weights.sum())) + 2.0 * entropy
