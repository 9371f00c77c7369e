"""Measures of every setting, and its loss written out atom by atom from the theorem: the oracle of the losses' tests."""

from itertools import combinations

import numpy as np

import moestat as ms

norm = np.linalg.norm


def r_of(m):
    """The order r̄(m) of a cell of m atoms."""
    return 2 * m


def _powers(gaps, names, power):
    return sum(norm(gaps[name]) ** power for name in names if name in gaps)


def _eta(gaps, *apart):
    """All blocks of an expert but some, in one norm."""
    return norm(np.concatenate([np.ravel(gap) for name, gap in gaps.items() if name not in apart]))


def _sharp(g, m):
    r = r_of(m)
    return norm(g["gate"]) ** 2 + norm(g["coef"]) ** 2 + norm(g["intercept"]) ** r + norm(g["variance"]) ** (r / 2)


def _published_apart(g, m):
    r = r_of(m)
    return _powers(g, ["gate", "intercept"], r) + _powers(g, ["coef", "variance"], r / 2)


def _published(g, m):
    r = r_of(m)
    slow, medium = np.hypot(norm(g["gate"]), norm(g["intercept"])), np.hypot(norm(g["coef"]), norm(g["variance"]))
    return slow**r + medium ** (r / 2)


GAUSSIAN = ["gate", "coef", "intercept", "variance"]


def _apart(g, m):
    return _powers(g, GAUSSIAN, 1)


def _joint(g, m):
    return _eta(g)


def _strong(g, m):
    p = 1 if m == 1 else 2
    return norm(g["gate"]) ** p + _eta(g, "gate", "variance") ** p + norm(g["variance"]) ** p


def _regression(p):
    return lambda g, m: norm(g["gate"]) ** p + _eta(g, "gate", "variance") ** p


def _classes(p):
    return lambda g, m: (
        norm(g["gate"]) ** p
        + sum(norm(a) ** p + abs(b) ** p for a, b in zip(np.atleast_2d(g["coef"]), np.atleast_1d(g["intercept"])))
    )


def _tempered(p):
    return lambda g, m: _powers(g, [*GAUSSIAN, "temperature"], p)


GATED = ["gate_location", "gate_covariance", "coef", "intercept", "variance"]


def _gated(power_of_coef):
    def over(g, m):
        r = r_of(m)
        fast = _powers(g, ["gate_covariance", "variance"], r / 2) + norm(g["coef"]) ** power_of_coef(m)
        return _powers(g, ["gate_location", "intercept"], r) + fast

    return over


def _sigmoid(g, m):
    return norm(g["gate"]) + norm(g["gate_intercept"]) + _eta(g, "gate", "gate_intercept", "variance")


def _split(exact, over):
    return lambda g, m: exact(g, m) if m == 1 else over(g, m)


def _halves(family):
    return _split(family(1), family(2))


# kind -> (gauge, blocks, formula of the gaps and the cell's size).
LINEAR = ("gate", "coef", "intercept", "scale")
NEURAL = ("gate", "slope", "output", "shift")
SETTINGS = {
    "D1": ("softmax", LINEAR, _joint),
    "D2": ("softmax", LINEAR, _split(_joint, _published)),
    "D2sharp": ("softmax", LINEAR, _split(_joint, _sharp)),
    "strong-D1": ("softmax", (*NEURAL, "scale"), _strong),
    "multinomial-D1": ("softmax", ("gate", "slopes", "levels"), _halves(_classes)),
    "multinomial-D2r": ("softmax", ("gate", "slopes", "levels"), _classes(3)),
    "temperature-D2r": ("softmax", (*LINEAR, "temperature"), _tempered(3)),
    "activation-D2": (
        "weights",
        (*LINEAR, "temperature"),
        _split(_tempered(1), lambda g, m: _sharp(g, m) + norm(g["temperature"]) ** 2),
    ),
    "lse-L1": ("softmax", (*NEURAL, "scale"), _halves(_regression)),
    "lse-L2r": ("softmax", NEURAL, _regression(3)),
    "sigmoid-L1": (
        "none",
        ("gate", "gate_intercept", "slope", "output"),
        _split(_sigmoid, lambda g, m: norm(g["gate"]) ** 2 + _eta(g, "gate", "gate_intercept") ** 2),
    ),
    "sigmoid-L2": ("none", ("gate", "gate_intercept", "slope", "output"), _sigmoid),
    "cosine-L1r": ("weights", NEURAL, _regression(3)),
    "cosine-L2": ("weights", NEURAL, _halves(_regression)),
    "perturbed-cosine-L2": ("weights", NEURAL, _halves(_regression)),
    "gaussian-gate-D1": (
        "none",
        ("gate_location", "gate_covariance", *LINEAR[1:]),
        lambda g, m: _powers(g, GATED, 1),
    ),
    "gaussian-gate-D2": (
        "none",
        ("gate_location", "gate_covariance", *LINEAR[1:]),
        _split(lambda g, m: _powers(g, GATED, 1), _gated(lambda m: 2)),
    ),
    "gaussian-gate-D2sharp": (
        "none",
        ("gate_location", "gate_covariance", *LINEAR[1:]),
        _split(lambda g, m: _powers(g, GATED, 1), _gated(lambda m: r_of(m) / 2)),
    ),
    "quadratic-monomial-D2": ("softmax", LINEAR, _split(_joint, _sharp)),
    "quadratic-polynomial-D2": ("softmax", LINEAR, _split(_joint, _published)),
    "quadratic-polynomial-D2sharp": ("softmax", LINEAR, _split(_joint, _sharp)),
    "laplace-D1": ("weights", LINEAR, _apart),
    "laplace-D2": ("weights", LINEAR, _split(_apart, _sharp)),
}
TOP_K = {
    "topk-D1": ("softmax", LINEAR, _apart),
    "topk-D2": ("softmax", LINEAR, _split(_apart, _published_apart)),
    "topk-D2sharp": ("softmax", LINEAR, _split(_apart, _sharp)),
}
UNWEIGHTED = {"sigmoid-L1", "sigmoid-L2"}
# Blocks that a loss does not see.
BLIND = {"lse-L1": "scale"}


