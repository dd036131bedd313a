"""Which requests are answered together: those of about the same length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

from spectra.errors import InputError


def plan_batches(lengths: Sequence[int], batch_size: int, window: int = 64) -> tuple[tuple[int, ...], ...]:
    """Arrange requests in batches.

    Args:
        lengths: Tokens of each prompt. Where they are not known: the same number for all, which keeps their order.
        batch_size: Requests in a batch; the last one of a window may have fewer.
        window: Batches among which requests change places. Default 64: our choice; neighbours are of nearly one length, and
            results still come in about the order of the input.

    Returns:
        The places of the requests, batch by batch: within a window the longest first, so that what does not fit into memory
        shows at once, and equal ones by their place.

    Raises:
        InputError: A batch or a window of nothing.
    """
    if batch_size < 1 or window < 1:
        raise InputError(f"batch_size and window: expected at least 1, got {batch_size} and {window}.")
    size = window * batch_size
    batches: list[tuple[int, ...]] = []
    for start in range(0, len(lengths), size):
        order = sorted(range(start, min(start + size, len(lengths))), key=lambda index: (-lengths[index], index))
        batches += [tuple(order[first : first + batch_size]) for first in range(0, len(order), batch_size)]
    return tuple(batches)
