"""One atom of a mixture split into several, in merged parameters and differences: the valley of near-equal densities made straight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

__all__ = ["Split", "split_atom"]

SHARE = 1.5  # largest logarithm of the ratio of two weights in the split
_WEIGHTS = ("Intercept", "log_weight")


@dataclass(frozen=True)
class Split:
    """A mixture whose first m experts are one split atom, as a function of u.

    u holds, in this order: changes of all parameters outside the split; means over the split's atoms, weighted by their
    shares, less the true values; differences of the atoms to the last one (without the one that is fixed); logarithms of the
    ratios of their shares to the last one; the change of the logarithm of their total weight. All enter as ``tanh(.)``, those of
    the shares times 1.5: the parameter space is compact.

    Attributes
    ----------
    centre : ConditionalMixture
        With m equal copies of the atom: the true density.
    names : tuple of str
        Parameters of an atom, without its weight.
    rows : ndarray (b, m)
        Their places in the free vector.
    weights : ndarray (m,)
    others : ndarray
    """

    centre: Any
    theta: Array
    names: tuple[str, ...]
    rows: Index
    weights: Index
    others: Index

    @property
    def n_params(self) -> int:
        """Length of u: one less than the free vector, for the fixed difference."""
        return int(self.theta.size) - 1

    def vector(self, u: Array, target: int, size: float) -> Array:
        """The free vector; u may be complex."""
        (b, m), start = self.rows.shape, len(self.others)
        u = np.tanh(u)
        mean, rest = u[start : start + b], u[start + b :]
        gaps = np.zeros((b, m), dtype=u.dtype)
        free = np.ones((b, m), dtype=bool)
        free[:, -1] = False
        free[target, 0] = False
        count = int(free.sum())
        gaps[free] = rest[:count]
        gaps[target, 0] = size
        share = np.exp(np.append(SHARE * rest[count:-1], 0.0))
        share /= share.sum()
        theta = self.theta.astype(u.dtype)
        theta[self.others] += u[:start]
        theta[self.rows] += (mean - gaps @ share)[:, None] + gaps
        theta[self.weights] += rest[-1] + np.log(share * m)
        return theta

    def at(self, u: Array, target: int, size: float) -> Any:
        """The mixture at u, whose parameter ``target`` differs by ``size`` between the first and the last atom."""
        return self.centre.with_free_vector(self.vector(u, target, size))

    def derivative(self, u: Array, target: int, size: float) -> Array:
        """Jacobian (P, n_params) of `vector`, by complex steps, which lose no digits."""
        step = 1e-30
        return np.stack([self.vector(u + 1j * step * row, target, size).imag / step for row in np.eye(u.size)], axis=1)

    def scaled(self, u: Array, factor: float | Array) -> Array:
        """u times ``factor``, the shares as they are but kept away from their bounds: a start for a split of another size."""
        m = self.rows.shape[1]
        start = factor * u
        start[-m:-1] = np.clip(u[-m:-1], -1.5, 1.5)
        return start


def split_atom(truth: Any, split: int, atoms: int) -> Split:
    """The truth with its atom ``split`` in ``atoms`` equal copies that share its weight.

    Raises
    ------
    ValueError
        If weights of this gate cannot be shared so that the density stays the same.
    """
    order = [split, *(k for k in range(truth.n_experts) if k != split)]
    first = truth.permuted(order)
    repeats = [atoms] + [1] * (truth.n_experts - 1)
    params = {
        key: np.repeat(value, repeats, axis=0) if np.ndim(value) else value for key, value in first.params.items()
    }
    if "gate_weight" in params:
        params["gate_weight"] = params["gate_weight"] / params["gate_weight"].sum()
    options = {"n_features": truth.n_features}
    if getattr(truth, "noise_std", None) is not None:
        options["noise_std"] = truth.noise_std
    centre = type(truth)(truth.gate, truth.expert, params, **options)
    names, theta = centre.free_names(), centre.free_vector()
    place = {name: i for i, name in enumerate(names)}
    weights = [
        place[f"gate[{k + 1}]:{label}"] for label in _WEIGHTS for k in range(atoms) if f"gate[{k + 1}]:{label}" in place
    ]
    temperature = float(first.params.get("gate_temperature", getattr(truth.gate, "temperature", None) or 1.0))
    theta[weights] -= temperature * np.log(atoms)
    own = [
        name.replace("[1]:", ":", 1) for name in names
        if "[1]:" in name and place[name] not in weights and f"[{atoms}]:".join(name.split("[1]:")) in place
    ]  # fmt: skip
    rows = [[place[name.replace(":", f"[{k + 1}]:", 1)] for k in range(atoms)] for name in own]
    inside = {*weights, *(i for row in rows for i in row)}
    others = [i for i in range(theta.size) if i not in inside]
    model = Split(
        centre,
        theta,
        tuple(own),
        np.array(rows, dtype=np.int64).reshape(-1, atoms),
        np.array(weights),
        np.array(others, dtype=np.int64),
    )
    if len(weights) != atoms or not _same(first, centre.with_free_vector(theta)):
        raise ValueError(
            f"copies of an expert cannot share its weight under {truth.gate!r}: their density would differ"
        )
    return model


def _same(one: Any, two: Any) -> bool:
    X = np.linspace(-1.0, 1.0, 7)[:, None] * np.linspace(1.0, 0.3, one.n_features)
    return bool(np.allclose(np.asarray(one.mean(X)), np.asarray(two.mean(X)), rtol=0, atol=1e-9))
