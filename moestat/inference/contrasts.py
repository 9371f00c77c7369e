"""Linear contrasts of the parameters: reading them from text, z tests and Wald tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from statsmodels.stats.contrast import ContrastResults

    from .results import InferenceResults

FloatArray = npt.NDArray[np.float64]
ContrastSpec = str | Sequence[str] | Mapping[str, float] | npt.ArrayLike


def contrast_matrix(spec: Any, names: Sequence[str]) -> tuple[FloatArray, FloatArray, list[str]]:
    """Turn a specification of linear constraints into ``R`` (J, P), ``q`` (J,) and one label a row.

    Parameters
    ----------
    spec : str, list of str, dict, array or pair (R, q)
        Text such as ``"expert[1]:x = expert[2]:x"``, several separated by commas or in a list; a dictionary from an
        expression to its value; a matrix with P columns, tested against zero; or a pair of matrix and values.
    names : sequence of str
        The P parameter names.

    Raises
    ------
    ValueError
        If the text holds something that is neither a parameter name nor arithmetic, or the matrix has not P columns.
    """
    if isinstance(spec, str):
        spec = [spec]
    if isinstance(spec, Mapping):
        spec = [f"{expression} = {value!r}" for expression, value in spec.items()]
    if isinstance(spec, list) and spec and all(isinstance(part, str) for part in spec):
        return _parse(spec, names)
    values: Any = None
    if isinstance(spec, tuple) and len(spec) == 2:
        spec, values = spec
    matrix = np.atleast_2d(np.asarray(spec, dtype=np.float64))
    if matrix.shape[1] != len(names):
        raise ValueError(f"A contrast matrix needs {len(names)} columns, one a parameter; it has {matrix.shape[1]}.")
    q = np.zeros(len(matrix)) if values is None else np.broadcast_to(np.asarray(values, float), len(matrix)).copy()
    return matrix, q, [f"c{i}" for i in range(len(matrix))]


def _parse(texts: list[str], names: Sequence[str]) -> tuple[FloatArray, FloatArray, list[str]]:
    # Names such as "gate[1]:bs(x, df=4)[2]" are no identifiers: placeholders take their place before the text is
    # split, the longest names first so that "expert[1]:x1" does not match inside "expert[1]:x10".
    coded = ",".join(texts)
    for i in sorted(range(len(names)), key=lambda i: len(names[i]), reverse=True):
        coded = coded.replace(names[i], f"p{i}_")
    rows, values, labels = [], [], []
    for part in coded.split(","):
        label = re.sub(r"p(\d+)_", lambda match: names[int(match[1])], part).strip()
        left, _, right = part.partition("=")
        try:
            sides = [_linear(ast.parse(side.strip() or "0", mode="eval").body, len(names)) for side in (left, right)]
        except (SyntaxError, ValueError) as error:
            raise ValueError(
                f"Cannot read the contrast {label!r} ({error}): write linear arithmetic of the parameter names "
                f"{', '.join(names)}."
            ) from error
        move = sides[0] - sides[1]
        rows.append(move[:-1])
        values.append(-move[-1])
        labels.append(label)
    return np.array(rows), np.array(values), labels


def _linear(node: ast.expr, n_names: int) -> FloatArray:
    """Coefficients of a linear expression in the placeholders, the constant last."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return np.append(np.zeros(n_names), float(node.value))
    if isinstance(node, ast.Name) and re.fullmatch(r"p\d+_", node.id):
        return np.asarray(np.eye(n_names + 1)[int(node.id[1:-1])])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _linear(node.operand, n_names)
        return np.asarray(-value) if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _linear(node.left, n_names), _linear(node.right, n_names)
        if isinstance(node.op, ast.Add):
            return np.asarray(left + right)
        if isinstance(node.op, ast.Sub):
            return np.asarray(left - right)
        if isinstance(node.op, ast.Mult) and not (left[:-1].any() and right[:-1].any()):
            return np.asarray(left * right[-1]) if left[:-1].any() else np.asarray(right * left[-1])
        if isinstance(node.op, ast.Div) and not right[:-1].any() and right[-1] != 0.0:
            return np.asarray(left / right[-1])
    raise ValueError(f"{ast.unparse(node)!r} is neither a parameter nor linear")


def t_test(results: InferenceResults, spec: Any) -> ContrastResults:
    """z test of each row of a set of contrasts; see `InferenceResults.t_test`."""
    from statsmodels.stats.contrast import ContrastResults

    matrix, q, labels = contrast_matrix(spec, results.names)
    effect = matrix @ results.theta
    variance = np.diagonal(results.contrast_covariance(matrix))
    sd = np.where(results.estimable(matrix), np.sqrt(np.maximum(variance, 0.0)), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (effect - q) / sd
    test = ContrastResults(effect=effect, statistic=statistic, sd=sd, distribution="norm")
    test.c_names = labels
    return test


def wald_test(results: InferenceResults, spec: Any) -> ContrastResults:
    """Joint chi-square test of a set of contrasts; see `InferenceResults.wald_test`."""
    from statsmodels.stats.contrast import ContrastResults

    matrix, q, labels = contrast_matrix(spec, results.names)
    estimable = results.estimable(matrix)
    if not estimable.all():
        hidden = ", ".join(label for label, ok in zip(labels, estimable, strict=True) if not ok)
        raise ValueError(
            f"The data do not identify {hidden}: no Wald test of it exists. See `unidentified`, and test identified "
            "contrasts or fit fewer experts."
        )
    gap = matrix @ results.theta - q
    covariance = results.contrast_covariance(matrix)
    sd = np.sqrt(np.diagonal(covariance))
    scaled = covariance / np.outer(sd, sd) if np.all(sd > 0) else np.zeros_like(covariance)
    if np.linalg.matrix_rank(scaled, hermitian=True) < len(matrix):
        raise ValueError(
            f"The covariance of the {len(matrix)} contrasts is singular: some of them are linear combinations of the "
            "others (or there are too few groups). Test fewer."
        )
    statistic = float((gap / sd) @ np.linalg.solve(scaled, gap / sd))
    return ContrastResults(chi2=statistic, statistic=statistic, df_denom=len(matrix), distribution="chi2")
