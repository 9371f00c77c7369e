"""Standard errors of a mixture fitted to choices: observed information, scores of annotators, sandwich."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from moestat.gates.softmax import SoftmaxGate
from moestat.inference.information import invert_information
from moestat.inference.results import InferenceResults, InferenceWarning
from moestat.preference.data import Array
from moestat.preference.objective import PreferenceObjective

CovType = Literal["observed", "opg", "sandwich"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What inference needs of a fit: information and outer product of annotators' scores, in internal coordinates."""

    information: Array
    outer: Array
    reference: Array
    jacobian: Array
    invisible: Array
    feature_size: Array

    @classmethod
    def of(cls, objective: PreferenceObjective, theta: Array) -> Evidence:
        """At the estimate; the information is that of the log-likelihood without penalty."""
        scores = objective.row_scores(theta)
        coordinates = objective.coordinates
        # What a parameter's information would be if every annotator (comparison) spoke about it.
        reference = np.r_[
            np.full(objective.n_gate, len(objective.z)), np.full(coordinates.sizes[1], objective.total_weight)
        ]
        return cls(
            -objective.hessian(theta),
            scores.T @ scores,
            0.25 * reference,
            coordinates.jacobian(),
            coordinates.invisible(),
            coordinates.feature_size(),
        )


def infer(
    evidence: Evidence,
    names: Sequence[str],
    theta: Array,
    *,
    cov_type: CovType,
    llf: float,
    n_annotators: int,
    n_experts: int,
    decrement: float,
    header: dict[str, str],
    notes: Sequence[str] = (),
) -> InferenceResults:
    """Results for the raw free vector `theta`; see `PreferenceMoE.inference`."""
    if cov_type not in get_args(CovType):
        raise ValueError(f"cov_type must be one of {', '.join(get_args(CovType))}; got {cov_type!r}.")
    inverse = invert_information(evidence.information, reference=evidence.reference)
    covariance = inverse.covariance
    if cov_type == "opg":
        inverse = invert_information(evidence.outer, reference=evidence.reference)
        covariance = inverse.covariance
    elif cov_type == "sandwich":
        covariance = covariance @ evidence.outer @ covariance
    results = InferenceResults(
        names=tuple(names),
        theta=theta,
        working_covariance=covariance,
        inverse=inverse,
        jacobian=evidence.jacobian,
        invisible=evidence.invisible,
        feature_size=evidence.feature_size,
        fixed=(),
        cov_type=cov_type,
        llf=llf,
        nobs=float(n_annotators),
        n_experts=n_experts,
        n_groups=0,
        decrement=decrement,
        header=header,
        notes=(),
        gate_note=SoftmaxGate().reading(n_experts),
    )
    said = [note[0].upper() + note[1:] for note in notes]
    if results.unidentified:
        shown = "; ".join(str(direction) for direction in results.unidentified[:3])
        more = f"; and {len(results.unidentified) - 3} more" if len(results.unidentified) > 3 else ""
        text = (
            f"The information is singular: rank {results.rank} of {len(names)}. Not identified: {shown}{more}. Standard errors there are nan. "
            "Heed the messages of the fit (result_.messages); if there are none, fit fewer experts."
        )
        warnings.warn(text, InferenceWarning, stacklevel=3)
        said.append(text)
    return replace(results, notes=tuple(said))
