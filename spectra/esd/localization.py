r"""Localisation of eigenvectors: over how many weights of a row the directions of bulk and tail are spread.

Eigenvectors of noise are spread over all ``n`` entries, as Gaussian vectors are; a localised one has a few large entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import FloatArray, Precision
from spectra.esd.gram import ReadRows, safe_gram, transposed_reader
from spectra.esd.real_array import real_array

if TYPE_CHECKING:
    import torch

_NUM_BINS = 100  # WeightWatcher 0.7.7, RMT_Util.discrete_entropy
_ENTROPY_EPSILON = 1e-10  # WeightWatcher's constant without a GPU
# xmin is mostly one of the eigenvalues and belongs to the tail; the solvers with and without vectors differ by 1e-13. In
# WeightWatcher, which compares the digits, its vector goes either way.
_XMIN_SLACK = 1e-9


@dataclass(frozen=True)
class VectorMetrics:
    r"""How spread out vectors are; each field has shape ``(number of vectors,)``.

    Attributes:
        localization_ratio: :math:`|v|_1 / |v|_\infty`, from 1 (one entry) to ``n`` (all equal in size).
        participation_ratio: :math:`|v|_2 / |v|_4`, from 1 to :math:`n^{1/4}`; about :math:`(n / 3)^{1/4}` for noise.
        entropy: Of the histogram of :math:`|v_i|` in 100 bins between the smallest and the largest: low if most entries are
            of one size.
    """

    localization_ratio: FloatArray
    participation_ratio: FloatArray
    entropy: FloatArray


@dataclass(frozen=True)
class Localization:
    """Mean and variance of :class:`VectorMetrics` over the eigenvectors of bulk (under xmin) and tail; NaN for none."""

    bulk_mean_vec_entropy: float
    bulk_var_vec_entropy: float
    tail_mean_vec_entropy: float
    tail_var_vec_entropy: float
    bulk_mean_loc_ratio: float
    bulk_var_loc_ratio: float
    tail_mean_loc_ratio: float
    tail_var_loc_ratio: float
    bulk_mean_part_ratio: float
    bulk_var_part_ratio: float
    tail_mean_part_ratio: float
    tail_var_part_ratio: float


def localization(
    read: ReadRows | Iterable[ReadRows], shape: tuple[int, int], xmin: float, *, precision: Precision = "float64"
) -> Localization:
    """Compute how localised the eigenvectors of the smaller Gram matrix (``W @ W.T`` of a square one) are.

    Source: arXiv 1810.01075, section 5.4; WeightWatcher 0.7.7, ``apply_analyze_eigenvectors``, which takes a solver for
    general matrices.

    Args:
        read: ``read(start, stop)`` returns those rows; or several such functions for the matrices of one layer.
        shape: ``(rows, cols)`` of each matrix.
        xmin: Start of the tail, itself included, in the unit of the squared singular values of the matrices as they are read.
        precision: Arithmetic of the Gram product.

    Returns:
        The means and variances. Eigenvectors of a repeated eigenvalue, as of all the zeros of a rank-deficient matrix, are
        any basis of their space, and so are their numbers.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    readers = [read] if callable(read) else read
    parts = [_eigenvector_metrics(reader, shape, precision) for reader in readers]
    is_tail = np.concatenate([values for values, _ in parts]) >= xmin * (1.0 - _XMIN_SLACK)
    columns = {
        "vec_entropy": np.concatenate([metrics.entropy for _, metrics in parts]),
        "loc_ratio": np.concatenate([metrics.localization_ratio for _, metrics in parts]),
        "part_ratio": np.concatenate([metrics.participation_ratio for _, metrics in parts]),
    }
    fields = {}
    for name, column in columns.items():
        for side, chosen in (("bulk", column[~is_tail]), ("tail", column[is_tail])):
            fields[f"{side}_mean_{name}"] = float(chosen.mean()) if len(chosen) else math.nan
            fields[f"{side}_var_{name}"] = float(chosen.var()) if len(chosen) else math.nan
    return Localization(**fields)


