"""Results of inference: estimates, standard errors, intervals, tests and what is not identified."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from .contrasts import t_test, wald_test
from .criteria import aic, bic
from .information import NULL_ATOL, InvertedInformation
from .names import section_order
from .reported import reported

if TYPE_CHECKING:
    import pandas as pd
    from statsmodels.stats.contrast import ContrastResults

    from .summary import InferenceSummary

FloatArray = npt.NDArray[np.float64]

#: Terms shorter than this fraction of the longest are left out when a direction is put in words.
_WORTH_NAMING = 0.05

#: Terms of a direction that are printed, the longest first; `UnidentifiedDirection.coefficients` has them all.
_MOST_TERMS = 5


class InferenceWarning(UserWarning):
    """The standard errors need care: the information is singular, or the parameters are not at a maximum."""


@dataclass(frozen=True)
class UnidentifiedDirection:
    """A direction of the parameters along which the data carry no information.

    Attributes
    ----------
    eigenvalue : float
        Its eigenvalue in the information scaled to unit diagonal (negative: the likelihood even rises along it).
    coefficients : dict of str to float
        Parameter name to coefficient, in the parameter's own units; the leading one is 1, negligible ones are left
        out.
    """

    eigenvalue: float
    coefficients: dict[str, float]

    def __str__(self) -> str:
        words = ""
        for name, value in list(self.coefficients.items())[:_MOST_TERMS]:
            size = "" if f"{abs(value):.3g}" == "1" else f"{abs(value):.3g} "
            sign = "- " if value < 0 else ("+ " if words else "")
            words += f"{' ' if words else ''}{sign}{size}{name}"
        rest = len(self.coefficients) - _MOST_TERMS
        return f"{words} and {rest} more" if rest > 0 else words


@dataclass(frozen=True)
class InferenceResults:
    """Estimates of a mixture of experts with their standard errors.

    Made by `moestat.inference.infer`, which `MoERegressor.inference` calls.  Vectors are pandas objects with flat
    names (``gate[1]:x``, ``expert[1]:Intercept``, ``expert[1]:log_scale``); `params_frame` has them in a table with
    standard deviations instead of their logarithms.

    Attributes
    ----------
    names : tuple of str
        The P parameter names.
    theta : ndarray of shape (P,)
        Estimates.
    working_covariance : ndarray of shape (P', P')
        Covariance in working coordinates.
    inverse : InvertedInformation
        The inverted information (observed, or of outer products if ``cov_type="opg"``) in working coordinates.
    jacobian : ndarray of shape (P, P')
        Derivative of the parameters with respect to the working coordinates.
    invisible : ndarray of shape (P, r)
        Moves of the parameters that no row sees, because features are constant or collinear.
    feature_size : ndarray of shape (P,)
        Root mean square of each parameter's feature (1 for scale parameters).
    fixed : tuple of str
        Parameters at an active bound; they are taken as known and have no standard error.
    cov_type : str
        "observed", "opg", "sandwich", "cluster" or "classical".
    llf : float
        Log-likelihood (weighted).
    nobs : float
        Number of rows, or the sum of their weights.
    n_experts, n_groups : int
        Number of experts; number of clusters (0 without).
    decrement : float
        Newton decrement at the parameters, in nats: what the log-likelihood could still gain.
    header : dict of str to str
        Lines for the head of the summary (response, gate, expert, certificate).
    notes : tuple of str
        Sentences for its foot.
    gate_note, expert_note : str
        What the coefficients mean.
    links : tuple of str
        How each free parameter becomes the number that a table shows: "identity", "log", "logit" or "cholesky"; empty if
        all are shown as they are.
    """

    names: tuple[str, ...]
    theta: FloatArray
    working_covariance: FloatArray
    inverse: InvertedInformation
    jacobian: FloatArray
    invisible: FloatArray
    feature_size: FloatArray
    fixed: tuple[str, ...]
    cov_type: str
    llf: float
    nobs: float
    n_experts: int
    n_groups: int
    decrement: float
    header: dict[str, str]
    notes: tuple[str, ...]
    gate_note: str = ""
    expert_note: str = ""
    links: tuple[str, ...] = ()

    # -- estimates -----------------------------------------------------------------------------
    @cached_property
    def params(self) -> pd.Series[float]:
        """Estimates by flat name."""
        return self._series(self.theta, "params")

    @cached_property
    def bse(self) -> pd.Series[float]:
        """Standard errors; NaN where the data do not identify the parameter or it sits on a bound."""
        return self._series(self._standard_errors, "bse")

    @cached_property
    def tvalues(self) -> pd.Series[float]:
        """Estimate over standard error (a standard normal statistic; the name is statsmodels')."""
        return self._series(self._z, "tvalues")

    @cached_property
    def pvalues(self) -> pd.Series[float]:
        """Two-sided normal p-values of the hypothesis that the parameter is zero."""
        return self._series(2.0 * ndtr(-np.abs(self._z)), "pvalues")

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Normal confidence limits at level ``1 - alpha``, columns ``lower`` and ``upper``."""
        import pandas as pd

        half = _critical_value(alpha) * self._standard_errors
        limits = np.column_stack([self.theta - half, self.theta + half])
        return pd.DataFrame(limits, index=list(self.names), columns=["lower", "upper"])

    def cov_params(self) -> pd.DataFrame:
        """Covariance matrix of the estimates; rows and columns without a standard error are NaN."""
        import pandas as pd

        hidden = np.isnan(self._standard_errors)
        covariance = self.contrast_covariance(np.eye(len(self.names)))
        covariance[hidden, :] = np.nan
        covariance[:, hidden] = np.nan
        return pd.DataFrame(covariance, index=list(self.names), columns=list(self.names))

    def params_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        r"""Table by (part, expert, term), with standard deviations and correlations in place of their
        parametrisation.

        A scale :math:`\sigma = e^{\lambda}` has the delta-method error :math:`\sigma\,\mathrm{se}(\lambda)` and the
        limits :math:`e^{\lambda \pm z\,\mathrm{se}(\lambda)}`, which are positive; the test of a zero scale has no
        meaning, so that z and p are NaN there.  A correlation is treated likewise on the scale of Fisher's z.

        Returns
        -------
        DataFrame
            Index levels ``part``, ``expert`` (0: shared by all experts), ``term``; columns ``estimate``, ``std_err``,
            ``z``, ``p_value``, ``ci_lower``, ``ci_upper``.
        """
        import pandas as pd

        rows = reported(self.names, self.theta, self.links)
        error = self._contrast_errors(rows.jacobian)
        half = _critical_value(alpha) * error
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(rows.untested, np.nan, rows.values / error)
        columns = {
            "estimate": rows.back(rows.values),
            "std_err": rows.slope() * error,
            "z": z,
            "p_value": 2.0 * ndtr(-np.abs(z)),
            "ci_lower": rows.back(rows.values - half),
            "ci_upper": rows.back(rows.values + half),
        }
        index = pd.MultiIndex.from_tuples([tuple(key) for key in rows.keys], names=["part", "expert", "term"])
        return pd.DataFrame(columns, index=index).iloc[section_order(self.names)]

    # -- fit -----------------------------------------------------------------------------
    @property
    def df_model(self) -> int:
        """Number of free parameters, gate, experts and scales together; directions that no row sees do not count."""
        return len(self.names) - int(self.invisible.shape[1])

    @property
    def n_free(self) -> int:
        """Number of parameters that the rows can see and that are on no bound: the largest rank of the information."""
        return int(self.jacobian.shape[1])

    @property
    def df_resid(self) -> float:
        """``nobs - df_model``."""
        return self.nobs - self.df_model

    @property
    def aic(self) -> float:
        """Akaike's criterion, smaller is better."""
        return aic(self.llf, self.df_model)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, smaller is better."""
        return bic(self.llf, self.df_model, self.nobs)

    @property
    def rank(self) -> int:
        """Numerical rank of the information of the parameters that are not on a bound."""
        return self.inverse.rank

    @cached_property
    def unidentified(self) -> tuple[UnidentifiedDirection, ...]:
        """Directions of the parameters that the data do not identify; empty in a regular fit."""
        unit = np.linalg.norm(self.jacobian / self.inverse.scale, axis=1)
        unit[unit == 0.0] = 1.0
        curved = zip(self.inverse.null_eigenvalues, (self.jacobian @ self.inverse.directions).T, strict=True)
        found = [self._direction(float(eigenvalue), move, np.abs(move) / unit) for eigenvalue, move in curved]
        return (*found, *(self._direction(0.0, move, np.abs(move) * self.feature_size) for move in self.invisible.T))

    def _direction(self, eigenvalue: float, move: FloatArray, weight: FloatArray) -> UnidentifiedDirection:
        lead = int(np.argmax(weight))
        named = [j for j in np.argsort(-weight, kind="stable") if weight[j] > _WORTH_NAMING * weight[lead]]
        return UnidentifiedDirection(eigenvalue, {self.names[j]: float(move[j] / move[lead]) for j in named})

    def estimable(self, contrasts: FloatArray) -> npt.NDArray[np.bool_]:
        """Say for each row of ``contrasts`` (J, P) whether the data identify it and no bound fixes it."""
        free = ~np.any(contrasts[:, self._is_fixed] != 0.0, axis=1)
        total = np.abs(contrasts) @ np.abs(self.invisible)
        seen = np.all(np.abs(contrasts @ self.invisible) <= NULL_ATOL * total, axis=1)
        return np.asarray(self.inverse.identified(contrasts @ self.jacobian) & seen & free)

    def contrast_covariance(self, contrasts: FloatArray) -> FloatArray:
        """Covariance (J, J) of contrasts (J, P), meaningful where they are `estimable`.

        Contrasts go to working coordinates first: of the raw covariance, whose entries may be huge (an intercept far
        outside the data), differences would be left.
        """
        working = contrasts @ self.jacobian
        return np.asarray(working @ self.working_covariance @ working.T)

    # -- tests -----------------------------------------------------------------------------
    def t_test(self, r_matrix: Any) -> ContrastResults:
        """z test of each linear contrast.

        Parameters
        ----------
        r_matrix : str, list of str, dict, array or pair (R, q)
            For example ``"expert[1]:x = expert[2]:x"``; see `moestat.inference.contrasts.contrast_matrix`.

        Returns
        -------
        statsmodels ContrastResults
            ``effect``, ``sd``, ``tvalue``, ``pvalue``, ``conf_int()``, ``summary()``; NaN where not identified.
        """
        return t_test(self, r_matrix)

    def wald_test(self, r_matrix: Any) -> ContrastResults:
        """Joint chi-square test of linear contrasts.

        Raises
        ------
        ValueError
            If one of them is not identified, or they are linearly dependent.
        """
        return wald_test(self, r_matrix)

    # -- text -----------------------------------------------------------------------------
    def summary(self, alpha: float = 0.05) -> InferenceSummary:
        """Table of gate, experts and scales; ``as_text()``, ``as_html()``, ``as_latex()``, ``as_csv()``."""
        from .summary import InferenceSummary

        return InferenceSummary(self, alpha)

    def __repr__(self) -> str:
        return (
            f"<InferenceResults: {self.n_experts} experts, {self.df_model} parameters, rank {self.rank}, "
            f"cov_type={self.cov_type!r}, llf={self.llf:.6g}>"
        )

    # -- helpers -----------------------------------------------------------------------------
    @cached_property
    def _is_fixed(self) -> npt.NDArray[np.bool_]:
        return np.array([name in self.fixed for name in self.names], dtype=np.bool_)

    @cached_property
    def _standard_errors(self) -> FloatArray:
        return self._contrast_errors(np.eye(len(self.names)))

    def _contrast_errors(self, contrasts: FloatArray) -> FloatArray:
        variance = np.diagonal(self.contrast_covariance(contrasts))
        return np.where(self.estimable(contrasts), np.sqrt(np.maximum(variance, 0.0)), np.nan)

    @cached_property
    def _z(self) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.theta / self._standard_errors)

    def _series(self, values: FloatArray, name: str) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=list(self.names), name=name)


def _critical_value(alpha: float) -> float:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha!r}; 0.05 gives 95 % intervals.")
    return float(ndtri(1.0 - alpha / 2.0))
