"""An analysis divided over processes: which weights are whose, and what a shard writes down of the whole.

The division follows from the plan alone, so that processes agree on it without talking. It balances the work of the Gram route,
``max·min²``, by the rule of the longest processing time first: at most 4/3 of the best division's largest share (R. L. Graham,
Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969).
"""

from __future__ import annotations

import dataclasses
import heapq
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.diagnose.layer import batches
from spectra.diagnose.plan import AnalysisPlan
from spectra.results.records import ModelInfo
from spectra.results.shards import Shard, ShardRecord, open_shard
from spectra.results.store import Run
from spectra.results.words import counted


@dataclass(frozen=True)
class ShardRun:
    """What one process of several analyses.

    Attributes:
        run: Where its results go.
        plan: Its part of the plan.
        model: The model, with a note that this is a part of it.
    """

    run: Run
    plan: AnalysisPlan
    model: ModelInfo


def divided(costs: Sequence[float], count: int) -> list[int]:
    """Divide work evenly: the longest goes first, each to whoever has least.

    Args:
        costs: Of each piece of work, at least 0. Equal ones go in their order.
        count: Number of shares, at least 1.

    Returns:
        For each piece the number of its share, from 0.
    """
    shares, loads = [0] * len(costs), [(0.0, share) for share in range(count)]
    for piece in sorted(range(len(costs)), key=lambda piece: -costs[piece]):
        load, shares[piece] = loads[0]
        heapq.heapreplace(loads, (load + costs[piece], shares[piece]))
    return shares


def part_of(plan: AnalysisPlan, shard: Shard) -> AnalysisPlan:
    """Choose the weights of a shard. Those that are decomposed together stay together.

    Args:
        plan: Of the whole model.
        shard: Which part.

    Returns:
        The same plan with some of its jobs, in model order; with none if there are more shards than batches.
    """
    together = batches(plan.jobs)
    shares = divided([sum(job.flops for job in batch) for batch in together], shard.count)
    mine = {job.matrix_name for batch, share in zip(together, shares, strict=True) if share == shard.index for job in batch}
    return dataclasses.replace(plan, jobs=tuple(job for job in plan.jobs if job.matrix_name in mine), is_part=True)


def begin_shard(
    output: str | os.PathLike[str],
    shard: Shard,
    plan: AnalysisPlan,
    model: ModelInfo,
    header: Mapping[str, Any],
    *,
    force: bool = False,
    check: Callable[[], None] = lambda: None,
) -> ShardRun:
    """Take one part of an analysis.

    Args:
        output: Folder of all shards.
        shard: Which part.
        plan: Of the whole model.
        model: Which model.
        header: What identifies the analysis.
        force: Start over with this shard.
        check: Called before anything is written, if there is something to do.

    Returns:
        What to analyse, and where it goes.

    Raises:
        ResultsError: ``output`` holds something else, or cannot be written.
    """
    part = part_of(plan, shard)
    mine = {job.matrix_name for job in part.jobs}
    record = ShardRecord(
        index=shard.index,
        count=shard.count,
        header=header,
        model=model,
        num_layers=len(plan.jobs),
        places={job.matrix_name: place for place, job in enumerate(plan.jobs) if job.matrix_name in mine},
    )
    note = f"Shard {shard}: {len(part.jobs)} of {counted(len(plan.jobs), 'layer')}."
    noted = dataclasses.replace(model, notes=(*model.notes, note))
    return ShardRun(open_shard(output, record, force=force, check=check), part, noted)
