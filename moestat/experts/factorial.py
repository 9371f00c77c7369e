"""Factorial experts: the mean of a joint choice is the sum of the means of one expert from each of several groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moestat.experts.base import Array
from moestat.experts.dictionary import Read
from moestat.experts.normal import NormalExpert
from moestat.linalg import solve_psd
from moestat.states import check_sizes, groups, incidence, sizes_for


@dataclass(frozen=True)
class FactorialExpert(NormalExpert):
    """Normal experts of joint choices whose means add: `y = Σ_p μ_{p,z_p}(x) + ε`, `ε ~ N(0, σ²)`, for `z = (z_1, …, z_P)`.

    With `moestat.gates.FactorialGate` it is the factorial mixture of experts: with E experts in P groups y follows one of the product of
    the group sizes lines, of which E - P + 1 are free. Its limit of small noise and sharp gates is the sum of the groups' winners that
    prototypes (k top-1, Yang et al., "M6-T", 2021) compute; this one is a density.

    Parameters
    ----------
    degree : int, default 1
        Total degree of the means.
    tied : bool, default True
        The noise is one for all choices; nothing else is possible.
    sizes : sequence of int, optional
        Experts of each group, by default one group of all; the number K of experts of the mixture is their product.

    Raises
    ------
    ValueError
        If a size is no positive integer, the product is not K, or parameters are no sums.

    Notes
    -----
    Keys of the parameter dictionary: `expert_intercept (K,)` and `expert_coef (K, p)`, the sums, and `expert_scale (K,)`, equal. Free parameters
    are named `expert[1]`, `expert[2]`, … by the experts of all groups in turn: a function of x may be moved from one group to another, and the last
    expert of every group but the first is at zero. Groups of one size may change places, and experts inside a group: the order is
    not identified.

    Examples
    --------
    >>> from moestat.experts.factorial import FactorialExpert
    >>> FactorialExpert(sizes=(2, 2)).coef_design(4).astype(int)
    array([[1, 0, 1],
           [1, 0, 0],
           [0, 1, 1],
           [0, 1, 0]])
    """

    name: ClassVar[str] = "factorial"
    exchangeable: ClassVar[bool] = False
    closed_form: ClassVar[bool] = True

    tied: bool = True
    sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tied:
            raise ValueError("tied=False: the noise of factorial experts is one for all joint choices.")
        sizes = check_sizes(self.sizes)
        if sizes != self.sizes:
            object.__setattr__(self, "sizes", sizes)

    def _sizes(self, n_experts: int) -> tuple[int, ...]:
        return sizes_for(None if self.sizes is None else tuple(self.sizes), n_experts)

    def coef_numbers(self, n_experts: int) -> list[int]:
        """The experts of the first group, and of the others all but the last."""
        first, *others = groups(self._sizes(n_experts))
        return [*range(first.stop), *(e for group in others for e in range(group.start, group.stop - 1))]

    def coef_design(self, n_experts: int) -> Array:
        """Which of these each joint choice adds, `(K, E - P + 1)`."""
        return incidence(self._sizes(n_experts))[:, self.coef_numbers(n_experts)]

    def read(self, params: Mapping[str, Any], n_raw: int) -> Read:
        """See `BaseExpert.read`; coefficients must be sums."""
        read = super().read(params, n_raw)
        flat = read.coef.reshape(len(read.coef), -1)
        design = self.coef_design(len(flat))
        sums = design @ (np.linalg.pinv(design) @ flat)
        if not np.allclose(sums, flat, rtol=1e-8, atol=1e-10 * np.abs(flat).max(initial=0.0)):
            raise ValueError(
                f"expert_intercept and expert_coef contradict {self!r}: those of a joint choice are sums of those of its experts, one a group."
            )
        return read

    def maximise(
        self, coef: Array, scale: Array, acc: dict[str, Array], floor: Array, step: float = 1.0
    ) -> tuple[Array, Array]:
        """Weighted least squares of all experts together, and the variance that is left.

        In the design C of the sums the normal equations are `Σ_k (C_k C_kᵀ) ⊗ Σ_b r φφᵀ`. The sums in `acc` are divided by σ², and the
        squares that a step of the equations takes off are its product with the slope.
        """
        k, _, q = coef.shape
        design = self.coef_design(k)
        slope = (design.T @ acc["slope"][0]).ravel()
        matrix = np.einsum("ka,kb,kij->aibj", design, design, -_symmetric(acc["mean_mean"][0])).reshape(len(slope), -1)
        move = solve_psd(matrix, slope[:, None])[:, 0]
        mass = max(float(acc["moments"][:, 0].sum()), 1e-300)
        squares = (float(acc["scalar_slope"][0].sum()) + mass - float(slope @ move)) / mass
        low, high = self.scale_limits(floor)
        log_scale = scale + 0.5 * np.log(max(squares, 1e-300))
        new = coef + (design @ move.reshape(-1, q))[:, None, :]
        return new, np.clip(log_scale, low, high)


def _symmetric(lower: Array) -> Array:
    """Symmetric matrices from their lower triangles."""
    return np.tril(lower) + np.tril(lower, -1).swapaxes(-1, -2)
