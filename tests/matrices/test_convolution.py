"""Convolutions: slice by slice, and the spectrum of the operator, against matrices of the operator written out."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.matrices import operator_matrices
from tests.matrices.rows import matrix, rows_of, skipped_of


def weight_of(module):
    return module.weight.detach().numpy()


# One row per kernel position


def test_every_kernel_position_is_a_row():
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 6, (2, 3))
    rows = rows_of(nn.ModuleDict({"stem": layer}), conv_mode="slices")
    assert [row.matrix_name for row in rows] == [f"stem[{i},{j}]" for i in range(2) for j in range(3)]
    for row, (i, j) in zip(rows, np.ndindex(2, 3), strict=True):
        assert (row.kind, row.num_matrices, row.is_single, row.layer_name) == ("conv2d", 1, False, "stem")
        assert row.part == f"[{i},{j}]"
        np.testing.assert_array_equal(matrix(row), weight_of(layer)[:, :, i, j])


@pytest.mark.parametrize(("build", "names"), [(nn.Conv1d, ["[0]", "[1]"]), (nn.Conv3d, None)])
def test_kernels_of_one_and_three_axes_have_positions_of_as_many_numbers(build, names):
    parts = [row.part for row in rows_of(build(3, 4, 2), conv_mode="slices")]
    assert parts == (names or [f"[{i},{j},{k}]" for i in range(2) for j in range(2) for k in range(2)])


def test_groups_are_rows_of_their_own():
    torch.manual_seed(0)
    layer = nn.Conv2d(12, 18, (1, 2), groups=3)
    rows = {row.part: row for row in rows_of(layer, conv_mode="slices")}
    assert list(rows) == [f"[0,{j}].group{g}" for j in range(2) for g in range(3)]
    np.testing.assert_array_equal(matrix(rows["[0,1].group2"]), weight_of(layer)[12:, :, 0, 1])


def test_a_slice_of_a_group_reads_the_rows_of_its_group_alone():
    (row, *_) = [row for row in rows_of(nn.Conv2d(12, 18, 1, groups=3), conv_mode="slices") if "group1" in row.part]
    asked = []

    def read(start, stop):
        asked.append((start, stop))
        return row.tensor.read(start, stop)

    matrix(dataclasses.replace(row, tensor=dataclasses.replace(row.tensor, read=read)))
    assert asked == [(6, 12)]


def test_depthwise_slices_are_vectors_still():
    rows = rows_of(nn.Conv2d(8, 8, 3, groups=8), conv_mode="slices")
    assert {(row.is_depthwise, row.num_rows, row.num_cols) for row in rows} == {(True, 8, 1)}
    assert len(rows) == 9


def test_a_kernel_of_no_positions_is_one_row_without_numbers():
    (row,) = rows_of({"conv.weight": np.zeros((4, 3, 0, 2), np.float32)}, conv_mode="slices")
    assert (row.num_matrices, row.num_eigenvalues) == (0, 0)


def test_groups_that_do_not_divide_the_channels_are_skipped_with_the_reason():
    layer = nn.Conv2d(4, 6, 3)
    layer.groups = 4
    assert skipped_of(layer) == {"weight": "6 channels do not divide into 4 groups"}


# The operator


def written_out(layer, size):
    """The matrix of the operator: the images of all unit inputs, by the layer's own forward pass."""
    channels = layer.in_channels
    inputs = torch.eye(channels * size[0] * size[1], dtype=torch.float64).reshape(-1, channels, *size)
    with torch.no_grad():
        return layer.double()(inputs).reshape(len(inputs), -1).T.numpy()


def singular_values(matrices):
    return np.sort(np.concatenate([np.linalg.svd(np.asarray(m), compute_uv=False) for m in matrices]))


