"""The audit of identifiability: invariances, ranks of derivatives, rates to expect, and other parameters of the same model."""

from moestat.audit.curves import Curve
from moestat.audit.gauge import Gauge
from moestat.audit.identify import identifiability
from moestat.audit.rank import HiddenOrder, Rank
from moestat.audit.report import AtomReport, ComponentRate, IdentifiabilityReport, Twin

__all__ = [
    "AtomReport",
    "ComponentRate",
    "Curve",
    "Gauge",
    "HiddenOrder",
    "IdentifiabilityReport",
    "Rank",
    "Twin",
    "identifiability",
]
