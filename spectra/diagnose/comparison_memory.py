"""How much memory the comparison of a weight takes, from shapes and dtypes alone.

In turns, as :mod:`spectra.diagnose.memory_need` counts it: the analyses before and after; the change, in float64; all singular
vectors of the base, which intruders may need. All along: Gram matrices that vectors are to be taken of, and the vectors of the
base; of a wide matrix the base, which is kept for the other models. Upper bounds, measured with changes of full and low rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spectra.diagnose.compared_models import OtherModel
from spectra.diagnose.kept_grams import MOST_BYTES
from spectra.diagnose.memory_need import bytes_of
from spectra.diagnose.spectra_of_changes import settings_of_changes
from spectra.esd.deflation import most_deflated
from spectra.esd.stacks import stack_size
from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Kernel
from spectra.results.settings import AnalysisSettings

# LAPACK's copy of a Gram matrix and its workspace, two squares; those eigenvectors that it resolves.
_EIGENVECTORS = 8 * 4


def bytes_of_comparison(
    batch: Sequence[WeightMatrices], *, others: Sequence[OtherModel], settings: AnalysisSettings, num_directions: int
) -> int:
    """Bound the memory that the comparison of weights takes.

    Args:
        batch: Weights of the base that are compared together, or one.
        others: The other models.
        settings: Resolved settings of the analyses before and after.
        num_directions: Size of the leading subspaces.

    Returns:
        Bytes, on top of what the process holds without them.
    """
    names = [job.matrix_name for job in batch]
    after = [other.after[name] for other in others for name in names if name in other.changes and name in other.after]
    changes = [other.changes[name] for other in others for name in names if name in other.changes]
    of_changes = settings_of_changes(settings)
    in_turns = max(
        [_bytes_of_some(jobs, settings) for jobs in (batch, after)]
        + [_bytes_of_some(changes, of_changes)]
        + [_EIGENVECTORS * min(_shape(job)) ** 2 for job in batch]
    )
    single = [job for job in (*batch, *after, *changes) if job.num_matrices == 1]
    grams = min(sum(8 * min(_shape(job)) ** 2 for job in single), MOST_BYTES)
    return in_turns + grams + max(_of_base(job) + _of_directions(job, num_directions) for job in batch)


def _bytes_of_some(jobs: Sequence[WeightMatrices], settings: AnalysisSettings) -> int:
    """Bound the analyses of weights in any groups: which are together depends on what turns out unchanged."""
    single: dict[int, list[WeightMatrices]] = {}
    for job in jobs:
        if job.is_single:
            single.setdefault(min(job.num_rows, job.num_cols), []).append(job)
    groups = [
        sorted(group, key=lambda job: bytes_of([job], settings), reverse=True)[: stack_size(small)]
        for small, group in single.items()
    ]
    return max((bytes_of(group, settings) for group in [*groups, *([job] for job in jobs)]), default=0)


def _of_base(job: WeightMatrices) -> int:
    """Bytes of the base that stay for the other models: its Gram matrix, all its vectors and, of a wide one, its numbers."""
    rows, cols = _shape(job)
    return 16 * min(rows, cols) ** 2 + (8 * rows * cols if rows < cols else 0)


def _of_directions(job: WeightMatrices, num_directions: int) -> int:
    """Bytes of leading vectors of both sides: before, after and of the change, which may be taken off to see the rest of it."""
    rows, cols = _shape(job)
    return 8 * 5 * (rows + cols) * max(min(num_directions, rows, cols), most_deflated(min(rows, cols)))


def _shape(job: WeightMatrices) -> tuple[int, int]:
    """Shape of the matrix that directions are taken of: of a kernel its first axis, and all others."""
    if isinstance(job.cut, Kernel):
        return job.tensor.shape[0], math.prod(job.tensor.shape[1:])
    return job.num_rows, job.num_cols
