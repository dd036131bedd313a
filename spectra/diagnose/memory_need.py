"""How much memory the analysis of a weight takes, from its shape and dtype alone.

Of a matrix of ``N`` rows and ``n <= N`` columns (a wide one is walked over by its columns) is held, in turns:

============  =====================================================================================================
reading       of a wide matrix or an entry of a stack what it is computed from: both models, or a model and an adapter
the product   a block of rows as read and in working precision; the Gram matrix and, of several blocks, a partial sum
the solver    the Gram matrix and LAPACK's copy of it
the fallback  for ranks under the Gram matrix' resolution: a block on top of a triangle, and three copies of that
============  =====================================================================================================

and all along a wide matrix or an entry of a stack, as it is stored where the source can give it so, and in float64 if it is
computed; and an adapter's factors. These are upper bounds: the fallback, the most of these for tall matrices, is for few. A
model's other weights are on disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from spectra.esd.gram import block_rows
from spectra.esd.stacks import stack_size
from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Dense, Kernel
from spectra.results.settings import AnalysisSettings
from spectra.sources.stored_rows import StoredRows

_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

# Beside the arrays that grow with the matrix: the fit's, and buffers of BLAS (measured: 9 MB).
_CONSTANT = 12_000_000

# Of an adapter's factors, by number: as read, scaled, joined, and what is decomposed of them.
_FACTORS = 8 * 5


def bytes_of(batch: Sequence[WeightMatrices], settings: AnalysisSettings) -> int:
    """Bound the memory that the analysis of weights takes.

    Args:
        batch: Weights that are decomposed together, or one.
        settings: Resolved settings.

    Returns:
        Bytes, on top of what the process holds without them.
    """
    at_once = [min(job.num_matrices, stack_size(min(job.num_rows, job.num_cols))) for job in batch]
    # Prepared one after the other, then solved together: NumPy's stack, and the solver's copy of it.
    waiting = sum(24 * number * min(job.num_rows, job.num_cols) ** 2 for job, number in zip(batch, at_once, strict=True))
    held = sum(_held(job, number, settings) for job, number in zip(batch, at_once, strict=True))
    alone = max(at_once, default=0) * len(batch) < 2
    in_turns = max((_in_turns(job, settings) for job in batch), default=0)
    return held + in_turns + (0 if alone else waiting) + _CONSTANT


def remedy_of(settings: AnalysisSettings) -> str:
    """Return what else than more memory and fewer layers helps an analysis that does not fit; empty for nothing.

    Args:
        settings: Resolved settings.
    """
    return "choose --precision float32, which needs less" if settings.precision == "float64" else ""


def _held(job: WeightMatrices, at_once: int, settings: AnalysisSettings) -> int:
    """Bytes held all along: nothing of tall matrices, which are read by blocks."""
    is_computed = job.tensor.is_difference or job.tensor.is_merged
    as_read = 8 if is_computed else max(4, _BYTES.get(job.tensor.dtype, 4))
    stored = _BYTES.get(job.tensor.dtype, as_read) if isinstance(job.tensor.read, StoredRows) else as_read
    matrix = job.num_rows * job.num_cols
    if isinstance(job.cut, Kernel):
        held = job.tensor.size * as_read
    elif isinstance(job.cut, Dense) and job.num_rows >= job.num_cols:
        held = 0
    else:
        held = at_once * matrix * stored
    # The weights whole and in random order, and the order of some.
    return held + ((2 * as_read + 4) * matrix if settings.randomize else 0)


def _in_turns(job: WeightMatrices, settings: AnalysisSettings) -> int:
    """Bytes of one matrix while it is multiplied, solved or decomposed by the other route, whichever is most."""
    small, large = sorted((job.num_rows, job.num_cols))
    if not small:
        return 0
    working = 4 if settings.precision == "float32" else 8
    rows = min(block_rows(small), large)
    operands = _operands(job)
    if isinstance(job.cut, Kernel):
        reading = operands * job.tensor.size  # all positions are read at once
    else:  # by rows, but a wide matrix is walked over by its columns, and an entry of a stack is read whole
        reading = 0 if isinstance(job.cut, Dense) and job.num_rows >= job.num_cols else operands * small * large
    product = (4 + working + operands) * rows * small + (2 if large > rows else 1) * working * small**2
    # float32: the Gram matrix, that in float64 and the copy. Eigenvectors: LAPACK's workspace and squares of them (measured).
    solver = (88 if settings.vectors else 16 if working == 8 else 20) * small**2
    falls_back = settings.method == "svd" or (settings.method == "auto" and working == 8)
    fallback = 4 * working * min(large, rows + small) * small if falls_back else 0
    return max(reading, product, solver, fallback) + _FACTORS * (small + large) * job.tensor.rank


def _operands(job: WeightMatrices) -> int:
    """Bytes beside a number while it is computed: of both models, or of a model and the product of an adapter's factors."""
    stored = max(4, _BYTES.get(job.tensor.dtype, 4))
    if job.tensor.factors is not None:
        return 0  # the product is all there is
    if job.tensor.is_difference:
        return stored + 16 if job.tensor.is_merged else 2 * stored
    return stored + 8 if job.tensor.is_merged else 0
