"""The audit of a mixture of experts: what its parameters are identified by, before anything is fitted or simulated."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.audit import twins
from moestat.audit.cells import examine
from moestat.audit.curves import SAME, Curve, Probe, follow, information_rank
from moestat.audit.gauge import gauge_of
from moestat.audit.notes import is_dense, kind_of, notes_on
from moestat.audit.points import N_POINTS, law_of, responses
from moestat.audit.rates import component_rates
from moestat.audit.report import IdentifiabilityReport, Twin
from moestat.distributions import Law
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

N_CURVES = 6  # directions that are followed


def identifiability(
    model: ConditionalMixture,
    n_experts_fitted: int | None = None,
    x: Law | ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
) -> IdentifiabilityReport:
    """What the parameters of a mixture of experts are identified by, when k experts are fitted to k* true ones.

    Five questions, each answered by numbers:

    1. which continuous invariances the gate has, and how many of them its parametrisation leaves (`gauge`);
    2. with `k >= 2 k*`: whether all experts can be split with one gate pattern, whose factor cancels in a softmax that is linear in its features
       (`extended`);
    3. whether the derivatives of each atom, gate and expert together, are linearly independent up to second order, which of them are
       not, and what follows for the rates of over-specified fits (`atoms`, `rates`);
    4. whether the information is regular, and along which directions it is not, each followed for a finite step (`information`, `curves`);
    5. other parameters of the same model, with the largest difference of the densities (`twins`).

    Parameters
    ----------
    model : ConditionalMixture or RegressionFunction
        The truth, with k* experts. Of a regression function (least squares) the means are examined.
    n_experts_fitted : int, optional
        k, by default k*.
    x : law or array (n, d), optional
        Where x lies; by default uniform on `[-1, 1]^d`, or as a Gaussian gate says.
    rng : numpy.random.Generator or int, optional
        For the points; a fixed seed by default. Ranks do not depend on them but for a set of measure zero.

    Returns
    -------
    IdentifiabilityReport
        Printable; attributes for programs.

    Raises
    ------
    ValueError
        If fewer experts are fitted than there are, x does not suit the model, or the weights of a density do not sum to one.

    Notes
    -----
    Strong identifiability is that of Nguyen, Ho & Rinaldo ("On least squares estimation in softmax gating mixture of experts", 2024) in the form in
    which it matters: a dependence of derivatives slows a parameter down only if its second-order part is positive semidefinite with that
    parameter on the diagonal, as `∂²f/∂b² = 2 ∂f/∂ν` of Gaussian experts is. Interactions of gate and expert such as `∂²f/∂β∂b = ∂f/∂a` are
    not, and leave the rate `n^(-1/4)` where `k < 2 k*`. The order of what is slower is known for Gaussian experts, `r̄(m) = 2m` (see
    `moestat.losses.rbar`).

    Examples
    --------
    >>> import moestat as ms
    >>> truth = ms.ConditionalMixture(params={
    ...     "gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0],
    ...     "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]})
    >>> report = ms.identifiability(truth, n_experts_fitted=3)
    >>> report.strength, report.atoms[0].relations[0]
    ('weak', '∂²f/∂b² = 2 ∂f/∂ν')
    >>> {name: rate.over[0] for name, rate in report.rates.items()}
    {'gate': -0.25, 'intercepts b': -0.125, 'slopes a': -0.25, 'variances ν': -0.25}
    >>> ms.identifiability(truth, n_experts_fitted=4).identified
    False
    """
    generator = np.random.default_rng(0 if rng is None else rng)
    fitted = _checked(model, n_experts_fitted)
    law = law_of(model, x)
    X = law.sample(max(N_POINTS, 4 * len(model.free_vector())), generator)
    probe = Probe(model, X, responses(model, X, generator))
    information = information_rank(probe)
    curves = tuple(follow(probe, vector) for vector in information.null.T[:N_CURVES])
    extended, scaled = _extended(probe, fitted), _scaled(probe)
    examined = examine(probe, law, generator)
    rates = component_rates(
        model,
        examined,
        unseen=frozenset(kind_of(name) for curve in curves for name in curve.direction),
        extended=extended is not None and extended.exact,
        dense=is_dense(model),
        largest=max(2, fitted - model.n_experts + 1),
    )
    tried = [twin for atom in examined for twin in atom.tried]
    return IdentifiabilityReport(
        model=model,
        n_experts_fitted=fitted,
        gauge=gauge_of(model, X, generator),
        extended=extended,
        information=information,
        curves=curves,
        atoms=tuple(atom.report for atom in examined),
        rates=rates,
        twins=(*([extended] if extended else []), *tried, *map(_end, curves), *([scaled] if scaled else [])),
        notes=notes_on(model, information, len(curves), scaled is not None),
    )


def _checked(model: ConditionalMixture, n_experts_fitted: int | None) -> int:
    if not model.gate.normalised and not hasattr(model, "noise_std"):
        raise ValueError(
            f"the weights of gate={model.gate!r} do not sum to one, so that there is no density; give a RegressionFunction."
        )
    if n_experts_fitted is None:
        return model.n_experts
    wrong = isinstance(n_experts_fitted, bool) or not isinstance(n_experts_fitted, Integral)
    if wrong or n_experts_fitted < model.n_experts:
        raise ValueError(
            f"n_experts_fitted={n_experts_fitted!r} must be an integer of at least {model.n_experts}, the number of experts of the model."
        )
    return int(n_experts_fitted)


def _extended(probe: Probe, fitted: int) -> Twin | None:
    model = probe.model
    able = twins.can_split(model.gate) and model.gate_map.n_raw > 1 and model.expert.exchangeable
    if fitted < 2 * model.n_experts or not able:
        return None
    twin, gap = twins.best_split(probe, fitted)
    return Twin("every expert split in two with one gate pattern", gap, gap <= SAME, model=twin)


def _scaled(probe: Probe) -> Twin | None:
    twin = twins.other_temperature(probe.model)
    if twin is None:
        return None
    gap = probe.gap(twin)
    return Twin("slopes, intercepts and temperature times two", gap, gap <= SAME, "other", twin)


def _end(curve: Curve) -> Twin:
    names = list(curve.direction)
    return Twin(
        f"along {', '.join(names[:3])}{', …' if len(names) > 3 else ''}", curve.gap, curve.exact, "same", curve.model
    )
