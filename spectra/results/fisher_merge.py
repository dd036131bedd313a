"""Two Fishers of one model, measured on different samples, made one: shards, ranks and interrupted runs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.results.fisher import Fisher
from spectra.results.fisher_records import FisherInfo, FisherTensor, Keep

_SETTINGS = ("kind", "reduction", "keep", "aggregate", "task", "num_draws", "model", "dtype")


def merge_fishers(first: Fisher, second: Fisher, *more: Fisher) -> Fisher:
    """Combine the Fishers of several sets of samples into that of all.

    Averages are weighted by the numbers of samples. Standard errors are those of all samples together, exactly: they follow
    from the two variances and the distance of the two means (the pairwise formula of Chan, Golub and
    LeVeque, The American Statistician 37, 1983).

    Args:
        first: Of some samples.
        second: Of other samples of the same model, measured in the same way.
        *more: Of further samples.

    Returns:
        A Fisher as if all samples had been measured at once, up to rounding. Its ``data`` is the SHA-256 of both
        fingerprints, in order, and so on for more; seeds that differ are noted, and the first is kept.

    Raises:
        InputError: Another model or way of measuring, naming the first difference; the same data twice; no samples at all.
    """
    for other in (second, *more):
        _check_agreement(first, other)
    _check_data((first, second, *more))
    return functools.reduce(_merged, more, _merged(first, second))


def _merged(first: Fisher, second: Fisher) -> Fisher:
    counts = (first.info.num_samples, second.info.num_samples)
    if not sum(counts):
        raise InputError("neither Fisher has a sample: there is nothing to merge. Measure at least one of them.")
    pairs = zip(first.tensors, second.tensors, strict=True)
    return Fisher(
        info=_merged_info(first.info, second.info),
        tensors=tuple(_merged_tensor(a, b, counts) for a, b in pairs),
        sites=first.sites,
        values=_merged_arrays(first.values, second.values, counts),
        row_sums=_merged_arrays(first.row_sums, second.row_sums, counts) if first.info.keep == Keep.NEURONS else {},
        col_sums=_merged_arrays(first.col_sums, second.col_sums, counts) if first.info.keep == Keep.NEURONS else {},
    )


def _check_agreement(first: Fisher, second: Fisher) -> None:
    pairs = [(name, getattr(first.info, name), getattr(second.info, name)) for name in _SETTINGS]
    for a, b in zip(first.tensors, second.tensors, strict=False):
        pairs += [("a parameter's name", a.name, b.name), (f"the shape of '{a.name}'", a.shape, b.shape)]
    pairs.append(("the number of parameters", len(first.tensors), len(second.tensors)))
    pairs.append(("the dropout sites", [s.name for s in first.sites], [s.name for s in second.sites]))
    for what, one, other in pairs:
        if one != other:
            raise InputError(
                f"cannot merge two Fishers that differ in {what}: '{one}' and '{other}'. Measure both in the same way."
            )


def _check_data(fishers: Sequence[Fisher]) -> None:
    """Compare all before any are merged: the fingerprint of a pair no longer tells whose data are in it."""
    places: dict[str, int] = {}
    for place, one in enumerate(fishers, start=1):
        if not one.info.num_samples:
            continue
        before = places.setdefault(one.info.data, place)
        if before != place:
            which = "both Fishers" if len(fishers) == 2 else f"Fishers {before} and {place} of {len(fishers)}"
            raise InputError(f"{which} are of the same data, which would count twice. Merge Fishers of different samples.")


def _merged_info(first: FisherInfo, second: FisherInfo) -> FisherInfo:
    notes = [*first.notes, *second.notes]
    if first.seed != second.seed:
        notes.append(f"merged from seeds {first.seed} and {second.seed}")
    return dataclasses.replace(
        first,
        num_samples=first.num_samples + second.num_samples,
        num_tokens=first.num_tokens + second.num_tokens,
        num_skipped=first.num_skipped + second.num_skipped,
        data=hashlib.sha256(f"{first.data}\n{second.data}".encode()).hexdigest(),
        notes=tuple(dict.fromkeys(notes)),
    )


def _merged_tensor(first: FisherTensor, second: FisherTensor, counts: tuple[int, int]) -> FisherTensor:
    return dataclasses.replace(
        first,
        trace=_average(first.trace, second.trace, counts),
        trace_std_error=_merged_std_error(first, second, counts),
        relative=_average(first.relative, second.relative, counts),
        route=first.route if first.route == second.route else "mixed",
    )


def _merged_std_error(first: FisherTensor, second: FisherTensor, counts: tuple[int, int]) -> float:
    total = sum(counts)
    if total < 2:
        return math.nan
    # SE^2 n (n - 1) is the sum of squares around the mean; of a single sample it is zero, though its SE is NaN.
    squares = [t.trace_std_error**2 * n * (n - 1) for t, n in zip((first, second), counts, strict=True) if n > 1]
    distance = (second.trace - first.trace) ** 2 * counts[0] * counts[1] / total if all(counts) else 0.0
    return math.sqrt((sum(squares) + distance) / (total * (total - 1)))


def _merged_arrays(
    first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]], counts: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(_average(first[name], second[name], counts)) for name in first}  # of a scalar, too, an array


def _average(first: Any, second: Any, counts: tuple[int, int]) -> Any:
    """Average with weights; what has no samples has no say, not even as NaN."""
    if not all(counts):
        return first if counts[0] else second
    share = counts[0] / sum(counts)
    return share * first + (1 - share) * second
