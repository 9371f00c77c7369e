"""Small real data sets that travel with the package: the examples of the literature on mixtures of regressions."""

from .loaders import Dataset, load_co2_gnp, load_engel, load_mcycle, load_tonedata

__all__ = ["Dataset", "load_co2_gnp", "load_engel", "load_mcycle", "load_tonedata"]
