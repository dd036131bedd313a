"""Which shard a process is, from what launchers and batch systems tell it; only if it is asked for.

The environment alone never divides a run: an interactive allocation of Slurm sets the same variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from spectra.errors import InputError
from spectra.results.shards import Shard

# Which process of a job this is: number and how many. The innermost launcher comes first, as those inside see what those
# outside have set: torchrun started by mpirun started by srun. Slurm's SLURM_NTASKS will not do, since a batch script, which is
# one process, has it too; SLURM_STEP_NUM_TASKS belongs to what srun starts.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
_TASK, _NUM_TASKS, _FIRST, _LAST = (f"SLURM_ARRAY_TASK_{word}" for word in ("ID", "COUNT", "MIN", "MAX"))


def resolve_shard(shard: str | None, *, has_output: bool = True) -> Shard | None:
    """Read which shard is asked for.

    Args:
        shard: ``"i/n"``, ``"auto"`` or ``None``.
        has_output: Whether there is a folder for what shards have to say to each other.

    Returns:
        The shard, or ``None``.

    Raises:
        InputError: No shard; none that the environment tells; or no folder.
    """
    if shard is None:
        return None
    if not has_output:
        raise InputError("shard: shards are merged from their files. Give all of them one folder with output (--output DIR).")
    return shard_of_process(os.environ) if shard == "auto" else Shard.parse(shard)


def shard_of_process(environment: Mapping[str, str]) -> Shard:
    """Find out which process of several this is.

    Args:
        environment: Variables by name.

    Returns:
        The process among those of its job; in a job array, among those of all its tasks.

    Raises:
        InputError: Nothing there tells, or what is there does not fit together.
    """
    process = _process(environment)
    task = _array_task(environment)
    if process is None and task is None:
        pairs = "; ".join(f"{rank} and {count}" for rank, count in (*LAUNCHERS, (_TASK, _NUM_TASKS)))
        raise InputError(f"shard 'auto': no launcher or job array tells which shard this is ({pairs}). Say it: --shard 0/8.")
    inner, outer = process or Shard(0, 1), task or Shard(0, 1)
    return Shard(outer.index * inner.count + inner.index, outer.count * inner.count)


def _process(environment: Mapping[str, str]) -> Shard | None:
    for rank, count in LAUNCHERS:
        # Outside of a step, SLURM_PROCID is that of the batch script. Of the others, one without the other is a mistake.
        if count in environment or (rank in environment and rank != "SLURM_PROCID"):
            return _pair(environment, rank, count)
    return None


def _array_task(environment: Mapping[str, str]) -> Shard | None:
    if _TASK not in environment:
        return None
    task, count, first, last = (_number(environment, name) for name in (_TASK, _NUM_TASKS, _FIRST, _LAST))
    step = max((last - first) // max(count - 1, 1), 1)
    if not first <= task <= last or last - first != step * (count - 1) or (task - first) % step:
        raise InputError(
            f"shard 'auto': {count} tasks from {first} to {last} are no even job array; this is {task}. Number the shards "
            f"yourself, also when only some tasks run again: --shard ${_TASK}/8 with --array=0-7."
        )
    return Shard((task - first) // step, count)


def _pair(environment: Mapping[str, str], rank: str, count: str) -> Shard:
    index, of = _number(environment, rank), _number(environment, count)
    if index >= of:
        raise InputError(f"shard 'auto': {rank}={index} is none of {count}={of}. Start with the launcher, or say --shard 0/8.")
    return Shard(index, of)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name)
    if value is None or not (value.isascii() and value.isdecimal()):
        found = "is not set" if value is None else f"is '{value}', no number"
        raise InputError(f"shard 'auto': {name} {found}, though its like are. Start with the launcher, or say --shard 0/8.")
    return int(value)
