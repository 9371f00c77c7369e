"""Fit by formula: ``y ~ experts | gate`` on a data frame, keeping the coding for new data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]

_OF_X = frozenset({"predict", "gate_proba", "predict_interval", "predict_quantile", "predict_std", "sample"})
_OF_X_AND_Y = frozenset({"responsibilities", "log_density", "log_likelihood", "score", "aic", "bic", "icl"})


def formula(
    formula: str,
    gate: str | None = None,
    *,
    data: Any,
    n_experts: int = 2,
    sample_weight: str | npt.ArrayLike | None = None,
    na_action: Literal["raise", "drop"] = "raise",
    **params: Any,
) -> FormulaRegressor:
    """Fit a mixture of experts described by a formula.

    The bar of ``"y ~ x | z"`` separates the experts' columns from the gate's (as in multi-part formulas; it does not
    mean grouping).  ``gate="~ z"`` says the same; without either the gate uses the experts' columns.  Intercepts are
    moestat's own: every expert and every gate has one.  ``"~ 1"`` is a gate that does not depend on the data.

    Parameters
    ----------
    formula : str
        For example ``"y ~ x + I(x**2)"``, ``"log(y) ~ x * group | x"``; read by formulaic.
    gate : str, optional
        Right-hand side for the gate, for example ``"~ x"``.
    data : DataFrame (pandas or polars) or dict of columns
    n_experts : int
    sample_weight : str or array-like, optional
        Name of a column of ``data``, or weights by row.
    na_action : {"raise", "drop"}
        What to do with rows that have missing values in the columns used.
    **params
        Further parameters of `MoERegressor`.

    Returns
    -------
    FormulaRegressor
        Fitted; its methods take data frames like ``data``.

    Raises
    ------
    ValueError
        If a column is missing, rows have missing values, or the formula has no response or removes the intercept.

    Examples
    --------
    >>> import moestat as ms
    >>> X, y = ms.datasets.load_tonedata(return_X_y=True, as_frame=True)
    >>> model = ms.formula("tuned ~ stretchratio", data=X.join(y), n_experts=2, random_state=0)
    >>> model.inference().params_frame().loc["gate"].round(2)["estimate"].tolist()
    [2.68, -0.79]
    """
    from moestat.estimators import MoERegressor

    if na_action not in ("raise", "drop"):
        raise ValueError(f"na_action must be 'raise' or 'drop', got {na_action!r}.")
    frame = _as_frame(data)
    weights = _weights(sample_weight, frame)
    design = _Design(formula, gate)
    kept = design.learn(frame, drop=na_action == "drop")
    X, y = design.features(frame.loc[kept]), design.response(frame.loc[kept])
    weights = None if weights is None else weights[kept]
    if not design.gate_columns and params.setdefault("gate", "constant") == "softmax":
        params["gate"] = "constant"
    estimator = MoERegressor(
        n_experts, gate_features=design.gate_columns, expert_features=design.expert_columns, **params
    ).fit(X, y, sample_weight=weights)
    return FormulaRegressor(estimator, design, X, y, weights, kept)


class FormulaRegressor:
    """A fitted estimator with the coding of its formula: methods take data frames.

    Methods of the estimator that need a response (``score``, ``log_density``, ``responsibilities``, …) take it from
    the data frame.  Called without data, ``inference`` and these use the data of the fit.  Every other attribute is
    the estimator's, except ``save``: pickle keeps the formula, ``estimator_.save`` the fit on the coded columns.

    Attributes
    ----------
    estimator_ : MoERegressor
        The fitted estimator on the coded columns.
    formula : str
        Experts' and gate's parts, as ``y ~ x | z``.
    """

    def __init__(
        self,
        estimator: Any,
        design: _Design,
        X: pd.DataFrame,
        y: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64] | None,
        kept: BoolArray,
    ) -> None:
        self.estimator_ = estimator
        self.formula = design.text
        self._design = design
        self._data = (X, y, weights, kept)

    def inference(self, data: Any = None, *, groups: str | npt.ArrayLike | None = None, **kwargs: Any) -> Any:
        """Standard errors as `MoERegressor.inference`; ``groups`` may name a column of ``data``.

        Without ``data`` they are those of the fit, its weights included; ``groups`` then has one entry a row of the
        data that were given to the fit, dropped rows included.
        """
        if data is None:
            X, y, weights, kept = self._data
            kwargs.setdefault("sample_weight", weights)
            if isinstance(groups, str):
                raise ValueError(f"groups={groups!r} names a column: pass data=… as well, or the values themselves.")
            groups = None if groups is None else np.asarray(groups)[kept]
        else:
            frame = _as_frame(data)
            X, y = self._design.features(frame), self._design.response(frame)
            groups = frame[groups].to_numpy() if isinstance(groups, str) else groups
        return self.estimator_.inference(X, y, groups=groups, **kwargs)

    def save(self, path: str | PathLike[str]) -> Path:
        """Not available: the coding of a formula is code of the formula's library, and a saved file runs no code.

        Raises
        ------
        TypeError
            Always; it says what to use.
        """
        raise TypeError(
            f"Cannot save the coding of the formula {self.formula!r} to {str(path)!r}. Use pickle to keep the formula, "
            "or estimator_.save(path) to save the fit alone, which then takes the coded columns "
            f"({', '.join(map(str, self.estimator_.feature_names_in_)) or 'none'})."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "estimator_":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = getattr(self.estimator_, name)
        if name in _OF_X:
            return self._on_data(value, with_response=False)
        return self._on_data(value, with_response=True) if name in _OF_X_AND_Y else value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.estimator_)})

    def __repr__(self) -> str:
        return f"FormulaRegressor({self.formula!r}, {self.estimator_!r})"

    def _on_data(self, method: Callable[..., Any], *, with_response: bool) -> Callable[..., Any]:
        @wraps(method)
        def call(data: Any = None, *args: Any, **kwargs: Any) -> Any:
            if data is None:
                X, y = self._data[:2]
            else:
                frame = _as_frame(data)
                X = self._design.features(frame)
                y = self._design.response(frame) if with_response else self._data[1]
            return method(X, y, *args, **kwargs) if with_response else method(X, *args, **kwargs)

        return call


class _Design:
    """The two right-hand sides and the response of a formula, coded once and applied to new data unchanged."""

    def __init__(self, text: str, gate: str | None) -> None:
        from formulaic import Formula

        parsed = Formula(text)
        if not hasattr(parsed, "lhs"):
            raise ValueError(f"The formula {text!r} has no response; write 'y ~ …'.")
        parts = parsed.rhs if isinstance(parsed.rhs, tuple) else (parsed.rhs,)
        if len(parts) > 2 or (len(parts) == 2 and gate is not None):
            raise ValueError(
                f"The formula {text!r} has {len(parts)} parts"
                + (" and gate= is given" if gate is not None else "")
                + "; write 'y ~ experts | gate', or 'y ~ experts' with gate='~ gate'."
            )
        if gate is not None:
            gate_formula = Formula(gate)
            if hasattr(gate_formula, "lhs"):
                raise ValueError(f"gate={gate!r} has a left-hand side; write '~ x'.")
            parts = (parts[0], gate_formula)
        for part in parts:
            if "1" not in [str(term) for term in part]:
                raise ValueError(
                    f"The part '{part}' removes the intercept; moestat always fits its own. Leave out '- 1' or '0 +'."
                )
        self.text = f"{parsed.lhs} ~ {parts[0]} | {parts[-1]}"
        self._formulas = {"response": parsed.lhs, "expert": parts[0], "gate": parts[-1]}
        self._specs: dict[str, Any] = {}
        self.expert_columns: list[str] = []
        self.gate_columns: list[str] = []

    def learn(self, frame: pd.DataFrame, *, drop: bool) -> BoolArray:
        """Fix the coding (categories, centres, knots) on the rows without missing values; return which those are."""
        variables = self._variables(frame, ("response", "expert", "gate"))
        kept = ~_any_by_row(_missing(frame, variables))
        while True:
            if not drop:
                self._refuse_missing(frame, ("response", "expert", "gate"))
            if not kept.any():
                raise ValueError("No row is left: every row has a missing value in a column of the formula.")
            matrices = {
                role: part.get_model_matrix(frame.loc[kept], na_action="ignore", output="pandas")
                for role, part in self._formulas.items()
            }
            computed = _any_by_row(np.column_stack([matrix.isna().to_numpy() for matrix in matrices.values()]))
            if not computed.any():
                break
            if not drop:
                raise ValueError(_describe_rows(frame, computed, ["values computed by the formula"]))
            kept[np.flatnonzero(kept)[computed]] = False
        self._specs = {role: matrix.model_spec for role, matrix in matrices.items()}
        self.expert_columns = [str(name) for name in matrices["expert"].columns if name != "Intercept"]
        self.gate_columns = [str(name) for name in matrices["gate"].columns if name != "Intercept"]
        return kept

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Columns of the experts, then those of the gate that the experts have not."""
        import pandas as pd

        self._refuse_missing(frame, ("expert", "gate"))
        expert, gate = self._matrix("expert", frame), self._matrix("gate", frame)
        extra = [name for name in gate.columns if name not in expert.columns]
        return pd.concat([expert, gate[extra]], axis=1).drop(columns="Intercept").astype(np.float64)

    def response(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """The response, (n,) or (n, D)."""
        self._refuse_missing(frame, ("response",))
        values = self._matrix("response", frame).to_numpy(dtype=np.float64)
        return values[:, 0] if values.shape[1] == 1 else values

    def _matrix(self, role: str, frame: pd.DataFrame) -> pd.DataFrame:
        from formulaic.errors import DataMismatchWarning

        with warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            try:
                matrix: pd.DataFrame = self._specs[role].get_model_matrix(frame, na_action="ignore")
            except DataMismatchWarning as warning:
                raise ValueError(f"The data have categories that the fit has not seen: {warning}") from warning
        lost = _any_by_row(matrix.isna().to_numpy())
        if lost.any():
            raise ValueError(_describe_rows(frame, lost, ["values computed by the formula"]))
        return matrix

    def _variables(self, frame: pd.DataFrame, roles: Sequence[str]) -> list[str]:
        wanted = sorted({str(name) for role in roles for name in self._formulas[role].required_variables})
        absent = [name for name in wanted if name not in frame.columns]
        if absent:
            have = ", ".join(map(str, frame.columns))
            raise ValueError(f"The data have no column {', '.join(absent)}; their columns are {have}.")
        return wanted

    def _refuse_missing(self, frame: pd.DataFrame, roles: Sequence[str]) -> None:
        variables = self._variables(frame, roles)
        missing = _missing(frame, variables)
        if missing.any():
            columns = [name for name, any_missing in zip(variables, _any_by_row(missing.T), strict=True) if any_missing]
            raise ValueError(_describe_rows(frame, _any_by_row(missing), columns))


def _missing(frame: pd.DataFrame, variables: Sequence[str]) -> BoolArray:
    return np.asarray(frame[list(variables)].isna().to_numpy(), dtype=np.bool_)


def _any_by_row(flags: npt.NDArray[np.bool_]) -> BoolArray:
    return np.asarray(flags.any(axis=1), dtype=np.bool_)


def _describe_rows(frame: pd.DataFrame, bad: BoolArray, columns: Sequence[str]) -> str:
    labels = [str(label) for label in frame.index[bad]]
    shown = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
    return (
        f"{len(labels)} of {len(frame)} rows have missing values in {', '.join(columns)} (rows {shown}). Fill or drop "
        "them; at the fit na_action='drop' drops them."
    )


def _as_frame(data: Any) -> pd.DataFrame:
    """Any table of columns as a pandas frame with one row label a row."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data if data.index.is_unique else data.reset_index(drop=True)
    if isinstance(data, Mapping):
        return pd.DataFrame(dict(data))
    if hasattr(data, "get_columns"):  # polars, without going through pyarrow
        return pd.DataFrame({column.name: column.to_list() for column in data.get_columns()})
    raise TypeError(
        f"data must be a data frame (pandas or polars) or a dictionary of columns, got {type(data).__name__}."
    )


def _weights(sample_weight: str | npt.ArrayLike | None, frame: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    if isinstance(sample_weight, str):
        if sample_weight not in frame.columns:
            raise ValueError(f"sample_weight={sample_weight!r} is no column of the data.")
        return frame[sample_weight].to_numpy(dtype=np.float64)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(frame),):
        raise ValueError(f"sample_weight has shape {weights.shape}; the data have {len(frame)} rows.")
    return weights
