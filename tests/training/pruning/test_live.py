"""Pruning of a model in memory."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parametrize

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.policies.plan import plan
from spectra.training.pruning import input_norms, magnitude_mask, prune_module, uniform_sparsities, wanda_mask
from tests.models import gpt2, llama, resnet
from tests.pretrained import save_adapter, save_bert


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


def test_the_smallest_weights_become_zero_and_nothing_else_changes():
    model = llama()
    before = copy.deepcopy(model.state_dict())
    prune_module(model, {"model.layers.0.mlp.up_proj": 0.3})
    for name, value in model.state_dict().items():
        old = before[name]
        expected = old * magnitude_mask(old, 0.3) if name == "model.layers.0.mlp.up_proj.weight" else old
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("make", [gpt2, llama, resnet], ids=["gpt2", "llama", "resnet"])
@pytest.mark.parametrize("sparsity", [0.123, 0.5, 0.7, 1.0])
def test_the_global_sparsity_is_exact_within_one_weight(make, sparsity):
    model = make()
    names = {"encoder.stages.0.layers.0.layer.0.convolution": sparsity, "embedder.embedder.convolution": sparsity}
    report = prune_module(model, names if make is resnet else uniform_sparsities(model, sparsity))
    weights = [model.get_parameter(f"{layer.layer_name}.weight") for layer in report.layers]
    zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    assert (report.num_zeros, report.num_params) == (zeros, total)
    assert abs(zeros - sparsity * total) <= 0.5
    assert report.reached == report.asked


def test_wanda_works_on_outputs_in_either_layout():
    """GPT-2 stores (in, out): the transposed weight has to be pruned like a linear layer's."""
    model = gpt2()
    name = "transformer.h.0.mlp.c_fc"
    weight = model.get_parameter(f"{name}.weight").detach().clone()
    norms = input_norms(model, [{"input_ids": torch.arange(20).reshape(2, 10)}], [name])
    prune_module(model, {name: 0.5}, method="wanda", input_norms=norms)
    assert torch.equal(model.get_parameter(f"{name}.weight"), weight * wanda_mask(weight.T, norms[name], 0.5).T)
    assert set((model.get_parameter(f"{name}.weight") == 0).sum(0).tolist()) == {32}  # of each of the outputs


def test_existing_zeros_count():
    model = mlp()
    with torch.no_grad():
        model[0].weight[:, :4] = 0
    report = prune_module(model, {"0": 0.6, "2": 0.6})
    assert [(layer.num_asked, layer.num_zeros) for layer in report.layers] == [(21, 21), (9, 9)]
    again = prune_module(model, {"0": 0.2})
    assert (again.layers[0].num_asked, again.layers[0].num_zeros, again.reached) == (7, 21, 0.6)


def test_a_tied_weight_is_pruned_once():
    model = gpt2()
    report = prune_module(model, {"lm_head": 0.5, "transformer.wte": 0.5})
    assert [layer.layer_name for layer in report.layers] == ["transformer.wte"]
    assert int((model.lm_head.weight == 0).sum()) == model.lm_head.weight.numel() // 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_stays(dtype):
    model = mlp().to(dtype)
    report = prune_module(model, {"0": 0.5})
    assert model[0].weight.dtype == dtype
    assert report.num_zeros == 18  # of 35; round(17.5) is even


def test_a_wrapped_model_is_pruned_under_its_plain_names():
    model = mlp()
    prune_module(torch.compile(model, backend="eager"), {"0": 0.4})
    assert int((model[0].weight == 0).sum()) == 14


def test_training_goes_on_from_there():
    model = mlp()
    prune_module(model, {"0": 0.5})
    model(torch.ones(1, 7)).sum().backward()
    assert model[0].weight.grad is not None


def test_nothing_is_changed_if_a_layer_cannot_be_pruned():
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    before = model[0].weight.detach().clone()
    with pytest.raises(NonFiniteWeightsError, match="layer '2': 1 of 15 weights are NaN or infinite"):
        prune_module(model, {"0": 0.5, "2": 0.5})
    assert torch.equal(model[0].weight, before)


