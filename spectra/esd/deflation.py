r"""Spectrum of a nearly low-rank matrix by Gram matrices: the leading part first, then what it leaves.

A change of rank ``r`` that was rounded to float32 has ``r`` singular values of its own and noise a millionth of them or less,
under what its Gram matrix resolves (:math:`\sigma > \sqrt{n \epsilon}\,\sigma_1`). With any orthonormal ``U``

.. math:: D = U U^T D + (I - U U^T) D, \qquad U^T D = W S V^T, \qquad E = (I - U U^T) D, \qquad K = E V,

``D`` is, up to rotations, block triangular: ``S`` and the rest :math:`B = E - K V^T` on the diagonal, ``K`` below. It is also
:math:`\begin{pmatrix} I & 0 \\ X & I \end{pmatrix} \begin{pmatrix} S & 0 \\ 0 & B \end{pmatrix}` with :math:`X = K S^{-1}`, so
that every singular value of ``D`` is one of ``S`` or ``B`` to a relative :math:`\|X\| / 2` (Eisenstat and Ipsen 1995,
doi:10.1137/0732088). ``U`` are the leading left singular vectors from the Gram matrix: X, which is computed and checked, is of
the order of :math:`\epsilon \sigma_1^2 / \sigma_k^2`. The rest comes from the matrix, not from the Gram matrix, and has a Gram
matrix of its own, relative to its own largest singular value. Where that does not reach, its leading part is taken off, too.

Accuracy: the absolute round-off of forming B, a few :math:`\epsilon \sigma_1`, as that of LAPACK's singular values; the
relative 1e-9 / 2 that X is let through with, 1e-12 where it was looked at; and what the ``gram`` route has for the rest. A
matrix without a short leading part, and a small one, is left to the singular values.

Seconds on one core, OpenBLAS 0.3.31, of a change of rank 8 in float32, after the Gram route (1.5 for side 2048): side 768, 0.13
by LAPACK (``gesdd``) and 0.09 here; 2048, 4.1 and 1.7.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from spectra.esd.eigenvalues import FloatArray, spectrum
from spectra.esd.gram import ReadRows, safe_gram
from spectra.esd.spectrum import Spectrum, spectrum_of_singular_values
from spectra.esd.subspaces import SMALL_SIDE, SingularBasis

_EPS = float(np.finfo(np.float64).eps)
# Of the largest eigenvalue: a leading singular value is at least a thousandth of the largest, which keeps X small. Each
# deflation lowers the rest by as much, so that three reach round-off.
_LEADING = 1e-6
# Our choice: twice the rank of large adapters; and no more than an eighth of the side, so that the rest is the larger part.
_MOST_VECTORS = 128
# Norm of X up to which the two parts are taken for those of the matrix: half of it bounds the relative error.
_COUPLING = 1e-9


def deflated_spectrum(basis: SingularBasis, eigenvalues: FloatArray) -> Spectrum:
    """Compute the spectrum of a matrix of which the Gram matrix does not resolve all.

    Args:
        basis: Of the matrix; its Gram matrix is used.
        eigenvalues: Shape ``(small,)``, ascending: of the Gram matrix, those under its resolution with them.

    Returns:
        The spectrum, with ranks; ``method`` is ``"gram"`` if deflation gave it, ``"svd"`` if LAPACK's singular values did.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry, or squares outside the range of float64.
    """
    large, small = max(basis.shape), min(basis.shape)
    singular = _by_deflation(basis, eigenvalues) if most_deflated(small) else None
    if singular is None:
        return spectrum(basis.tall, (large, small), method="svd")
    return dataclasses.replace(spectrum_of_singular_values(singular, large, "float64"), method="gram")


def most_deflated(small: int) -> int:
    """Return how many leading singular vectors are taken off at a time.

    Args:
        small: The smaller side of the matrix.

    Returns:
        The most; 0 where the matrix is left to LAPACK.
    """
    return min(_MOST_VECTORS, small // 8) if small > SMALL_SIDE else 0


def _by_deflation(basis: SingularBasis, eigenvalues: FloatArray) -> FloatArray | None:
    """Return all singular values, ascending; ``None`` where there is no short leading part."""
    shape = large, small = max(basis.shape), min(basis.shape)
    rest = SingularBasis(basis.tall, shape, known=eigenvalues, gram=basis.gram)
    found = np.empty(0)
    while True:
        values = np.maximum(eigenvalues[len(found) :], 0.0)  # the others are those of what was taken off: zero
        largest, resolution = max(math.sqrt(values[-1]), found.max(initial=0.0)), small * _EPS * values[-1]
        if values[0] > resolution or resolution <= (large * _EPS * largest) ** 2:  # what it leaves open counts as zero
            return np.sort(np.concatenate([found, np.sqrt(values)]))
        count = int(np.count_nonzero(values > _LEADING * values[-1]))
        if count > most_deflated(small) or (part := _leading_part(rest, count)) is None:
            return None
        singular, read = part
        found = np.concatenate([found, singular])
        gram, scale = safe_gram(read, large, small, "float64")
        eigenvalues = np.linalg.eigvalsh(gram) / scale / scale
        rest = SingularBasis(read, shape, known=eigenvalues, gram=(gram, scale))


def _leading_part(matrix: SingularBasis, count: int) -> tuple[FloatArray, ReadRows] | None:
    """Return the leading singular values of a tall matrix, and the rest without them; ``None`` where the two do not part."""
    left = matrix.leading(count).left
    turn, singular, right = np.linalg.svd(matrix.transposed_times(left).T, full_matrices=False)
    left = left @ turn
    below = matrix.times(right.T) - left * singular  # K: less what U takes of it, which is U S
    if np.linalg.norm(below / singular) > _COUPLING:
        return None
    whole = matrix.tall
    columns, rows = np.hstack([left, below]), np.vstack([singular[:, None] * right, right])

    def rest(start: int, stop: int) -> FloatArray:
        return np.asarray(whole(start, stop) - columns[start:stop] @ rows, dtype=np.float64)

    return singular, rest
