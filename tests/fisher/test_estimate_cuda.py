"""The estimator on a GPU: the same numbers as on the CPU, and nothing left behind there."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from spectra.fisher import sums
from spectra.fisher.estimate import fisher
from tests.fisher.literal import error
from tests.fisher.looped_uses import LOOPED
from tests.fisher.models import CASES
from tests.fisher.uses import FOLLOWED, N

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Using padding='same'")]

# Float32 without TF32, in other orders than on the CPU.
BAR = 1e-5


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
@pytest.mark.parametrize("name", CASES)
def test_the_gpu_gives_what_the_cpu_gives(name, keep):
    case = CASES[name]()
    expected = fisher(case.model, case.batches(3), keep=keep)
    estimate = fisher(case.model.cuda(), case.batches(3), keep=keep)
    assert estimate.info == expected.info
    for field in ("values", "row_sums", "col_sums"):
        if getattr(expected, field):
            assert error(getattr(estimate, field), getattr(expected, field)) < BAR
    top = max(tensor.trace for tensor in expected.tensors)
    for ours, theirs in zip(estimate.tensors, expected.tensors, strict=True):
        assert ours.trace == pytest.approx(theirs.trace, rel=1e-4, abs=BAR * top)
        assert ours.trace_std_error == pytest.approx(theirs.trace_std_error, rel=1e-3, abs=BAR * top)


@pytest.mark.parametrize("name", [*FOLLOWED, *LOOPED])
def test_every_use_is_followed_on_the_gpu_as_on_the_cpu(name):
    if name in ("written into zeros", "positions"):
        pytest.skip("its tensors are made on the CPU")
    make, inputs = FOLLOWED[name] if name in FOLLOWED else LOOPED[name][0]
    torch.manual_seed(0)
    model, x, y = make().double().eval(), inputs(), torch.arange(N) % 3
    x = x.double() if x.is_floating_point() else x
    expected = fisher(model, [(x, y)])
    estimate = fisher(model.cuda(), [(x, y)])
    assert error(estimate.values, expected.values) < 1e-9  # float64
    assert estimate.info.notes == expected.info.notes


def test_gradients_of_a_few_samples_at_a_time_are_the_same(monkeypatch):
    case = CASES["bert, sdpa"]()
    case.model.cuda()
    expected = fisher(case.model, case.batches())
    monkeypatch.setattr(sums, "_CHUNK_BYTES", 2 * 16 * 24 * 4)  # two gradients of the largest dense layer
    assert error(fisher(case.model, case.batches()).values, expected.values) < BAR


def test_draws_are_those_of_the_cpu():
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 4).double(), torch.randn(50, 6, dtype=torch.float64), torch.arange(50) % 4
    expected = fisher(model, [(x, y)], kind="sampled", num_draws=3)
    estimate = fisher(model.cuda(), [(x, y)], kind="sampled", num_draws=3)
    np.testing.assert_allclose(estimate.values["weight"], expected.values["weight"], rtol=1e-10)


def test_random_numbers_of_the_gpu_are_as_found():
    case = CASES["bert, sdpa"]()
    noisy = nn.Sequential(nn.Linear(4, 3)).cuda()
    noisy.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 0.1 * torch.randn_like(inputs[0]),))
    state = torch.cuda.get_rng_state()
    fisher(noisy, [(torch.ones(2, 4), torch.tensor([0, 1]))])
    fisher(case.model.cuda(), case.batches(), kind="sampled")
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_gradient_checkpointing_is_followed_on_the_gpu(reentrant):
    def checkpointed(forward, *args, **settings):
        return torch.utils.checkpoint.checkpoint(partial(forward, **settings), *args, use_reentrant=reentrant)

    case = CASES["gpt2, eager"]()
    expected = fisher(case.model, case.batches(3))
    for layer in case.model.cuda().transformer.h:
        layer.forward = partial(checkpointed, layer.forward)
    estimate = fisher(case.model, case.batches(3))
    assert error(estimate.values, expected.values) < BAR
    assert estimate.info.notes == ()  # backward passes run in a thread of the device, which must know the mode
