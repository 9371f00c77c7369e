"""What every gate is: scores linear in a map, a normaliser, and the M-step of its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """A gate whose scores are linear in the features of its map; the last expert's scores are pinned at zero.

    `name` is the registry's key, `degree` the degree of the map (0: no features), `pinned` how many experts have free scores.
    """

    name: ClassVar[str] = ""
    degree: ClassVar[int] = 1

    def n_free(self, n_experts: int) -> int:
        """Number of experts whose scores are free."""
        return n_experts - 1

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name (scikit-learn's protocol: `GridSearchCV` reaches them as `gate__…`)."""
        return asdict(self)

    def maximise(
        self, coef: Array, gradient: Array, information: Array, gram: Array, mass: Array, step: float
    ) -> Array:
        """New free coefficients `(K-1, q)` from the gradient and the information of Σ resp log π at `coef`.

        `gram` is Σ w zzᵀ and `mass` the total responsibility of each expert.
        A Newton step of the given length; `step = 0` takes the step of Böhning's (1992) bound instead, which never
        decreases the likelihood.
        """
        raise NotImplementedError
