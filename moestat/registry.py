"""Names of all components; the command line, the docs and the conformance tests iterate these."""

from __future__ import annotations

from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate

GATES: dict[str, type[Gate]] = {cls.name: cls for cls in (SoftmaxGate, ConstantGate)}
EXPERTS: dict[str, type[GaussianExpert]] = {cls.name: cls for cls in (GaussianExpert,)}
