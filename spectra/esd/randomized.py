"""The randomised spectrum: the same weights in random order, and what of the spectrum is left without structure.

The replicas depend on the seed and the layer's name only, not on the order of layers, filters or the number of workers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray, Precision, spectra_together
from spectra.esd.gram import AnyArray, ReadRows
from spectra.esd.marchenko_pastur import MarchenkoPasturMethod, fit_marchenko_pastur
from spectra.esd.power_law import ascending_spectrum

# WeightWatcher 0.7.7, WeightWatcher.apply_random_esd: "improve random estimator if we don't have that many evals".
_MANY_EIGENVALUES, _REPLICAS_OF_FEW = 100, 5

# Values that are shuffled directly, and in blocks of which larger arrays are dealt into bins: parts that stay in the cache.
# The 11.7 million weights of a vocabulary take 0.23 s so, and 0.63 s in one go. 256 bins: one random byte for each value
# (any other number takes ten times as long).
_SHUFFLED_AT_ONCE, _BLOCK, _NUM_BINS = 2**20, 2**16, 256


def randomized_spectra(
    matrices: Callable[[], Iterable[NDArray[Any]]],
    *,
    seed: int,
    name: str,
    num_replicas: int | None = None,
    num_eigenvalues: int,
    precision: Precision = "float64",
) -> list[FloatArray]:
    """Compute the pooled eigenvalues of matrices whose entries are put in random order, each matrix by itself.

    Source: arXiv 1810.01075, section 4.1; WeightWatcher 0.7.7, ``random_eigenvalues``.

    Args:
        matrices: Returns the matrices of a layer, finite, real, all of one smaller side. Called once, read one by one, not
            changed.
        seed: Not negative.
        name: Of the layer; enters the random numbers.
        num_replicas: How many random orders. ``None``: 5 for fewer than 100 eigenvalues, else 1, as WeightWatcher.
        num_eigenvalues: Of all matrices together.
        precision: Arithmetic of the Gram products. Entries move in their own precision.

    Returns:
        For each replica the eigenvalues of all matrices, shape ``(num_eigenvalues,)``, ascending. The first ones are the same
        whatever their number.

    Raises:
        InputError: A negative seed, no replica, an unknown precision, or another number of eigenvalues.
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    layer = ShuffledLayer(name, matrices, num_eigenvalues)
    (found,) = randomized_together([layer], seed=seed, num_replicas=num_replicas, precision=precision)
    if isinstance(found, Exception):
        raise found
    return found


@dataclass(frozen=True)
class ShuffledLayer:
    """A layer whose weights are to be put in random order.

    Attributes:
        name: Enters the random numbers.
        matrices: Returns its matrices, finite, real. Called once, read one by one, not changed.
        num_eigenvalues: Of all its matrices together.
    """

    name: str
    matrices: Callable[[], Iterable[NDArray[Any]]]
    num_eigenvalues: int


def randomized_together(
    layers: Sequence[ShuffledLayer],
    *,
    seed: int,
    num_replicas: int | None = None,
    precision: Precision = "float64",
    device: str = CPU,
) -> list[list[FloatArray] | Exception]:
    """Compute the randomised spectra of layers whose matrices have equal smaller sides, in common calls of the solver.

    Args:
        layers: The layers; their numbers are those that each has by itself.
        seed: Not negative.
        num_replicas: As for :func:`randomized_spectra`.
        precision: Arithmetic of the Gram products.
        device: Where they are computed and solved.

    Returns:
        For each layer its replicas, or what went wrong with it.

    Raises:
        InputError: A negative seed, no replica, or an unknown precision.
    """
    if seed < 0:
        raise InputError(f"seed: expected a number >= 0, got {seed}.")
    if num_replicas is not None and num_replicas < 1:
        raise InputError(f"num_replicas: expected at least 1, got {num_replicas}.")
    counts = [num_replicas or usual_number(layer.num_eigenvalues) for layer in layers]
    parts: list[list[list[FloatArray]]] = [[[] for _ in range(count)] for count in counts]
    failed: dict[int, Exception] = {}
    places: list[tuple[int, int]] = []

    def shuffled() -> Iterator[tuple[ReadRows, tuple[int, int]]]:
        for number, layer in enumerate(layers):
            digest = np.frombuffer(hashlib.sha256(layer.name.encode()).digest(), dtype="<u4").tolist()
            try:
                for index, matrix in enumerate(layer.matrices()):
                    generator = _generator(np.random.SeedSequence([seed, *digest], spawn_key=(index,)))
                    for replica in range(len(parts[number])):
                        places.append((number, replica))
                        yield _rows_of(entries := shuffled_entries(matrix, generator)), entries.shape
            except MATRIX_ERRORS as error:
                failed[number] = error

    # Not "auto": nobody asks for the rank of a random matrix.
    for place, spectrum in enumerate(spectra_together(shuffled(), precision=precision, method="gram", device=device)):
        number, replica = places[place]
        if isinstance(spectrum, Exception):
            failed[number] = spectrum
        else:
            parts[number][replica].append(spectrum.eigenvalues)
    return [failed.get(number) or _replicas(layer, parts[number]) for number, layer in enumerate(layers)]


