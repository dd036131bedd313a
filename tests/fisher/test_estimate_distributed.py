"""Two processes, each with its own batches, give the Fisher of all batches; when one stops, both do."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from spectra import InputError
from spectra.fisher.distributed import is_distributed, rank
from spectra.fisher.estimate import fisher
from tests.fisher.uses import Custom
from tests.forked import in_group

pytestmark = pytest.mark.slow

PROCESSES = 2


def classifier():
    torch.manual_seed(0)
    cell = nn.RNN(4, 4, batch_first=True)
    model = Custom(
        lambda m, x: m.head(m.cell(m.words(x))[0].mean(1)), words=nn.Embedding(9, 4), cell=cell, head=nn.Linear(4, 3)
    )
    model.forgotten = nn.Parameter(torch.ones(2))
    return model


def data():
    """Batches of several sizes; one sample has no target, and so has all of the last batch but one."""
    random = partial(torch.randint, generator=torch.Generator().manual_seed(1))
    batches = [(random(9, (size, 5)), random(3, (size,))) for size in (3, 2, 4, 1, 3)]
    batches[1][1][0] = -100
    batches[3][1][:] = -100
    return batches


# The batches of each process: as many or not, and none that counts.
SHARES = {"even": ((0, 1, 2), (4, 3)), "uneven": ((4,), (0, 3, 2, 1)), "nothing to count": ((3,), (0, 1, 2, 4))}
KEEP = ("values", "neurons", "traces")


def refused(call):
    """The message of an InputError; nothing else may be raised."""
    try:
        call()
    except InputError as error:
        return str(error)
    return "no error"


def process(number, folder):
    """What each process does; what it finds goes to a file."""
    batches, found = data(), {"is_distributed": is_distributed(), "rank": rank()}
    parallel = DistributedDataParallel(classifier(), find_unused_parameters=True)
    for name, shares in SHARES.items():
        mine = [batches[index] for index in shares[number]]
        for keep in KEEP:
            estimate = fisher(parallel, mine, keep=keep)
            found[name, keep] = estimate.to_dict(), dict(estimate.values), dict(estimate.row_sums), dict(estimate.col_sums)
    found["alone"] = fisher(classifier(), [batches[number]]).info.num_samples
    half = batches[number : number + 1]
    same = [batches[0], batches[2]]
    found["draws"] = [fisher(one, same, kind="sampled").values["head.weight"] for one in (parallel, classifier())]
    wrong = [(batches[0][0], batches[0][1] + 100 * number)]
    found["wrong labels"] = refused(lambda: fisher(parallel, wrong))
    found["no batches"] = refused(lambda: fisher(parallel, batches[:number]))
    nothing = [batches[3]]
    found["no target"] = refused(lambda: fisher(parallel, nothing))
    # a single sample of an even number of tokens is followed, where two are seen to be time-major
    transposed = DistributedDataParallel(Custom(lambda m, x: m.head(x.transpose(0, 1)).mean(0), head=nn.Linear(4, 3)))
    size = number + 1
    found["unlike"] = refused(lambda: fisher(transposed, [(torch.randn(size, 6, 4), torch.arange(size))]))

    def stop(_):
        raise RuntimeError("enough")

    try:
        fisher(parallel, half, state=f"{folder}/unfinished.safetensors", progress=stop if number else None)
        found["stop"] = "no error"
    except (RuntimeError, InputError) as error:
        found["stop"] = str(error)
    fisher(parallel, half, state=f"{folder}/unfinished.safetensors")
    model = nn.Linear(4, 3)
    mesh = init_device_mesh("cpu", (PROCESSES,))
    model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)]))
    found["sharded"] = refused(lambda: fisher(model, half))
    torch.save(found, folder / f"{number}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    in_group(process, folder, folder=folder, size=PROCESSES)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in range(PROCESSES)]


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("name", SHARES)
def test_every_process_has_the_fisher_of_all_batches(found, name, keep):
    batches = data()
    whole = fisher(classifier(), [batches[index] for share in SHARES[name] for index in share], keep=keep)
    expected = whole.to_dict()
    for result, values, row_sums, col_sums in (one[name, keep] for one in found):
        for ours, theirs in ((values, whole.values), (row_sums, whole.row_sums), (col_sums, whole.col_sums)):
            assert list(ours) == list(theirs)
            for key in theirs:
                np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6, atol=1e-12)  # sums of float32 in another order
        assert result["info"] | {"data": ""} == expected["info"] | {"data": ""}
        assert result["info"]["data"] != expected["info"]["data"]
        for mine, one in zip(result["tensors"], expected["tensors"], strict=True):
            assert mine["trace"] == pytest.approx(one["trace"], rel=1e-6)
            assert mine["trace_std_error"] == pytest.approx(one["trace_std_error"], rel=1e-5)
            assert mine["route"] == one["route"]
    assert found[0][name, keep][0] == found[1][name, keep][0]  # to the bit


def test_a_process_knows_its_place(found):
    assert [one["rank"] for one in found] == [0, 1]
    assert all(one["is_distributed"] for one in found)
    assert (is_distributed(), rank()) == (False, 0)


def test_a_model_that_is_not_wrapped_is_measured_by_each_process_for_itself(found):
    assert [one["alone"] for one in found] == [3, 1]


def test_processes_draw_labels_of_their_own(found):
    (together, alone), (also_together, also_alone) = (one["draws"] for one in found)
    assert np.array_equal(together, also_together)
    assert np.array_equal(alone, also_alone)
    assert not np.allclose(together, alone)  # on the same batches, as it were if both drew the same


def test_when_one_process_stops_so_do_the_others(found):
    assert "has the label 10" in found[1]["wrong labels"]
    assert found[0]["wrong labels"] == "1 of 2 processes stopped: see their messages."
    assert found[0]["no batches"] == "there are no batches: pass at least one."
    assert found[1]["no batches"] == "1 of 2 processes stopped: see their messages."
    assert found[1]["stop"] == "enough"
    assert found[0]["stop"] == "1 of 2 processes stopped: see their messages."


def test_no_target_in_any_process_is_refused_by_all(found):
    assert all("no sample of 2 has a target" in one["no target"] for one in found)


def test_processes_that_follow_other_parameters_are_refused(found):
    assert all("the processes could not follow the same parameters. Pass route='loop'." in one["unlike"] for one in found)


def test_every_process_keeps_a_state_of_its_own(folder, found):
    assert {path.name for path in folder.glob("unfinished*")} == {
        "unfinished.rank0.safetensors",
        "unfinished.rank1.safetensors",
    }


def test_sharded_parameters_are_refused(found):
    assert all("parameter 'weight' is sharded over processes" in one["sharded"] for one in found)