def measure(kind, k, rng, d=1, size=1.0):
    """A measure of a kind's setting with k random atoms in d features."""
    gauge, names, _ = (SETTINGS | TOP_K)[kind]
    shapes = {
        "gate": (k, d),
        "coef": (k, d),
        "gate_location": (k, d),
        "slope": (k, d),
        "slopes": (k, 2, d),
        "levels": (k, 2),
    }
    atoms = {name: size * rng.normal(size=shapes.get(name, (k,))) for name in names}
    for name in {"scale", "temperature"} & set(names):
        atoms[name] = np.exp(0.3 * atoms[name])
    if "gate_covariance" in names:
        root = np.eye(d) + 0.3 * rng.normal(size=(k, d, d))
        atoms["gate_covariance"] = root @ root.transpose(0, 2, 1)
    renamed = {"slopes": "coef", "levels": "intercept"}
    weights = np.exp(rng.normal(size=k))
    if "gate_intercept" in names:
        weights = 1.0 / (1.0 + np.exp(-atoms["gate_intercept"]))
    return ms.MixingMeasure(weights, {renamed.get(name, name): block for name, block in atoms.items()}, gauge)


def naive_loss(estimate, truth, kind, t2, chosen=None, cell=None):
    """The loss at one translation, in the estimate's units, with the best factor of the masses; and that factor.

    `chosen`: only the cells of these atoms of the truth count. `cell`: given cells.
    """
    gauge, _, formula = (SETTINGS | TOP_K)[kind]
    left, right = (_coordinates(m, kind) for m in (estimate, truth))
    if gauge == "softmax":
        left = {**left, "gate": left["gate"] - t2}
    gap = [
        [{name: left[name][i] - right[name][j] for name in left} for j in range(truth.n_atoms)]
        for i in range(estimate.n_atoms)
    ]
    if cell is None:
        outside = () if kind == "sigmoid-L2" else ("gate_intercept",)
        cell = [int(np.argmin([_eta(g, *outside) for g in row])) for row in gap]
    chosen = range(truth.n_atoms) if chosen is None else chosen
    sizes = np.bincount(cell, minlength=truth.n_atoms)
    weight = np.ones(estimate.n_atoms) if kind in UNWEIGHTED else estimate.weights
    total = sum(weight[i] * formula(gap[i][j], sizes[j]) for i, j in enumerate(cell) if j in chosen)
    mass = np.array([estimate.weights[[i for i, c in enumerate(cell) if c == j]].sum() for j in chosen])
    star = truth.weights[list(chosen)]
    if kind == "sigmoid-L2":
        return total, 1.0
    if kind == "sigmoid-L1":
        return total + sum(abs(w - v) for w, v, j in zip(mass, star, chosen) if sizes[j] != 1), 1.0
    if gauge == "none":
        return total + np.abs(mass - star).sum(), 1.0
    ratios = mass / star
    ratios = sorted(ratios[ratios > 0.0])
    costs = [np.abs(mass - s * star).sum() for s in ratios]
    # The weighted median may be zero, where the infimum is no minimum: then the other cells choose.
    if np.abs(mass).sum() < min(costs):
        costs = [np.abs(mass - s * star)[mass > 0].sum() for s in ratios]
    best = max(s for s, cost in zip(ratios, costs) if cost <= min(costs) * (1 + 1e-12))
    return total + np.abs(mass - best * star).sum(), best


def naive_top_k(estimate, truth, kind, n_active, cell, translations):
    """Maximum over sets of experts of the least loss over a grid of translations, in the truth's units."""
    best = []
    for chosen in combinations(range(truth.n_atoms), n_active):
        found = [naive_loss(estimate, truth, kind, t, chosen, cell) for t in translations]
        value, factor = min(found)
        best.append(value / factor)
    return max(best)


def _coordinates(given, kind):
    atoms = dict(given.atoms)
    if "scale" in atoms:
        atoms["variance"] = atoms.pop("scale") ** 2
    if kind == "lse-L1":
        del atoms["variance"]
    if kind == "cosine-L2":
        atoms["gate"] = atoms["gate"] / norm(atoms["gate"], axis=1, keepdims=True)
    return atoms
