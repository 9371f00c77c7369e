"""Classifiers: mixtures of multinomial-logistic experts under the scikit-learn contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from moestat.estimators.base import BaseMoE
from moestat.estimators.documentation import document
from moestat.estimators.predictions import Array
from moestat.experts.base import BaseExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.gates.base import Gate


class MoEClassifier(ClassifierMixin, BaseMoE):  # type: ignore[misc]
    """Mixture of experts for classification: `P(y = c|x) = Σ_k π_k(x) exp(η_kc(x)) / Σ_l exp(η_kl(x))`.

    Each expert is a multinomial-logistic regression with linear or polynomial predictors, the last class's being zero (binary
    logistic for two classes). Labels may be numbers or strings; an expert may do without a class.

    {common}    classes_ : array
        The labels, in the order of `predict_proba`.

    Notes
    -----
    Over-fitted experts are identified only where the classes' slopes are pairwise distinct (Nguyen, Akbarian, Nguyen & Ho, ICML
    2024); `moestat.identifiability` tells. Grouped counts of classes are fitted by `MoERegressor(expert="multinomial")` with a
    matrix of counts.

    Examples
    --------
    >>> import numpy as np
    >>> import moestat as ms
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, (400, 1))
    >>> y = np.where(rng.random(400) < 1 / (1 + np.exp(-np.where(X[:, 0] > 0, 4 - 3 * X[:, 0], 4 + 3 * X[:, 0]))), "in", "out")
    >>> est = ms.MoEClassifier(n_experts=2, random_state=0).fit(X, y)
    >>> est.predict([[0.0], [2.9]]).tolist()
    ['in', 'out']
    >>> bool(est.score(X, y) > 0.8)
    True
    """

    def __init__(
        self,
        n_experts: int = 2,
        *,
        gate: str | Gate = "softmax",
        degree: int = 1,
        solver: Any = "auto",
        n_init: int = 10,
        init: Any = "kmeans",
        tol: float = 1e-8,
        max_iter: int = 1000,
        gate_l2: float = 0.0,
        variance_floor: float = 1e-6,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        gate_features: Any = None,
        expert_features: Any = None,
        box: Any = None,
    ) -> None:
        self.n_experts = n_experts
        self.gate = gate
        self.degree = degree
        self.solver = solver
        self.n_init = n_init
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.gate_l2 = gate_l2
        self.variance_floor = variance_floor
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.gate_features = gate_features
        self.expert_features = expert_features
        self.box = box

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags

    def _gate(self) -> str | Gate:
        return self.gate

    def _expert(self) -> BaseExpert:
        labels = tuple(str(label) for label in self.classes_)
        return MultinomialExpert(degree=self.degree, n_classes=len(labels), labels=labels)

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        data, labels = validate_data(self, X, y, dtype=np.float64, order=None, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only ({self.classes_.tolist()[0]!r}); a classifier needs at least two classes."
            )
        return data, codes.astype(np.float64)

    def _y(self, y: ArrayLike) -> ArrayLike:
        labels = np.asarray(y)
        codes = np.searchsorted(self.classes_, labels)
        known = codes < len(self.classes_)
        known[known] = self.classes_[codes[known]] == labels[known]
        if not known.all():
            row = int(np.flatnonzero(~known)[0])
            raise ValueError(f"y is {labels[row]!r} in row {row}; the classes are {self.classes_.tolist()}.")
        return codes.astype(np.float64)

    def predict_proba(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Probabilities of the classes, `(n, C)`, in the order of `classes_`."""
        X = self._X(X)
        proba = self.model_.mean(X, offset)
        return np.asarray(proba / proba.sum(axis=1, keepdims=True))

    def predict_log_proba(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X, offset)))

    def predict(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """The most probable class of each row."""
        best = self.predict_proba(X, offset).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def sample(self, X: ArrayLike, random_state: Any = None, offset: ArrayLike | None = None) -> Array:
        """Draw one label for each row of X."""
        codes = super().sample(X, random_state, offset).astype(int)
        return np.asarray(self.classes_[codes])

    def _to_state(self) -> dict[str, Any]:
        return {**super()._to_state(), "classes": self.classes_.tolist(), "classes_kind": self.classes_.dtype.kind}

    def _from_state(self, state: dict[str, Any]) -> None:
        super()._from_state(state)
        self.classes_ = np.asarray(state["classes"], dtype=object if state["classes_kind"] == "O" else None)


class MultinomialMoEClassifier(MoEClassifier):
    """Mixture of multinomial-logistic experts: another name of `MoEClassifier`, beside `GaussianMoERegressor`.

    {common}    classes_ : array
        The labels, in the order of `predict_proba`.

    Examples
    --------
    >>> import moestat as ms
    >>> ms.MultinomialMoEClassifier(n_experts=3)
    MultinomialMoEClassifier(n_experts=3)
    """


document(
    MoEClassifier,
    """    degree : int, default 1
        Total degree of the experts' polynomials.
""",
)
document(
    MultinomialMoEClassifier,
    """    degree : int, default 1
        Total degree of the experts' polynomials.
""",
)
