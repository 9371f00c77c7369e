"""What `fit_batch` refuses: arrays, shapes and settings, each with what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from numbers import Integral
from typing import Any

from moestat.batched.namespace import namespace

__all__ = ["Settings", "Shapes", "checked"]

Array = Any


@dataclass(frozen=True)
class Settings:
    """The settings of a batch."""

    gate: str
    expert: str
    degree: Any
    variance: Any
    tol: float
    max_iter: Any


@dataclass(frozen=True)
class Shapes:
    """Sizes that data and starts agree on."""

    n_replicates: int
    n_starts: int
    n_experts: int
    n_predictors: int
    n_monomials: int


def checked(
    settings: Settings, X: Array, y: Array, starts: Mapping[str, Array], box: Mapping[str, Any] | None
) -> tuple[Any, Array, Shapes]:
    """Namespace, responses `(R, C, n)`, and sizes.

    Raises
    ------
    ValueError
        If something is wrong; the message names it.
    """
    _check_settings(settings)
    xp = namespace(X)
    every = {"X": X, "y": y, **{f"starts[{name!r}]": value for name, value in starts.items()}}
    for name, value in every.items():
        _array(xp, name, value, X)
    if X.ndim != 3:
        raise ValueError(f"X has shape {tuple(X.shape)}; expected (R, n, d), a sample for each replicate.")
    r, n, d = X.shape
    counts = settings.expert == "multinomial" and y.ndim == 3
    if tuple(y.shape[:2]) != (r, n) or not (y.ndim == 2 or counts):
        raise ValueError(f"y has shape {tuple(y.shape)}; expected ({r}, {n}) to go with X {tuple(X.shape)}.")
    shapes = _starts(settings, starts, r, d)
    if n < shapes.n_experts:
        raise ValueError(f"{n} rows are fewer than the {shapes.n_experts} experts; give more rows or fewer experts.")
    for name, pair in (box or {}).items():
        if name not in starts or not (isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError(f"box[{name!r}] must be a pair (lower, upper) for one of the starts' {sorted(starts)}.")
        if bool(xp.any(xp.zeros_like(starts[name]) + pair[0] > xp.zeros_like(starts[name]) + pair[1])):
            raise ValueError(f"box[{name!r}]: a lower bound exceeds its upper bound.")
    return xp, _responses(xp, settings, y, shapes), shapes


def _check_settings(settings: Settings) -> None:
    for name, value, choices in (
        ("gate", settings.gate, ("softmax", "constant")),
        ("expert", settings.expert, ("gaussian", "poisson", "multinomial")),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r} is not known here; give one of {list(choices)}, or use fit_mixture.")
    degree = settings.degree
    if isinstance(degree, bool) or not isinstance(degree, Integral) or degree < 0:
        raise ValueError(f"degree={degree!r} must be an integer of at least 0.")
    variance = settings.variance
    known = type(variance) is not bool and isinstance(variance, (int, float)) and 0 < variance < float("inf")
    if not (known or (isinstance(variance, str) and variance in ("free", "tied"))):
        raise ValueError(f"variance={variance!r} must be 'free', 'tied' or a positive standard deviation.")
    if not settings.tol > 0:
        raise ValueError(f"tol={settings.tol!r} must be positive (nats).")
    if isinstance(settings.max_iter, bool) or not isinstance(settings.max_iter, Integral) or settings.max_iter < 1:
        raise ValueError(f"max_iter={settings.max_iter!r} must be a positive integer.")


def _array(xp: Any, name: str, value: Array, like: Array) -> None:
    if type(value) is not type(like):
        raise ValueError(f"{name} is a {type(value).__name__}, X a {type(like).__name__}; give arrays of one library.")
    if value.device != like.device:
        raise ValueError(f"{name} is on {value.device}, X on {like.device}; put all arrays on one device.")
    if value.dtype != xp.float64:
        raise ValueError(f"{name} is {value.dtype}; fits need float64: certificates are below the rounding of less.")
    if not bool(xp.all(xp.isfinite(value))):
        raise ValueError(f"{name} contains NaN or infinity; remove or impute the rows.")


def _starts(settings: Settings, starts: Mapping[str, Array], r: int, d: int) -> Shapes:
    """Sizes from the starts, whose keys and shapes must be those of the settings."""
    p = comb(d + settings.degree, d) - 1
    wanted = {"gate_intercept", "expert_intercept"} | ({"gate_coef"} if settings.gate == "softmax" else set())
    wanted |= {"expert_coef"} if p else set()
    wanted |= {"expert_scale"} if settings.expert == "gaussian" and isinstance(settings.variance, str) else set()
    if missing := sorted(wanted - set(starts)):
        raise ValueError(
            f"starts lack {missing}; a {settings.gate} gate with {settings.expert} experts needs {sorted(wanted)}."
        )
    if unknown := sorted(set(starts) - wanted):
        raise ValueError(f"starts have {unknown}, which this model does not have; it needs {sorted(wanted)}.")
    gate = tuple(starts["gate_intercept"].shape)
    if len(gate) != 3 or gate[0] != r or 0 in gate:
        raise ValueError(f"starts['gate_intercept'] has shape {gate}; expected (R, S, K) with R = {r}.")
    tail = tuple(starts["expert_intercept"].shape)[3:] if settings.expert == "multinomial" else ()
    shapes = {"gate_intercept": gate, "gate_coef": (*gate, d), "expert_intercept": (*gate, *tail)}
    shapes |= {"expert_coef": (*gate, *tail, p), "expert_scale": gate}
    for name, value in starts.items():
        if tuple(value.shape) != shapes[name]:
            raise ValueError(f"starts[{name!r}] has shape {tuple(value.shape)}; expected {shapes[name]}.")
    return Shapes(r, gate[1], gate[2], tail[0] if tail else 1, p + 1)


def _responses(xp: Any, settings: Settings, y: Array, shapes: Shapes) -> Array:
    if settings.expert != "multinomial":
        if settings.expert == "poisson" and bool(xp.any((y < 0.0) | (y != xp.floor(y)))):
            raise ValueError("y must hold counts 0, 1, … for Poisson experts.")
        return y[:, None, :]
    classes = shapes.n_predictors + 1
    if y.ndim == 3:
        if y.shape[2] != classes or bool(xp.any((y < 0.0) | (y != xp.floor(y)))):
            raise ValueError(
                f"y must hold counts of the {classes} classes that the starts are for, got shape {tuple(y.shape)}."
            )
        return xp.permute_dims(y, (0, 2, 1))
    codes = xp.stack([xp.astype(y == float(c), y.dtype) for c in range(classes)], axis=1)
    if bool(xp.any(xp.sum(codes, axis=1) != 1.0)):
        raise ValueError(f"y must hold codes 0 to {classes - 1}, as many classes as the starts are for.")
    return codes
