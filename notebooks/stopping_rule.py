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
# # Why a stopping rule fakes a rate
#
# A simulation of a convergence rate fits the same model to more and more data and reads the exponent off a log-log plot. It needs the maximum of
# the likelihood. EM in an over-specified mixture of experts moves slowly towards it, and published code often stops it when one step changes
# the log-likelihood by less than $10^{-6}$ *of itself*. That is not a small number: at n = 16 000 it allows steps of a hundredth of a nat, while
# the whole question is about a few nats. And the larger n, the sooner the rule is met.
#
# Started near the truth, such a fit stays near the truth. Its loss is that of the start and of the rule, not of the estimate.
# `PRESET` says how long the simulation is: `smoke` only proves that everything runs, `quick` takes minutes, `full` is for results.

# %%
import os

import moestat as ms
from moestat.simulate.stopping import rates_by_rule, stopping_study

PRESET = os.environ.get("MOESTAT_PRESET", "smoke")
SIZES, REPS = {
    "smoke": ((125, 250, 500), 2),
    "quick": ((250, 500, 1000, 2000, 4000), 20),
    "full": ((250, 500, 1000, 2000, 4000, 8000, 16000), 100),
}[PRESET]

# %% [markdown]
# ## One EM run, ended by many rules
#
# Two experts are true, three are fitted. For each data set EM runs once, from the near-truth start of the published protocol, and we keep the
# estimate at the first step that each tolerance would have taken for the last. Beside them stands the certified fit to the same
# data: several starts, Newton's method to the end, in a compact parameter space.

# %%
scenario = ms.simulate.load_scenario("softmax-gaussian-protocol")
frame = stopping_study(scenario, SIZES, REPS)
one = frame[(frame["loss"] == "kl") & (frame["rep"] == 0)]
print(one.pivot(index="rule", columns="n", values="iterations").loc[list(dict.fromkeys(one["rule"]))])

# %% [markdown]
# The columns are sizes. A step is compared with the log-likelihood, which grows with n: at large n a loose tolerance ends EM almost at once. With twelve
# replicates at n = 250, 1 000, 4 000 and 16 000 the tolerance $10^{-6}$ took a median of 126, 58.5, 6.5 and 5 steps. How far below the certified fit does EM
# end? Half a nat is what one parameter is worth on average.

# %%
print(frame[frame["loss"] == "kl"].groupby(["rule", "n"])["below"].mean().unstack().loc[list(dict.fromkeys(frame["rule"]))].round(2))

# %% [markdown]
# A negative entry is no error: EM has no box, and the certified fit has one.
#
# ## Slopes by rule
#
# The theorem says $-1$ for KL and $-1/2$ for the sharp Voronoi loss.

# %%
rates = rates_by_rule(frame, scenario)
for loss, by_rule in rates.items():
    for rule, rate in by_rule.items():
        low, high = rate.ci
        print(f"{loss:8s} {rule:10s} slope {rate.slope:6.2f} [{low:6.2f}, {high:6.2f}]")

# %%
ms.plot.stopping_figure(frame, rates)

# %% [markdown]
# At smoke size the intervals say nothing. With twelve replicates at seven sizes up to n = 16 000 the sharp loss had the slope $-0.85$ [$-0.97$, $-0.71$] at
# the tolerance $10^{-6}$, and $-0.51$ [$-0.66$, $-0.39$] from certified fits: the loose rule gives a rate that is too good, because the fits stay where they
# were started, the nearer to the truth the larger n. Nothing in the plot warns of it. What warns is the certificate. It asks how much log-likelihood is
# still to be gained (the Newton decrement), whether the second derivatives are those of a maximum, and whether several starts agree;
# `moestat rates` withholds a slope when fewer than 95 % of the fits pass.
#
# `moestat compare RUN` sets the two fits of `softmax-gaussian-protocol` side by side, with the interval of the difference of their slopes.
