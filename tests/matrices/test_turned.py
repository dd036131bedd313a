"""Columns as rows: the numbers of the matrix, whatever it is held as, read once."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Entries
from spectra.matrices.turned import columns_of
from spectra.sources import open_source
from spectra.sources.stored_rows import StoredRows


def test_a_matrix_is_read_once_at_its_first_block():
    matrix, calls = np.arange(12.0).reshape(3, 4), []

    def read(start, stop):
        calls.append((start, stop))
        return matrix[start:stop]

    columns = columns_of(read, 3)
    assert calls == []
    np.testing.assert_array_equal(columns(1, 3), matrix[:, 1:3].T)
    np.testing.assert_array_equal(columns(0, 4), matrix.T)
    assert calls == [(0, 3)]


def test_what_is_held_is_widened_slice_by_slice():
    widened = []

    def widen(bits):
        widened.append(bits.shape)
        return bits.astype(np.float32) / 2

    read = StoredRows(lambda start, stop: np.arange(20, dtype=np.uint8).reshape(2, 10)[start:stop], widen, lambda *_: None)
    np.testing.assert_array_equal(columns_of(read, 2)(3, 5), [[1.5, 6.5], [2.0, 7.0]])
    assert widened == [(2, 2)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("container", ["file", "tensor"])
def test_readers_of_tall_matrices_give_the_stored_numbers(dtype, shape, container, tmp_path):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    if container == "file":
        save_file({"a.weight": weight}, tmp_path / "a.safetensors")
    (tensor,) = open_source(tmp_path / "a.safetensors" if container == "file" else {"a.weight": weight}).tensors
    (read,) = WeightMatrices(tensor, "a", "a", "linear", *shape).tall_readers()
    expected = weight.double().numpy() if shape[0] >= shape[1] else weight.double().numpy().T
    for start, stop in [(0, 2), (2, max(shape)), (0, max(shape))]:
        np.testing.assert_array_equal(read(start, stop), expected[start:stop])


def test_entries_of_a_stack_are_turned_one_by_one(tmp_path):
    stack = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_file({"a": stack}, tmp_path / "a.safetensors")
    (tensor,) = open_source(tmp_path / "a.safetensors").tensors
    job = WeightMatrices(tensor, "a", "a", "expert", 3, 7, 2, cut=Entries(range(2)))
    for entry, read in zip(stack.double().numpy(), job.tall_readers(), strict=True):
        np.testing.assert_array_equal(read(1, 6), entry.T[1:6])
