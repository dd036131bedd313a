"""Which work fits into the memory there is, and what is said of weights that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.filesize import decimal as in_words

from spectra.errors import InputError
from spectra.matrices import WeightMatrices
from spectra.results.words import counted

# Bytes that the work on some weights takes, on top of what the process holds without them.
Need = Callable[[Sequence[WeightMatrices]], int]

_LISTED = 5


def split_to_fit(batches: Sequence[Sequence[WeightMatrices]], need: Need, budget: int | None) -> list[Sequence[WeightMatrices]]:
    """Take batches apart that need more memory than there is.

    Args:
        batches: Of weights that each fit by themselves.
        need: Bytes that some of them take together.
        budget: Bytes that layers in flight may take together; ``None``: any number.

    Returns:
        The batches, those that do not fit as weights by themselves. Digits do not depend on it.
    """

    def parts(batch: Sequence[WeightMatrices]) -> list[Sequence[WeightMatrices]]:
        fits = budget is None or need(batch) <= budget
        return [batch] if fits else [[job] for job in batch]

    return [part for batch in batches for part in parts(batch)]


def too_large(jobs: Sequence[WeightMatrices], need: Need, budget: int) -> list[tuple[int, WeightMatrices]]:
    """Find the weights that need more memory by themselves than there is.

    Args:
        jobs: The weights.
        need: Bytes that one of them takes.
        budget: Bytes that layers in flight may take together.

    Returns:
        Bytes and weight, the largest first.
    """
    found = [(size, job) for job in jobs if (size := need([job])) > budget]
    return sorted(found, key=lambda pair: pair[0], reverse=True)


def check_that_all_fit(jobs: Sequence[WeightMatrices], need: Need, budget: int, *, remedy: str = "") -> None:
    """Refuse work with a weight that is too large for the memory, before anything is read.

    Args:
        jobs: The weights.
        need: Bytes that one of them takes.
        budget: Bytes that layers in flight may take together.
        remedy: What else helps, as :func:`in_words_too_large` takes it.

    Raises:
        InputError: A weight that needs more by itself; all of them are named.
    """
    if found := too_large(jobs, need, budget):
        raise InputError(in_words_too_large(found, budget, remedy=remedy))


def in_words_too_large(found: Sequence[tuple[int, WeightMatrices]], budget: int, *, remedy: str = "") -> str:
    """Say which weights do not fit, and what to do.

    Args:
        found: Of :func:`too_large`, at least one.
        budget: Bytes that there are.
        remedy: What helps beside more memory and fewer layers, to follow "or". Default: nothing.

    Returns:
        Sentences.
    """
    named = ", ".join(f"'{job.matrix_name}' ({in_words(size)})" for size, job in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    evals = max(0, min(job.num_eigenvalues for _, job in found) - 1)
    remedies = ["Allow more with --max-memory", f"leave them out with --exclude or --max-evals {evals}", remedy]
    *others, last = filter(None, remedies)
    return (
        f"{counted(len(found), 'layer')} may need more memory than the {in_words(budget)} there are: {named}{more}. "
        f"{', '.join(others)}, or {last}."
    )
