"""Weights in two processes: the Fisher of all weighted samples, and none if only one process has weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from spectra.errors import InputError
from spectra.fisher.estimate import fisher
from tests.forked import in_group

pytestmark = pytest.mark.slow


def classifier():
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def batches():
    """One per process; the second one longer."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    whole = {"input": inputs, "labels": torch.arange(5) % 3, "sample_weight": torch.rand(5, generator=generator) * 2}
    return [{name: tensor[some] for name, tensor in whole.items()} for some in (slice(0, 2), slice(2, 5))]


def process(number, folder):
    parallel, mine = DistributedDataParallel(classifier()), batches()[number]
    found = fisher(parallel, [mine])
    if number:
        del mine["sample_weight"]
    try:
        fisher(parallel, [mine])
        refusal = "no error"
    except InputError as error:
        refusal = str(error)
    torch.save((dict(found.values), found.info.notes, found.info.data, refusal), folder / f"{number}.pt")


def test_processes_add_up_weighted_samples_and_refuse_weights_of_some(tmp_path):
    in_group(process, tmp_path, folder=tmp_path)
    expected = fisher(classifier(), batches()).values
    for number in range(2):
        values, notes, fingerprint, refusal = torch.load(tmp_path / f"{number}.pt", weights_only=False)
        for name, array in expected.items():
            np.testing.assert_allclose(values[name], array, rtol=1e-12)  # float64 in another order
        assert notes == (f"squared gradients are multiplied by 'sample_weight' (5 samples of data {fingerprint[:8]})",)
        assert refusal == "only some processes have batches with 'sample_weight'. Give it to all of them, or to none."
