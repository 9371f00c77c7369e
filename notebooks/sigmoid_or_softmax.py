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
# # Sigmoid or softmax gates under least squares
#
# Softmax weights compete, sigmoid weights do not. Nguyen, Ho and Rinaldo (2024) compare what least squares can find: over-specified experts under
# a softmax gate converge at $n^{-1/4}$ if they are strongly identifiable, and not at all if they are linear; under a sigmoid gate it depends on whether
# a gate that is split is constant.

# %%
import os
import tempfile

import numpy as np

import moestat as ms

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
OUT = tempfile.mkdtemp()

# %% [markdown]
# ## Three linear experts for two: the same function
#
# Two copies of a gate with experts on both sides of the true one.

# %%
f = ms.RegressionFunction(params={"gate_coef": [[3.0], [0.0]], "gate_intercept": [0.5, 0.0], "expert_coef": [[-2.0], [2.0]],
                                  "expert_intercept": [1.0, -1.0]})
g = ms.RegressionFunction(params={"gate_coef": [[3.0], [0.0], [0.0]], "gate_intercept": [0.5 + np.log(2.0), 0.0, 0.0],
                                  "expert_coef": [[-2.0], [5.0], [-1.0]], "expert_intercept": [1.0, 3.0, -5.0]})
x = np.linspace(-1, 1, 101)[:, None]
print("largest difference:", np.abs(f.mean(x) - g.mean(x)).max())

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
study("least-squares-tanh")

# %%
study("least-squares-linear")

# %%
study("sigmoid-regime-1")

# %%
study("sigmoid-regime-2")

# %% [markdown]
# In the second regime the over-specified function keeps a distance from the truth: no sum of three sigmoids in the box is the sum of two.
