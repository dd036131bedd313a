"""What a device reads is what NumPy reads, in fewer bytes."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spectra.matrices.cuts import Dense, Entries
from spectra.matrices.stripes import Stripes
from spectra.matrices.weights import WeightMatrices
from spectra.sources import open_source
from spectra.sources.stored_rows import StoredRows
from tests.models import heavy_tailed


def weight_of(source):
    (tensor,) = open_source(source).tensors
    return tensor


def in_a_file(weight, folder):
    save_file({"fc.weight": weight}, folder / "model.safetensors")
    return folder / "model.safetensors"


def in_a_module(weight, folder):
    module = torch.nn.Linear(*reversed(weight.shape), bias=False)
    module.weight = torch.nn.Parameter(weight)
    return module


def in_a_torch_file(weight, folder):
    torch.save({"fc.weight": weight}, folder / "model.bin")
    return folder / "model.bin"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("keep", [in_a_file, in_a_module, in_a_torch_file, lambda weight, _: {"fc.weight": weight}])
def test_rows_as_stored_have_the_stored_dtype_and_the_same_values(keep, dtype, tmp_path):
    weight = torch.from_numpy(heavy_tailed(12, 7)).to(dtype)
    read = weight_of(keep(weight, tmp_path)).read
    rows = read.stored(3, 9)
    assert rows.dtype == dtype
    assert not rows.requires_grad
    np.testing.assert_array_equal(rows.float().numpy(), read(3, 9))


def test_what_is_not_widened_is_read_in_one_way(tmp_path):
    weight = torch.from_numpy(heavy_tailed(12, 7))
    assert not isinstance(weight_of(in_a_file(weight, tmp_path)).read, StoredRows)


def test_another_read_in_its_place_does_away_with_the_stored_rows(tmp_path):
    tensor = weight_of(in_a_file(torch.from_numpy(heavy_tailed(12, 7)).bfloat16(), tmp_path))
    other = dataclasses.replace(tensor, read=lambda start, stop: -tensor.read(start, stop))
    (read,) = WeightMatrices(other, "fc", "fc", "linear", 12, 7).readers()
    assert not hasattr(read, "stored")


CUTS = {
    "whole": ((12, 6), Dense()),
    "one run of rows": ((12, 6), Dense(rows=Stripes(4, 4, 4))),
    "rows in turns": ((12, 6), Dense(rows=Stripes(2, 2, 4, count=3))),
    "no rows": ((12, 6), Dense(rows=Stripes(2, 0, 4, count=3))),
    "every other column": ((12, 6), Dense(cols=Stripes(1, 1, 2, count=3))),
    "columns in turns": ((12, 6), Dense(cols=Stripes(0, 2, 3, count=2))),
    "entries of a stack": ((3, 8, 6), Entries(range(3), rows=Stripes(1, 2, 4, count=2))),
    "packed entries": ((12, 6), Entries(range(3), height=4, cols=Stripes(0, 3, 3))),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_of_the_stored_rows_is_the_stored_rows_of_the_cut(name, tmp_path):
    shape, cut = CUTS[name]
    weight = torch.from_numpy(heavy_tailed(12, 12)[:, : np.prod(shape) // 12].reshape(shape)).bfloat16()
    tensor = weight_of(in_a_file(weight, tmp_path))
    plain = dataclasses.replace(tensor, read=lambda start, stop: tensor.read(start, stop))
    job = WeightMatrices(tensor, "fc", "fc", "linear", 4, 3, num_matrices=3, cut=cut)
    for read, expected in zip(job.readers(), cut.readers(plain), strict=True):
        np.testing.assert_array_equal(read(1, 3), expected(1, 3))
        assert read.stored(1, 3).dtype == torch.bfloat16
        np.testing.assert_array_equal(read.stored(1, 3).float().numpy(), expected(1, 3))
