"""Scaled inversion, rank, null space and score products, on matrices with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from moestat.inference.information import (
    cluster_product,
    constrained_basis,
    invert_information,
    outer_product,
)


def _positive(rng, p):
    a = rng.normal(size=(p + 3, p))
    return a.T @ a


def test_regular_inverse(rng):
    information = _positive(rng, 6)
    inverse = invert_information(information)
    assert inverse.rank == 6
    assert_allclose(inverse.covariance, np.linalg.inv(information), rtol=1e-10)


def test_units_do_not_matter(rng):
    information = _positive(rng, 5)
    units = np.array([1.0, 1e6, 1e-6, 1e9, 1e-9])
    inverse = invert_information(information * np.outer(units, units))
    assert inverse.rank == 5
    assert_allclose(inverse.covariance * np.outer(units, units), np.linalg.inv(information), rtol=1e-10)


def test_rank_null_space_and_identified_contrasts(rng):
    # Parameters 1 and 2 enter as their sum only, in units that differ by 1e6; parameter 4 not at all.
    design = rng.normal(size=(20, 3))
    map_ = np.array([[1.0, 0, 0, 0, 0], [0, 1.0, 1e6, 0, 0], [0, 0, 0, 1.0, 0]])
    information = map_.T @ design.T @ design @ map_
    inverse = invert_information(information)
    assert inverse.rank == 3
    assert inverse.identified(np.eye(5)).tolist() == [True, False, False, True, False]
    contrasts = np.array([[0, 1.0, 1e6, 0, 0], [0, 1.0, -1e6, 0, 0]])
    assert inverse.identified(contrasts).tolist() == [True, False]
    small = np.linalg.inv(design.T @ design)
    assert_allclose(inverse.covariance[[0, 3]][:, [0, 3]], small[[0, 2]][:, [0, 2]], rtol=1e-9)
    assert_allclose(contrasts[0] @ inverse.covariance @ contrasts[0], small[1, 1], rtol=1e-9)
    # The readable basis: one direction is parameter 4 alone, the other trades 1 against 2.
    support = {tuple(np.flatnonzero(np.abs(column) > 1e-8)) for column in inverse.null.T}
    assert support == {(4,), (1, 2)}
    trade = inverse.directions[:, [len(np.flatnonzero(np.abs(c) > 1e-8)) == 2 for c in inverse.null.T]][:, 0]
    assert_allclose(trade[1] / trade[2], -1e6, rtol=1e-8)


def test_negative_curvature_is_not_identified():
    inverse = invert_information(np.diag([2.0, -1.0]))
    assert inverse.rank == 1
    assert inverse.identified(np.eye(2)).tolist() == [True, False]
    assert inverse.null_eigenvalues.tolist() == [-1.0]


def test_reference_reveals_a_parameter_without_information():
    inverse = invert_information(np.diag([100.0, 1e-14]), reference=np.array([100.0, 100.0]))
    assert inverse.rank == 1
    assert invert_information(np.diag([100.0, 1e-14])).rank == 2


def test_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        invert_information(np.array([[np.nan]]))


def test_no_parameters():
    assert invert_information(np.zeros((0, 0))).rank == 0


def test_constrained_basis_keeps_coordinates_that_are_not_mentioned():
    rows = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    basis = constrained_basis(rows)
    assert basis.shape == (4, 2)
    assert_allclose(rows @ basis, 0.0, atol=1e-15)
    assert np.linalg.matrix_rank(basis) == 2
    assert np.count_nonzero(basis[0]) == 1
    assert_allclose(constrained_basis(np.zeros((0, 3))), np.eye(3))


def test_products_against_loops(rng):
    scores, weights = rng.normal(size=(30, 4)), rng.random(30)
    codes = rng.integers(0, 5, size=30)
    codes[:5] = range(5)

    def blocks():
        return ((slice(i, i + 7), scores[i : i + 7]) for i in range(0, 30, 7))

    looped = sum(w * np.outer(s, s) for w, s in zip(weights, scores, strict=True))
    assert_allclose(outer_product(blocks(), weights), looped, rtol=1e-12)
    totals = [sum(weights[i] * scores[i] for i in np.flatnonzero(codes == g)) for g in range(5)]
    assert_allclose(cluster_product(blocks(), weights, codes), sum(np.outer(t, t) for t in totals), rtol=1e-12)
    alone = np.arange(30)
    assert_allclose(cluster_product(blocks(), weights, alone), outer_product(blocks(), weights**2), rtol=1e-12)
