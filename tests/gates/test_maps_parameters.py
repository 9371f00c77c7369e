"""Gates that are not linear in their coefficients: representatives, parameter dictionaries, orders, starts, what is identified."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from moestat.gates.activation import ActivationGate
from moestat.gates.cosine import CosineGate, PerturbedCosineGate
from moestat.gates.gaussian import GaussianGate
from moestat.gates.hierarchical import HierarchicalGate
from moestat.gates.laplace import LaplaceGate
from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
from moestat.gates.prototype import PrototypeGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sparse import TopKGate

from .maps_cases import CASES, COEF, FREE, INTERCEPT, points

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
BELL = [[[0.5, 0.1], [0.1, 0.3]]] * 2


@EACH
def test_canonical(case):
    """A common shift, and for the cosine gate a length, leave the weights alone and go away; nothing else does."""
    gamma, z = case.gamma, points(case.size[1])
    moved = gamma.copy()
    moved[:, 0] += 3.7
    if isinstance(case.gate, CosineGate):
        moved[:, 1:] *= np.array([[0.01], [5.0], [1e3]])
    once = case.gate.canonical(moved)
    assert once[-1, 0] == 0.0
    np.testing.assert_array_equal(case.gate.canonical(once), once)
    np.testing.assert_allclose(once, case.gate.canonical(gamma), rtol=1e-14, atol=1e-14)
    for same in (moved, once):
        np.testing.assert_allclose(
            case.gate.forward(same, z)[1], case.gate.forward(gamma, z)[1], rtol=1e-12, atol=1e-13
        )


@EACH
def test_dictionary(case):
    """There and back."""
    k, d = case.size
    out = case.gate.to_params(case.gamma, k)
    assert set(out) == set(case.gate.keys)
    assert case.gate.n_inputs(out) == d
    for name, value in case.params.items():
        np.testing.assert_allclose(out[name], value, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(case.gate.from_params(out, k, 1 + d), case.gamma, rtol=1e-13, atol=1e-14)
    for name in case.gate.keys:
        if name != "gate_temperature":
            with pytest.raises(ValueError, match=f"lacks '{name}'"):
                case.gate.from_params({key: v for key, v in out.items() if key != name}, k, 1 + d)
            with pytest.raises(ValueError, match=f"{name}'\\] has shape"):
                case.gate.from_params({**out, name: np.ones((k, d + 3))}, k, 1 + d)


@EACH
def test_names_and_index(case):
    """A name a coefficient, one number a free parameter without gaps, all names of free parameters different."""
    k, d = case.size
    terms = ["Intercept", *(f"x{j + 1}" for j in range(d))]
    names, index = case.gate.names(k, terms), case.gate.index(k, 1 + d)
    assert np.shape(names) == index.shape == case.gamma.shape == (case.gate.n_scores(k), case.gate.n_coef(1 + d))
    np.testing.assert_array_equal(np.unique(index[index >= 0]), np.arange(index.max() + 1))
    flat = np.array(names)[index >= 0]
    assert len(set(flat)) == index.max() + 1
    assert index[-1, 0] == -1
    assert (case.gamma[index < 0] == 0.0).all()
    low, high = case.gate.bounds(k, 1 + d) or (np.full(index.shape, -np.inf), np.full(index.shape, np.inf))
    assert ((low <= case.gamma) & (case.gamma <= high)).all()


def test_free_parameters_of_the_bench():
    """Names and numbers of gate parameters of the two-expert models of the gate bench: 3, 3 and 5."""
    laplace, activation, gaussian = (CASES[name].gate for name in ("laplace-1", "activation-1", "gaussian-1"))
    assert laplace.names(2, ["Intercept", "x1"])[0] == ["gate[1]:Intercept", "gate[1]:location[x1]"]
    assert [g.index(2, 2).max() + 1 for g in (laplace, activation, gaussian)] == [3, 3, 5]
    assert activation.names(2, ["Intercept", "x1"])[1][-1] == "gate:log_temperature"
    assert gaussian.names(1, ["Intercept", "a", "b"])[0][-3:] == [
        "gate[1]:log_scale[a]",
        "gate[1]:cholesky[b,a]",
        "gate[1]:log_scale[b]",
    ]


@EACH
def test_permute(case):
    """The same weights in another order."""
    k, d = case.size
    order = [2, 0, 1] if k == 3 else [1, 0]
    if getattr(case.gate, "reference", False) and k > 2:
        with pytest.raises(ValueError, match="keep the last expert last"):
            case.gate.permute(case.gamma, order)
        order = [1, 0, 2]
    moved = case.gate.permute(case.gamma, order)
    assert (moved[case.gate.index(k, 1 + d) < 0] == 0.0).all()
    z = points(d)
    np.testing.assert_allclose(
        case.gate.forward(moved, z)[1], case.gate.forward(case.gamma, z)[1][order], rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_two_experts_change_places(name):
    """With an odd activation the reference may be either of two experts."""
    gate, z = ActivationGate(name), points(2)
    gamma = np.array([[0.4, 1.0, -2.0, -0.3], [0.0, 0.0, 0.0, -0.3]])
    np.testing.assert_allclose(
        gate.forward(gate.permute(gamma, [1, 0]), z)[1], gate.forward(gamma, z)[1][::-1], rtol=1e-13
    )
    with pytest.raises(ValueError, match="reference=False"):
        ActivationGate("gelu").permute(gamma, [1, 0])


@EACH
def test_pickle_and_hyperparameters(case):
    assert pickle.loads(pickle.dumps(case.gate)) == case.gate
    assert type(case.gate)(**case.gate.get_params()) == case.gate


def information(gate, gamma, z):
    """Fisher information of the labels given x in the free coefficients, summed over the columns of z."""
    scores, log_pi = gate.forward(gamma, z)
    inner = gate.score_jacobian(gamma, z)
    outer, inner = gate.jacobian(scores, log_pi), np.broadcast_to(inner, (len(gamma), *inner.shape[1:]))
    index = gate.index(len(log_pi), len(z)).ravel()
    tie = (index[:, None] == np.arange(index.max() + 1)).astype(float)
    rows = np.einsum("ksb,spb->kbsp", outer, inner).reshape(*log_pi.shape, gamma.size) @ tie
    return np.einsum("kb,kbi,kbj->ij", np.exp(log_pi), rows, rows)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("laplace-1", 0),
        ("laplace-2", 0),
        ("laplace-smooth-1", 0),
        ("laplace-smooth-2", 0),
        ("cosine", 3),  # the lengths of three slopes
        ("perturbed", 2),  # a common shift of β1/(|β1| + t1) in two dimensions
        ("perturbed-1", 1),
        ("activation-1", 0),
        ("sigmoid-2", 0),
        ("gelu-2", 0),
        ("gaussian-1", 2),  # given x: a common quadratic of three coefficients, of which one is the pinned intercept
        ("gaussian-2", 5),
    ],
)
def test_identified(name, lacking):
    """The information given x has the rank that the invariances leave."""
    case = CASES[name]
    z = points(case.size[1], 400)
    matrix = information(case.gate, case.gamma, z)
    unit = 1.0 / np.sqrt(np.diag(matrix))
    values = np.linalg.eigvalsh(matrix * np.outer(unit, unit))
    assert (values < 1e-12).sum() == lacking
    assert values[lacking] > 1e-7


def test_cosine_of_few_experts():
    """Only differences of directions count: with K < d experts they turn about d - K more axes."""
    gamma = np.random.default_rng(5).normal(size=(2, 4))
    matrix = information(CosineGate(), gamma, points(3, 400))
    assert (np.linalg.eigvalsh(matrix) < 1e-10 * matrix.max()).sum() == 2 + 1


NULL = [
    *((gate, k, d) for gate in (CosineGate(), CosineGate(0.3)) for k, d in ((1, 3), (2, 3), (3, 2), (4, 4), (2, 2))),
    *((PerturbedCosineGate(), k, d) for k, d in ((1, 2), (2, 1), (3, 3))),
    *((GaussianGate("conditional"), k, d) for k, d in ((1, 1), (2, 1), (3, 2))),
    *((NormalizedSigmoidGate(degree=0), k, 0) for k in (1, 2, 4)),
    *((SharedExperts(1, "gated", gate), 4, 2) for gate in (CosineGate(), PerturbedCosineGate(), "normalized_sigmoid")),
    (SharedExperts(2), 2, 1),
    *((gate, 3, 2) for gate in (LaplaceGate(), ActivationGate(), NormalizedSigmoidGate(), HierarchicalGate(levels="laplace"))),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "k", "d"), NULL, ids=str)
def test_null_directions(gate, k, d):
    """The information at random coefficients has the rank that the stated number leaves."""
    index = gate.index(k, 1 + d)
    gamma = np.where(index >= 0, np.random.default_rng(6).normal(size=index.shape), 0.0)
    free = index.max() + 1
    values = np.linalg.eigvalsh(information(gate, gamma, points(d, 400))) if free else np.zeros(0)
    null = gate.null_directions(k, 1 + d)
    assert (values < 1e-12).sum() == null
    assert (values[null:] > 1e-6).all()


def test_null_directions_of_gates_without_a_gradient():
    """Weights of 0 and 1 do not see the length of coefficients; ranks by slopes do not see intercepts."""
    z, rng = points(2, 300), np.random.default_rng(7)
    gamma = np.column_stack([rng.normal(size=(4, 3))])
    gamma -= gamma[-1]
    one, scores, groups = TopKGate(1), TopKGate(1, "scores"), PrototypeGate(2)
    np.testing.assert_array_equal(one.forward(gamma * [[7.0, 3.0, 3.0]], z)[1], one.forward(gamma, z)[1])
    np.testing.assert_array_equal(scores.forward(3.0 * gamma, z)[1], scores.forward(gamma, z)[1])
    gamma = groups.canonical(gamma)
    np.testing.assert_array_equal(
        groups.forward(gamma * [[3.0], [3.0], [0.2], [0.2]], z)[1], groups.forward(gamma, z)[1]
    )
    assert [gate.null_directions(4, 3) for gate in (one, scores, groups, TopKGate(2), PrototypeGate(2, "mean"))] == [
        4,
        1,
        2,
        0,
        0,
    ]
    assert (
        PrototypeGate(3).null_directions(4, 3),
        one.null_directions(1, 3),
        GaussianGate().null_directions(3, 3),
    ) == (1, 0, 0)


def test_shift_of_perturbed_slopes():
    """`v = β1/(|β1| + t1)` may be shifted: the gate is a softmax gate in `x/(|x| + t2)` with slopes v."""
    case = CASES["perturbed"]
    z, gamma, (t1, t2) = points(2), case.gamma.copy(), (0.2, 0.4)
    v = gamma[:, 1:] / (np.linalg.norm(gamma[:, 1:], axis=1, keepdims=True) + t1)
    linear = gamma[:, :1] + v @ (z[1:] / (np.linalg.norm(z[1:], axis=0) + t2))
    want = linear - np.log(np.exp(linear).sum(axis=0))
    v = v + np.array([-0.08, -0.1])
    size = np.linalg.norm(v, axis=1, keepdims=True)
    assert (size < 1.0).all()
    gamma[:, 1:] = v * t1 / (1.0 - size)
    np.testing.assert_allclose(case.gate.forward(gamma, z)[1], want, rtol=1e-13)


@EACH
def test_start(case):
    """A start is finite, canonical, ready for a step, and better than equal weights on data that the gate made."""
    k, d = case.size
    z = points(d, 500)
    prob = np.exp(case.gate.forward(case.gamma, z)[1])
    gamma = case.gate.start(prob, z)
    assert gamma.shape == case.gamma.shape
    np.testing.assert_array_equal(case.gate.canonical(gamma), gamma)
    value = (prob * case.gate.forward(gamma, z)[1]).sum()
    if isinstance(case.gate, ActivationGate):
        assert not gamma.any()
    else:
        assert value > -500 * np.log(k)
    assert (np.abs(case.gate.score_jacobian(gamma, z)).sum(axis=2)[:, :-1] > 0.0).all()
    empty = np.vstack([np.ones(500), np.zeros((k - 1, 500))])
    for resp in (empty, np.full((k, 500), 1 / k)):
        at = case.gate.start(resp, z)
        assert np.isfinite(case.gate.forward(at, z)[1]).all()
        assert np.isfinite(case.gate.score_jacobian(at, z)).all()


BAD = [
    (lambda: ActivationGate("relu"), "homogeneous"),
    (lambda: ActivationGate("elu"), "'elu' is not known"),
    (lambda: ActivationGate(temperature=0.0), "temperature=0.0"),
    (lambda: ActivationGate(reference="last"), "reference='last'"),
    (lambda: CosineGate(-1.0), "temperature=-1.0"),
    (lambda: PerturbedCosineGate(t1=0.0), "t1=0.0"),
    (lambda: PerturbedCosineGate(t2=np.inf), "t2=inf"),
    (lambda: GaussianGate("profile"), "'profile' is not known"),
    (lambda: CosineGate().index(2, 2), "2 or more columns of X for the gate; it has 1"),
    (lambda: LaplaceGate(-1e-3), "smoothing=-0.001"),
    (lambda: LaplaceGate().index(2, 1), "LaplaceGate needs 1 or more"),
    (lambda: GaussianGate().index(2, 1), "GaussianGate needs 1 or more"),
    (lambda: ActivationGate().index(2, 1), "ActivationGate needs 1 or more"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("gate", "params", "message"),
    [
        (
            ActivationGate(),
            {"gate_coef": COEF, "gate_intercept": INTERCEPT, "gate_temperature": -1.0},
            "must be positive; got -1.0",
        ),
        (ActivationGate(), {"gate_coef": COEF, "gate_intercept": INTERCEPT}, "lacks 'gate_temperature'"),
        (
            ActivationGate(temperature=2.0),
            {"gate_coef": COEF, "gate_intercept": INTERCEPT, "gate_temperature": 1.0},
            "is 1.0, but .* fixes it",
        ),
        (
            GaussianGate(),
            {"gate_weight": [0.6, 0.3], "gate_location": FREE[:2], "gate_covariance": BELL},
            "positive with sum one",
        ),
        (
            GaussianGate(),
            {"gate_weight": [0.6, 0.4], "gate_location": FREE[:2], "gate_covariance": [[[1.0, 2.0], [2.0, 1.0]]] * 2},
            "positive definite",
        ),
        (
            GaussianGate(),
            {"gate_weight": [0.6, 0.4], "gate_location": FREE[:2], "gate_covariance": [[[1.0, 0.2], [0.1, 1.0]]] * 2},
            "symmetric",
        ),
        (
            GaussianGate(),
            {"gate_weight": [0.6, 0.4], "gate_location": FREE[:2], "gate_covariance": [[[-1.0, 0.0], [0.0, 1.0]]] * 2},
            "positive diagonals",
        ),
    ],
)
def test_contradictory_parameters(gate, params, message):
    with pytest.raises(ValueError, match=message):
        gate.from_params(params, len(params.get("gate_coef", params.get("gate_location"))), 3)


def test_known_temperature():
    """May be given or left out; the estimated one is the number that the free parameter is the logarithm of."""
    params = {"gate_coef": COEF, "gate_intercept": INTERCEPT}
    known, free = ActivationGate(temperature=2.0), ActivationGate()
    a = known.from_params(params, 3, 3)
    np.testing.assert_array_equal(known.from_params({**params, "gate_temperature": 2.0}, 3, 3), a)
    b = free.from_params({**params, "gate_temperature": 2.0}, 3, 3)
    np.testing.assert_array_equal(b[:, -1], np.log(2.0))
    np.testing.assert_allclose(known.scores(a, points(2)), free.scores(b, points(2)), rtol=1e-15)
    assert known.to_params(a, 3)["gate_temperature"] == 2.0
