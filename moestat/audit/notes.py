"""What a reader of an audit must be told besides: known constants, kinks, gates that switch experts off, regimes."""

from __future__ import annotations

from typing import Any

from moestat.audit.rank import Rank
from moestat.gates.sigmoid import SigmoidScores
from moestat.mixture import ConditionalMixture


def kind_of(name: str) -> str:
    """The kind of a free parameter, as atoms have it.

    Examples
    --------
    >>> kind_of("expert[1]:class0:Intercept"), kind_of("gate[1]:x1"), kind_of("expert[2]:log_shape")
    ('intercept', 'gate', 'shape')
    """
    part, _, term = name.partition(":")
    if part.startswith(("gate", "routed", "shared", "block")):
        return "temperature" if term.endswith("temperature") else "gate"
    last = term.rpartition(":")[2]
    if last.startswith("log_scale"):
        return "variance"
    if last.startswith(("log_", "logit_", "cholesky", "output")):
        return last.removeprefix("log_").partition("[")[0]
    return "intercept" if last == "Intercept" else "coef"


def is_dense(model: ConditionalMixture) -> bool:
    """Whether an over-specified sigmoid gate has no true parameters to tend to: no two sigmoids sum to one that is not constant."""
    return isinstance(model.gate, SigmoidScores) and bool(model.params["gate_coef"].any())


def notes_on(model: ConditionalMixture, information: Rank, followed: int, tempered: bool) -> tuple[str, ...]:
    """Sentences for the foot of the report."""
    gate: Any = model.gate
    expert: Any = model.expert
    out = []
    left = information.n_functions - information.rank - followed
    if tempered:
        out.append("the temperature is known: only slopes and intercepts divided by it are identified.")
    if left > 0:
        out.append(f"{left} more directions that the information does not see were not followed.")
    if hasattr(gate, "mask"):
        out.append("the gate switches experts off; derivatives and rates are those within one set of active experts.")
    if gate.name == "cosine":
        out.append("the directions of the gate's slopes are identified, their lengths are not.")
    if gate.name in ("hierarchical", "prototype", "shared"):
        out.append("of the gate the atoms have the node, group or block to which the expert belongs.")
    if is_dense(model):
        out.append(
            "gate slopes are not zero, the dense regime: no two sigmoids sum to one of these, so that an over-specified fit tends to a "
            "pseudo-true measure, at -1/2 where there is one such measure."
        )
    elif isinstance(gate, SigmoidScores):
        out.append("all gate slopes are zero, the sparse regime.")
    if expert.name == "laplace" and getattr(expert, "smoothing", 1.0) == 0.0:
        out.append("the density has a kink: do not rely on its second derivatives.")
    if getattr(expert, "activation", "") == "relu":
        out.append("the means have a kink: do not rely on their second derivatives.")
    if not expert.exchangeable:
        out.append("experts of different families, or that depend on each other: atoms were not examined.")
    degeneracies = getattr(expert, "degeneracies", None)
    return (*out, *(degeneracies(model.params) if degeneracies is not None else ()))
