"""Log-likelihoods of the benchmarked mixtures in JAX, on the CPU in double precision, with the gradient that JAX derives.

A model is a log-density of its experts and a link of its gate; parameters and data are laid out as in `families_numpy`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Every solver has one thread; XLA sizes its pool by this variable when it is loaded.
os.environ.setdefault("NPROC", "1")
import jax  # type: ignore[import-not-found,unused-ignore]
import jax.numpy as jnp  # type: ignore[import-not-found,unused-ignore]
from jax.nn import log_sigmoid, logsumexp  # type: ignore[import-not-found,unused-ignore]
from jax.scipy.special import gammaln  # type: ignore[import-not-found,unused-ignore]

jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call,unused-ignore]
jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call,unused-ignore]

Array = NDArray[np.float64]


def gaussian(y: Any, eta: Any, scalars: Any) -> Any:
    z = (y - eta[0]) * jnp.exp(-scalars[:, :1])
    return -0.5 * z * z - scalars[:, :1] - 0.5 * jnp.log(2.0 * jnp.pi)


def student_t(y: Any, eta: Any, scalars: Any) -> Any:
    nu = jnp.exp(scalars[:, 1:])
    z = (y - eta[0]) * jnp.exp(-scalars[:, :1])
    constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * jnp.log(jnp.pi * nu) - scalars[:, :1]
    return constant - 0.5 * (nu + 1.0) * jnp.log1p(z * z / nu)


def poisson(y: Any, eta: Any, scalars: Any) -> Any:
    """`y` holds the counts and the logarithms of their factorials."""
    return y[0] * eta[0] - jnp.exp(eta[0]) - y[1]


def multinomial(y: Any, eta: Any, scalars: Any) -> Any:
    """`y (3, n)` are indicators; the last class has predictor zero."""
    return jnp.einsum("dn,dkn->kn", y[:-1], eta) - logsumexp(jnp.concatenate([eta, jnp.zeros_like(eta[:1])]), axis=0)


DENSITIES: dict[str, Callable[[Any, Any, Any], Any]] = {  # of y, predictors (d, K, n), scalars (K, c): (K, n)
    "gaussian": gaussian,
    "student_t": student_t,
    "poisson": poisson,
    "multinomial": multinomial,
}
LINKS: dict[str, Callable[[Any], Any]] = {  # of scores: log-probabilities but for their norm
    "softmax": lambda scores: scores,
    "normalized_sigmoid": log_sigmoid,
}


def loglik(theta: Any, features: Any, y: Any, gate: str, expert: str, shape: tuple[int, int, int]) -> Any:
    """Σ_i log Σ_k π_k(x_i) f_k(y_i|x_i) at a free vector: gate, coefficients of `shape` (K, d, q), scalars (K, c)."""
    k, d, q = shape
    free = (k - (gate == "softmax")) * q
    scores = jnp.concatenate([theta[:free], jnp.zeros(k * q - free)]).reshape(k, q) @ features
    coef = jnp.swapaxes(theta[free : free + k * d * q].reshape(shape), 0, 1)
    eta = (coef.reshape(d * k, q) @ features).reshape(d, k, -1)
    weight = LINKS[gate](scores)
    joint = weight + DENSITIES[expert](y, eta, theta[free + k * d * q :].reshape(k, -1))
    return jnp.sum(logsumexp(joint, axis=0) - logsumexp(weight, axis=0))


@partial(jax.jit, static_argnames=("gate", "expert", "shape"))
def value_and_gradient(theta: Any, features: Any, y: Any, gate: str, expert: str, shape: tuple[int, int, int]) -> Any:
    """`loglik` and its gradient; compiled once for a model and the shapes of its arrays."""
    return jax.value_and_grad(loglik)(theta, features, y, gate, expert, shape)


def objective(
    features: Array, y: Array, gate: str, expert: str, shape: tuple[int, int, int]
) -> Callable[[Array], tuple[float, Array]]:
    """The log-likelihood of data and its gradient as NumPy has them."""
    data = jnp.asarray(features), jnp.asarray(y)

    def fun(theta: Array) -> tuple[float, Array]:
        value, gradient = value_and_gradient(theta, *data, gate=gate, expert=expert, shape=shape)
        return float(value), np.asarray(gradient)

    return fun
