"""The log-likelihood under softmax gates of a function of each score, by the compiled sums; and which objective a model has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat import louis
from moestat.blocks import Block
from moestat.general import GeneralObjective
from moestat.layout import Layout, Parameters
from moestat.linalg import mirror
from moestat.objective import Objective, Statistics

Array = NDArray[np.float64]

FORWARD = ("log_prob", "prob", "link_slope", "link_bend")


class LinkedObjective(GeneralObjective):
    """`GeneralObjective` for softmax gates of `t(s)` of each linear score s, and experts with linear predictors.

    The slopes in s are those of a softmax in t times `t'`; the second derivatives are those times `t'_a t'_b`, and `t''_a` times the
    slope in `t_a`. The compiled sums of softmax gates serve, without a Jacobian of all weights in all scores.
    """

    derivatives = Objective.derivatives
    gradient = Objective.gradient
    _row_scores = Objective._row_scores

    @staticmethod
    def takes(layout: Layout) -> bool:
        """Whether the model is of this kind; a subclass of a gate, which may have another normaliser, says so itself."""
        linear = not (layout.expert.raw_features or layout.expert.by_scores)
        linked: bool = vars(type(layout.gate)).get("linked", False)
        return linked and linear and layout.n_scored == layout.n_experts

    def _forward(self, params: Parameters, start: int, stop: int) -> tuple[Block, dict[str, Array]]:
        ws = self._workspace(stop - start)
        block = self.rows.block(start, stop)
        for name in FORWARD[2:]:
            if name not in ws:
                ws[name] = np.empty_like(ws["prob"])
        out = (ws[name] for name in FORWARD)
        self.kernels.sigmoid_forward(params.gate, block.gate_features, block.start, block.stop, *out)
        self.layout.expert.forward(params.coef, params.scale, block, ws, self.kernels)
        self.kernels.e_step(ws["log_prob"], ws["log_density"], ws["resp"], ws["loglik"])
        return block, ws

    def _add_gate(self, params: Parameters, block: Block, ws: dict[str, Array], acc: Statistics) -> None:
        """See `moestat.gate_sums.add_gate`."""
        kn, a, b, z = self.kernels, block.start, block.stop, block.gate_features
        weighted, law, pairs = ws["resp"], ws["prob"], ws["pairs"]
        acc["gate_value"] += (weighted * np.where(weighted > 0.0, ws["log_prob"], 0.0)).sum()
        kn.softmax_pairs(law, pairs)
        kn.scale_pairs(ws["link_slope"], pairs)
        kn.scale_rows(block.weight, a, b, pairs)
        kn.scale_rows(block.weight, a, b, law)
        pull = np.subtract(weighted, law, out=ws["scratch"])
        kn.weighted_moments(z, louis.linked(ws, pull), a, b, acc["gate_moments"])
        s, q = acc["gate_moments"].shape
        rows, columns = louis.lower_pairs(s)
        grams = np.zeros((len(rows), q, q))
        kn.weighted_grams(z, pairs, a, b, grams)
        information = np.empty((s, s, q, q))
        information[rows, columns] = information[columns, rows] = mirror(grams)
        acc["gate_information"] += information.swapaxes(1, 2)
        bent = np.zeros((s, q, q))
        kn.weighted_grams(z, pull * ws["link_bend"], a, b, bent)
        j = np.arange(s)
        information[j, j] -= mirror(bent)
        acc["gate_bend"] += information.swapaxes(1, 2)


def objective_for(rows: Any, layout: Layout, **settings: Any) -> Objective:
    """The objective of a model: compiled for softmax gates of linear scores, or of their sigmoids, and linear predictors; general otherwise."""
    if not layout.by_scores:
        return Objective(rows, layout, **settings)
    return (LinkedObjective if LinkedObjective.takes(layout) else GeneralObjective)(rows, layout, **settings)
