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
# # Few complex experts or many simple ones?
#
# Mendes and Jiang (2012) bound the divergence of $m$ polynomial experts of degree $k$ for a target with $\alpha$ derivatives. At an equal number
# of parameters, what is better? The target here is rough at every scale, so that its smoothness is exactly $\alpha$.

# %%
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import moestat as ms
from moestat.simulate.models import cosine_series

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
OUT = tempfile.mkdtemp()

# %%
x = np.linspace(0, 1, 2001)[:, None]
figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.4), layout="constrained")
for ax, alpha in zip(axes, (1.0, 2.0, 4.0)):
    ax.plot(x[:, 0], cosine_series(x, alpha, 9, 1.5), lw=1)
    ax.set_title(f"{alpha:g} derivatives", fontsize=9)

# %% [markdown]
# ## Divergence against the number of experts


# %%
def study(name):
    """Run a scenario, print its rates, and return the figure."""
    done = ms.simulate.run(name, PRESET, out=f"{OUT}/{name}")
    frame = done.frame()
    print(done.scenario.title, done.table(), sep="\n")
    return ms.plot.run_figure(frame, done.scenario, ms.simulate.estimate_rates(frame, done.scenario))


# %%
study("polynomial-mendes-jiang")

# %%
study("mendes-jiang-alpha-1")

# %%
study("mendes-jiang-alpha-4")
