"""The vocabulary of the losses: families of norms with their powers, and coordinates in which atoms are compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moestat.losses.atomwise import Norm, Norms, Over
from moestat.losses.blocks import Blocks
from moestat.losses.rbar import rbar

GAUSSIAN = ("gate", "coef", "intercept", "variance")
JOINT: Norms = (Norm(("*",)),)
# Norms as a function of their power.
Family = Callable[[float], Norms]


def apart(*blocks: str, power: float = 1.0) -> Norms:
    """Each block in a norm of its own."""
    return tuple(Norm((block,), power) for block in blocks)


def always(norms: Norms) -> Over:
    """The same norms in cells of all sizes."""
    return lambda m: norms


def strong(power: float) -> Norms:
    """Gate, expert and variance of a strongly identifiable family."""
    return apart("gate", "*", "variance", power=power)


def regression(power: float) -> Norms:
    """Gate and expert of a regression function."""
    return apart("gate", "*", power=power)


def classes(power: float) -> Norms:
    """The gate, and every class of a multinomial expert."""
    return (Norm(("gate",), power), *(Norm((block,), power, each=True) for block in ("coef", "intercept")))


def tempered(power: float) -> Norms:
    """Linear Gaussian experts with a temperature."""
    return apart(*GAUSSIAN, "temperature", power=power)


def published(m: int) -> Norms:
    """Over-specified cells of a softmax gate (Nguyen, Nguyen and Ho, 2023)."""
    return (Norm(("gate", "intercept"), rbar(m)), Norm(("coef", "variance"), rbar(m) / 2))


def published_apart(m: int) -> Norms:
    """The same powers, each block in a norm of its own."""
    return apart("gate", "intercept", power=rbar(m)) + apart("coef", "variance", power=rbar(m) / 2)


def sharp(m: int) -> Norms:
    """Slopes of gate and expert at the power 2, whatever the cell's size."""
    return apart("gate", "coef", power=2.0) + apart("intercept", power=rbar(m)) + apart("variance", power=rbar(m) / 2)


def sharp_tempered(m: int) -> Norms:
    """As `sharp`, with a temperature at the power 2."""
    return sharp(m) + apart("temperature", power=2.0)


def type_two(m: int) -> Norms:
    """Gaussian gates, the cell's atom at the origin of x or not."""
    slow, medium = ("gate_location", "intercept"), ("gate_covariance", "coef", "variance")
    return apart(*slow, power=rbar(m)) + apart(*medium, power=rbar(m) / 2)


def type_one(m: int) -> Norms:
    """Gaussian gates, as published for cells whose atom is not at the origin."""
    return tuple(norm._replace(power=2.0) if norm.blocks == ("coef",) else norm for norm in type_two(m))


def without_variance(blocks: Blocks) -> Blocks:
    """The blocks of the regression function."""
    return {name: block for name, block in blocks.items() if name != "variance"}


def directions(blocks: Blocks) -> Blocks:
    """Gate vectors by their directions: a cosine router does not see their norms.

    Raises
    ------
    ValueError
        If one of them is zero.
    """
    length = np.linalg.norm(blocks["gate"], axis=1, keepdims=True)
    if not np.all(length > 0.0):
        raise ValueError(f"the gate vectors of a cosine router have directions, got {blocks['gate'].tolist()}.")
    return without_variance({**blocks, "gate": blocks["gate"] / length})


def by_temperature(blocks: Blocks) -> Blocks:
    """Gate slopes in units of the temperature; they alone are identified.

    Raises
    ------
    ValueError
        If a temperature is not positive.
    """
    tau = blocks["temperature"].reshape(-1, 1)
    if not np.all(tau > 0.0):
        raise ValueError(f"temperatures must be positive, got {tau.ravel().tolist()}.")
    scaled = {**blocks, "gate": blocks["gate"] / tau}
    del scaled["temperature"]
    return scaled
