"""One atom of a mixture split into several, in merged parameters and differences: the valley of near-equal densities made straight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .copies import Copies, copy_expert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

__all__ = ["CannotSplit", "Split", "split_atom"]

SHARE = 1.5  # largest logarithm of the ratio of two weights in the split
_WEIGHTS = ("Intercept", "log_weight")


class CannotSplit(ValueError):
    """An expert cannot be split, or has no such parameter, while another expert may."""


@dataclass(frozen=True)
class Split:
    """A mixture with m experts for one atom, as a function of u.

    u holds, in this order: changes of all parameters outside the split; means over the split's atoms, weighted by their
    shares, less the true values; differences of the atoms to the last one (without the one that is fixed); logarithms of the
    ratios of their shares to the last one; the change of their total weight (unless they have all of it). All enter as ``tanh(.)``,
    those of the shares times 1.5: the parameter space is compact.

    With m = 1 nothing is split: the difference that is fixed is that to the truth.

    Attributes
    ----------
    copies : Copies
        The model with m equal copies of the atom.
    theta : ndarray (P,)
        Its free vector; weights are those of the truth.
    names : tuple of str
        Parameters of an atom; without its weight, if it is split.
    rows : ndarray (b, m)
        Their places in the free vector.
    weights : ndarray (m,)
        Those of the weights; of one fewer if the last weight is the one that is pinned.
    others : ndarray
    exact : bool
        Whether equal copies are the truth.
    """

    copies: Copies
    theta: Array
    names: tuple[str, ...]
    rows: Index
    weights: Index
    others: Index
    exact: bool = True

    @property
    def atoms(self) -> int:
        """Into how many the atom is split."""
        return int(self.rows.shape[1])

    @property
    def n_params(self) -> int:
        """Length of u: that of what is free, less one for the fixed difference."""
        return int(self.others.size + self.rows.size + self.weights.size) - 1

    def vector(self, u: Array, target: int, size: float) -> Array:
        """The free vector; u may be complex."""
        (b, m), start = self.rows.shape, len(self.others)
        u = np.tanh(u)
        theta = self.theta.astype(u.dtype)
        theta[self.others] += u[:start]
        if m == 1:
            theta[self.rows[:, 0]] += np.insert(u[start:], target, size)
            return theta
        mean, rest = u[start : start + b], u[start + b :]
        gaps = np.zeros((b, m), dtype=u.dtype)
        free = np.ones((b, m), dtype=bool)
        free[:, -1] = False
        free[target, 0] = False
        count = int(free.sum())
        gaps[free] = rest[:count]
        gaps[target, 0] = size
        log_ratio = np.append(SHARE * rest[count : count + m - 1], 0.0)
        share = np.exp(log_ratio)
        share /= share.sum()
        theta[self.rows] += (mean - gaps @ share)[:, None] + gaps
        if len(self.weights) < m:
            theta[self.weights] = self.copies.temperature * log_ratio[:-1]
        else:
            theta[self.weights] = self._weight(theta[self.weights] + rest[-1], share)
        return theta

    def _weight(self, total: Array, share: Array) -> Array:
        """Intercepts of shares of one weight, whose intercept is ``total``."""
        if not self.copies.sigmoid:
            return np.asarray(total + self.copies.temperature * np.log(share))
        weight = share / (1.0 + np.exp(-total))
        return np.asarray(np.log(weight) - np.log(1.0 - weight))

    def at(self, u: Array, target: int, size: float) -> Any:
        """The mixture at u, whose parameter ``target`` differs by ``size`` between the first and the last atom."""
        return self.copies.model.with_free_vector(self.vector(u, target, size))

    def derivative(self, u: Array, target: int, size: float) -> Array:
        """Jacobian (P, n_params) of `vector`, by complex steps, which lose no digits."""
        step = 1e-30
        return np.stack([self.vector(u + 1j * step * row, target, size).imag / step for row in np.eye(u.size)], axis=1)

    def scaled(self, u: Array, factor: float | Array) -> Array:
        """u times ``factor``, the shares as they are but kept away from their bounds: a start for a split of another size."""
        m, start = self.atoms, factor * u
        end = u.size if len(self.weights) < m else u.size - 1
        shares = slice(end - (m - 1), end)
        start[shares] = np.clip(u[shares], -1.5, 1.5)
        return start


def split_atom(truth: Any, split: int, atoms: int, known: Sequence[int] = (), X: Array | None = None) -> Split:
    """The truth with its atom ``split`` in ``atoms`` equal copies that share its weight.

    Parameters
    ----------
    known : sequence of int
        Experts whose own parameters are known, as that of a deviated model.
    X : ndarray (n, d), optional
        Rows where copies must give the truth's mean; default: eight between -1 and 1.

    Raises
    ------
    CannotSplit
        A ValueError: if weights of this gate cannot be shared so that the density stays the same, unless no expert's can because
        all gates are sigmoids that depend on x; or if nothing of the expert is free.
    """
    copies = copy_expert(truth, split, atoms)
    names, theta = copies.model.free_names(), copies.model.free_vector()
    place = {name: i for i, name in enumerate(names)}
    fixed = tuple(f"expert[{k + 1}]:" for k, true in enumerate(copies.origin) if true in known)
    weights = [
        place[gate + label] for label in _WEIGHTS for gate in copies.gates if atoms > 1 and gate + label in place
    ]
    atom, rows = [], []
    for of, heads in (("gate", copies.gates), ("expert", copies.experts)):
        for label in (name.removeprefix(heads[0]) for name in names if name.startswith(heads[0])):
            row = [place.get(head + label, -1) for head in heads]
            if min(row) >= 0 and row[0] not in weights and not names[row[0]].startswith(fixed):
                atom.append(f"{of}:{label}")
                rows.append(row)
    if not rows:
        raise CannotSplit(
            f"split={split}: known={list(known)} says that this expert is known; there is nothing to split"
        )
    inside = {*weights, *(i for row in rows for i in row)}
    others = [i for i, name in enumerate(names) if i not in inside and not name.startswith(fixed)]
    model = Split(
        copies,
        theta,
        tuple(atom),
        np.array(rows, dtype=np.int64).reshape(-1, atoms),
        np.array(weights, dtype=np.int64),
        np.array(others, dtype=np.int64),
    )
    if X is None:
        X = np.linspace(-1.0, 1.0, 8)[:, None] * np.linspace(1.0, 0.3, truth.n_features)
    return replace(model, exact=_is_exact(truth, model, split, X))


def _is_exact(truth: Any, model: Split, split: int, X: Array) -> bool:
    """Whether copies with equal shares are the truth; an error if they are not but other splits could be."""
    m, copies = model.atoms, model.copies
    if m == 1 or len(model.weights) == m or copies.gates[-1].startswith("shared"):
        same = model.at(np.zeros(model.n_params), 0, 0.0)
        if np.allclose(np.asarray(truth.mean(X)), np.asarray(same.mean(X)), rtol=0, atol=1e-9):
            return True
    reason = "their density would differ"
    if copies.sigmoid:
        if np.any(truth.params["gate_coef"], axis=1).all():
            return False
        reason = (
            "no sum of sigmoids is one that depends on x, and a larger model splits an expert whose gate is constant"
        )
    elif hasattr(copies.model.gate, "k"):
        reason = "where it is not active, the copies' places are taken by others; split one that is active everywhere"
    raise CannotSplit(f"split={split}: copies of this expert cannot share its weight under {truth.gate!r}: {reason}")