def usual_number(num_eigenvalues: int) -> int:
    """Return how many random orders a layer gets by default.

    Args:
        num_eigenvalues: Of the layer.

    Returns:
        5 for fewer than 100 eigenvalues, else 1, as WeightWatcher.
    """
    return _REPLICAS_OF_FEW if num_eigenvalues < _MANY_EIGENVALUES else 1


def _replicas(layer: ShuffledLayer, parts: list[list[FloatArray]]) -> list[FloatArray] | Exception:
    replicas = [np.sort(np.concatenate(replica)) if replica else np.empty(0) for replica in parts]
    if len(replicas[0]) != layer.num_eigenvalues:
        return InputError(
            f"layer {layer.name!r}: expected {layer.num_eigenvalues} eigenvalues, its matrices have {len(replicas[0])}."
        )
    return replicas


def _rows_of(array: AnyArray) -> ReadRows:
    return lambda start, stop: array[start:stop]


@dataclass(frozen=True)
class RandomizedMetrics:
    """A spectrum beside those of the same weights in random order: "randomised" is what all replicas have in common.

    Standard deviations over replicas are NaN for a single one; what comes from the fit is NaN, or ``None``, without a bulk.

    Attributes:
        rand_lambda_max: Largest randomised eigenvalue, over all replicas (WeightWatcher's ``max_rand_eval``).
        rand_lambda_max_std: Standard deviation of the replicas' largest.
        rand_lambda_plus: Upper edge of the Marchenko-Pastur bulk of all replicas together (``rand_bulk_max``).
        rand_lambda_minus: Its lower edge (``rand_bulk_min``).
        rand_mp_sigma_rescaled: Its ``sigma_rescaled`` (``rand_sigma_mp``).
        rand_mp_scale: Its ``scale`` (``rand_W_scale``).
        rand_mp_soft_rank: Its ``soft_rank`` (``rand_mp_softrank``).
        num_traps: Correlation traps, that is spikes of a randomised spectrum, which single huge weights or a mean that is not
            zero leave behind: rounded mean per replica. With the method ``"kde_compat"`` over all replicas together, as
            WeightWatcher.
        rand_distance: Jensen-Shannon distance of the two sorted vectors of eigenvalues, each divided by its sum: 0 to
            ``sqrt(ln 2)``. Not a distance of densities. Mean over replicas.
        rand_distance_std: Its standard deviation.
        rand_wasserstein: Wasserstein-1 distance of the distributions of ``ln`` eigenvalue, null ones left out; mean over
            replicas.
        rand_soft_rank: Largest randomised over largest eigenvalue, mean over replicas (``ww_softrank``).
        rand_gap: Largest eigenvalue minus largest randomised one, mean over replicas (``ww_maxdist``).
    """

    rand_lambda_max: float
    rand_lambda_max_std: float
    rand_lambda_plus: float
    rand_lambda_minus: float
    rand_mp_sigma_rescaled: float
    rand_mp_scale: float
    rand_mp_soft_rank: float
    num_traps: int | None
    rand_distance: float
    rand_distance_std: float
    rand_wasserstein: float
    rand_soft_rank: float
    rand_gap: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)


