"""Convolutions: one matrix per kernel position and group, pooled or by themselves, or the spectrum of the operator.

The operator that a convolution is, on inputs of a given size with circular padding and stride 1, has block-diagonal form
in the Fourier basis: one complex matrix ``out x in`` per spatial frequency ``(u, v)``,

    ``K(u, v) = sum_{i, j} kernel[:, :, i, j] exp(-2 pi i (u i / height + v j / width))``,

whose singular values together are those of the operator. Source: Sedghi, Gupta and Long (2019), arXiv 1805.10408, theorem 6.
Cross-correlation, which deep learning calls convolution, conjugates the phases; the transposed convolution is the adjoint:
neither changes a singular value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.matrices.cuts import Kernel
from spectra.matrices.weights import WeightMatrices
from spectra.sources.tensors import CONVOLUTION, Layout, StoredTensor

# Inputs for the operator's spectrum: WeightWatcher's conv2d_fft pads kernels to 32 x 32, too (htsr.md, section 13).
OPERATOR_SIZE = (32, 32)


def convolution(tensor: StoredTensor, layer_name: str, conv_mode: str) -> tuple[WeightMatrices, ...]:
    """Give the matrices of a convolution's kernel.

    Args:
        tensor: Shape ``(first, second, *kernel)`` with one to three kernel axes.
        layer_name: Path of its module.
        conv_mode: ``"pooled"``, ``"slices"`` or ``"operator"``.

    Returns:
        One row, or one per kernel position and group.

    Raises:
        InputError: Groups that do not divide the channels.
    """
    layout = tensor.layout or Layout(CONVOLUTION)
    first, second, *kernel = tensor.shape
    if layout.groups < 1 or first % layout.groups:
        raise InputError(f"{first} channels do not divide into {layout.groups} groups")
    # One column per kernel position and group says the same as one per position: the norms add up.
    groups = 1 if second == 1 else layout.groups
    positions = math.prod(kernel)
    pooled = WeightMatrices(
        tensor,
        layer_name,
        layer_name,
        f"conv{len(kernel)}d",
        num_rows=first // groups,
        num_cols=second,
        num_matrices=positions * groups,
        groups=groups,
        is_depthwise=second == 1 or first == layout.groups,
        cut=Kernel(groups, range(groups), range(positions)),
    )
    if conv_mode == "slices" and positions:
        return tuple(_slices(pooled, groups, tuple(kernel)))
    return (_operator(pooled) if conv_mode == "operator" else pooled,)


def operator_matrices(matrices: WeightMatrices, size: tuple[int, int] = OPERATOR_SIZE) -> Iterator[NDArray[np.complex128]]:
    """Yield the matrices of a two-dimensional convolution's operator, one per spatial frequency and group.

    Args:
        matrices: Of a convolution with two kernel axes.
        size: Height and width of the inputs. Kernels larger than that wrap around, as on a torus they do.

    Yields:
        Complex arrays of shape ``(num_rows, num_cols)``: for every group, ``height * width`` of them. Frequencies
        ``(u, v)`` and ``(-u, -v)`` have conjugate matrices and so the same singular values; both are yielded.

    Raises:
        InputError: Another kind of weight.
    """
    if not isinstance(matrices.cut, Kernel) or len(matrices.tensor.shape) != 4:
        raise InputError(
            f"'{matrices.matrix_name}' has shape {matrices.tensor.shape}: expected the kernel of a 2-D convolution. "
            "Use conv_mode 'pooled' for it."
        )
    rows, cols = np.indices(matrices.tensor.shape[2:]).reshape(2, -1)
    height, width = size
    for kernel in matrices.cut.stack(matrices.tensor):  # (out, in, positions)
        flat = kernel.astype(np.float64).reshape(-1, kernel.shape[-1])
        for u in range(height):
            for v in range(width):
                # Reduced before the division, so that equal phases are equal numbers.
                angle = -2.0 * math.pi * ((u * rows) % height / height + (v * cols) % width / width)
                transformed = flat @ np.stack([np.cos(angle), np.sin(angle)], axis=1)
                yield transformed.view(np.complex128).reshape(kernel.shape[:2])


def _slices(pooled: WeightMatrices, groups: int, kernel: tuple[int, ...]) -> Iterator[WeightMatrices]:
    for position, indices in enumerate(np.ndindex(*kernel)):
        place = "[" + ",".join(str(index) for index in indices) + "]"
        for group in range(groups):
            part = place if groups == 1 else f"{place}.group{group}"
            yield dataclasses.replace(
                pooled,
                matrix_name=pooled.layer_name + part,
                num_matrices=1,
                part=part,
                cut=Kernel(groups, range(group, group + 1), range(position, position + 1)),
            )


def _operator(pooled: WeightMatrices) -> WeightMatrices:
    if pooled.kind != "conv2d" or pooled.is_depthwise:
        what = "depthwise" if pooled.is_depthwise else pooled.kind
        return dataclasses.replace(pooled, note=f"conv_mode 'operator' is for full 2-D convolutions: {what} kernels are pooled")
    height, width = OPERATOR_SIZE
    note = f"spectrum of the operator on {height} x {width} inputs, circular padding, stride 1"
    return dataclasses.replace(pooled, num_matrices=height * width * pooled.groups, is_operator=True, note=note)
