"""What two processes recorded is the same on both, in the order of ranks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from spectra.errors import InputError
from spectra.training.dcs.gathering import check_equal, gather_records
from spectra.training.dcs.teacher_logits import teacher_fingerprint
from tests.forked import in_group

DTYPES = (np.int64, np.float64, np.int64, np.float32, np.int32)


def records(rank, size):
    """Records of one process; every number is its own, and exact in float64."""
    index = np.arange(size) + 2**40 * rank
    columns = [index, (index + 0.1) / 3.0, index + 7, np.where(index % 2, np.nan, index / 7), index % 1000 - 1]
    return [column.astype(dtype) for column, dtype in zip(columns, DTYPES, strict=True)]


# Records of each process: the second has fewer, none, or neither has any.
SIZES = ((4, 3), (2, 0), (0, 5), (0, 0))


def process(rank, folder):
    for number, sizes in enumerate(SIZES):
        found = gather_records(*records(rank, sizes[rank]), device="cpu")
        np.savez(folder / f"{rank}-{number}.npz", *found)
    check_equal(np.arange(5.0))
    with pytest.raises(InputError, match=r"weights of process 1 differ from those of process 0. Give all processes the same"):
        check_equal(np.array([1.0, np.nextafter(1.0, 2.0) if rank else 1.0]))
    with pytest.raises(InputError, match="the teacher is sharded over processes .*Take its fingerprint before"):
        teacher_fingerprint(fully_shard(nn.Linear(4, 4)), "data", None)
    assert teacher_fingerprint(nn.Linear(4, 4), "data", None)["data"] == "data"


@pytest.mark.slow
def test_two_processes_have_the_records_of_both(tmp_path):
    in_group(process, tmp_path, folder=tmp_path)
    for number, sizes in enumerate(SIZES):
        first, second = (np.load(tmp_path / f"{rank}-{number}.npz") for rank in range(2))
        for name, *expected in zip(first.files, *(records(rank, size) for rank, size in enumerate(sizes)), strict=True):
            np.testing.assert_array_equal(first[name], np.concatenate(expected))
            np.testing.assert_array_equal(second[name], first[name])
            assert second[name].dtype == first[name].dtype == expected[0].dtype


def test_one_process_alone_keeps_what_it_has():
    mine = records(0, 3)
    assert all(found is given for found, given in zip(gather_records(*mine, torch.device("cpu")), mine, strict=True))
    check_equal(np.ones(3))