def vector_metrics(vectors: ArrayLike | torch.Tensor) -> VectorMetrics:
    """Compute how spread out vectors are.

    Args:
        vectors: Shape ``(number, length)``, one vector per row, or ``(length,)`` for a single one.

    Returns:
        The metrics of each, unchanged by the vector's length and sign; NaN for a zero vector.

    Raises:
        InputError: Another shape, complex or not finite.

    Example:
        >>> import numpy as np
        >>> found = vector_metrics([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, -0.5, 0.5]])
        >>> found.localization_ratio, found.participation_ratio.round(4)
        (array([1., 4.]), array([1.    , 1.4142]))
    """
    array = np.atleast_2d(real_array(vectors, "vectors"))
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"vectors: expected shape (number, length), got {array.shape}.")
    size = np.abs(array.astype(np.float64))
    largest = size.max(axis=1, initial=0.0)
    if not np.isfinite(largest).all():
        raise InputError(f"vectors: row {int(np.flatnonzero(~np.isfinite(largest))[0])} has a NaN or infinite entry.")
    # In units of the largest entry, so that fourth powers stay in range.
    size /= np.where(largest > 0.0, largest, 1.0)[:, None]
    squares = size * size
    length = np.sqrt(squares.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return VectorMetrics(
            localization_ratio=np.where(length > 0.0, size.sum(axis=1), math.nan),
            participation_ratio=length / np.sqrt(np.sqrt((squares * squares).sum(axis=1))),
            # Of unit vectors: the constant that is added to the density makes it depend on the scale a little.
            entropy=np.where(length > 0.0, _histogram_entropy(size / np.where(length > 0.0, length, 1.0)[:, None]), math.nan),
        )


def _eigenvector_metrics(read: ReadRows, shape: tuple[int, int], precision: Precision) -> tuple[FloatArray, VectorMetrics]:
    rows, cols = shape
    # As WeightWatcher: W @ W.T of a square matrix.
    reader = transposed_reader(read(0, rows)) if rows <= cols else read
    gram, scale = safe_gram(reader, max(shape), min(shape), precision)
    if not np.isfinite(np.trace(gram)):
        raise NonFiniteWeightsError("the weights hold NaN or infinite values; repair or exclude the layer.")
    values, vectors = np.linalg.eigh(gram.astype(np.float64, copy=False))
    with np.errstate(over="ignore", under="ignore"):  # infinite is above any xmin, and zero below
        values = np.maximum(values, 0.0) / scale / scale
    return values, vector_metrics(vectors.T)


def _histogram_entropy(size: FloatArray) -> FloatArray:
    """Compute the entropy of a 100-bin histogram of each row, as ``np.histogram`` bins them: all rows at once."""
    number, length = size.shape
    x = size - size.mean(axis=1, keepdims=True)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    is_constant = low == high
    low, high = np.where(is_constant, low - 0.5, low), np.where(is_constant, high + 0.5, high)
    edges = np.linspace(low[:, 0], high[:, 0], _NUM_BINS + 1, axis=1)
    bins = np.minimum(((x - low) / (high - low) * _NUM_BINS).astype(np.intp), _NUM_BINS - 1)
    # The quotient and the edges are rounded by themselves: the edges decide.
    bins -= x < np.take_along_axis(edges, bins, axis=1)
    bins += (x >= np.take_along_axis(edges, bins + 1, axis=1)) & (bins < _NUM_BINS - 1)
    rows = np.arange(number)[:, None]
    counts = np.bincount((rows * _NUM_BINS + bins).ravel(), minlength=number * _NUM_BINS).reshape(number, _NUM_BINS)
    share = counts / np.diff(edges, axis=1) / length + _ENTROPY_EPSILON
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(-(share * np.log(share)).sum(axis=1))
