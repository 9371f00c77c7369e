"""Cosine gates: scores depend on the angle between x and an expert's direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moestat.gates.base import Array
from moestat.gates.masked import check_number
from moestat.gates.nonlinear import NonlinearScores, polar, weighted_means


@dataclass(frozen=True)
class _AngleScores(NonlinearScores):
    """What cosine gates share: `s_k(x) = β1_kᵀx/((|β1_k| + t1)(|x| + t2))/τ + β0_k`."""

    fewest: ClassVar[int] = 1  # columns

    @property
    def _shape(self) -> tuple[float, float, float]:
        """`t1`, `t2` and `τ`."""
        raise NotImplementedError

    def n_coef(self, n_features: int) -> int:
        """`β0` and `β1`."""
        self.check_columns(n_features, self.fewest)
        return n_features

    def _pieces(self, gamma: Array, z: Array) -> tuple[Array, Array, Array, Array]:
        """Lengths `r (K,)` and directions `u (K, d)` of the slopes, `h = 1/(r + t1)`, and `a = x/(|x| + t2)/τ`, `(d, B)`."""
        t1, t2, temperature = self._shape
        length, direction = polar(gamma[:, 1:], 1)
        far, x = polar(z[1:], 0)
        longer = length[:, 0] + t1
        inverse = np.where(longer > 0.0, 1.0 / np.where(longer > 0.0, longer, 1.0), 0.0)
        return length[:, 0], direction, inverse, x * (far / np.where(far > 0.0, far + t2, 1.0)) / temperature

    def scores(self, gamma: Array, z: Array) -> Array:
        """Scores `(K, B)`; zero slopes or a zero x have cosine zero."""
        length, direction, inverse, x = self._pieces(gamma, z)
        return np.asarray(gamma[:, :1] + (length * inverse)[:, None] * (direction @ x))

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """In `β1`: `h a - h² r (uᵀa) u`."""
        length, direction, inverse, x = self._pieces(gamma, z)
        along = (length * inverse)[:, None] * (direction @ x)
        slopes = inverse[:, None, None] * (x[None] - along[:, None] * direction[:, :, None])
        return np.concatenate([np.ones((len(gamma), 1, z.shape[1])), slopes], axis=1)

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array:
        """In `β1`: `-h² (a uᵀ + u aᵀ) + 2 h³ r (uᵀa) u uᵀ - h² (uᵀa)(I - u uᵀ)`."""
        length, direction, inverse, x = self._pieces(gamma, z)
        d = len(x)
        pull = weight @ x.T
        along = (pull * direction).sum(axis=1)
        outer = direction[:, :, None] * direction[:, None, :]
        mixed = pull[:, :, None] * direction[:, None, :]
        core = (along * (2.0 * length * inverse + 1.0))[:, None, None] * outer - along[:, None, None] * np.eye(d)
        out = np.zeros((len(gamma), d + 1, d + 1))
        out[:, 1:, 1:] = (inverse * inverse)[:, None, None] * (core - mixed - mixed.swapaxes(1, 2))
        return out

    def start(self, resp: Array, z: Array) -> Array:
        """Slopes towards the mean direction of every expert, as seen from the overall one; `β0` its log share.

        Slopes are never zero: where experts do not differ, the first ones are different axes.
        """
        t1, _, _ = self._shape
        directions = polar(z[1:], 0)[1]
        share, means = weighted_means(resp, directions)
        length, towards = polar(means - share @ means, 1)
        axes = np.eye(len(directions))[np.arange(len(resp)) % len(directions)]
        towards = np.where(length > 1e-8, towards, axes)
        return self.canonical(np.column_stack([np.log(share), towards * (t1 if t1 > 0.0 else 1.0)]))


@dataclass(frozen=True)
class CosineGate(_AngleScores):
    """Cosine gate: `π_k(x) ∝ exp(β0_k + β1_kᵀx/(|β1_k||x|)/τ)` (Nguyen et al., "Statistical advantages of perturbing cosine router in mixture of
    experts", 2024).

    The lengths `|β1_k|` are not identified: estimates are reported with length one, and the last `β0` zero. No slope is pinned.

    Parameters
    ----------
    temperature : float, default 1.0
        τ, fixed.

    Raises
    ------
    ValueError
        If the temperature is not positive, or the gate has fewer than two columns: in one, the cosine is a sign.

    Notes
    -----
    Parameters are `gate_intercept (K,)` and `gate_coef (K, d)`. The length of every slope is a direction in which the log-likelihood is
    exactly flat, so that the information is singular by K, and by `d - K` more with fewer experts than columns: differences of
    directions are all that data tell, and the directions may turn about these. Two experts in two columns have a mirror image: the other
    pair of unit vectors with the same difference.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.cosine import CosineGate
    >>> CosineGate().scores(np.array([[0.5, 3.0, 4.0]]), np.array([[1.0], [2.0], [0.0]])).round(4)
    array([[1.1]])
    """

    name: ClassVar[str] = "cosine"
    fewest: ClassVar[int] = 2

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, np.inf, "")

    @property
    def _shape(self) -> tuple[float, float, float]:
        return 0.0, 0.0, float(self.temperature)

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """The lengths of slopes; with fewer experts than columns also turns about the differences of directions."""
        return max(n_experts, n_features - 1)

    def canonical(self, gamma: Array) -> Array:
        """The last `β0` zero and slopes of length one; zero slopes stay."""
        out = super().canonical(gamma)
        length, direction = polar(gamma[:, 1:], 1)
        # slopes of length one already are left alone to the last bit
        rounded = np.abs(length - 1.0) <= 4.0 * np.finfo(float).eps
        out[:, 1:] = np.where(rounded, gamma[:, 1:], direction)
        return out


@dataclass(frozen=True)
class PerturbedCosineGate(_AngleScores):
    """Perturbed cosine gate: `π_k(x) ∝ exp(β0_k + β1_kᵀx/((|β1_k| + t1)(|x| + t2))/τ)` (Nguyen et al., as for `CosineGate`).

    With `v = β1/(|β1| + t1)`, of any length below one, it is the softmax gate of slopes `v/τ` in the inputs `x/(|x| + t2)`: beside the last `β0`,
    which is pinned, a common shift of the v leaves the weights unchanged. Lengths of slopes are identified only with the shift.

    Parameters
    ----------
    t1, t2 : float, default 0.1
        Perturbations of the lengths of slopes and of x, positive.
    temperature : float, default 1.0
        τ, fixed.

    Raises
    ------
    ValueError
        If a parameter is not positive, or the gate has no column.

    Notes
    -----
    Parameters are `gate_intercept (K,)` and `gate_coef (K, d)`. Scores are bounded: slopes of infinite length are those of the cosine gate.
    No slope is pinned, as one at zero would halve the reach of the differences `v_k - v_j`, which are all that data tell: the
    information is singular by d.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.cosine import PerturbedCosineGate
    >>> PerturbedCosineGate(t1=1.0, t2=2.0).scores(np.array([[0.5, 3.0, 4.0]]), np.array([[1.0], [2.0], [0.0]])).round(4)
    array([[0.75]])
    """

    name: ClassVar[str] = "perturbed_cosine"

    t1: float = 0.1
    t2: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for field in ("t1", "t2", "temperature"):
            check_number(field, getattr(self, field), 0.0, np.inf, "")

    @property
    def _shape(self) -> tuple[float, float, float]:
        return float(self.t1), float(self.t2), float(self.temperature)

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """A common shift of the v."""
        return n_features - 1
