"""n·KL of exact fits is near half the number of parameters, under every gate of the bench."""

from __future__ import annotations

import pytest

from benchmarks.gate_bench import MODELS, bench


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_kl_constant_is_half_the_number_of_parameters(name: str) -> None:
    mean, error, half, certified = bench(name, n=4000, reps=20)
    assert certified == 20
    assert abs(mean - half) <= 4.0 * error


def test_kl_constant_quickly() -> None:
    mean, error, half, certified = bench("softmax", n=2000, reps=6)
    assert certified == 6
    assert abs(mean - half) <= 5.0 * max(error, 0.3)
