"""Two processes that train one model, replicated or sharded, measure what one process would."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.training.layer_meter import LayerMeter
from spectra.training.sharded_layers import owners
from tests.adapters import adapted
from tests.forked import in_group
from tests.models import bert
from tests.training.metered import SUMMED, Net, analyzed, table, train

PROCESSES = 2
LORA = {"target_modules": ["query"], "modules_to_save": ["pooler"]}

# The analysis by name: of the first two every weight is gathered, the others add up the Gram matrices of tall weights.
SETTINGS = {
    "svd": {"xmin": "median", "method": "svd"},
    "vectors": {"vectors": True},
    "float64": {"xmin": "median"},
    "float32": {"profile": "tempbalance"},
}


def defective():
    """A rank that only singular values tell, a NaN, zeros, and weights whose squares float32 does not hold."""
    model = Net()
    with torch.no_grad():
        model.inputs.weight[:, 0] = model.inputs.weight[:, 1]
        model.square.weight[5, 7] = math.nan
        model.blocks[0].down.weight.zero_()
        model.blocks[1].down.weight.mul_(1e-20)
    return model


def fsdp2(model):
    for block in model.blocks:
        fully_shard(block)
    return fully_shard(model)


def hybrid(model):
    return fully_shard(model, mesh=init_device_mesh("cpu", (1, PROCESSES), mesh_dim_names=("replicate", "shard")))


def fsdp1(model):
    # Units within units, and one that lies in a wrapper's name.
    model.blocks[0] = FullyShardedDataParallel(model.blocks[0], use_orig_params=True, device_id=torch.device("cpu"))
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))


def tensor_parallel(model):
    ways = {f"blocks.{n}.down": RowwiseParallel() for n in range(2)}
    ways |= {"inputs": ColwiseParallel(), "square": ColwiseParallel()}
    return parallelize_module(model, init_device_mesh("cpu", (PROCESSES,)), ways)


def half_sharded(model):
    fully_shard(model.blocks[1])
    return model


WAYS = {
    "DDP": DistributedDataParallel,
    "FSDP2": fsdp2,
    "hybrid": hybrid,
    "FSDP1": fsdp1,
    "tensor parallel": tensor_parallel,
    "partly": half_sharded,
}


UNTRAINED = ("tensor parallel", "partly")  # would need inputs and gradients arranged for them


def refused(call):
    try:
        call()
    except InputError as error:
        return str(error)
    return "no error"


def process(number, folder):
    """What each process does; what it finds goes to a file."""
    found = {}
    for way, wrap in WAYS.items():
        for name, options in SETTINGS.items():
            meter = LayerMeter(wrap(Net()), resolve_settings(**{"profile": "default", **options}))
            found[way, name] = meter.layers, dict(meter.costs), table(meter.measure())
        meter = LayerMeter(wrap(defective()), resolve_settings("default"))
        found[way, "defective"] = table(meter.measure())
        model = wrap(Net())
        meter = LayerMeter(model, resolve_settings("default"))
        found[way, "some"] = table(meter.measure(["square", "conv"]))
        found[way, "unknown"] = meter.change(meter.layers)
        meter.measure()
        held = {id(parameter) for parameter in model.parameters()}
        if way not in UNTRAINED:
            train(model)
        found[way, "trained"] = table(meter.measure())
        found[way, "same parameters"] = held == {id(parameter) for parameter in model.parameters()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.25)
        found[way, "change"] = meter.change(meter.layers)
        found[way, "snapshot"] = refused(meter.snapshot)
    merged = resolve_settings("default", lora="merged")
    meter = LayerMeter(fully_shard(adapted(bert, **LORA)), merged)
    found["adapters"] = meter.layers, table(meter.measure()), meter.change(meter.layers)
    model = nn.Sequential(nn.Linear(20, 10 + number))
    found["other layers"] = refused(lambda: LayerMeter(nn.ModuleDict({"ab"[number]: model}), merged))
    flat = FullyShardedDataParallel(Net(), device_id=torch.device("cpu"))
    found["flat"] = refused(lambda: LayerMeter(flat, merged))
    experts = nn.ModuleDict({"experts": nn.ModuleList(nn.ModuleDict({"w1": nn.Linear(20, 30)}) for _ in range(2))})
    for expert in experts["experts"]:
        fully_shard(expert["w1"])
    found["pooled experts"] = refused(lambda: LayerMeter(experts, resolve_settings("default", moe="pool")))
    found["experts"] = table(LayerMeter(experts, merged).measure())
    torch.save(found, folder / f"{number}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    in_group(process, folder, folder=folder, size=PROCESSES)
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in range(PROCESSES)]


def assert_alike(ours, theirs, rtol):
    """Equal words and counts; numbers to a relative tolerance, of the largest for what is near zero."""
    assert [row["matrix_name"] for row in ours] == [row["matrix_name"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for column, value in other.items():
            if isinstance(value, float) and mine[column] is not None:
                np.testing.assert_allclose(mine[column], value, rtol=rtol, atol=rtol, err_msg=f"{mine['matrix_name']} {column}")
            elif column != "notes":
                assert mine[column] == value, (mine["matrix_name"], column)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
class TestTwoProcesses:
    def test_have_the_same_rows_to_the_bit(self, found, way):
        for name in [*SETTINGS, "defective", "some", "trained", "change"]:
            assert found[0][way, name] == found[1][way, name], name

    def test_have_the_layers_of_one(self, found, way):
        one = LayerMeter(Net(), resolve_settings("default"))
        assert found[0][way, "float64"][0] == one.layers
        assert found[0][way, "float64"][1] == dict(one.costs)

    @pytest.mark.parametrize("name", ["svd", "vectors"])
    def test_have_the_rows_of_one_where_weights_are_gathered(self, found, way, name):
        assert found[0][way, name][2] == analyzed(Net(), **SETTINGS[name])

    @pytest.mark.parametrize("name", ["float64", "float32"])
    def test_have_the_rows_of_one_where_gram_matrices_are_added_up(self, found, way, name):
        assert_alike(found[0][way, name][2], analyzed(Net(), **SETTINGS[name]), SUMMED[name])

    def test_find_the_same_faults(self, found, way):
        ours, expected = found[0][way, "defective"], analyzed(defective())
        assert_alike(ours, expected, SUMMED["float64"])
        assert [(row["status"], row["notes"], row["rank_loss"]) for row in ours] == [
            (row["status"], row["notes"], row["rank_loss"]) for row in expected
        ]
        status = {row["layer_name"]: row["status"] for row in ours}
        assert (status["square"], status["blocks.0.down"], status["inputs"]) == ("nonfinite", "zero", "ok")

    def test_measure_some_layers(self, found, way):
        assert_alike(
            found[0][way, "some"],
            [row for row in analyzed(Net()) if row["layer_name"] in ("square", "conv")],
            SUMMED["float64"],
        )

    def test_see_what_training_does_and_leave_parameters_alone(self, found, way):
        one = Net() if way in UNTRAINED else train(Net())
        # Float32 gradients, summed in another order.
        assert_alike(found[0][way, "trained"], analyzed(one), 1e-3)
        assert found[0][way, "same parameters"]

    def test_estimate_the_change_together(self, found, way):
        measured = ("conv", "square")
        unknown = {name: 0.0 if name in measured else math.inf for name in found[0][way, "float64"][0]}
        assert found[0][way, "unknown"] == unknown
        assert found[0][way, "change"] == pytest.approx(dict.fromkeys(found[0][way, "float64"][0], 0.25), rel=1e-5)

    def test_take_no_snapshots(self, found, way):
        assert found[0][way, "snapshot"] == "snapshot: several processes must measure together. Call measure()."


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name
def test_sharded_adapters_count_with_the_weights_they_make(found):
    layers, rows, changes = found[0]["adapters"]
    model = adapted(bert, **LORA)
    assert_alike(rows, analyzed(copy.deepcopy(model), lora="merged"), SUMMED["float64"])
    assert layers == LayerMeter(model, resolve_settings("default", lora="merged")).layers
    unknown = {name for name, change in changes.items() if change == math.inf}
    # What is computed from several parameters has no rows to look at.
    assert unknown == {f"encoder.layer.{n}.attention.self.query" for n in range(2)} | {"pooler.dense"}
    assert set(changes.values()) == {0.0, math.inf}


@pytest.mark.slow
def test_processes_with_other_layers_are_refused(found):
    assert all("the processes hold different layers" in one["other layers"] for one in found)


@pytest.mark.slow
def test_flat_parameters_without_their_layers_are_refused(found):
    assert all("Wrap the model with use_orig_params=True" in one["flat"] for one in found)


@pytest.mark.slow
def test_separate_experts_are_measured_one_by_one(found):
    assert [row["matrix_name"] for row in found[0]["experts"]] == ["experts.0.w1", "experts.1.w1"]
    assert {row["status"] for row in found[0]["experts"]} == {"ok"}
    message = "'experts.*.w1': weights of several modules in one spectrum cannot be sharded. Set moe='per_expert'."
    assert all(one["pooled experts"] == message for one in found)


def test_the_longest_jobs_are_divided_first():
    # 9 | 7, then 5 joins 7, 4 joins 9, 3 joins 12: the second process is at 12, the first at 13.
    assert owners([3.0, 9.0, 4.0, 7.0, 5.0], 2) == [1, 0, 0, 1, 1]
    assert owners([], 3) == []


@given(st.lists(st.floats(0.0, 1e6), max_size=20), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_no_process_has_more_than_its_share_and_one_job(costs, count):
    chosen = owners(costs, count)
    load = [sum(cost for cost, owner in zip(costs, chosen, strict=True) if owner == one) for one in range(count)]
    assert max(load) <= sum(costs) / count + max(costs, default=0.0) + 1e-6
