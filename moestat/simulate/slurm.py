"""The script of a SLURM job array that runs a scenario in shards."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

__all__ = ["array_script", "seconds_until_the_end"]

MARGIN = 180.0  # seconds before the end of a job at which a run stops


def array_script(
    simulate: Sequence[str], shards: int, *, name: str, time: str = "04:00:00", memory: str = "2G", cores: int = 1
) -> str:
    """A batch script: one array task a shard, all of them into one folder.

    Parameters
    ----------
    simulate : sequence of str
        Arguments of ``moestat simulate``, without shard and jobs.
    shards : int
        Tasks of the array.
    name, time, memory : str
        Name of the job, its time limit, and memory a core, as ``sbatch`` takes them.
    cores : int
        Cores of a task.

    Examples
    --------
    >>> print(array_script(["my.toml", "--out", "run"], 2, name="my").splitlines()[-1])
    moestat simulate my.toml --out run --shard "$SLURM_ARRAY_TASK_ID/2" --jobs "$SLURM_CPUS_PER_TASK"
    """
    command = " ".join(map(shlex.quote, ["moestat", "simulate", *simulate]))
    return f"""\
#!/bin/bash
#SBATCH --job-name=moestat-{name}
#SBATCH --array=1-{shards}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem-per-cpu={memory}
#SBATCH --time={time}
#SBATCH --output=%x-%A-%a.log
# Submit with sbatch from the folder in which paths are meant. A task stops by itself three minutes before its time is
# up; submit the script again to finish what is left. Load the environment that has moestat here:
# source .venv/bin/activate
set -eu
task="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
export SLURM_JOB_END_TIME="${{SLURM_JOB_END_TIME:-$(date -d "$(squeue -h -j "$task" -o %e)" +%s)}}" # older SLURM sets none
{command} --shard "$SLURM_ARRAY_TASK_ID/{shards}" --jobs "$SLURM_CPUS_PER_TASK"
"""


def seconds_until_the_end(now: float) -> float | None:
    """Seconds until this SLURM job must stop, three minutes before its end; None outside of SLURM.

    Parameters
    ----------
    now : float
        Seconds since the epoch.
    """
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return max(1.0, float(end) - MARGIN - now) if end.isdigit() else None
