"""Gates: how the weights of the experts depend on the features."""

from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate

__all__ = ["ConstantGate", "Gate", "SoftmaxGate"]
