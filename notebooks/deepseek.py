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
# # DeepSeekMoE's two ideas: shared experts and normalised sigmoid gates
#
# Some experts are always active, the others are routed; and the routed weights are sigmoids, normalised. "On DeepSeekMoE" (2025) says what both do to
# the estimation of experts. Theorems 1 and 2: shared experts beside a softmax gate; 3 and 4: beside normalised sigmoids.

# %%
import os
import tempfile

import numpy as np

import moestat as ms

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
OUT = tempfile.mkdtemp()

# %% [markdown]
# ## How hard is a normalised sigmoid gate to estimate?
#
# When all sigmoids are small their common scale cancels. The Fisher information says what that costs: the standard error of the gate at
# n = 10 000, for the same experts.

# %%
experts = {"expert_coef": [[-1.2], [-0.7], [-0.9]], "expert_intercept": [1.8, 2.0, 1.3], "expert_scale": [0.1, 0.1, 0.1414]}
law = ms.distributions.Uniform([-3.0], [3.0])
tanh = ms.experts.NonlinearExpert(activation="tanh", output=False)
for routed, gate in (
    ("softmax", {"gate_coef": [[1.5], [0.0]], "gate_intercept": [-0.8, 0.0]}),
    ("normalized_sigmoid", {"gate_coef": [[-2.76], [1.27]], "gate_intercept": [1.98, 0.42]}),
):
    truth = ms.ConditionalMixture(ms.gates.SharedExperts(1, routed=routed), tanh, experts | gate | {"shared_intercept": [0.0]})
    covariance = np.linalg.inv(ms.losses.fisher_information(truth, law)) / 10_000
    names = truth.free_names()
    print(routed, {n: round(float(s), 3) for n, s in zip(names, np.sqrt(np.diag(covariance))) if "routed" in n})

# %% [markdown]
# ## Rates


# %%
def study(name):
    """Run a scenario, print its rates, and return the figure."""
    done = ms.simulate.run(name, PRESET, out=f"{OUT}/{name}")
    frame = done.frame()
    print(done.scenario.title, done.table(), sep="\n")
    return ms.plot.run_figure(frame, done.scenario, ms.simulate.estimate_rates(frame, done.scenario))


# %%
study("deepseek-1")

# %%
study("deepseek-2")

# %%
study("deepseek-3")

# %%
study("deepseek-4")
