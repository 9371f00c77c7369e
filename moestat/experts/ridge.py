"""Ridge functions: an output weight times an activation of a linear predictor, the mean of nonlinear experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.activations import power_of, resolve_activation
from moestat.experts.base import Array, Scalar
from moestat.experts.means import MeanExpert, regression

OUTPUT = Scalar("expert_output", "output", link="identity")
# Slopes and thresholds, in standard deviations of a linear predictor, among which a search begins.
SLOPES = (0.3, 1.0, 3.0)
THRESHOLDS = (-1.5, -0.75, 0.0, 0.75, 1.5)


@dataclass(frozen=True)
class NonlinearMean(MeanExpert):
    """`h = c φ(η)`, `η = aᵀx + b`: a ridge function with an output weight; `moestat.experts.NonlinearExpert` without its noise.

    Parameters
    ----------
    degree : int, default 1
        Total degree of η.
    activation : str, default "tanh"
        φ: "identity", "relu", "gelu", "tanh", "sigmoid", "silu", or "power:p".
    output : bool, default True
        Whether c is a parameter; otherwise it is one.

    Examples
    --------
    >>> NonlinearMean(activation="relu").keys
    ('expert_coef', 'expert_intercept', 'expert_output')
    """

    name: ClassVar[str] = "nonlinear"

    activation: str = "tanh"
    output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_activation(self.activation)
        if not isinstance(self.output, (bool, np.bool_)):
            raise ValueError(f"output={self.output!r} must be True or False.")

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The output weight."""
        return (OUTPUT,) if self.output else ()

    def mean(self, eta: Array, extra: Array) -> Array:
        """`c φ(η)`."""
        value = resolve_activation(self.activation)(eta[0])[0]
        return extra[0] * value if self.output else value

    def mean_derivatives(self, eta: Array, extra: Array) -> tuple[Array, Array]:
        """`(c φ', φ)` and `(c φ'', φ', 0)`, or φ' and φ''."""
        value, slope, bend = resolve_activation(self.activation)(eta[0])
        if not self.output:
            return slope[None], bend[None]
        c = extra[0]
        return np.stack([c * slope, value]), np.stack([c * bend, slope, np.zeros_like(value)])

    # -- starts -------------------------------------------------------------------------------------------------------

    def first_coefficients(self, y: Array, weight: Array, phi: Array) -> tuple[Array, Array]:
        """The best of a grid of ridge functions: directions of the regression and of every column, slopes and thresholds in
        standard deviations, the output weight by least squares."""
        target, total = y[:, 0], float(weight.sum())
        phi_function = resolve_activation(self.activation)
        best, chosen = np.inf, (np.zeros(len(phi)), 1.0)
        for direction in self._directions(target, weight, phi):
            along = direction @ phi
            mean = float(weight @ along) / total
            spread = float(np.sqrt(weight @ (along - mean) ** 2 / total))
            for slope in SLOPES:
                steep = slope / spread if spread > 0.0 else 0.0
                for threshold in THRESHOLDS:
                    coef = steep * direction
                    coef[0] += slope * threshold - steep * mean
                    value = phi_function(coef @ phi)[0]
                    square = float(weight @ value**2)
                    c = float(weight @ (value * target)) / square if self.output and square > 0.0 else 1.0
                    loss = float(weight @ (target - c * value) ** 2)
                    if loss < best * (1.0 - 1e-9):
                        best, chosen = loss, (coef, c)
        return chosen[0][None], np.full(len(self.scalars), chosen[1])

    @staticmethod
    def _directions(target: Array, weight: Array, phi: Array) -> list[Array]:
        """Directions `(q,)` in the features, both signs: of the regression of y, and every feature's own."""
        slopes = regression(target, weight, phi)
        slopes[0] = 0.0
        size = float(np.abs(slopes).max())
        own = [np.eye(1, len(phi), j)[0] for j in range(1, len(phi))] or [np.zeros(1)]
        found = [*([slopes / size] if size > 0.0 else []), *own]
        return [sign * direction for direction in found for sign in (1.0, -1.0)]

    # -- symmetries ---------------------------------------------------------------------------------------------------

    @property
    def homogeneity(self) -> int | None:
        """The p with `φ(ku) = k^p φ(u)` for all `k > 0`, or None: then `(c/k^p, k a, k b)` is the same expert as `(c, a, b)`."""
        return 1 if self.activation in ("identity", "relu") else power_of(self.activation)

    @property
    def parity(self) -> int:
        """1 for an even φ, -1 for an odd one, 0 for neither."""
        if self.activation in ("identity", "tanh"):
            return -1
        p = power_of(self.activation)
        return 0 if p is None else (-1) ** p

    def degeneracies(self, params: Mapping[str, Any] | None = None) -> list[str]:
        """What of `(c, a, b)` no data identify, in words; with `params` also what these parameters hide.

        A homogeneous φ with an output weight has a continuous symmetry: its information is singular everywhere, and `output=False`, or the form
        `canonical`, removes it. GELU and SiLU have it in the limit of steep slopes. With an output weight `∂h/∂a = c ∂²h/∂a∂c`, so
        that no φ is strongly identifiable to the letter (Nguyen et al., "On DeepSeekMoE", 2025, definition 1).
        """
        out = []
        p = self.homogeneity
        if self.output and p is not None:
            power = "k" if p == 1 else f"k^{p}"
            out.append(
                f"{self.activation} experts with an output weight have a scale that no data identify: (c/{power}, k a, k b) is the same expert "
                "as (c, a, b) for every k > 0. Give output=False, or read the canonical form, whose slopes have length one."
            )
        if self.output and self.activation in ("gelu", "silu"):
            out.append(
                f"{self.activation} experts with an output weight have a scale that steep slopes hide: as k grows, {self.activation}(k u)/k tends to "
                "max(u, 0), of which c a and c b alone are identified. Give output=False, or bound the slopes by a box."
            )
        if params is not None and self.output:
            c = np.atleast_1d(np.asarray(params["expert_output"], dtype=float))
            flat = ~np.asarray(params["expert_coef"], dtype=float).reshape(len(c), -1).any(axis=1)
            for k in np.flatnonzero(c == 0.0):
                out.append(
                    f"expert {k + 1} has output weight zero: its slopes and intercept are not identified. Use fewer experts."
                )
            for k in np.flatnonzero((c != 0.0) & flat):
                out.append(
                    f"expert {k + 1} has slopes zero: of its output weight and intercept only c φ(b) is identified."
                )
        return out

    def canonical(self, coef: Array, scale: Array) -> tuple[Array, Array]:
        """Slopes of length one (or the intercept, where they are zero) for a homogeneous φ; `c >= 0` for an odd one; the first slope
        that is not zero positive for an even one."""
        coef, scale = coef.copy(), scale.copy()
        p = self.homogeneity
        if self.output and p is not None:
            slopes = np.linalg.norm(coef[:, 0, 1:], axis=1)
            size = np.where(slopes > 0.0, slopes, np.abs(coef[:, 0, 0]))
            size = np.where(size > 0.0, size, 1.0)
            coef /= size[:, None, None]
            scale[:, 0] *= size**p
        flip: NDArray[np.bool_] = np.zeros(len(coef), dtype=bool)
        if self.parity == 1:
            order = np.concatenate([coef[:, 0, 1:], coef[:, 0, :1]], axis=1)
            leading = np.take_along_axis(order, (order != 0.0).argmax(axis=1)[:, None], axis=1)[:, 0]
            flip = leading < 0.0
        elif self.parity == -1 and self.output:
            flip = scale[:, 0] < 0.0
            scale[flip] *= -1.0
        coef[flip] *= -1.0
        return coef, scale
