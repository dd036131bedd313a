"""Gram matrices that torch computed → rows of the report: for weights on a GPU, and for weights that lie in parts.

The analysis reads a weight into host memory. Here only eigenvalues come there; thresholds, fit and columns are those of the
analysis. What a Gram matrix cannot tell (weights out of its range or not finite, zeros, ranks under its resolution in float64)
is left to the analysis of the weight itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from spectra.diagnose.layer import diagnosed
from spectra.diagnose.spectra_of import Found, scale_of
from spectra.esd.accelerator import shortens_float32
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.spectrum import Spectrum
from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Dense
from spectra.results.records import LayerDiagnostics
from spectra.results.settings import AnalysisSettings

# Sums of squares between which float32 neither over- nor underflows.
_LOW, _HIGH = 1e-30, 1e37
_STACK_BYTES = 2**28  # of float64 in one call of the eigensolver: 56 matrices of 768 rows


def is_gram_enough(job: WeightMatrices, settings: AnalysisSettings) -> bool:
    """Tell whether a row needs nothing of the weight but its Gram matrix.

    Args:
        job: The weight.
        settings: Resolved settings.

    Returns:
        ``True`` for a whole dense weight of plain numbers, unless windows, random orders, eigenvectors, inverses or singular
        values are asked for.
    """
    asks_for_more = settings.randomize or settings.vectors or settings.inverse
    if settings.method == "svd" or settings.subsample != "none" or asks_for_more or not job.num_eigenvalues:
        return False
    tensor = job.tensor
    is_plain = not (tensor.unreadable or tensor.no_base or tensor.quantized or tensor.is_difference) and tensor.factors is None
    return is_plain and job.cut == Dense() and len(tensor.shape) == 2


def gram_of(rows: Tensor, precision: str) -> Tensor:
    """Multiply rows of a weight with themselves.

    Args:
        rows: Shape ``(rows, n)``; may be some of the weight's rows: Gram matrices of all parts add up.
        precision: ``"float64"`` or ``"float32"``.

    Returns:
        Shape ``(n, n)``, of that precision, where the rows are.
    """
    working = torch.float64 if precision == "float64" else torch.float32
    exact = torch.float64 if rows.is_cuda and shortens_float32() else working
    rows = rows.detach().to(exact)
    return (rows.T @ rows).to(working)


def rows_of_grams(
    jobs: Sequence[WeightMatrices], gram: Callable[[WeightMatrices], Tensor], settings: AnalysisSettings
) -> list[LayerDiagnostics | None]:
    """Describe weights by their Gram matrices, those of equal size in common calls of the eigensolver.

    Args:
        jobs: Weights for which :func:`is_gram_enough`.
        gram: Gives the Gram matrix of one, shape ``(smaller side, smaller side)``, on any device; called once for each.
        settings: Resolved settings.

    Returns:
        For each weight its row, or ``None`` where the weight itself is needed.
    """
    rows: dict[str, LayerDiagnostics | None] = {}
    for stack in _stacks(jobs):
        grams = torch.stack([gram(job) for job in stack])
        traces = grams.diagonal(dim1=-2, dim2=-1).sum(-1)
        is_usable = (traces > _LOW) & (traces < _HIGH)
        # The solver would raise for all if one were not finite.
        grams = torch.where(is_usable[:, None, None], grams, 0.0)
        values = torch.linalg.eigvalsh(grams.double()).cpu().numpy()
        for job, of_job, usable in zip(stack, values, is_usable.tolist(), strict=True):
            rows[job.matrix_name] = _row(job, of_job, settings) if usable else None
    return [rows[job.matrix_name] for job in jobs]


def _stacks(jobs: Sequence[WeightMatrices]) -> Iterator[list[WeightMatrices]]:
    by_size: dict[int, list[WeightMatrices]] = {}
    for job in jobs:
        by_size.setdefault(job.num_eigenvalues, []).append(job)
    for size, equal in by_size.items():
        step = max(1, _STACK_BYTES // (8 * size**2))
        yield from (equal[start : start + step] for start in range(0, len(equal), step))


def _row(job: WeightMatrices, values: FloatArray, settings: AnalysisSettings) -> LayerDiagnostics | None:
    found = _spectrum(np.maximum(values, 0.0), max(job.num_rows, job.num_cols), settings)
    if found is None:
        return None
    scale = scale_of(job, settings)
    whole = found.scaled(scale) if scale != 1.0 else found
    return diagnosed(job, Found(whole, whole), settings)[0]


def _spectrum(values: FloatArray, large: int, settings: AnalysisSettings) -> Spectrum | None:
    """Say what the eigenvalues can be trusted for, as :mod:`spectra.esd.eigenvalues` does."""
    small, eps = len(values), float(np.finfo(settings.precision).eps)
    resolution = small * eps * float(values[-1])
    rank: int | None = None
    if values[0] > resolution:
        singular = np.sqrt(values)
        rank = int(np.count_nonzero(singular > singular[-1] * large * eps))
    elif settings.method == "auto" and settings.precision == "float64":
        return None  # the analysis takes the singular values then
    rank_loss = None if rank is None else small - rank
    return Spectrum(values, resolution, "gram", settings.precision, rank, rank_loss, values[:1])
