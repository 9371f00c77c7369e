"""What the reader of standard errors must be told: singular information, no maximum, separation, kinks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from .names import parse_name
from .results import InferenceResults, InferenceWarning, UnidentifiedDirection

#: Standard error, in log-odds for one standard deviation of the gate's features, from which on the gate counts as
#: separated.
SEPARATION_ERROR = 10.0

#: Log-likelihood units that may still be gained before the parameters count as not being the maximiser.
DECREMENT_WARNING = 1e-2


def annotated(results: InferenceResults, gate_error: float, gate_l2: float, kink: str) -> InferenceResults:
    """The results with the sentences that say what is wrong, and warnings of these; `kink` says what stood in for second derivatives."""
    n_free = results.n_free
    notes = []
    n_curved = len(results.unidentified) - results.invisible.shape[1]
    curved, hidden = results.unidentified[:n_curved], results.unidentified[n_curved:]
    flat = [direction for direction in curved if direction.eigenvalue == 0.0]
    n_negative = len(curved) - len(flat)
    stronger = "a larger gate_l2" if gate_l2 > 0.0 else "gate_l2 > 0"
    if n_negative:
        bare = gate_l2 > 0.0
        notes.append(
            f"{'The unpenalised likelihood has' if bare else 'The parameters are'} no maximum{' here' * bare}: "
            f"{n_negative} of {n_free} eigenvalues of the information are negative. Standard errors there are nan. "
            f"Refit with {'fewer experts' if bare else 'more starts'}."
        )
    if flat:
        kind = "information" if results.cov_type != "opg" else "outer product of the scores"
        only_gate = all(parse_name(name).part == "gate" for direction in flat for name in direction.coefficients)
        notes.append(
            f"The {kind} is singular: rank {results.rank} of {n_free}. Not identified: {_listed(flat)}. Standard "
            f"errors there are nan. Fit fewer experts{f', or set {stronger} if the gate is separated' * only_gate}."
        )
    if hidden:
        notes.append(
            f"Columns are constant or linearly dependent: {len(hidden)} combinations of the coefficients have no "
            f"effect on any row and are not counted as parameters: {_listed(hidden)}. Standard errors there are nan. "
            "Drop constant or collinear columns."
        )
    if gate_error > SEPARATION_ERROR and not any(_involves_gate(direction) for direction in flat):
        notes.append(
            f"The gate is (nearly) separated: a standard error of {gate_error:.3g} log-odds for one standard deviation "
            f"of its features. Normal intervals are not to be trusted there; set {stronger} or fit fewer experts."
        )
    if not results.decrement < DECREMENT_WARNING:
        what = "penalised log-likelihood" if gate_l2 > 0.0 else "log-likelihood"
        refit = "" if gate_l2 > 0.0 else "gate_l2=0 and "
        notes.append(
            f"The parameters are not the maximiser at these data: the {what} can still gain about "
            f"{results.decrement:.3g}. Pass the data and weights of the fit, or refit with {refit}more iterations."
        )
    if 0 < results.n_groups <= results.rank:
        notes.append(
            f"There are {results.n_groups} groups for {results.rank} parameters: clustered errors are unreliable; use "
            "cov_type='sandwich' or fewer parameters."
        )
    for note in notes:
        warnings.warn(note, InferenceWarning, stacklevel=3)
    if gate_l2 > 0.0:
        notes.insert(
            0,
            f"The gate is penalised (gate_l2={gate_l2:g}): the estimates maximise the penalised likelihood; standard "
            "errors are those of the unpenalised information at the penalised estimate.",
        )
    if kink:
        notes.insert(0, kink)
    if results.fixed:
        notes.insert(0, f"On a bound, taken as known: {', '.join(results.fixed)}.")
    return replace(results, notes=tuple(notes))


def _involves_gate(direction: UnidentifiedDirection) -> bool:
    return any(parse_name(name).part == "gate" for name in direction.coefficients)


def _listed(directions: Sequence[UnidentifiedDirection]) -> str:
    """The first few directions in words."""
    more = f"; and {len(directions) - 3} more" if len(directions) > 3 else ""
    return "; ".join(str(direction) for direction in directions[:3]) + more
