r"""FARMS: spectra of equally shaped windows of a matrix, so that alphas of differently shaped matrices compare.

The bulk of a random matrix' spectrum depends on its aspect ratio, and with it every alpha fitted to it. FARMS (fixed aspect
ratio matrix subsampling, arXiv 2506.06280) cuts windows of one shape out of every matrix and pools their eigenvalues:

===================  ==========================================================================================
window               ``R = window_rows`` rows and ``aspect_ratio * R`` columns, of consecutive rows and columns
anchors              evenly spaced from the first to the last possible one, in each direction; or random
a side too short     the window shrinks until it fits, with its aspect ratio
pooling              the eigenvalues of all windows of all matrices of a layer, sorted; one fit afterwards
===================  ==========================================================================================

The released code differs (github HUST-AI-HYZ/FARMS): its anchors start at the top left with a rounded-down stride, so that the
last rows and columns may be in no window, and of a convolution it averages the alphas of groups instead of pooling. Windows
that overlap share entries: pooled eigenvalues are not independent, and no p-value or standard error of their fit holds. Give
:func:`spectra.fit_power_law` the number of windows, as ``num_matrices``: else the ends of many small spectra pass for a tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import FloatArray, Precision, spectra_together
from spectra.esd.gram import AnyArray, ReadRows
from spectra.esd.real_array import real_array
from spectra.esd.spectrum import Spectrum, pool

if TYPE_CHECKING:
    import torch

# FARMS' own windows for language models have 2000 rows; a power of two near it, where one decomposition takes seconds.
MAX_WINDOW_ROWS = 2048


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of a matrix lie.

    Attributes:
        anchors: First row and first column of each window.
        window_shape: Rows and columns of every window.
        covers_matrix: Every row and every column of the matrix is in some window.
    """

    anchors: tuple[tuple[int, int], ...]
    window_shape: tuple[int, int]
    covers_matrix: bool


@dataclass(frozen=True)
class SubsampledSpectrum:
    """The pooled eigenvalues of windows.

    Attributes:
        eigenvalues: Shape ``(num_windows * min(window_shape),)``, float64, ascending, >= 0.
        null_threshold: Eigenvalues at or below it are round-off of zero.
        num_windows: Of all matrices together.
        num_matrices: Number of matrices that were subsampled.
        window_shape: Rows and columns of every window; smaller than asked for where a side is too short.
        covers_matrix: Every row and every column of every matrix is in some window.
        precision: The arithmetic of the Gram products.
    """

    eigenvalues: FloatArray
    null_threshold: float
    num_windows: int
    num_matrices: int
    window_shape: tuple[int, int]
    covers_matrix: bool
    precision: str


def default_window_rows(shapes: Iterable[tuple[int, int]]) -> int:
    """Choose the rows of a window for a whole model: the smallest side of its matrices, at most 2048.

    One number for all layers is what makes their alphas compare. Leave out layers that are too small to be fitted: an
    output layer of two classes would make windows of two rows.

    Args:
        shapes: ``(rows, cols)`` of every matrix that will be analysed.

    Returns:
        The number of rows.

    Raises:
        InputError: No shape, or one with a side of length zero.
    """
    sides = [min(shape) for shape in shapes]
    if not sides or min(sides) < 1:
        raise InputError("shapes: expected at least one shape with sides of at least 1. Leave empty matrices out.")
    return min(*sides, MAX_WINDOW_ROWS)


def farms_windows(
    rows: int,
    cols: int,
    *,
    window_rows: int,
    aspect_ratio: float = 1.0,
    windows_per_side: int | None = None,
    generator: np.random.Generator | None = None,
) -> WindowPlan:
    """Plan the windows of a matrix.

    Args:
        rows: Of the matrix.
        cols: Of the matrix.
        window_rows: Rows of a window, the same for all layers that are to be compared.
        aspect_ratio: Columns of a window per row. Default 1: FARMS' setting in all its main results.
        windows_per_side: Anchors in each direction; fewer where there are not as many places. Default ``None``: as few as
            cover the matrix, ``ceil(side / window side)``. FARMS takes 15 (language models) and 9 (images). More windows
            repeat the same entries: 225 instead of 4 windows of 256 rows took 30 times as long and changed the median
            strategy's alpha from 2.126 to 2.119 for Gaussian and from 1.896 to 1.885 for heavy-tailed 512 x 512 matrices
            (means over six seeds, whose standard deviation stayed at 0.003 and 0.02).
        generator: Draw the same number of anchors at random instead, each uniformly over all places. Random windows
            reach the edges seldom.

    Returns:
        The plan, windows in row-major order of their anchors (in the order of drawing, for random ones).

    Raises:
        InputError: A side, ``window_rows`` or ``windows_per_side`` under 1, or an ``aspect_ratio`` that is not positive.
    """
    if min(rows, cols) < 1:
        raise InputError(f"a matrix of shape ({rows}, {cols}) has no window. Leave empty matrices out.")
    if window_rows < 1:
        raise InputError(f"window_rows: expected at least 1, got {window_rows}.")
    if not (np.isfinite(aspect_ratio) and aspect_ratio > 0.0):
        raise InputError(f"aspect_ratio: expected a positive number of columns per row, got {aspect_ratio}.")
    if windows_per_side is not None and windows_per_side < 1:
        raise InputError(
            f"windows_per_side: expected at least 1, got {windows_per_side}; None takes as few as cover the matrix."
        )

    # Rounded, not truncated as in the released code: 0.57 * 100 is 56.99999999999999; and 57 / 0.57 must stay 100.
    height = max(1, int(min(window_rows, rows, cols / aspect_ratio * (1.0 + 1e-12))))
    width = max(1, min(cols, round(height * aspect_ratio)))
    first_rows = _evenly_spaced(rows, height, windows_per_side)
    first_cols = _evenly_spaced(cols, width, windows_per_side)
    if generator is not None:
        num_windows = len(first_rows) * len(first_cols)
        first_rows = generator.integers(0, rows - height, num_windows, endpoint=True).tolist()
        first_cols = generator.integers(0, cols - width, num_windows, endpoint=True).tolist()
        anchors = tuple(zip(first_rows, first_cols, strict=True))
    else:
        anchors = tuple((row, col) for row in first_rows for col in first_cols)
    covers = _covered(first_rows, height, rows) and _covered(first_cols, width, cols)
    return WindowPlan(anchors, (height, width), covers)


