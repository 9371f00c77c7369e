"""Linear algebra of information matrices: scaled inversion, numerical rank, null space, outer products of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr
from scipy.sparse import csr_array

FloatArray = npt.NDArray[np.float64]
ScoreBlocks = Iterator[tuple[slice, FloatArray]]

#: Eigenvalues of the unit-diagonal information below this fraction of the largest one count as zero.  A Hessian
#: summed in double precision carries relative noise of about 1e-14; a regular fit in standardised coordinates stays
#: above 1e-8.
RANK_RTOL = 1e-10

#: Eigenvalues below minus this fraction are curvature upwards, not rounding (as in the certificate of a fit).
NEGATIVE_RTOL = 1e-8

#: A contrast is identified when its component in the null space is below this fraction of its length.
NULL_ATOL = 1e-6


@dataclass(frozen=True)
class InvertedInformation:
    """A symmetric information matrix, inverted on the directions that it identifies.

    Attributes
    ----------
    covariance : ndarray of shape (P, P)
        Generalised inverse: exact for every contrast that is orthogonal to the null space.
    eigenvalues : ndarray of shape (P,)
        Spectrum of the information scaled to unit diagonal, ascending.
    null : ndarray of shape (P, P - rank)
        Directions that the information does not identify, in *scaled* parameters (parameter times ``scale``).
    null_eigenvalues : ndarray of shape (P - rank,)
        Eigenvalues of the columns of ``null``: zero to rounding, or negative where the likelihood rises along them.
    scale : ndarray of shape (P,)
        Square root of the absolute diagonal of the information, one where it is zero.
    """

    covariance: FloatArray
    eigenvalues: FloatArray
    null: FloatArray
    null_eigenvalues: FloatArray
    scale: FloatArray

    @property
    def rank(self) -> int:
        """Number of identified directions."""
        return int(self.eigenvalues.size - self.null.shape[1])

    @property
    def directions(self) -> FloatArray:
        """Null directions in the parameters' own units, shape (P, P - rank)."""
        return np.asarray(self.null / self.scale[:, None])

    def identified(self, contrasts: FloatArray) -> npt.NDArray[np.bool_]:
        """Say for each row of ``contrasts`` (J, P) whether it has no component in the null space."""
        scaled = contrasts / self.scale
        length = np.linalg.norm(scaled, axis=1)
        leak = np.linalg.norm(scaled @ self.null, axis=1)
        return np.asarray(leak <= NULL_ATOL * length, dtype=np.bool_)


def invert_information(
    information: FloatArray,
    *,
    reference: FloatArray | None = None,
    flat: FloatArray | None = None,
    rtol: float = RANK_RTOL,
) -> InvertedInformation:
    r"""Invert an information matrix after scaling it to unit diagonal.

    With :math:`D = \mathrm{diag}(J)^{1/2}` the matrix :math:`C = D^{-1} J D^{-1}` is free of units; its eigenvalues
    above ``rtol`` times the largest are inverted and :math:`J^- = D^{-1} C^- D^{-1}`.  Changing the units of a
    covariate or of the response changes only :math:`D`, so that rank and relative accuracy do not depend on units.

    Parameters
    ----------
    information : ndarray of shape (P, P)
        Symmetric; negative eigenvalues count as not identified.
    reference : ndarray of shape (P,), optional
        Diagonal that the information would have if every row spoke about the parameter.  A parameter whose own
        diagonal is below ``rtol`` of it carries no information, however well-scaled its row may look after division
        by itself.
    flat : ndarray of shape (P, r), optional
        Directions of which the model says that no data speak about them; what the matrix says there is taken as zero.
    rtol : float
        Relative threshold of the numerical rank.

    Returns
    -------
    InvertedInformation

    Raises
    ------
    ValueError
        If the matrix has entries that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> inverse = invert_information(np.array([[4.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    >>> inverse.rank, inverse.identified(np.eye(3)).tolist()
    (2, [True, False, False])
    """
    information = 0.5 * (information + information.T)
    if not np.all(np.isfinite(information)):
        raise ValueError(
            "The information matrix has entries that are not finite: the log-likelihood has no second derivative "
            "at these parameters (an expert's scale may be zero). Refit with a larger variance_floor or fewer experts."
        )
    n_params = information.shape[0]
    if n_params == 0:
        empty = np.zeros((0, 0))
        return InvertedInformation(empty, np.zeros(0), empty, np.zeros(0), np.ones(0))
    diagonal = np.diagonal(information)
    size = np.abs(diagonal)
    informed = size > (0.0 if reference is None else rtol * reference)
    scale = np.sqrt(np.where(informed, size, 1.0))
    scaled = information / np.outer(scale, scale)
    scaled[~informed, :] = 0.0
    scaled[:, ~informed] = 0.0
    if flat is not None and flat.shape[1]:
        known = np.linalg.qr(flat * scale[:, None])[0]
        rest = np.eye(n_params) - known @ known.T
        scaled = rest @ scaled @ rest
    eigenvalues, vectors = np.linalg.eigh(scaled)
    largest = float(np.abs(eigenvalues).max())
    kept, negative = eigenvalues > rtol * largest, eigenvalues < -NEGATIVE_RTOL * largest
    basis = vectors[:, kept]
    covariance = (basis / eigenvalues[kept]) @ basis.T / np.outer(scale, scale)
    zero = sparse_basis(vectors[:, ~kept & ~negative])
    null = np.hstack([zero, vectors[:, negative]])
    null_eigenvalues = np.r_[np.zeros(zero.shape[1]), eigenvalues[negative]]
    return InvertedInformation(np.asarray(covariance), eigenvalues, null, null_eigenvalues, scale)


