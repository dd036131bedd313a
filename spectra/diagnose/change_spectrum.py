"""What the spectrum of a change says: how large it is beside rounding, and how many directions carry it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spectra.esd.eigenvalues import FloatArray
from spectra.esd.norms import norm_metrics, spectral_entropy
from spectra.esd.spectrum import Spectrum
from spectra.matrices import WeightMatrices

# Relative error of rounding a number to a dtype: half a unit in the last of its 53, 24, 11 or 8 binary digits.
_UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

_FLOAT16_STEP = 2.0**-24  # between its subnormal numbers, which weights reach; those of the others are under 1e-38


@dataclass(frozen=True)
class ChangeSpectrum:
    """Numbers of a change that is not zero.

    Attributes:
        norm: Frobenius norm.
        rounding: Norm of what rounding to the dtype after the change may have added at most; NaN where that is not known.
        spectral_norm: Largest singular value.
        stable_rank: Sum of the eigenvalues over the largest.
        effective_rank: Rank to the power of the normalised entropy.
        rank: Singular values above round-off, ``rounding`` included; ``None`` where that is not known.
        energy: Share of the squared norm in so many of the largest singular values, by their number.
    """

    norm: float
    rounding: float
    spectral_norm: float
    stable_rank: float
    effective_rank: float
    rank: int | None
    energy: Mapping[int, float]


def change_spectrum(spectrum: Spectrum, *, norm_before: float, roundoff: float, counts: Sequence[int]) -> ChangeSpectrum:
    """Describe the spectrum of a change.

    Args:
        spectrum: Of the change, with a positive eigenvalue, computed in float64.
        norm_before: Frobenius norm of what was changed.
        roundoff: Relative error of rounding to the dtype after the change.
        counts: Numbers of singular values to sum the energy of.

    Returns:
        Its numbers.
    """
    values, norms = spectrum.eigenvalues, norm_metrics(spectrum.eigenvalues)
    # Rounding adds at most so much to the norm of the weights after the change, and no more to any singular value (Weyl).
    rounding = roundoff * (norm_before + norms.frobenius_norm)
    rank = spectrum.rank or 0  # known on both routes in float64
    return ChangeSpectrum(
        norm=norms.frobenius_norm,
        rounding=rounding,
        spectral_norm=norms.spectral_norm,
        stable_rank=norms.stable_rank,
        effective_rank=rank ** spectral_entropy(values, rank),
        rank=None if math.isnan(rounding) else min(rank, int(np.count_nonzero(values > rounding**2))),
        energy=_energy(values, counts),
    )


def energy_counts(largest: int, more: Sequence[int] = ()) -> list[int]:
    """Return the numbers of singular values whose share of the energy is kept.

    Args:
        largest: The most there are.
        more: That are asked for.

    Returns:
        Powers of two, the largest and those, ascending.
    """
    return sorted({2**power for power in range(largest.bit_length())} | {max(largest, 1), *more})


def unit_roundoff(job: WeightMatrices, dtype: str) -> float:
    """Return the relative error that rounding may have added to a change.

    Args:
        job: The change.
        dtype: Of the weights after it.

    Returns:
        0 for a product of adapters: no large weight was rounded after it; NaN for dtypes of less than 16 bits.
    """
    return 0.0 if job.tensor.factors is not None else _UNIT_ROUNDOFF.get(dtype, math.nan)


def rounding_errors(*dtypes: str) -> tuple[float, float]:
    """Return what rounding a number to the coarsest of some dtypes adds at most.

    Args:
        dtypes: As stored.

    Returns:
        The relative error of normal numbers and the absolute one of those below; NaN where a dtype is of less than 16 bits.
    """
    errors = [_UNIT_ROUNDOFF.get(dtype, math.nan) for dtype in dtypes]
    return (math.nan if any(map(math.isnan, errors)) else max(errors)), (_FLOAT16_STEP / 2.0 if "float16" in dtypes else 0.0)


def _energy(values: FloatArray, counts: Sequence[int]) -> dict[int, float]:
    sums = np.cumsum(values[::-1])
    return {count: float(sums[min(count, len(sums)) - 1] / sums[-1]) for count in counts}
