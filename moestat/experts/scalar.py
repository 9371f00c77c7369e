"""Scalars of an expert: parameters that do not depend on x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Scalar(NamedTuple):
    """A predictor that does not depend on x: one number an expert, such as a scale or a dispersion.

    Attributes
    ----------
    key : str
        Name in the parameter dictionary, as `expert_dispersion`.
    label : str
        Name of the free parameter, as `log_dispersion`.
    link : str
        How the free value `v` becomes the reported one: "log" (`exp v`), "logit" (`1/(1 + exp -v)`) or "identity".
    low, high : float
        Bounds of the free value, beyond which the model is a limit of another family to rounding.
    at_low, at_high : str
        What the limit is, for the message when an estimate ends there.
    spike : str
        "low" or "high": the end towards which the density degenerates to a spike on single rows; `variance_floor` bounds it.
    """

    key: str
    label: str
    link: str = "log"
    low: float = -np.inf
    high: float = np.inf
    at_low: str = ""
    at_high: str = ""
    spike: str = ""

    def to_raw(self, value: Array) -> Array:
        """The reported value of a free one."""
        if self.link == "log":
            return np.exp(value)
        if self.link == "logit":
            return np.asarray(1.0 / (1.0 + np.exp(-value)))
        return np.asarray(value)

    def from_raw(self, value: Array) -> Array:
        """The free value of a reported one.

        Raises
        ------
        ValueError
            If the value is outside the range of the link.
        """
        value = np.asarray(value, dtype=float)
        if self.link == "log":
            if not (value > 0).all():
                raise ValueError(f"params[{self.key!r}] must be positive; got {value.tolist()}.")
            return np.asarray(np.log(value))
        if self.link == "logit":
            if not ((value > 0) & (value < 1)).all():
                raise ValueError(f"params[{self.key!r}] must lie strictly between 0 and 1; got {value.tolist()}.")
            return np.asarray(np.log(value) - np.log1p(-value))
        return value
