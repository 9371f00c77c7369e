"""Gates: how the weights of the experts depend on the features."""

from moestat.gates.base import Gate, resolve_gate
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate

__all__ = ["ConstantGate", "Gate", "SoftmaxGate", "resolve_gate"]
