"""The dendrogram of a fit: atoms merged pair by pair, and the number of experts that it suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.mixing_measure import MixingMeasure
from moestat.mixture import ConditionalMixture

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dendrogram:
    """Levels of a dendrogram, from all K atoms to one.

    Attributes
    ----------
    mixtures : tuple of ConditionalMixture
        With K, K - 1, …, 1 experts.
    merged : tuple of (int, int)
        Which two atoms of a level are one in the next.
    heights : (K - 1,) array
        Their dissimilarities.
    loglik : (K,) array
        Log-likelihood of the data at each level.
    criterion : (K - 1,) array
        The dendrogram selection criterion of the levels with K, …, 2 experts.
    """

    mixtures: tuple[ConditionalMixture, ...]
    merged: tuple[tuple[int, int], ...]
    heights: Array
    loglik: Array
    criterion: Array

    @property
    def n_experts(self) -> int:
        """The number of experts with the least criterion (at least two: one atom has no height)."""
        return len(self.mixtures) - int(np.argmin(self.criterion)) if self.criterion.size else 1

    @property
    def selected(self) -> ConditionalMixture:
        """The mixture with that number; a start for a fit of it."""
        return self.mixtures[len(self.mixtures) - self.n_experts]

    def to_frame(self) -> pd.DataFrame:
        """One row a level."""
        import pandas as pd

        last = [np.nan]
        return pd.DataFrame(
            {
                "height": [*self.heights, *last],
                "loglik": self.loglik,
                "criterion": [*self.criterion, *last],
            },
            index=pd.Index([m.n_experts for m in self.mixtures], name="n_experts"),
        )


def dendrogram(model: Any, X: ArrayLike, y: ArrayLike) -> Dendrogram:
    r"""Merge the atoms of a fit with too many experts, the two most alike at a time, and say how many experts the data show.

    Atoms i, j with weights w (normalised ``exp(β0)``) are at the distance ``(|Δ(β1, a, b)|² + |Δσ²|) / (1/w_i + 1/w_j)``. A merged atom has
    the weight, and the moments, of its two: ``β1 = Σ p β1_i``, ``b = Σ p b_i``, ``a = Σ p a_i + Σ p (β1_i - β1)(b_i - b)``,
    ``σ² = Σ p σ²_i + Σ p (b_i - b)²``, which keeps the rate n^(-1/2) for all of them (plain averages of a and σ² lose it).
    The criterion of a level with κ experts is ``-(h + log(n) ℓ/n)``, h its height and ℓ its log-likelihood (Thai et al., 2025, Model
    selection for Gaussian-gated and softmax-gated mixtures of experts using dendrograms of mixing measures): without fits of every κ.

    Parameters
    ----------
    model : ConditionalMixture or fitted estimator
        Softmax or constant gate, Gaussian experts of degree one with free variances; one more expert than there may be.
    X : (n, d) array
    y : (n,) array

    Returns
    -------
    Dendrogram

    Raises
    ------
    ValueError
        If the model is another one, or has a single expert.

    Examples
    --------
    >>> import numpy as np
    >>> import moestat as ms
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, (500, 1))
    >>> truth = ms.ConditionalMixture(params={
    ...     "gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0],
    ...     "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]})
    >>> y = truth.sample(x, rng)
    >>> fitted = ms.fit_mixture(x, y, 3, n_init=3, rng=0).mixture
    >>> ms.dendrogram(fitted, x, y).n_experts
    2
    """
    mixture: ConditionalMixture = getattr(model, "model_", model)
    _check(mixture)
    measure = mixture.mixing_measure()
    if not isinstance(measure, MixingMeasure) or mixture.n_experts < 2:
        raise ValueError(f"a dendrogram needs at least two experts, got {mixture.n_experts}.")
    rows = np.asarray(X)
    mixtures, merged, heights = [mixture], [], []
    while mixtures[-1].n_experts > 1:
        params = mixtures[-1].params
        pair, height = _closest(params)
        merged.append(pair)
        heights.append(height)
        mixtures.append(_moved(mixture, merge(params, *pair)))
    loglik = np.array([float(m.log_density(rows, y).sum()) for m in mixtures])
    n = len(rows)
    criterion = -(np.array(heights) + np.log(n) * loglik[:-1] / n)
    return Dendrogram(tuple(mixtures), tuple(merged), np.array(heights), loglik, criterion)


def merge(params: dict[str, Array], i: int, j: int) -> dict[str, Array]:
    """Parameters with the experts i and j as one, of the same weight and moments; it takes the place of the first.

    The weights are those at x = 0.
    """
    i, j = min(i, j), max(i, j)
    pair = [i, j]
    log_weight = params["gate_intercept"][pair]
    total = np.logaddexp(*log_weight)
    p = np.exp(log_weight - total)
    slope, place = params["expert_coef"][pair], params["expert_intercept"][pair]
    gate = params["gate_coef"][pair] if "gate_coef" in params else np.zeros_like(slope)
    b, beta = p @ place, p @ gate
    new = {
        "gate_intercept": total,
        "gate_coef": beta,
        "expert_intercept": b,
        "expert_coef": p @ slope + (p * (place - b)) @ (gate - beta),
        "expert_scale": np.sqrt(p @ params["expert_scale"][pair] ** 2 + p @ (place - b) ** 2),
    }
    out = {}
    for key, value in params.items():
        kept = value.copy()
        kept[i] = new[key]
        out[key] = np.delete(kept, j, axis=0)
    return out


def _closest(params: dict[str, Array]) -> tuple[tuple[int, int], float]:
    """The pair of the least dissimilarity, and that."""
    weight = np.exp(params["gate_intercept"] - np.logaddexp.reduce(params["gate_intercept"]))
    blocks = [params["expert_coef"], params["expert_intercept"][:, None]]
    if "gate_coef" in params:
        blocks.append(params["gate_coef"])
    place, variance = np.concatenate(blocks, axis=1), params["expert_scale"] ** 2
    squared = ((place[:, None] - place[None]) ** 2).sum(axis=2) + np.abs(variance[:, None] - variance[None])
    distance = squared / (1.0 / weight[:, None] + 1.0 / weight[None])
    rows, columns = np.triu_indices(len(weight), 1)
    best = int(np.argmin(distance[rows, columns]))
    return (int(rows[best]), int(columns[best])), float(distance[rows[best], columns[best]])


def _moved(mixture: ConditionalMixture, params: dict[str, Array]) -> ConditionalMixture:
    return ConditionalMixture(
        mixture.gate, mixture.expert, params, n_features=mixture.n_features, feature_names=mixture.feature_names
    )


def _check(mixture: Any) -> None:
    gate: Any = getattr(mixture, "gate", None)
    expert: Any = getattr(mixture, "expert", None)
    wanted = getattr(gate, "name", "") in ("softmax", "constant") and not getattr(gate, "general", True)
    if not wanted or getattr(expert, "name", "") != "gaussian" or expert.degree != 1 or mixture.n_responses != 1:
        raise ValueError(
            f"a dendrogram is one of softmax or constant gates with linear Gaussian experts and one response, got {mixture!r}."
        )
    if expert.variance != "free":
        raise ValueError(f"merged experts have larger variances: variance must be 'free', got {expert.variance!r}.")
