"""From a mixture and data to standard errors: observed, outer-product, sandwich and clustered covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from moestat.flat import flat_directions
from moestat.layout import gate_penalty

from .coordinates import without_kinks, working_coordinates
from .information import ScoreBlocks, cluster_product, constrained_basis, invert_information, outer_product, within
from .names import rename_features
from .notes import annotated
from .results import InferenceResults

if TYPE_CHECKING:
    from moestat.mixture import ConditionalMixture

FloatArray = npt.NDArray[np.float64]
CovType = Literal["observed", "opg", "sandwich", "cluster", "classical"]

_ROWS = 16384


def infer(
    mixture: ConditionalMixture,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    offset: npt.ArrayLike | None = None,
    cov_type: CovType = "observed",
    groups: npt.ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    response_name: str | None = None,
    certificate: Any = None,
    active_bounds: Sequence[str] = (),
    gate_l2: float = 0.0,
) -> InferenceResults:
    r"""Standard errors of all free parameters of a mixture at given data, gate included.

    With scores :math:`s_i = \nabla \log p(y_i \mid x_i)`, weights :math:`w_i` and the observed information
    :math:`J = -\sum_i w_i \nabla^2 \log p(y_i \mid x_i)` (exact, by Louis' identity) the covariance is

    - ``observed``: :math:`J^{-1}`.  The model holds; weights count repetitions.
    - ``opg``: :math:`(\sum_i w_i s_i s_i^\top)^{-1}`.  The same, from first derivatives only.
    - ``sandwich``: :math:`J^{-1} (\sum_i w_i^2 s_i s_i^\top) J^{-1}`.  The model may be wrong; weights of sampling.
    - ``cluster``: :math:`J^{-1} (\sum_g t_g t_g^\top) J^{-1}` with :math:`t_g = \sum_{i \in g} w_i s_i`.
      Rows of a group may depend on each other.
    - ``classical``: :math:`s^2 (\sum_i w_i \nabla f_i \nabla f_i^\top)^{-1}`, :math:`s^2 = \sum_i w_i e_i^2/(n - p)`, for regression functions
      fitted by least squares: what textbooks of nonlinear regression, and ``nls`` of R, print.

    No other finite-sample factor is applied: at one expert ``sandwich`` is the HC0 of least squares (White 1982), and
    ``cluster`` with one row a group is ``sandwich``.

    Where the information is singular (more experts than the data show, separated gate, collinear features) the
    parameters that are not identified get NaN errors and a warning says rank, directions and remedies; identified
    contrasts keep their errors.  Parameters in ``active_bounds`` are taken as known.

    Parameters
    ----------
    mixture : ConditionalMixture
    X : array-like of shape (n, d)
    y : array-like of shape (n,) or (n, D)
    sample_weight : array-like of shape (n,), optional
        Non-negative.  Weights are repetitions of rows for "observed" and "opg", inverse sampling probabilities for
        "sandwich" and "cluster"; ``nobs`` is their sum.
    offset : array-like of shape (n,), optional
        Of the fit.
    cov_type : {"observed", "opg", "sandwich", "cluster", "classical"}
    groups : array-like of shape (n,), optional
        Cluster labels; needed by, and only allowed with, ``cov_type="cluster"``.
    feature_names : sequence of str, optional
        Names in the place of x1 … xd, for a mixture that does not know the names of its features.
    response_name : str, optional
        Name of ``y`` for the summary.
    certificate : Certificate, optional
        Of the fit; quoted in the summary.
    active_bounds : sequence of str
        Names (as ``mixture.free_names()``) of the parameters that sit on a bound.
    gate_l2 : float
        Gate penalty of the fit.  The information stays that of the log-likelihood alone; the penalty says at which
        point the parameters are expected.

    Returns
    -------
    InferenceResults

    Raises
    ------
    ValueError
        If an argument has the wrong value or length.

    Warns
    -----
    InferenceWarning
        If the information is singular, or the parameters are not the maximiser at these data.

    Examples
    --------
    >>> import moestat as ms
    >>> X, y = ms.datasets.load_tonedata(return_X_y=True)
    >>> results = infer(ms.MoERegressor(2, random_state=0).fit(X, y).model_, X, y)
    >>> results.bse.filter(like="gate").round(2).to_dict()
    {'gate[1]:Intercept': 1.1, 'gate[1]:x1': 0.45}
    >>> float(results.t_test("expert[1]:x1 = expert[2]:x1").pvalue) < 1e-6
    True
    """
    if cov_type not in get_args(CovType):
        raise ValueError(f"cov_type must be one of {', '.join(get_args(CovType))}; got {cov_type!r}.")
    X, y = mixture.check_X(X), np.asarray(y, dtype=np.float64)
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}; they must be equal.")
    weights = _check_weights(sample_weight, len(X))
    codes = _check_groups(groups, cov_type, weights)

    raw_names = mixture.free_names()
    unknown = [name for name in active_bounds if name not in raw_names]
    if unknown:
        raise ValueError(f"active_bounds names {', '.join(unknown)}; the free parameters are {', '.join(raw_names)}.")
    names = rename_features(raw_names, feature_names)
    bounded = np.array([name in active_bounds for name in raw_names], dtype=bool)
    coordinates = working_coordinates(mixture, X, weights)
    inner = coordinates.mixture
    moves = constrained_basis(coordinates.jacobian[bounded])
    jacobian = coordinates.jacobian @ moves
    objective, theta = inner.objective(X, y, weights, offset=offset)
    loglik, gradient, hessian = objective.derivatives(theta)
    rows = (
        float(weights.sum() ** 2 / (weights @ weights)) if cov_type in ("sandwich", "cluster") else float(weights.sum())
    )
    rounded, kink = without_kinks(inner, rows)
    if rounded is not inner:
        hessian = rounded.objective(X, y, weights, offset=offset)[0].derivatives(theta)[2]
    if cov_type == "classical":
        hessian = _classical(objective, theta)
    reference = coordinates.reference @ moves**2
    flat = within(moves, flat_directions(objective, theta))
    bread = invert_information(-(moves.T @ hessian @ moves), reference=reference, flat=flat)
    _, slope, curvature = gate_penalty(inner.layout, theta, gate_l2)
    score = (gradient - slope) @ moves
    peak = bread
    if gate_l2 > 0.0:
        peak = invert_information(-(moves.T @ (hessian - curvature) @ moves), reference=reference, flat=flat)
    decrement = 0.5 * float(score @ peak.covariance @ score)
    inverse, covariance = bread, bread.covariance
    if cov_type not in ("observed", "classical"):
        blocks = _score_blocks(inner, X, y, offset, moves)
        if cov_type == "opg":
            inverse = invert_information(outer_product(blocks, weights), reference=reference, flat=flat)
            covariance = inverse.covariance
        else:
            meat = outer_product(blocks, weights**2) if codes is None else cluster_product(blocks, weights, codes)
            covariance = covariance @ meat @ covariance

    results = InferenceResults(
        names=tuple(names),
        theta=np.asarray(mixture.free_vector(), dtype=np.float64),
        links=tuple(mixture.free_links()),
        working_covariance=covariance,
        inverse=inverse,
        jacobian=jacobian,
        invisible=coordinates.invisible,
        feature_size=coordinates.feature_size,
        fixed=tuple(name for name, at_bound in zip(names, bounded, strict=True) if at_bound),
        cov_type=cov_type,
        llf=loglik,
        nobs=float(weights.sum()),
        n_experts=mixture.n_experts,
        n_groups=0 if codes is None else int(codes.max()) + 1,
        decrement=decrement,
        header=_header(mixture, response_name, certificate),
        notes=(),
        gate_note=mixture.gate.reading(mixture.n_experts),
        expert_note=mixture.expert.reading(mixture.layout.n_predictors),
    )
    gate_covariance = (moves @ bread.covariance @ moves.T)[: coordinates.n_gate, : coordinates.n_gate]
    linear = coordinates.n_gate and not mixture.gate.raw_features  # others have no log-odds for a standard deviation
    gate_error = float(np.sqrt(np.linalg.eigvalsh(gate_covariance)[-1])) if linear else 0.0
    return annotated(results, gate_error, gate_l2, kink)


def _classical(objective: Any, theta: FloatArray) -> FloatArray:
    """The Gauss–Newton Hessian over the unbiased variance, of least squares."""
    if not hasattr(objective, "classical_hessian"):
        raise ValueError(
            "cov_type='classical' is for least squares; a likelihood has 'observed', 'opg', 'sandwich', 'cluster'."
        )
    return np.asarray(objective.classical_hessian(theta))


def _score_blocks(
    mixture: ConditionalMixture, X: FloatArray, y: FloatArray, offset: npt.ArrayLike | None, moves: FloatArray
) -> ScoreBlocks:
    """Scores of the rows along ``moves``, block by block: never all of them at once."""
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        shift = None if offset is None else np.asarray(offset)[rows]
        yield rows, mixture.scores(X[rows], y[rows], internal=True, offset=shift) @ moves


def _check_weights(sample_weight: npt.ArrayLike | None, n: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"sample_weight has shape {weights.shape}; one weight a row is needed, shape ({n},).")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0.0) or not np.any(weights > 0.0):
        raise ValueError("sample_weight must be finite and non-negative, and positive for at least one row.")
    return weights


def _check_groups(groups: npt.ArrayLike | None, cov_type: str, weights: FloatArray) -> npt.NDArray[np.intp] | None:
    """Cluster codes from 0; rows of weight zero are not counted as groups (their scores are multiplied by zero)."""
    if cov_type != "cluster":
        if groups is not None:
            raise ValueError(f"groups are only used by cov_type='cluster'; cov_type is {cov_type!r}.")
        return None
    if groups is None:
        raise ValueError("cov_type='cluster' needs groups: one label a row.")
    labels = np.asarray(groups)
    if labels.shape != weights.shape:
        raise ValueError(f"groups has shape {labels.shape}; one label a row is needed, shape {weights.shape}.")
    missing = labels != labels if labels.dtype.kind == "f" else np.array([label is None for label in labels.tolist()])
    if np.any(missing):
        raise ValueError(f"groups has {int(np.sum(missing))} missing labels; give every row a group.")
    live = weights > 0.0
    unique, codes = np.unique(labels[live], return_inverse=True)
    if unique.size < 2:
        raise ValueError(f"groups has {unique.size} group; clustered standard errors need at least 2 (better 30).")
    full = np.zeros(labels.shape, dtype=np.intp)
    full[live] = codes
    return full


def _header(mixture: Any, response_name: str | None, certificate: Any) -> dict[str, str]:
    header = {"Response:": response_name or "y", "No. experts:": str(mixture.n_experts)}
    for label, part in (("Gate:", "gate"), ("Experts:", "expert")):
        component = getattr(mixture, part, None)
        if component is not None:
            header[label] = str(getattr(component, "name", component))
    noise = getattr(mixture, "noise_std", None)
    if noise is not None:
        header["Noise (std):"] = f"{noise:.6g}"
    if certificate is not None:
        state = "certified" if certificate.certified else "NOT certified"
        header["Maximum:"] = f"{state} ({certificate.n_agree} of {certificate.n_followed} runs)"
    return header