def sparse_basis(vectors: FloatArray) -> FloatArray:
    """Basis of the span of orthonormal ``vectors``, made as sparse as row reduction makes it; columns of unit length.

    Eigenvectors of a repeated eigenvalue are an arbitrary rotation; reduced to unit pivots they can be read.
    """
    n_null = vectors.shape[1]
    if n_null == 0:
        return vectors
    pivots = qr(vectors.T, mode="r", pivoting=True)[1][:n_null]
    reduced = vectors @ np.linalg.inv(vectors[pivots])
    reduced[np.abs(reduced) < 1e-12] = 0.0
    reduced /= np.linalg.norm(reduced, axis=0)
    return np.asarray(reduced)


def constrained_basis(rows: FloatArray) -> FloatArray:
    """Basis Z (P, P - a) of the moves that keep the a linear functions ``rows`` (a, P) fixed, by elimination.

    Elimination, unlike an orthogonal basis, does not mix parameters of different units: a coordinate that no row
    mentions stays a coordinate.
    """
    n_fixed, n_params = rows.shape
    if n_fixed == 0:
        return np.eye(n_params)
    pivots = qr(rows, mode="r", pivoting=True)[1][:n_fixed]
    rest = np.setdiff1d(np.arange(n_params), pivots)
    basis = np.zeros((n_params, rest.size))
    basis[rest, np.arange(rest.size)] = 1.0
    basis[pivots] = -np.linalg.solve(rows[:, pivots], rows[:, rest])
    return basis


def within(basis: FloatArray, directions: FloatArray) -> FloatArray:
    """Coordinates (P - a, r') in a basis (P, P - a) of those of the directions (P, r) that lie in its span."""
    inside = np.linalg.lstsq(basis, directions, rcond=None)[0]
    gap = np.linalg.norm(basis @ inside - directions, axis=0)
    return np.asarray(inside[:, gap <= 1e-8 * np.linalg.norm(directions, axis=0)])


def outer_product(blocks: ScoreBlocks, weights: FloatArray) -> FloatArray:
    r"""Weighted outer product :math:`\sum_i w_i s_i s_i^\top` of per-row scores that come in blocks of rows."""
    terms = ((scores * weights[rows, None]).T @ scores for rows, scores in blocks)
    return np.asarray(sum(terms))


def cluster_product(blocks: ScoreBlocks, weights: FloatArray, codes: npt.NDArray[np.intp]) -> FloatArray:
    r"""Sum over clusters of :math:`t_g t_g^\top` with :math:`t_g = \sum_{i \in g} w_i s_i`; ``codes`` run from 0."""
    n_groups = int(codes.max()) + 1
    totals = 0.0
    for rows, scores in blocks:
        members = np.arange(len(scores))
        indicator = csr_array((weights[rows], (codes[rows], members)), shape=(n_groups, len(scores)))
        totals = totals + indicator @ scores
    return np.asarray(np.transpose(totals) @ totals)
