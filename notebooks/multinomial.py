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
# # Classes: when can an over-specified mixture of logistic experts be identified?
#
# Nguyen et al. (ICML 2024) study softmax-gated multinomial logistic experts. Their second regime, in which slopes of an expert vanish, is said to
# be slower than any polynomial rate; in truth nothing is there to converge to: two experts with the same slopes mix into others.

# %%
import os
import tempfile

import numpy as np

import moestat as ms

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
OUT = tempfile.mkdtemp()

# %% [markdown]
# ## The identity behind it
#
# Split an expert with vanishing slopes into two of the same gate whose class probabilities average to its own.

# %%
one = {"gate_coef": [[4.3], [0.0]], "gate_intercept": [-0.8, 0.0],
       "expert_coef": [[[2.0], [-0.8]], [[0.0], [0.0]]], "expert_intercept": [[-3.8, 1.4], [0.8, -0.6]]}
p = np.exp([0.8, -0.6, 0.0])
p /= p.sum()
shift = np.array([0.15, -0.1, -0.05])
logits = [np.log(q / q[-1])[:-1] for q in (p + shift, p - shift)]
two = {"gate_coef": [[4.3], [0.0], [0.0]], "gate_intercept": [-0.8 + np.log(2.0), 0.0, 0.0],
       "expert_coef": [[[2.0], [-0.8]], [[0.0], [0.0]], [[0.0], [0.0]]], "expert_intercept": [[-3.8, 1.4], *logits]}
x = np.linspace(-3, 3, 201)[:, None]
gap = [ms.ConditionalMixture("softmax", "multinomial", q).mean(x) for q in (one, two)]
print("largest difference of class probabilities:", np.abs(gap[0] - gap[1]).max())

# %% [markdown]
# ## What the simulations show


# %%
def study(name):
    """Run a scenario, print its rates, and return the figure."""
    done = ms.simulate.run(name, PRESET, out=f"{OUT}/{name}")
    frame = done.frame()
    print(done.scenario.title, done.table(), sep="\n")
    return ms.plot.run_figure(frame, done.scenario, ms.simulate.estimate_rates(frame, done.scenario))


# %%
study("multinomial-exact")

# %%
study("multinomial-over")

# %%
study("multinomial-vanishing")

# %%
study("multinomial-modified")

# %% [markdown]
# The modified softmax, of $\tanh(x)$, removes an interaction of gate and experts. It does not identify experts with equal slopes: the identity above
# has no gate in it.
