"""One matrix of a weight as singular vectors are taken of it: outputs on the left, inputs on the right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from spectra.esd.eigenvalues import FloatArray
from spectra.esd.gram import ReadRows
from spectra.esd.subspaces import Side, SingularBasis
from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Factors, Kernel


@dataclass(frozen=True)
class MatrixView:
    """A matrix, read by rows.

    Attributes:
        read: ``read(start, stop)`` returns those rows, as stored.
        shape: As stored.
        is_swapped: Stored as ``(in, out)``: its rows belong to the inputs.
        factors: Returns its factors, for a product of thin ones.
    """

    read: ReadRows
    shape: tuple[int, int]
    is_swapped: bool
    factors: Callable[[], Factors] | None = None

    def side(self, of: Side) -> Side:
        """Return which side of the stored matrix belongs to the outputs (``"left"``) or inputs (``"right"``)."""
        return of if not self.is_swapped else ("right" if of == "left" else "left")

    def basis(self, known: FloatArray | None, gram: tuple[FloatArray, float] | None = None) -> SingularBasis:
        """Return its singular vectors, as stored.

        Args:
            known: Eigenvalues that may be its own: they are checked.
            gram: Its Gram matrix and the scale of that, if they are at hand.

        Returns:
            The basis.
        """
        return SingularBasis(self.read, self.shape, known=known, gram=gram)


def matrix_view(job: WeightMatrices, *, rows: int | None = None, is_swapped: bool | None = None) -> MatrixView | None:
    """Choose the matrix that the directions of a weight are those of.

    Args:
        job: The weight.
        rows: Only its first rows, where the other model has no more. Default: all.
        is_swapped: Whether its rows belong to the inputs. Default: what its layout says.

    Returns:
        The matrix; of a convolution its kernel as ``(first axis, all others)``. ``None`` for several matrices in one row, and
        for an empty one.
    """
    tensor, swapped = job.tensor, job.is_transposed if is_swapped is None else is_swapped
    if job.num_eigenvalues == 0:
        return None
    if job.num_matrices == 1 and not job.is_operator:
        shape = (job.num_rows if rows is None else min(rows, job.num_rows), job.num_cols)
        return MatrixView(next(job.readers()), shape, swapped, tensor.factors and (lambda: next(job.factors())))
    if isinstance(job.cut, Kernel):
        flat = (tensor.shape[0], math.prod(tensor.shape[1:]))
        return MatrixView(lambda start, stop: tensor.read(start, stop).reshape(stop - start, -1), flat, swapped, tensor.factors)
    return None


def is_flipped(before: WeightMatrices, after: WeightMatrices) -> bool:
    """Tell whether a weight is stored in the other orientation than its counterpart.

    Args:
        before: The weight of the base.
        after: That of the other model.

    Returns:
        Of squares what their layouts say.
    """
    if before.num_rows == before.num_cols:
        return before.is_transposed != after.is_transposed
    return (after.num_rows, after.num_cols) == (before.num_cols, before.num_rows)
