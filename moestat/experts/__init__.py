"""Experts: families of conditional densities of the response."""

from moestat.experts.base import BaseExpert, Expert
from moestat.experts.beta import BetaExpert
from moestat.experts.binomial import BinomialExpert
from moestat.experts.censored import CensoredExpert
from moestat.experts.factorial import FactorialExpert
from moestat.experts.gamma import GammaExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.experts.hurdle import HurdleNegativeBinomialExpert, HurdlePoissonExpert
from moestat.experts.inverse_gaussian import InverseGaussianExpert
from moestat.experts.laplace import LaplaceExpert
from moestat.experts.lognormal import LognormalExpert
from moestat.experts.mixed import MixedExperts
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.negative_binomial import NegativeBinomialExpert
from moestat.experts.nonlinear import NonlinearExpert
from moestat.experts.normal import NormalExpert
from moestat.experts.poisson import PoissonExpert
from moestat.experts.scalar import Scalar
from moestat.experts.skew_normal import SkewNormalExpert
from moestat.experts.student_t import StudentTExpert
from moestat.experts.zero_inflated import ZeroInflatedNegativeBinomialExpert, ZeroInflatedPoissonExpert

__all__ = [
    "BaseExpert",
    "BetaExpert",
    "BinomialExpert",
    "CensoredExpert",
    "Expert",
    "FactorialExpert",
    "GammaExpert",
    "GaussianExpert",
    "HurdleNegativeBinomialExpert",
    "HurdlePoissonExpert",
    "InverseGaussianExpert",
    "LaplaceExpert",
    "LognormalExpert",
    "MixedExperts",
    "MultinomialExpert",
    "NegativeBinomialExpert",
    "NonlinearExpert",
    "NormalExpert",
    "PoissonExpert",
    "Scalar",
    "SkewNormalExpert",
    "StudentTExpert",
    "ZeroInflatedNegativeBinomialExpert",
    "ZeroInflatedPoissonExpert",
]
