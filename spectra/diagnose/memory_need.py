"""How much memory the analysis of a weight takes, from its shape and dtype alone.

Of a matrix of ``N`` rows and ``n <= N`` columns (a wide one is walked over by its columns) is held, in turns:

============  =====================================================================================================
the product   a block of rows as read and in working precision; the Gram matrix and, of several blocks, a partial sum
the solver    the Gram matrix and LAPACK's copy of it
the fallback  for ranks under the Gram matrix' resolution: a block on top of a triangle, and three copies of that
============  =====================================================================================================

and all along a wide matrix or an entry of a stack, as it is stored where the source can give it so. These are upper bounds:
the fallback, the most of the three for tall matrices, is for few. A model's other weights are on disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.filesize import decimal as in_words

from spectra.errors import InputError
from spectra.esd.gram import block_rows
from spectra.esd.stacks import stack_size
from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Dense, Kernel
from spectra.results.settings import AnalysisSettings
from spectra.results.words import counted
from spectra.sources.stored_rows import StoredRows

_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_LISTED = 5

# Beside the arrays that grow with the matrix: the fit's, and buffers of BLAS (measured: 9 MB).
_CONSTANT = 12_000_000


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


def split_to_fit(
    batches: Sequence[Sequence[WeightMatrices]], settings: AnalysisSettings, budget: int | None
) -> list[Sequence[WeightMatrices]]:
    """Take batches apart that need more memory than there is.

    Args:
        batches: Of weights that each fit by themselves.
        settings: Resolved settings.
        budget: Bytes that layers in flight may take together; ``None``: any number.

    Returns:
        The batches, those that do not fit as weights by themselves. Digits do not depend on it.
    """

    def parts(batch: Sequence[WeightMatrices]) -> list[Sequence[WeightMatrices]]:
        fits = budget is None or bytes_of(batch, settings) <= budget
        return [batch] if fits else [[job] for job in batch]

    return [part for batch in batches for part in parts(batch)]


def too_large(jobs: Sequence[WeightMatrices], settings: AnalysisSettings, budget: int) -> list[tuple[int, WeightMatrices]]:
    """Find the weights that need more memory by themselves than there is.

    Args:
        jobs: The weights.
        settings: Resolved settings.
        budget: Bytes that layers in flight may take together.

    Returns:
        Bytes and weight, the largest first.
    """
    found = [(need, job) for job in jobs if (need := bytes_of([job], settings)) > budget]
    return sorted(found, key=lambda pair: pair[0], reverse=True)


def check_that_all_fit(jobs: Sequence[WeightMatrices], settings: AnalysisSettings, budget: int) -> None:
    """Refuse an analysis with a weight that is too large for the memory, before anything is read.

    Args:
        jobs: The weights.
        settings: Resolved settings.
        budget: Bytes that layers in flight may take together.

    Raises:
        InputError: A weight that needs more by itself; all of them are named.
    """
    if found := too_large(jobs, settings, budget):
        raise InputError(in_words_too_large(found, budget))


def in_words_too_large(found: Sequence[tuple[int, WeightMatrices]], budget: int) -> str:
    """Say which weights do not fit, and what to do.

    Args:
        found: Of :func:`too_large`, at least one.
        budget: Bytes that there are.

    Returns:
        Sentences.
    """
    named = ", ".join(f"'{job.matrix_name}' ({in_words(need)})" for need, job in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    evals = max(0, min(job.num_eigenvalues for _, job in found) - 1)
    return (
        f"{counted(len(found), 'layer')} may need more memory than the {in_words(budget)} there are: {named}{more}. "
        f"Allow more with --max-memory, leave them out with --exclude or --max-evals {evals}, or choose "
        "--precision float32, which needs less."
    )


def _held(job: WeightMatrices, at_once: int, settings: AnalysisSettings) -> int:
    """Bytes held all along: nothing of tall matrices, which are read by blocks."""
    as_read = 8 if job.tensor.is_difference else max(4, _BYTES.get(job.tensor.dtype, 4))  # differences are float64
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
    product = (4 + working) * rows * small + (2 if large > rows else 1) * working * small**2
    # float32: the Gram matrix, that in float64 and the copy. Eigenvectors: LAPACK's workspace and squares of them (measured).
    solver = (88 if settings.vectors else 16 if working == 8 else 20) * small**2
    falls_back = settings.method == "svd" or (settings.method == "auto" and working == 8)
    fallback = 4 * working * min(large, rows + small) * small if falls_back else 0
    return max(product, solver, fallback)
