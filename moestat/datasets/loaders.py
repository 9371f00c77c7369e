"""Loaders of the bundled data sets; each reads one small CSV file of the package."""

import csv
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_TONEDATA = """Tone perception: 150 judgements of one trained musician.

stretchratio: ratio of the overtones of the played tone, 2 is the natural octave.
tuned: the ratio to the fundamental at which the musician tuned an adjustable tone.
Two theories, two lines: tuned = 2 (interval memory) or tuned = stretchratio (partial matching).

Source: Cohen, E. A. (1980), Inharmonic Tone Perception, PhD thesis, Stanford University; Cohen, E. A. (1984), Some
effects of inharmonic partials on interval perception, Music Perception 1(3), 323-349."""

_CO2_GNP = """CO2 emission and gross national product per head of 28 countries in 1996.

GNP: gross national product per head (thousand US dollars).
CO2: estimated carbon dioxide emission per head (tonnes).

Source: Hurn, M., Justel, A. and Robert, C. P. (2003), Estimating mixtures of regressions, Journal of Computational and
Graphical Statistics 12(1), 55-79."""

_ENGEL = """Food expenditure of 235 Belgian working-class households.

income: annual household income (Belgian francs).
foodexp: annual household expenditure on food (Belgian francs).

Source: Engel, E. (1857), Die Productions- und Consumtionsverhaeltnisse des Koenigreichs Sachsen; Koenker, R. and
Bassett, G. (1982), Robust tests of heteroscedasticity based on regression quantiles, Econometrica 50(1), 43-61."""

