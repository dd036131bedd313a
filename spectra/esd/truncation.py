"""Truncated singular value decompositions, exact, in float64, of matrices of any shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.gram import AnyArray, block_rows


def truncated(matrix: ArrayLike, kept: slice) -> FloatArray:
    """Keep some singular triplets of a matrix: its best approximation of rank ``k`` for ``slice(k)``.

    Args:
        matrix: Shape ``(rows, cols)``, real numbers of any dtype.
        kept: Which, counted from the largest; ``slice(k, None)`` removes the ``k`` largest. Where the first one that goes
            equals the last one that stays, the choice between them is arbitrary.

    Returns:
        Shape ``(rows, cols)``, float64, accurate to round-off of the largest singular value.

    Raises:
        InputError: Not two-dimensional, or complex.
        NonFiniteWeightsError: A NaN or infinite entry.

    Example:
        >>> truncated([[3.0, 0.0], [0.0, 1.0]], slice(1)).round(12) + 0.0
        array([[3., 0.],
               [0., 0.]])
    """
    given = np.asarray(matrix)
    if given.ndim != 2 or given.dtype.kind not in "fiub":
        raise InputError(f"matrix: expected real numbers of shape (rows, cols), got {given.dtype} of shape {given.shape}.")
    result = np.array(given, dtype=np.float64)
    if result.size:
        project(result, decompose(result)[1], kept)
    return result


def decompose(matrix: AnyArray) -> tuple[FloatArray, FloatArray]:
    """Compute singular values and the singular vectors of the smaller side.

    They are those of the triangular factor of the matrix, which is built from blocks of rows: nothing as large as the matrix
    is allocated, and its larger singular vectors are never formed.

    Args:
        matrix: Shape ``(rows, cols)``, not empty, floating point.

    Returns:
        Singular values, shape ``(n,)``, descending; and vectors as rows, shape ``(n, n)``: the right ones, or the left ones
        of a matrix with more columns than rows.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    tall = _tall(matrix)
    factor: FloatArray = np.empty((0, tall.shape[1]))
    step = block_rows(tall.shape[1])
    for start in range(0, len(tall), step):
        block = tall[start : start + step].astype(np.float64)
        if not np.isfinite(block).all():
            raise NonFiniteWeightsError("the weights hold NaN or infinite values; repair or exclude the layer.")
        factor = np.asarray(np.linalg.qr(np.concatenate([factor, block]), mode="r"))
    _, values, vectors = np.linalg.svd(factor)
    return values, vectors


def project(matrix: AnyArray, vectors: FloatArray, kept: slice) -> None:
    """Keep the chosen singular triplets of a matrix, in its own memory, by a projection of its rows or columns.

    Args:
        matrix: The matrix; overwritten.
        vectors: All of them, as :func:`decompose` returns them.
        kept: Which ones.
    """
    tall = _tall(matrix)
    first, past_last, _ = kept.indices(len(vectors))
    inside, outside = vectors[first:past_last], np.concatenate([vectors[:first], vectors[past_last:]])
    step = block_rows(len(vectors))
    for start in range(0, len(tall), step):
        block = tall[start : start + step].astype(np.float64)
        # The cheaper of two equal forms.
        if len(inside) <= len(outside):
            tall[start : start + step] = (block @ inside.T) @ inside
        else:
            tall[start : start + step] = block - (block @ outside.T) @ outside


def _tall(matrix: AnyArray) -> AnyArray:
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