def farms_eigenvalues(
    matrices: ArrayLike | torch.Tensor | Callable[[], Iterable[ReadRows]],
    shape: tuple[int, int] | None = None,
    *,
    window_rows: int,
    aspect_ratio: float = 1.0,
    windows_per_side: int | None = None,
    seed: int | None = None,
    precision: Precision = "float64",
    device: str = CPU,
) -> SubsampledSpectrum:
    """Compute the pooled spectrum of windows of one shape.

    Of each matrix as many rows are held as a window has, and the windows that are decomposed in one call. Eigenvalues are
    not divided by a dimension.

    Source: arXiv 2506.06280; evenly spaced windows and one rule for all kinds of layers are our choice.

    Args:
        matrices: One matrix of shape ``(rows, cols)``; or a function without arguments that gives, for each matrix of a layer
            (one for each kernel position, for example), its ``read(start, stop)``, which returns those rows.
        shape: ``(rows, cols)`` of each matrix; may be left out for an array.
        window_rows: Rows of a window; :func:`default_window_rows` chooses one for a whole model. FARMS takes 2000 for
            language models and 100 for images.
        aspect_ratio: Columns of a window per row. Default 1, as FARMS.
        windows_per_side: Anchors in each direction. Default: as few as cover the matrix, see :func:`farms_windows`.
        seed: Of random anchors; each matrix has its own. Default ``None``: evenly spaced.
        precision: Arithmetic of the Gram products.
        device: Where Gram matrices are computed and solved.

    Returns:
        The pooled spectrum.

    Raises:
        InputError: No matrix, not two-dimensional, complex, or an argument out of range.

    Example:
        >>> import numpy as np
        >>> found = farms_eigenvalues(np.diag([1.0, 2.0, 3.0, 4.0]), window_rows=2)
        >>> found.num_windows, found.eigenvalues
        (4, array([ 0.,  0.,  0.,  0.,  1.,  4.,  9., 16.]))
    """
    readers, shape = _readers(matrices, shape)
    generator = None if seed is None else np.random.default_rng(seed)
    parts: list[Spectrum] = []
    plans: list[WindowPlan] = []
    for read in readers:
        plan = farms_windows(
            *shape,
            window_rows=window_rows,
            aspect_ratio=aspect_ratio,
            windows_per_side=windows_per_side,
            generator=generator,
        )
        plans.append(plan)
        for part in spectra_together(_windows(read, plan), precision=precision, device=device):
            if isinstance(part, Exception):
                raise part
            parts.append(part)
    if not plans:
        raise InputError("matrices: expected at least one matrix, got none.")
    pooled = pool(parts, max(plans[0].window_shape))
    return SubsampledSpectrum(
        eigenvalues=pooled.eigenvalues,
        null_threshold=pooled.null_threshold,
        num_windows=len(parts),
        num_matrices=len(plans),
        window_shape=plans[0].window_shape,
        covers_matrix=all(plan.covers_matrix for plan in plans),
        precision=precision,
    )


def _readers(
    matrices: ArrayLike | torch.Tensor | Callable[[], Iterable[ReadRows]], shape: tuple[int, int] | None
) -> tuple[Iterable[ReadRows], tuple[int, int]]:
    if callable(matrices):
        if shape is None:
            raise InputError("shape: needed where matrices is a function. Pass (rows, cols) of one matrix.")
        return matrices(), shape
    array = real_array(matrices, "matrices")
    if array.ndim != 2 or (shape is not None and array.shape != tuple(shape)):
        expected = "(rows, cols)" if shape is None else str(tuple(shape))
        raise InputError(f"matrices: expected shape {expected}, got {array.shape}.")
    return [lambda start, stop: array[start:stop]], array.shape


def _windows(read: ReadRows, plan: WindowPlan) -> Iterator[tuple[ReadRows, tuple[int, int]]]:
    height, width = plan.window_shape
    for row, anchors in groupby(plan.anchors, key=itemgetter(0)):
        band = read(row, row + height)
        for _, col in anchors:
            yield _rows_of(band[:, col : col + width]), plan.window_shape


def _rows_of(window: AnyArray) -> ReadRows:
    return lambda start, stop: window[start:stop]


def _evenly_spaced(side: int, window: int, number: int | None) -> list[int]:
    """Return the first index of each window along a side: the first window at the start, the last one at the far edge."""
    last = side - window
    number = min(number or -(-side // window), last + 1)
    # Two neighbours are at most ceil(last / (number - 1)) apart: never more than a window, if that many can cover the side.
    return [last * i // (number - 1) for i in range(number)] if number > 1 else [0]


def _covered(firsts: Sequence[int], window: int, side: int) -> bool:
    starts = sorted(firsts)
    gaps = [start - previous for previous, start in pairwise(starts)]
    return starts[0] == 0 and starts[-1] + window == side and max(gaps, default=0) <= window
