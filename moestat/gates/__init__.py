"""Gates: how the weights of the experts depend on the features."""

from moestat.gates.activation import ActivationGate
from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.cosine import CosineGate, PerturbedCosineGate
from moestat.gates.factorial import FactorialGate
from moestat.gates.gaussian import GaussianGate
from moestat.gates.hierarchical import HierarchicalGate
from moestat.gates.hybrid import HybridEntropyGate
from moestat.gates.laplace import LaplaceGate
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.prototype import PrototypeGate
from moestat.gates.quadratic import QuadraticGate, QuadraticMonomialGate
from moestat.gates.scores import ScoreGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidGate
from moestat.gates.softmax import SoftmaxGate
from moestat.gates.sparse import BudgetGate, TopKGate, TopPGate

__all__ = [
    "ActivationGate",
    "BudgetGate",
    "ConstantGate",
    "CosineGate",
    "FactorialGate",
    "Gate",
    "GaussianGate",
    "HierarchicalGate",
    "HybridEntropyGate",
    "LaplaceGate",
    "NormalizedSigmoidGate",
    "PerturbedCosineGate",
    "PrototypeGate",
    "QuadraticGate",
    "QuadraticMonomialGate",
    "ScoreGate",
    "SharedExperts",
    "SigmoidGate",
    "SoftmaxGate",
    "TopKGate",
    "TopPGate",
]
