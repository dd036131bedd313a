"""The Gram matrix of a matrix that is read by blocks of rows.

Block sizes are fixed, so that the digits do not depend on the machine's memory or the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import NonFiniteWeightsError
from spectra.esd.accelerator import CPU, gram_product
from spectra.esd.real_array import real_array
from spectra.esd.spectrum import unit_scale

AnyArray = NDArray[Any]
ReadRows = Callable[[int, int], AnyArray]

# 24 MiB of float64: a matrix of a 768-column model is one block, which saves the sums of partial products, and large
# enough that the allocator does not give its pages back each time. Measured on the GPT-2 shape, two workers: 8 MiB 1.79 s,
# 16 MiB 1.60 s, 24 MiB 1.59 s, 31 MiB 1.60 s. Where the Gram matrix is larger than that, half its size: adding up the
# products of thin blocks would cost as much as the products.
_BLOCK_BYTES = 24 * 2**20

# Where nothing is multiplied: arrays of 1 MiB in float64 stay in the cache. Norm of 4096 by 4096 in float32, one core: 40 ms,
# and 100 by 64 MiB.
_NUMBERS_AT_A_TIME = 2**17

# A sum of squares outside this range (per working precision) over- or underflowed, or is about to: rescale first.
_SAFE_TRACE = {"float64": (1e-280, 1e300), "float32": (1e-30, 1e37)}


def transposed_reader(whole: AnyArray) -> ReadRows:
    """Read a matrix by its columns.

    Args:
        whole: Shape ``(rows, cols)``.

    Returns:
        ``read(start, stop)``, which gives those columns as rows.
    """
    return lambda start, stop: whole[:, start:stop].T


def block_rows(small: int) -> int:
    """Return how many rows of a tall matrix are read at a time.

    Args:
        small: Number of columns.

    Returns:
        The number; fixed by the shape alone.
    """
    return max(1, _BLOCK_BYTES // (8 * small), small // 2)


def pieces_of(read: ReadRows, shape: tuple[int, int]) -> Iterator[AnyArray]:
    """Read a matrix in pieces to which something is done entry by entry, a wide one not as a whole.

    Args:
        read: ``read(start, stop)`` returns those rows. It is called for blocks as large as those of the Gram matrix, as some
            readers unpack or multiply first, whatever is read.
        shape: ``(rows, cols)`` of the matrix; ``read`` may have more rows.

    Yields:
        Views of consecutive rows; where they end is fixed by the shape alone.
    """
    rows, cols = shape
    if not rows or not cols:
        return
    small = min(shape)
    step, piece = max(1, block_rows(small) * small // cols), max(1, _NUMBERS_AT_A_TIME // cols)
    for start in range(0, rows, step):
        block = read(start, min(start + step, rows))
        for first in range(0, len(block), piece):
            yield block[first : first + piece]
        del block  # before the next one is read


def blocks_of(read: ReadRows, large: int, small: int, precision: str, scale: float) -> Iterator[AnyArray]:
    """Read a tall matrix in blocks of rows.

    Args:
        read: As :func:`safe_gram` takes it.
        large: Number of rows.
        small: Number of columns.
        precision: Of the blocks.
        scale: A power of two.

    Yields:
        The blocks times the scale.
    """
    step = block_rows(small)
    for start in range(0, large, step):
        yield _in_precision(read(start, min(start + step, large)), precision, scale)  # no name: none is kept for the next


def _in_precision(block: AnyArray, precision: str, scale: float) -> AnyArray:
    if hasattr(block, "detach"):  # as stored, for a device
        block = real_array(block, "weights")
    if scale != 1.0:  # in float64, before the cast: float32 may hold neither the weights nor the scale
        block = block.astype(np.float64) * scale
    return block.astype(precision, copy=False)


def _blocks_as_read(read: ReadRows, large: int, small: int) -> Iterator[AnyArray]:
    step = block_rows(small)
    for start in range(0, large, step):
        yield read(start, min(start + step, large))


def _gram(read: ReadRows, large: int, small: int, precision: str, device: str, scale: float) -> AnyArray:
    if device != CPU:
        as_read = scale == 1.0  # the device widens what it gets
        blocks = _blocks_as_read(read, large, small) if as_read else blocks_of(read, large, small, precision, scale)
        gram_there: AnyArray = gram_product(blocks, device, precision)
        return gram_there
    gram: AnyArray | None = None
    partial: AnyArray | None = None
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at the trace
        for block in blocks_of(read, large, small, precision, scale):
            # NumPy computes the product of an array with its own transpose by syrk: half the work of gemm.
            if gram is None:
                gram = block.T @ block
            else:
                partial = np.matmul(block.T, block, out=partial)
                gram += partial
            del block  # before the next one is read
    assert gram is not None
    return gram


def safe_gram(read: ReadRows, large: int, small: int, precision: str, *, device: str = CPU) -> tuple[AnyArray, float]:
    """Compute the Gram matrix of ``scale * W``, with a power of two as scale so that no square over- or underflows.

    Args:
        read: ``read(start, stop)`` returns those rows of a tall matrix of shape ``(large, small)``.
        large: Number of rows.
        small: Number of columns, at most ``large``.
        precision: Arithmetic of the product.
        device: Where it is computed.

    Returns:
        Shape ``(small, small)`` in that precision, a torch tensor if on a device, and the scale (1.0 unless it was needed).

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry, where the scale had to be looked for.
    """
    gram = _gram(read, large, small, precision, device, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        trace = float(gram.trace())
    low, high = _SAFE_TRACE[precision]
    if low < trace < high:
        return gram, 1.0
    scale = scale_of(read, large, small)
    return (gram if scale == 1.0 else _gram(read, large, small, precision, device, scale)), scale


def scale_of(read: ReadRows, large: int, small: int) -> float:
    """Return the power of two that brings the largest entry of a matrix between 1/2 and 1; 1 for a zero matrix.

    Args:
        read: As :func:`safe_gram` takes it.
        large: Number of rows.
        small: Number of columns.

    Returns:
        The scale.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    largest = 0.0
    for block in blocks_of(read, large, small, "float64", 1.0):
        check_finite(block)
        largest = max(largest, float(np.abs(block).max()))
    return unit_scale(largest)


def check_finite(block: AnyArray) -> None:
    """Refuse weights that are no numbers.

    Args:
        block: Of any shape.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    if np.isfinite(block).all():
        return
    num_nan, num_inf = int(np.isnan(block).sum()), int(np.isinf(block).sum())
    raise NonFiniteWeightsError(
        f"the weights hold at least {num_nan} NaN and {num_inf} infinite values; repair or exclude the layer."
    )
