"""Which samples take the rewritten response where only a share of them shall."""

from __future__ import annotations

from collections.abc import Mapping

from spectra.errors import InputError
from spectra.training.sdft.generation import seed_of


def mixed_in(row_id: str, ratio: float, seed: int) -> bool:
    """Say whether a sample takes its rewritten response.

    A hash of the sample and the seed decides, so that the sets of growing ratios are nested and do not depend on the other
    samples.

    Source: Yang et al. (2024), arXiv 2402.13669, mix both kinds of responses by a share; how one chooses is our choice.

    Args:
        row_id: Of the sample.
        ratio: The share of samples that take it, in [0, 1]: of N samples about ``ratio * N``, give or take
            ``sqrt(N * ratio * (1 - ratio))``.
        seed: Another seed chooses other samples.

    Returns:
        ``False`` for all samples at 0, ``True`` for all at 1.

    Raises:
        InputError: A ratio outside [0, 1].
    """
    if not 0.0 <= ratio <= 1.0:
        raise InputError(f"mix_ratio is {ratio!r}: pass the share of samples that take the rewritten response, from 0 to 1.")
    return seed_of("mixing", seed, row_id) < ratio * 2**63  # exact: Python compares an int and a float by their values


def mixing_notes(mixed: Mapping[str, float]) -> tuple[str, ...]:
    """Say how many of the accepted responses are in the data, if not all are.

    Args:
        mixed: ``mix_ratio``, ``accepted`` and ``used``; or nothing.

    Returns:
        A note, or none.
    """
    if not mixed or mixed["used"] == mixed["accepted"]:
        return ()
    return (f"mix_ratio {mixed['mix_ratio']:g}: {mixed['used']:,} of {mixed['accepted']:,} accepted responses are in the data",)