def compare_randomized(
    eigenvalues: ArrayLike,
    replicas: Sequence[ArrayLike],
    shape: tuple[int, int],
    *,
    num_matrices: int = 1,
    mp_method: str = "quantile",
    tw_level: float | Literal["ww"] = 0.99,
) -> RandomizedMetrics:
    """Compare a spectrum with those of the same weights in random order.

    Source: WeightWatcher 0.7.7, ``apply_random_esd`` and ``apply_mp_fit``, which draws a second order for the distances;
    here the same replicas serve all numbers. ``rand_wasserstein`` is ours.

    Args:
        eigenvalues: Shape ``(min(shape) * num_matrices,)``, any order.
        replicas: As from :func:`randomized_spectra`; each of the same length, in the same unit.
        shape: Rows and columns of one matrix.
        num_matrices: How many matrices the eigenvalues are pooled from.
        mp_method: As ``method`` of :func:`fit_marchenko_pastur`.
        tw_level: As for :func:`fit_marchenko_pastur`: here the probability that no replica of pure noise has a spike.

    Returns:
        The metrics. Ratios and distances are NaN for a zero matrix.

    Raises:
        InputError: No replica, or spectra that :func:`fit_marchenko_pastur` refuses.
    """
    values, _ = ascending_spectrum(eigenvalues)
    ordered = [ascending_spectrum(replica)[0] for replica in replicas]
    if not ordered or any(len(replica) != len(values) for replica in ordered):
        lengths = [len(replica) for replica in ordered]
        raise InputError(f"replicas: expected at least one of {len(values)} eigenvalues, got {lengths}.")
    fit = fit_marchenko_pastur(
        np.concatenate(ordered), shape, num_matrices=num_matrices * len(ordered), method=mp_method, tw_level=tw_level
    )
    num_traps = fit.num_spikes
    if num_traps is not None and fit.method is not MarchenkoPasturMethod.KDE_COMPAT:
        num_traps = round(num_traps / len(ordered))
    largest, rand_largest = float(values[-1]), np.array([replica[-1] for replica in ordered])
    distances = np.array([jensen_shannon_distance(values, replica) for replica in ordered])
    return RandomizedMetrics(
        rand_lambda_max=float(rand_largest.max()),
        rand_lambda_max_std=_std(rand_largest),
        rand_lambda_plus=fit.lambda_plus,
        rand_lambda_minus=fit.lambda_minus,
        rand_mp_sigma_rescaled=fit.sigma_rescaled,
        rand_mp_scale=fit.scale,
        rand_mp_soft_rank=fit.soft_rank,
        num_traps=num_traps,
        rand_distance=float(distances.mean()),
        rand_distance_std=_std(distances),
        rand_wasserstein=float(np.mean([log_wasserstein_distance(values, replica, shape) for replica in ordered])),
        rand_soft_rank=float(rand_largest.mean()) / largest if largest > 0.0 else math.nan,
        rand_gap=largest - float(rand_largest.mean()),
    )


def jensen_shannon_distance(values: FloatArray, others: FloatArray) -> float:
    r"""Compute WeightWatcher's Jensen-Shannon distance of two vectors of eigenvalues.

    .. math:: \sqrt{\tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m)}

    with ``p``, ``q`` and ``m`` proportional to the first vector, the second and their sum; natural logarithms.

    Args:
        values: Shape ``(n,)``, >= 0, ascending.
        others: Likewise.

    Returns:
        The distance, 0 for equal vectors; NaN if one is zero.
    """
    if not (values[-1] > 0.0 and others[-1] > 0.0):
        return math.nan
    # The mean of the vectors as they are, not of the normalised ones: equal only where their sums are.
    middle = values / 2.0 + others / 2.0
    middle = middle / middle[-1]
    middle /= middle.sum()
    divergence = 0.0
    for vector in (values, others):
        share = vector / vector[-1]
        share /= share.sum()
        positive = share > 0.0
        divergence += float((share[positive] * np.log(share[positive] / middle[positive])).sum()) / 2.0
    return math.sqrt(max(divergence, 0.0))  # round-off of zero may be negative


