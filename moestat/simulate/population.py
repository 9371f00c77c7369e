"""Population exponents: how fast the distance to the truth closes with a split of one of its atoms, without noise."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .nodes import Nodes, nodes_of
from .pseudo import beyond_nearest
from .splits import CannotSplit, Split, split_atom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["PopulationExponent", "population_exponent"]

_NOTHING = 1e-9  # a distance below it is rounding
_STEPS = 300


@dataclass(frozen=True)
class PopulationExponent:
    """How the smallest distance to the truth shrinks with a split.

    Attributes
    ----------
    component : str
        The parameter that differs by ``sizes`` between the first and the last atom of the split.
    atoms : int
    sizes, distances : tuple of float
        Splits, and the smallest Hellinger distances (of regression functions: in L2) over all other parameters.
    exponent : float
        Slope of log distance on log size over the smaller half of the sizes; infinite if the distance is 0.
    local : tuple of float
        The slopes between neighbours.
    floor : float
        The smallest distance of all, if the larger model does not hold the truth; ``distances`` are those beyond it.
    """

    component: str
    atoms: int
    sizes: tuple[float, ...]
    distances: tuple[float, ...]
    exponent: float
    local: tuple[float, ...]
    floor: float = 0.0

    @property
    def identified(self) -> bool:
        """Whether the split shows in the density at all."""
        return math.isfinite(self.exponent)

    @property
    def rate(self) -> float:
        """The exponent of n that follows for the split, where the distance converges at n^(-1/2): -1 / (2 exponent)."""
        return -0.5 / self.exponent if self.identified else 0.0

    @property
    def steady(self) -> bool:
        """Whether the local slopes over the smaller half of the sizes agree with the exponent to 0.3."""
        tail = self.local[(len(self.sizes) - 1) // 2 :]
        return self.identified and all(abs(slope - self.exponent) <= 0.3 for slope in tail)

    def __str__(self) -> str:
        if not self.identified:
            return "not identified"
        doubt = "" if self.steady else f" (unsteady, {min(self.local):.1f} to {max(self.local):.1f} between neighbours)"
        beyond = f", beyond the smallest distance {self.floor:.1e}" if self.floor else ""
        return f"exponent {self.exponent:.2f}, rate n^({self.rate:.3f}){beyond}{doubt}"


def population_exponent(
    truth: Any,
    *,
    x: Any = None,
    component: str = "coef",
    split: int = 0,
    atoms: int = 2,
    known: Sequence[int] = (),
    sizes: Sequence[float] | None = None,
    trials: int = 1,
    n_starts: int = 3,
    box: float = 1.0,
    rng: np.random.Generator | None = None,
) -> PopulationExponent:
    r"""The exponent r with which the Hellinger distance closes, :math:`\min h(p_G, p_{G_*}) \sim \varepsilon^r`, when one atom is split.

    One true atom becomes ``atoms`` fitted ones whose named parameter differs by :math:`\varepsilon` between the first and the
    last of them. All other parameters are nuisance: h is minimised over them by Levenberg-Marquardt on differences of root
    densities at quadrature nodes, in merged parameters and differences, and followed from larger to smaller splits. Shares of
    the atoms stay within a factor of 4.5 of each other, as in a compact parameter space. An estimate whose density converges
    at :math:`n^{-1/2}` can then have a split of the order :math:`n^{-1/(2r)}`.

    No sum of sigmoids is a sigmoid that depends on x. Where all gates are of this kind the larger model does not hold the truth, and
    its fit tends to the nearest density in its compact parameter space, a box. The size is then how far a parameter of one of the
    copies is from that of the nearest density, at the distance :math:`h_0`, and the distance is what lies beyond it,
    :math:`\sqrt{h^2 - h_0^2} \sim \varepsilon^r`.

    Parameters
    ----------
    truth : ConditionalMixture or RegressionFunction
        With at least two experts.
    x : law of x, optional
        As `moestat.distributions.Uniform`; not needed for a joint model.
    component : str
        ``gate`` (its first slope or location), ``gate_scale``, ``coef``, ``intercept``, ``scale``, or what follows ``gate[k]:`` or
        ``expert[k]:`` in `free_names`, such as ``class1:x1``.
    split : int
        The atom that is split, from 0. Copies of a shared expert are shared, those of a leaf of a tree are leaves of its node; a
        gate with k active experts has as many more as there are copies, so that the atom must be active everywhere.
    atoms : int
        How many it becomes. With one it is not split: :math:`\varepsilon` is then how far its parameter is from the true one, as in
        a fit with the true number of experts.
    known : sequence of int
        Experts, from 0, whose own parameters are known, as the first one of a deviated model.
    sizes : sequence of float, optional
        Descending; default 0.32 to 0.02, and 0.8 to 0.15 for three atoms or more, whose distances are tiny; 0.04 to 0.0025 around a
        nearest density.
    trials : int
        Draws behind a row, of classes.
    n_starts : int
        Random starts at the largest split (of three atoms or more at every one), besides those from the split before;
        16 times as many in a box.
    box : float
        Half-width, in every free parameter, of the box around the split truth in which a nearest density is sought.
    rng : Generator, optional
        For the starts; default: a fixed stream.

    Returns
    -------
    PopulationExponent

    Raises
    ------
    ValueError
        If the component is unknown, the expert is known, or weights of this gate cannot be shared among its copies.

    Notes
    -----
    Ho and Nguyen (2016) and Nguyen, Nguyen and Ho (2023) give 2m for the intercepts of m Gaussian atoms, half of that for
    variances; 2 for slopes and gates. Nguyen et al. (2025), On DeepSeekMoE, give 2 for strongly identifiable experts, shared and
    routed. Pseudo-true densities of sigmoid gates: Nguyen, Ho and Rinaldo (2024).

    Examples
    --------
    >>> import moestat as ms
    >>> truth = ms.simulate.build_truth(ms.simulate.load_scenario("softmax-gaussian-over"))
    >>> found = population_exponent(truth, x=ms.distributions.Uniform(-1.0, 1.0), component="coef", sizes=(0.1, 0.05, 0.025))
    >>> round(found.exponent, 2), round(found.rate, 3)
    (2.0, -0.25)
    """
    from ..divergences.joint import law_of_x

    if x is None:
        x = law_of_x(truth)
    if truth.n_experts < 2 or not 0 <= split < truth.n_experts or atoms < 1:
        raise ValueError(
            f"needs two true experts, 0 <= split < n_experts and an atom or more, got {truth.n_experts}, split={split}, atoms={atoms}"
        )
    nodes = nodes_of(truth, x, trials)
    model = split_atom(truth, split, atoms, known, np.unique(nodes.X, axis=0))
    grid = np.array(_default_sizes(model) if sizes is None else sizes, dtype=float)
    if grid.size < 2 or not np.all(np.diff(grid) < 0) or grid[-1] <= 0:
        raise ValueError(f"sizes must descend and be positive, got {grid.tolist()}")
    rng = rng if rng is not None else np.random.default_rng(0)
    target, floor = _row_of(model, component), 0.0
    if model.exact:
        distances = _follow(model, nodes, target, grid, n_starts, rng)
    else:
        floor, distances = beyond_nearest(model, nodes, target, grid, n_starts, rng, box)
    local = np.diff(np.log(np.maximum(distances, 1e-300))) / np.diff(np.log(grid))
    exponent = math.inf
    if distances.max() > _NOTHING:
        tail = slice((grid.size - 1) // 2, None)
        exponent = float(np.polyfit(np.log(grid[tail]), np.log(np.maximum(distances[tail], 1e-300)), 1)[0])
    return PopulationExponent(
        model.names[target],
        atoms,
        tuple(grid.tolist()),
        tuple(distances.tolist()),
        exponent,
        tuple(local.tolist()),
        floor,
    )


def _default_sizes(model: Split) -> Array:
    if not model.exact:  # a curvature shows closer to the best density than the copies are to each other
        return np.geomspace(0.04, 0.0025, 5)
    return np.geomspace(0.8, 0.15, 6) if model.atoms > 2 else np.geomspace(0.32, 0.02, 5)


_ALIASES = {
    "gate": r"gate:(?!Intercept|log_|.*log_scale).*",
    "gate_scale": r"gate:log_scale.*",
    "coef": r"expert:(.*:)?(?!Intercept|log_)[^:]+",
    "intercept": r"expert:(.*:)?Intercept",
    "scale": r"expert:log_scale",
}


def _row_of(model: Split, component: str) -> int:
    pattern = _ALIASES.get(component, rf"((gate|expert):)?{re.escape(component)}")
    for row, name in enumerate(model.names):
        if re.fullmatch(pattern, name):
            return row
    raise CannotSplit(
        f"no parameter {component!r} to split; give {', '.join(_ALIASES)} or one of {', '.join(model.names)}"
    )


def _follow(model: Split, nodes: Nodes, target: int, sizes: Array, n_starts: int, rng: np.random.Generator) -> Array:
    """The smallest distance at each size: from random starts, and from the solutions at neighbouring sizes, down and up again."""
    ends: list[tuple[float, Array]] = []
    for i, size in enumerate(sizes):
        # where variances split by a size, intercepts may split by its root
        starts = [
            size ** (1.0, 0.5)[k % 2] * 0.5 * rng.standard_normal(model.n_params)
            for k in range(n_starts if i == 0 or model.atoms > 2 else 1)
        ]
        if i:
            starts += _continued(model, [end for _, end in ends[::-1]], sizes[i::-1])
        ends.append(min((_closest(model, nodes, target, size, start) for start in starts), key=lambda end: end[0]))
    for i in reversed(range(len(sizes) - 1)):  # there are several ways to share a split; the best one may be found late
        starts = _continued(model, [end for _, end in ends[i + 1 :]], sizes[i:])
        found = (_closest(model, nodes, target, sizes[i], start) for start in starts)
        ends[i] = min([ends[i], *found], key=lambda end: end[0])
    return np.array([distance for distance, _ in ends])


def _continued(model: Split, known: Sequence[Array], sizes: Array) -> list[Array]:
    """Starts at ``sizes[0]`` from the solutions ``known`` at ``sizes[1:]``: scaled as a whole, and each entry by its own power."""
    factor = sizes[0] / sizes[1]
    starts = [model.scaled(known[0], factor**power) for power in (1.0, 0.5)]
    if len(known) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log(known[0] / known[1]) / np.log(sizes[1] / sizes[2])
        power = np.where(np.isfinite(power), np.clip(power, 0.0, 4.0), 1.0)
        starts.append(model.scaled(known[0], factor**power))
    return starts


def _closest(model: Split, nodes: Nodes, target: int, size: float, start: Array) -> tuple[float, Array]:
    from scipy.optimize import least_squares

    unit = size**2  # residuals of order one, for the tolerances

    def residuals(u: Array) -> Array:
        values = nodes.residuals(model.at(u, target, size)) / unit
        return np.where(np.isfinite(values), values, 1e3)  # a wild step is refused

    def jacobian(u: Array) -> Array:
        return np.asarray(nodes.jacobian(model.at(u, target, size)) @ model.derivative(u, target, size)) / unit

    with np.errstate(over="ignore", invalid="ignore"):
        end = least_squares(
            residuals, start, jac=jacobian, method="lm", ftol=1e-10, xtol=1e-10, gtol=1e-14, max_nfev=_STEPS
        )
    return math.sqrt(2 * end.cost) * unit, end.x
