"""A gate around another one: what it takes over from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moestat.gates.scores import ScoreGate


@dataclass(frozen=True)
class AroundGate(ScoreGate):
    """A gate with another one inside, which sees the same columns."""

    @property
    def inner(self) -> ScoreGate:
        """The gate inside."""
        raise NotImplementedError

    @property
    def degree(self) -> int:  # type: ignore[override]
        """That of the gate inside."""
        return self.inner.degree

    @property
    def raw_features(self) -> bool:  # type: ignore[override]
        """As the gate inside needs them."""
        return self.inner.raw_features

    @property
    def open_threshold(self) -> bool:  # type: ignore[override]
        """Whether the gate inside has one."""
        return self.inner.open_threshold

    def inputs(self) -> Any:
        """Those of the gate inside."""
        return self.inner.inputs()

    def n_inputs(self, params: Mapping[str, Any]) -> int:
        """Columns that the gate inside sees."""
        return self.inner.n_inputs(params)
