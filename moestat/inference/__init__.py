"""Standard errors, tests and summaries of fitted mixtures of experts."""

from .criteria import aic, bic, icl
from .infer import infer
from .results import InferenceResults, InferenceWarning, UnidentifiedDirection
from .summary import InferenceSummary

__all__ = [
    "InferenceResults",
    "InferenceSummary",
    "InferenceWarning",
    "UnidentifiedDirection",
    "aic",
    "bic",
    "icl",
    "infer",
]
