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
# # Softmax-gated Gaussian experts: what is fast, what is slow, what cannot be found
#
# Nguyen, Nguyen and Ho (NeurIPS 2023) show how fast the maximum-likelihood estimate of a softmax-gated Gaussian mixture of experts
# converges. Three scenarios: the number of experts known; one too many; and twice as many, where the gate cannot be identified.
# `PRESET` says how long the simulations are: `smoke` takes seconds and proves that everything runs, `quick` a minute each, `full` is for results.

# %%
import os
import tempfile

import moestat as ms

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
OUT = tempfile.mkdtemp()


def study(name):
    """Run a scenario, print its rates, and return the figure."""
    done = ms.simulate.run(name, PRESET, out=f"{OUT}/{name}")
    frame = done.frame()
    print(done.scenario.title, done.table(), sep="\n")
    return ms.plot.run_figure(frame, done.scenario, ms.simulate.estimate_rates(frame, done.scenario))


# %% [markdown]
# ## The number of experts is known
#
# The loss D1 falls as $n^{-1/2}$, and $n\,\mathrm{KL}$ tends to half the number of parameters, 4. The constant is the sharper test.

# %%
study("softmax-gaussian-exact")

# %%
exact = ms.simulate.Run.open(f"{OUT}/softmax-gaussian-exact")
kl = ms.simulate.estimate_rates(exact.frame(), exact.scenario)["kl"]
print("n KL:", {p.n: round(p.n * p.mean, 2) for p in kl.points}, "predicted", kl.predicted_constant)

# %% [markdown]
# ## One expert too many
#
# Two fitted atoms share one true expert. The density does not notice (KL stays at $-1$), nor do the moments of the pair; the atoms themselves
# are slow: gate and expert slopes $n^{-1/4}$, intercepts $n^{-1/8}$.

# %%
study("softmax-gaussian-over")

# %% [markdown]
# ## Twice as many: not identified
#
# With two atoms in every cell all pairs may share a factor $e^{\delta x}$ of their gates, and it cancels. The audit says so before any data are seen, with a
# second set of parameters of the same density.

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
print(ms.identifiability(truth, n_experts_fitted=4))

# %%
study("softmax-gaussian-unidentified")