@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), 1), ((1, 1), 0), ((3, 5), (1, 2))])
@pytest.mark.parametrize(("channels", "groups"), [((3, 4), 1), ((4, 3), 1), ((4, 6), 2)])
def test_the_singular_values_are_those_of_the_operator_written_out(kernel, padding, channels, groups):
    torch.manual_seed(0)
    layer = nn.Conv2d(*channels, kernel, padding=padding, padding_mode="circular", bias=False, groups=groups)
    (row,) = rows_of(layer, conv_mode="operator")
    size = (6, 5)
    found = list(operator_matrices(row, size))
    assert len(found) == groups * size[0] * size[1]
    assert {m.shape for m in found} == {(row.num_rows, row.num_cols)}
    assert {m.dtype for m in found} == {np.dtype(np.complex128)}
    expected = np.sort(np.linalg.svd(written_out(layer, size), compute_uv=False))
    # The zeros of the written-out matrix beyond its rank come as round-off; float64 sums of a few tens of terms.
    np.testing.assert_allclose(singular_values(found), expected[-len(singular_values(found)) :], rtol=1e-9, atol=1e-12)


def test_the_matrices_are_the_fourier_transform_of_the_kernel():
    # Sedghi, Gupta and Long (arXiv 1805.10408), the code of section 1: np.fft.fft2(kernel, input_shape, axes=[0, 1]).
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3)
    (row,) = rows_of(layer, conv_mode="operator")
    expected = np.fft.fft2(weight_of(layer).astype(np.float64), (8, 6), axes=(2, 3))
    found = np.array(list(operator_matrices(row, (8, 6)))).reshape(8, 6, 4, 3)
    np.testing.assert_allclose(found, np.moveaxis(expected, (2, 3), (0, 1)), rtol=0, atol=1e-14 * 9)


def test_a_kernel_larger_than_the_input_wraps_around():
    torch.manual_seed(0)
    kernel = np.random.default_rng(0).standard_normal((2, 3, 5, 5))
    (row,) = rows_of({"conv.weight": kernel}, conv_mode="operator")
    folded = np.zeros((2, 3, 4, 4))
    for i in range(5):
        for j in range(5):
            folded[:, :, i % 4, j % 4] += kernel[:, :, i, j]
    (small,) = rows_of({"conv.weight": folded}, conv_mode="operator")
    np.testing.assert_allclose(list(operator_matrices(row, (4, 4))), list(operator_matrices(small, (4, 4))), rtol=0, atol=1e-13)


def test_the_frobenius_norm_is_the_kernels_times_the_number_of_frequencies():
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    (row,) = rows_of({"conv.weight": kernel}, conv_mode="operator")
    found = sum(float(np.sum(np.abs(m) ** 2)) for m in operator_matrices(row))
    assert found == pytest.approx(32 * 32 * float(np.sum(kernel.astype(np.float64) ** 2)), rel=1e-12)  # Parseval
    assert (row.is_operator, row.num_matrices, row.num_eigenvalues, row.num_params) == (True, 1024, 1024 * 3, 108)
    assert row.note == "spectrum of the operator on 32 x 32 inputs, circular padding, stride 1"


def test_a_transposed_convolution_has_an_operator_too():
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 3, 3)
    (row,) = rows_of(layer, conv_mode="operator")
    straight = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", bias=False)  # its adjoint
    straight.weight = layer.weight
    expected = np.sort(np.linalg.svd(written_out(straight, (5, 5)), compute_uv=False))
    np.testing.assert_allclose(singular_values(operator_matrices(row, (5, 5))), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "what"),
    [(nn.Conv1d(3, 4, 2), "conv1d"), (nn.Conv3d(3, 4, 2), "conv3d"), (nn.Conv2d(4, 4, 3, groups=4), "depthwise")],
)
def test_other_convolutions_stay_pooled_and_say_so(layer, what):
    (row,) = rows_of(layer, conv_mode="operator")
    assert not row.is_operator
    assert row.note == f"conv_mode 'operator' is for full 2-D convolutions: {what} kernels are pooled"


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.Conv1d(3, 4, 2)])
def test_the_operator_of_another_weight_is_refused(layer):
    (row,) = rows_of(layer)
    with pytest.raises(InputError, match="expected the kernel of a 2-D convolution"):
        next(operator_matrices(row))
