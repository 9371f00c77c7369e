"""Hypothesis profiles: quick by default; ``MOESTAT_FUZZ=10000`` sets the number of odd inputs of the full run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "quick", max_examples=150, deadline=None, phases=PHASES, suppress_health_check=QUIET, derandomize=True
)
settings.register_profile(
    "ten-thousand",
    max_examples=int(os.environ.get("MOESTAT_FUZZ", "10000")),
    deadline=None,
    phases=PHASES,
    suppress_health_check=QUIET,
    print_blob=True,
)
settings.load_profile("ten-thousand" if os.environ.get("MOESTAT_FUZZ") else "quick")