def test_the_report_says_what_was_done():
    report = prune_module(mlp(), {"0": 0.6, "2": 1 / 3})
    assert str(report) == "Pruned 2 layers of 'Sequential' (magnitude): 26 of 50 weights are zero, a share of 0.520000"
    content = report.to_dict()
    assert content["layers"][1] == {
        "layer_name": "2", "num_params": 15, "asked": 1 / 3, "num_asked": 5, "num_zeros": 5, "reached": 1 / 3,
    }  # fmt: skip
    assert [content[key] for key in ("model", "method", "num_zeros", "asked")] == ["Sequential", "magnitude", 26, 0.52]


def test_a_plan_of_other_weights_is_applied_by_the_names_of_layers_alone():
    planned, other = llama(), llama()
    torch.nn.init.normal_(other.model.layers[0].mlp.up_proj.weight)
    made = plan(planned, policy="alphapruning", sparsity=0.5)
    report = prune_module(other, made)
    assert {layer.layer_name: layer.asked for layer in report.layers} == made.by_layer()
    assert report.notes == ()


def test_a_plan_for_other_names_is_refused():
    made = plan(gpt2(), policy="alphapruning", sparsity=0.5)
    with pytest.raises(
        InputError, match="has no layer 'transformer.h.0.*The plan is of 'GPT2LMHeadModel': make one of this model"
    ):
        prune_module(llama(), made)


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match=r"unknown method 'wander'\. Did you mean 'wanda'\? Known: magnitude, wanda"):
        prune_module(mlp(), {"0": 0.5}, method="wander")


def test_a_method_needs_what_it_reads_and_nothing_else():
    with pytest.raises(InputError, match="method 'wanda' needs the norms of the layers' inputs"):
        prune_module(mlp(), {"0": 0.5}, method="wanda")
    with pytest.raises(InputError, match="method 'magnitude' reads no inputs"):
        prune_module(mlp(), {"0": 0.5}, input_norms={"0": torch.ones(7)})
    with pytest.raises(InputError, match="layer '2' has no input norms"):
        prune_module(mlp(), {"2": 0.5}, method="wanda", input_norms={"0": torch.ones(7)})
    with pytest.raises(InputError, match=r"layer '0': wanda: expected .* got \(5, 7\) and \(6,\)"):
        prune_module(mlp(), {"0": 0.5}, method="wanda", input_norms={"0": torch.ones(6)})


def test_wanda_is_refused_where_weights_see_many_inputs():
    name = "encoder.stages.0.layers.0.layer.0.convolution"
    with pytest.raises(InputError, match=rf"layer '{name}' \(conv2d, 16×16×3×3\): Wanda compares weights that see one input"):
        prune_module(resnet(), {name: 0.5}, method="wanda", input_norms={name: torch.ones(16)})


def test_adapters_have_to_be_merged_first(tmp_path):
    from peft import PeftModel
    from transformers import BertForSequenceClassification

    from spectra.training.libraries import quiet

    base = save_bert(tmp_path / "base", "BertForSequenceClassification")
    with quiet():
        adapted = PeftModel.from_pretrained(
            BertForSequenceClassification.from_pretrained(base), save_adapter(tmp_path / "adapter", base)
        )
    with pytest.raises(InputError, match="the model has adapters"):
        prune_module(adapted, {"bert.pooler.dense": 0.5})


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_weights_are_refused():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = fully_shard(mlp(), mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(InputError, match="layer '0' is sharded over processes. Prune the checkpoint, then load it"):
        prune_module(model, {"0": 0.5})


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_weights_that_are_computed_are_refused():
    model = mlp()
    parametrize.register_parametrization(model[0], "weight", Doubled())
    with pytest.raises(InputError, match="layer '0' is computed from other parameters"):
        prune_module(model, {"0": 0.5})
