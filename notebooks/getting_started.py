# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Getting started: mixtures of experts on real data
#
# A mixture of experts is a conditional density $p(y|x) = \sum_k \pi_k(x)\,f_k(y|x)$: a gate says which expert is likely at $x$. Three data
# sets, from the fit to the certificate, standard errors and figure.

# %%
import numpy as np

import moestat as ms

# %% [markdown]
# ## Tone perception: two theories, two lines
#
# A musician tunes a tone to the octave of one whose overtones are stretched (Cohen, 1980). Does the answer stay at 2, or does it follow the
# stretching?

# %%
tone = ms.datasets.load_tonedata()
est = ms.MoERegressor(n_experts=2, random_state=0).fit(tone.X, tone.y)
print(est.inference(tone.X, tone.y).summary())

# %% [markdown]
# `certified (10 of 10 runs)` means that all starts ended at the same maximum, and that what is left to be gained in the whole sample is
# below 1e-8 nats. `result_.certificate` holds the numbers.

# %%
print(est.result_.certificate)
ms.plot.plot_fit(est, tone.X, tone.y).figure

# %% [markdown]
# ## Motorcycle accidents: regimes along one axis
#
# Head acceleration after an impact: first nothing, then a sharp fall and rebound, with three very different variances. The gate finds the
# regimes.

# %%
cycle = ms.datasets.load_mcycle()
moto = ms.PolynomialMoERegressor(n_experts=3, degree=2, random_state=0).fit(cycle.X, cycle.y)
print(moto.result_.status.name, round(moto.loglik_, 3))
for message in moto.result_.messages:
    print("-", message)
ms.plot.plot_fit(moto, cycle.X, cycle.y).figure

# %% [markdown]
# ## Other families
#
# The same class takes any expert: with `student_t` experts single answers far from both lines count for less.

# %%
robust = ms.MoERegressor(n_experts=2, expert="student_t", random_state=0).fit(tone.X, tone.y)
print(robust.inference(tone.X, tone.y).summary())

# %% [markdown]
# ## How many experts? One fit with too many
#
# A fit with too many experts has atoms that are nearly alike. The dendrogram merges them, and its criterion says where to stop; BIC needs a
# fit of every size. On data of which we know the answer:

# %%
truth = ms.ConditionalMixture(
    params={
        "gate_coef": [[4.0], [0.0]],
        "gate_intercept": [0.5, 0.0],
        "expert_coef": [[-2.0], [2.0]],
        "expert_intercept": [1.0, -1.0],
        "expert_scale": [0.5, 0.4],
    }
)
X = ms.distributions.Uniform([-1.0], [1.0]).sample(1000, np.random.default_rng(0))
y = truth.sample(X, 1)
large = ms.MoERegressor(n_experts=3, random_state=0).fit(X, y)
tree = ms.dendrogram(large, X, y)
print(tree.to_frame().round(4))
print("experts:", tree.n_experts)
for k in (1, 2, 3):
    print(k, "experts: BIC", round(ms.MoERegressor(n_experts=k, random_state=0).fit(X, y).bic(X, y), 2))