_MCYCLE = """Head acceleration in 133 measurements of simulated motorcycle accidents, used to test crash helmets.

times: time after impact (milliseconds).
accel: acceleration of the head (g).

Source: Schmidt, G., Mattern, R. and Schueler, F. (1981), Biomechanical investigation to determine physical and
traumatological differentiation criteria for the maximum load capacity of head and vertebral column with and without
protective helmet under the effects of impact, University of Heidelberg; Silverman, B. W. (1985), Some aspects of the
spline smoothing approach to non-parametric curve fitting, Journal of the Royal Statistical Society B 47(1), 1-52."""


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set: arrays, names, and where it comes from.

    Attributes
    ----------
    X : array (n, d), or a pandas DataFrame if it was loaded with ``as_frame=True``
    y : array (n,), or a pandas Series
    feature_names : names of the columns of X
    target_name : name of y
    description : what was measured, in which units, and the source
    """

    name: str
    X: Any = field(compare=False)
    y: Any = field(compare=False)
    feature_names: tuple[str, ...]
    target_name: str
    description: str

    @property
    def frame(self) -> "pd.DataFrame":
        """Features and target as one pandas DataFrame, target last. pandas is imported here."""
        import pandas as pd

        columns = {name: np.asarray(self.X)[:, j] for j, name in enumerate(self.feature_names)}
        return pd.DataFrame({**columns, self.target_name: np.asarray(self.y)})

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"Dataset({self.name!r}, n={n}, d={d}, features={list(self.feature_names)}, target={self.target_name!r})"


def _load(name: str, description: str, return_X_y: bool, as_frame: bool) -> Dataset | tuple[Any, Any]:
    """Read ``data/<name>.csv``, whose last column is the target."""
    text = resources.files(__package__).joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    values: NDArray[np.float64] = np.array(rows, dtype=np.float64)
    X: Any = np.ascontiguousarray(values[:, :-1])
    y: Any = values[:, -1].copy()
    if as_frame:
        import pandas as pd

        X, y = pd.DataFrame(X, columns=header[:-1]), pd.Series(y, name=header[-1])
    if return_X_y:
        return X, y
    return Dataset(name, X, y, tuple(header[:-1]), header[-1], description)


@overload
def load_tonedata(*, return_X_y: Literal[False] = False, as_frame: bool = False) -> Dataset: ...
@overload
def load_tonedata(*, return_X_y: Literal[True], as_frame: bool = False) -> tuple[Any, Any]: ...
def load_tonedata(*, return_X_y: bool = False, as_frame: bool = False) -> Dataset | tuple[Any, Any]:
    """Tone perception (n = 150, d = 1): two crossing lines.

    Parameters
    ----------
    return_X_y : return the pair (X, y) instead of a `Dataset`
    as_frame : X as a pandas DataFrame and y as a Series instead of arrays

    References
    ----------
    Cohen (1980), Inharmonic Tone Perception, PhD thesis, Stanford. Cohen (1984), Music Perception 1(3), 323-349.

    Examples
    --------
    >>> from moestat.datasets import load_tonedata
    >>> load_tonedata()
    Dataset('tonedata', n=150, d=1, features=['stretchratio'], target='tuned')
    >>> X, y = load_tonedata(return_X_y=True)
    >>> X.shape, round(float(y.mean()), 4)
    ((150, 1), 2.0722)
    """
    return _load("tonedata", _TONEDATA, return_X_y, as_frame)


@overload
def load_co2_gnp(*, return_X_y: Literal[False] = False, as_frame: bool = False) -> Dataset: ...
@overload
def load_co2_gnp(*, return_X_y: Literal[True], as_frame: bool = False) -> tuple[Any, Any]: ...
def load_co2_gnp(*, return_X_y: bool = False, as_frame: bool = False) -> Dataset | tuple[Any, Any]:
    """CO2 emission against gross national product of 28 countries, 1996 (n = 28, d = 1).

    Parameters
    ----------
    return_X_y : return the pair (X, y) instead of a `Dataset`
    as_frame : X as a pandas DataFrame and y as a Series instead of arrays

    References
    ----------
    Hurn, Justel and Robert (2003), Journal of Computational and Graphical Statistics 12(1), 55-79.

    Examples
    --------
    >>> from moestat.datasets import load_co2_gnp
    >>> load_co2_gnp()
    Dataset('co2_gnp', n=28, d=1, features=['GNP'], target='CO2')
    """
    return _load("co2_gnp", _CO2_GNP, return_X_y, as_frame)


@overload
def load_engel(*, return_X_y: Literal[False] = False, as_frame: bool = False) -> Dataset: ...
@overload
def load_engel(*, return_X_y: Literal[True], as_frame: bool = False) -> tuple[Any, Any]: ...
def load_engel(*, return_X_y: bool = False, as_frame: bool = False) -> Dataset | tuple[Any, Any]:
    """Engel's food expenditure of 235 Belgian households (n = 235, d = 1): the spread grows with income.

    Parameters
    ----------
    return_X_y : return the pair (X, y) instead of a `Dataset`
    as_frame : X as a pandas DataFrame and y as a Series instead of arrays

    References
    ----------
    Engel (1857). Koenker and Bassett (1982), Econometrica 50(1), 43-61.

    Examples
    --------
    >>> from moestat.datasets import load_engel
    >>> load_engel().frame.columns.tolist()
    ['income', 'foodexp']
    """
    return _load("engel", _ENGEL, return_X_y, as_frame)


@overload
def load_mcycle(*, return_X_y: Literal[False] = False, as_frame: bool = False) -> Dataset: ...
@overload
def load_mcycle(*, return_X_y: Literal[True], as_frame: bool = False) -> tuple[Any, Any]: ...
def load_mcycle(*, return_X_y: bool = False, as_frame: bool = False) -> Dataset | tuple[Any, Any]:
    """Motorcycle accidents: head acceleration against time (n = 133, d = 1); mean and spread change with time.

    Parameters
    ----------
    return_X_y : return the pair (X, y) instead of a `Dataset`
    as_frame : X as a pandas DataFrame and y as a Series instead of arrays

    References
    ----------
    Schmidt, Mattern and Schueler (1981). Silverman (1985), J. R. Statist. Soc. B 47(1), 1-52.

    Examples
    --------
    >>> from moestat.datasets import load_mcycle
    >>> X, y = load_mcycle(return_X_y=True, as_frame=True)
    >>> X.columns.tolist(), y.name
    (['times'], 'accel')
    """
    return _load("mcycle", _MCYCLE, return_X_y, as_frame)