def log_wasserstein_distance(values: FloatArray, others: FloatArray, shape: tuple[int, int]) -> float:
    """Compute the Wasserstein-1 distance of the distributions of ``ln`` eigenvalue.

    Args:
        values: Shape ``(n,)``, >= 0, ascending.
        others: Likewise, of any number.
        shape: Of one matrix: eigenvalues at or under ``min(shape) * eps`` of the largest are round-off and left out.

    Returns:
        The distance: 0.1 means that eigenvalues differ by 10 % on average. NaN if one spectrum is zero.
    """
    resolution = min(shape) * float(np.finfo(np.float64).eps)
    first, second = (np.log(v[v > resolution * v[-1]]) for v in (values, others))
    if len(first) == 0 or len(second) == 0:
        return math.nan
    # The integral over u of the difference of the two quantile functions, which are steps.
    levels = np.unique(np.concatenate([np.arange(1, len(a) + 1) / len(a) for a in (first, second)]))
    middles = levels - np.diff(levels, prepend=0.0) / 2.0
    quantiles = [a[np.minimum((middles * len(a)).astype(np.intp), len(a) - 1)] for a in (first, second)]
    return float((np.abs(quantiles[0] - quantiles[1]) * np.diff(levels, prepend=0.0)).sum())


def shuffled_entries(matrix: AnyArray, generator: np.random.Generator) -> AnyArray:
    """Return the entries of a matrix in uniformly random order, as a tall matrix.

    Args:
        matrix: Shape ``(rows, cols)``; not changed.
        generator: Source of the random order.

    Returns:
        Shape ``(max(rows, cols), min(rows, cols))``, of the same dtype.
    """
    entries = np.array(matrix).reshape(-1)
    _shuffle(entries, generator)
    return entries.reshape(max(matrix.shape), min(matrix.shape))


def _shuffle(values: AnyArray, generator: np.random.Generator) -> None:
    """Shuffle in place, uniformly over all permutations.

    By distribution (Rao 1961, Sankhya A 23; Sandelius 1962, JRSS B 24): each value draws one of 256 bins, then each bin is
    shuffled. All assignments to bins are equally likely, and given the bins all orders within them: the result is as
    uniform as that of a direct shuffle, and every step stays within the cache.
    """
    if len(values) <= _SHUFFLED_AT_ONCE:
        _shuffle_directly([values], values, generator)
        return
    pieces: list[list[AnyArray]] = [[] for _ in range(_NUM_BINS)]
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        bins = generator.integers(0, _NUM_BINS, size=len(block), dtype=np.uint8)
        ordered = block[np.argsort(bins, kind="stable")]  # a radix sort for one byte
        ends = np.cumsum(np.bincount(bins, minlength=_NUM_BINS)).tolist()
        for parts, first, last in zip(pieces, [0, *ends[:-1]], ends, strict=True):
            parts.append(ordered[first:last])
    start = 0
    for parts in pieces:
        target = values[start : start + sum(map(len, parts))]
        if len(target) <= _SHUFFLED_AT_ONCE:
            _shuffle_directly(parts, target, generator)
        else:
            np.concatenate(parts, out=target)
            _shuffle(target, generator)
        parts.clear()
        start += len(target)


def _shuffle_directly(parts: list[AnyArray], target: AnyArray, generator: np.random.Generator) -> None:
    # NumPy swaps items of eight bytes in registers and others by a call: 7 instead of 12 ns for each.
    wide = np.concatenate(parts, dtype=np.float64)
    generator.shuffle(wide)
    target[:] = wide


def _std(numbers: FloatArray) -> float:
    if len(numbers) < 2:
        return math.nan
    largest = float(numbers.max())  # in this unit: squares of the numbers themselves may leave the range of float64
    return float((numbers / largest).std(ddof=1)) * largest if largest > 0.0 else 0.0


def _generator(sequence: np.random.SeedSequence) -> np.random.Generator:
    # SFC64 because it is the fastest of NumPy's for shuffles: 7.2 ns per value against 8.3 of the default.
    return np.random.Generator(np.random.SFC64(sequence))
