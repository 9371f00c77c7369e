"""`fit_batch`: many small fits of the same shape, on whatever device their data are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from moestat.batched.checking import Settings, checked
from moestat.batched.families import Family, Gaussian, Multinomial, Poisson
from moestat.batched.newton import CODES, Ends
from moestat.batched.problem import Frame
from moestat.batched.solve import Samples, solve, stacks_of
from moestat.batched.special import log_gamma
from moestat.batched.units import Units
from moestat.linalg import one_blas_thread
from moestat.solvers.base import Status
from moestat.solvers.multistart import AGREEMENT

__all__ = ["BatchResult", "fit_batch"]

Array = Any


@dataclass(frozen=True)
class BatchResult:
    """Ends of S searches for each of R replicates; arrays of the library and on the device of the data.

    Attributes
    ----------
    params : dict
        Raw parameters `(R, S, K, …)` as in `ConditionalMixture.params`, the last gate zero.
    loglik, decrement, eigenvalue : (R, S)
        Log-likelihood in the units of y; nats still to be gained (Newton decrement); smallest eigenvalue of the scaled information.
    status : (R, S) of int
        Place in `BatchResult.CODES` (certified, max_iter, stalled, nonfinite).
    n_iter : (R, S) of int
        Steps of EM and Newton.
    """

    CODES = CODES

    params: dict[str, Array]
    loglik: Array
    decrement: Array
    eigenvalue: Array
    status: Array
    n_iter: Array

    @property
    def certified(self) -> Array:
        """Which searches ended at a certified maximiser, `(R, S)`."""
        return self.status == CODES.index(Status.CERTIFIED)

    def status_of(self, replicate: int, start: int) -> Status:
        """The status of one search."""
        return CODES[int(self.status[replicate, start])]

    def best(self) -> Array:
        """For each replicate the search with the highest log-likelihood, `(R,)`."""
        from moestat.batched.namespace import namespace

        xp = namespace(self.loglik)
        return xp.argmax(xp.where(xp.isfinite(self.loglik), self.loglik, -xp.inf), axis=1)

    def n_agree(self) -> Array:
        """Searches within 1e-4 nats of the best one, `(R,)`."""
        from moestat.batched.namespace import namespace

        xp = namespace(self.loglik)
        value = xp.where(xp.isfinite(self.loglik), self.loglik, -xp.inf)
        near = value >= xp.max(value, axis=1, keepdims=True) - AGREEMENT
        return xp.sum(xp.astype(near, self.n_iter.dtype), axis=1)


def fit_batch(
    X: Array,
    y: Array,
    starts: Mapping[str, Array],
    *,
    gate: Literal["softmax", "constant"] = "softmax",
    expert: Literal["gaussian", "poisson", "multinomial"] = "gaussian",
    degree: int = 1,
    variance: Literal["free", "tied"] | float = "free",
    box: Mapping[str, tuple[Array, Array]] | None = None,
    tol: float = 1e-8,
    max_iter: int = 1000,
    memory: int | None = None,
) -> BatchResult:
    r"""Maximum-likelihood fits of `p(y|x) = Σ_k π_k(x) f_k(y|x)` to R samples from S starts each, all at once.

    A few EM steps, then trust-region Newton with the exact Hessian, on stacks with a leading axis of searches; each search has its own
    trust region and leaves the stack at its maximiser. Nothing but single numbers (whether all are done) leaves the device.

    Parameters
    ----------
    X : (R, n, d) array
        Float64 array of NumPy, PyTorch, CuPy or another library of the Array API standard.
    y : (R, n) array
        Responses; for multinomial experts codes, or counts `(R, n, C)`.
    starts : dict of arrays (R, S, K, …)
        Raw parameters: `gate_coef (R, S, K, d)`, `gate_intercept (R, S, K)`, `expert_coef (R, S, K, p)`, `expert_intercept (R, S, K)`,
        `expert_scale (R, S, K)`; for multinomial experts `expert_coef (R, S, K, C-1, p)` and `expert_intercept (R, S, K, C-1)`.
        The p monomials of degree 1 to `degree` are in graded lexicographic order.
    gate : {"softmax", "constant"}
    expert : {"gaussian", "poisson", "multinomial"}
    degree : int
        Total degree of the experts' polynomials.
    variance : {"free", "tied"} or float
        Of Gaussian experts; a number is the known standard deviation.
    box : dict, optional
        Bounds `name: (lower, upper)` on raw parameters, arrays or numbers that broadcast to the shape of the start, in the gauge with the
        last gate at zero.
    tol : float
        Nats of the whole sample that may still be gained (Newton decrement).
    max_iter : int
        Steps of one search.
    memory : int, optional
        Bytes that may be used; by default what is free on the device. More searches than fit are made one stack after the other.

    Returns
    -------
    BatchResult

    Raises
    ------
    ValueError
        If arrays, shapes or settings cannot be used; the message says which, and what would be right.

    Notes
    -----
    The formulas are those of the compiled code (Louis 1982; Moré & Sorensen 1983), and ends agree with those of
    `moestat.fitting.fit_mixture` from the same starts. Separation and degeneracy are not looked for.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.batched import fit_batch
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (50, 200, 1))
    >>> slope = np.where(rng.random((50, 200)) < 1 / (1 + np.exp(-4 * X[:, :, 0])), 2.0, -2.0)
    >>> y = slope * X[:, :, 0] + 0.3 * rng.standard_normal((50, 200))
    >>> start = {"gate_coef": [[3.0], [0.0]], "gate_intercept": [0.0, 0.0], "expert_coef": [[1.5], [-1.5]],
    ...          "expert_intercept": [0.0, 0.0], "expert_scale": [0.5, 0.5]}
    >>> starts = {name: np.broadcast_to(value, (50, 1, *np.shape(value))) for name, value in start.items()}
    >>> result = fit_batch(X, y, starts)
    >>> bool(result.certified.all()), round(float(result.params["expert_coef"][:, 0, 0, 0].mean()), 1)
    (True, 2.0)
    """
    settings = Settings(gate, expert, degree, variance, tol, max_iter)
    xp, data, shapes = checked(settings, X, y, starts, box)
    families: dict[str, Family] = {"gaussian": Gaussian(), "poisson": Poisson(), "multinomial": Multinomial()}
    family = families[expert]
    scale: Any = variance if isinstance(variance, str) else "known"
    n_features = int(X.shape[2])
    frame = Frame(
        shapes.n_experts, 1 + n_features if gate == "softmax" else 1, shapes.n_monomials, shapes.n_predictors, family, gate,
        scale if family.has_scale else "known", box is not None,
    )  # fmt: skip
    units = Units.choose(xp, X, data, frame, degree)
    r, s = shapes.n_replicates, shapes.n_starts
    known = xp.zeros((r, frame.n_experts), dtype=X.dtype, device=X.device)
    if scale == "known" and family.has_scale:
        known = known + xp.log(float(variance) / units.scale)[:, None]
    theta = xp.reshape(units.theta(xp, starts), (r * s, -1))
    low, high = _bounds(xp, units, starts, box)
    owner = xp.reshape(
        xp.arange(r, device=X.device)[:, None] + xp.zeros((r, s), dtype=xp.int64, device=X.device), (-1,)
    )
    samples = Samples(frame, units.z, units.phi, units.y, known)
    quiet = one_blas_thread() if xp is np else nullcontext()
    with quiet, np.errstate(all="ignore"):
        parts = [
            solve(xp, problem, start, tol=tol, max_iter=max_iter)
            for problem, start in stacks_of(xp, samples, owner, theta, low, high, memory)
        ]
    ends = Ends(**{name: xp.concat([p.arrays()[name] for p in parts], axis=0) for name in parts[0].arrays()})
    offset = -float(X.shape[1]) * xp.log(units.scale) + _constant(xp, expert, data)
    ends = ends.map(lambda value: xp.reshape(value, (r, s, *value.shape[1:])))
    ends = replace(ends, value=ends.value + offset[:, None])
    params = units.params(xp, ends.theta, known)
    return BatchResult(params, ends.value, ends.decrement, ends.eigenvalue, ends.status, ends.n_iter)


def _constant(xp: Any, expert: str, y: Array) -> Array:
    """What the log-density has in y alone, `(R,)`, for responses `(R, C, n)`."""
    if expert == "gaussian":
        return xp.zeros(y.shape[:1], dtype=y.dtype, device=y.device)
    each = -xp.sum(log_gamma(xp, y + 1.0), axis=1)
    if expert == "multinomial":
        each = each + log_gamma(xp, xp.sum(y, axis=1) + 1.0)
    return xp.sum(each, axis=-1)


def _bounds(xp: Any, units: Units, starts: Mapping[str, Array], box: Any) -> tuple[Array, Array]:
    """Bounds `(R S, P)` of the free vectors: the box, and the floor of free standard deviations."""
    sides = []
    for side, none in ((0, -xp.inf), (1, xp.inf)):
        raw = {name: xp.full_like(value, none) for name, value in starts.items()}
        raw |= {name: xp.zeros_like(starts[name]) + pair[side] for name, pair in (box or {}).items()}
        theta = units.bounds(xp, raw, side)
        sides.append(xp.reshape(theta, (-1, theta.shape[-1])))
    return sides[0], sides[1]
