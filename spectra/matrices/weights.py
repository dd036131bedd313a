"""One row of a report before it is analysed: which matrices of which tensor, and how to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from spectra.matrices.cuts import Cut, Dense, Factors, ReadRows
from spectra.matrices.turned import columns_of
from spectra.sources.stored_rows import StoredRows
from spectra.sources.tensors import StoredTensor


@dataclass(frozen=True)
class WeightMatrices:
    """The matrices of one row of a report.

    Attributes:
        tensor: Where the numbers come from.
        layer_name: The module's path; the same for all parts of a tensor.
        matrix_name: Unique in the report: the layer's name, with the expert, part, head or kernel position.
        kind: ``linear``, ``embedding``, ``conv1d``, ``conv2d``, ``conv3d``, ``recurrent``, ``bilinear`` or ``expert``.
        num_rows: Of one matrix.
        num_cols: Of one matrix.
        num_matrices: Matrices whose eigenvalues are pooled; 1 for a dense weight.
        groups: Of a convolution.
        is_transposed: A dense weight stored as ``(in, out)``.
        is_depthwise: One input or output channel per group: vectors instead of matrices.
        tied_names: Other parameters that are the same storage.
        part: Which part of the tensor, in words: ``q``, ``gate``, ``forget``, ``head 3``, ``[2,1]``; empty for all of it.
        expert: Number of the expert, for one of many.
        stack: A name shared by the rows of all experts of the same parameter and part; empty elsewhere.
        note: What to know of the cut before trusting the row.
        is_operator: The matrices are those of :func:`spectra.matrices.convolution.operator_matrices`.
        cut: How the tensor holds the matrices.
    """

    tensor: StoredTensor
    layer_name: str
    matrix_name: str
    kind: str
    num_rows: int
    num_cols: int
    num_matrices: int = 1
    groups: int = 1
    is_transposed: bool = False
    is_depthwise: bool = False
    tied_names: tuple[str, ...] = ()
    part: str = ""
    expert: int | None = None
    stack: str = ""
    note: str = ""
    is_operator: bool = False
    cut: Cut = field(default_factory=Dense)

    @property
    def num_eigenvalues(self) -> int:
        """Number of eigenvalues of all matrices together."""
        return min(self.num_rows, self.num_cols) * self.num_matrices

    @property
    def num_params(self) -> int:
        """Number of elements of the tensor that the matrices cover."""
        return self.tensor.size if self.is_operator else self.num_rows * self.num_cols * self.num_matrices

    @property
    def flops(self) -> float:
        """Work of the Gram route: ``m n²`` for the product and ``4/3 n³`` for the tridiagonal form, per matrix."""
        large, small = max(self.num_rows, self.num_cols), min(self.num_rows, self.num_cols)
        return self.num_matrices * (float(large) * small**2 + 4.0 / 3.0 * float(small) ** 3)

    @property
    def is_single(self) -> bool:
        """One matrix that can be read by blocks of rows without reading other matrices of the tensor each time."""
        return self.num_matrices == 1 and self.cut.by_rows

    def readers(self) -> Iterator[ReadRows]:
        """Yield one ``read(start, stop)`` per matrix, ``num_matrices`` of them; each returns rows as the tensor's does.

        Yields:
            Readers of rows. What one has read may live as long as it does: use them one after the other. Where the tensor's
            ``read`` has rows as stored and the cut does not read at once what it cuts, these have them, too.
        """
        read = self.tensor.read
        if not (isinstance(read, StoredRows) and self.cut.by_rows):
            yield from self.cut.readers(self.tensor)
            return
        held, stored = (self.cut.readers(replace(self.tensor, read=form)) for form in (read.held, read.stored))
        for rows, as_stored in zip(held, stored, strict=True):
            yield StoredRows(rows, read.widen, as_stored)

    def tall_readers(self) -> Iterator[ReadRows]:
        """Yield the readers of the matrices, turned so that rows are at least as many as columns: by columns where wide.

        Yields:
            Readers of rows of shape ``(max(num_rows, num_cols), min(num_rows, num_cols))``; use them one after the other.
        """
        for rows in self.readers():
            yield columns_of(rows, self.num_rows) if self.num_rows < self.num_cols else rows

    def factors(self) -> Iterator[Factors]:
        """Yield the factors of each matrix of a low-rank tensor, one that has ``factors``.

        Yields:
            ``left``, shape ``(num_rows, k)``, and ``right``, shape ``(k, num_cols)``, whose product is the matrix.
        """
        yield from self.cut.factors(self.tensor)
