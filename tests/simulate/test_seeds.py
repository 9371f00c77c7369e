"""Keyed streams: stateless, distinct, and fixed for ever."""

import itertools

import numpy as np
import pytest

from moestat.simulate import stream


def test_streams_do_not_depend_on_order():
    first = stream(7, "demo", 100, 3).standard_normal(5)
    stream(7, "demo", 100, 4).standard_normal(1000)
    np.testing.assert_array_equal(first, stream(7, "demo", 100, 3).standard_normal(5))


def test_streams_are_distinct_in_every_part_of_the_key():
    keys = itertools.product((1, 2, 2**40), ("a", "b"), (10, 11), (0, 1, 2**33), ("data", "init", "boot"))
    draws = [stream(*key).integers(2**63) for key in keys]
    assert len(set(draws)) == len(draws)


def test_the_scheme_does_not_change():
    # a change here would make every recorded run impossible to replay
    raw = stream(20230501, "softmax-gaussian-exact", 250, 0).bit_generator.random_raw(2)
    assert raw.tolist() == [732297251465330204, 7645818408137973180]


@pytest.mark.parametrize(("n", "rep", "purpose"), [(-1, 0, "data"), (1, -1, "data"), (1, 0, "other")])
def test_bad_keys(n, rep, purpose):
    with pytest.raises(ValueError, match="must"):
        stream(1, "demo", n, rep, purpose)
