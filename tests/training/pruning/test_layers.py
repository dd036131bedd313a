"""Which layers there are, and which are asked for."""

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.policies.plan import Plan
from spectra.sources import open_source
from spectra.training.pruning import uniform_sparsities
from spectra.training.pruning.layers import asked_layers, prunable_layers, sparsity_by_layer
from tests.models import bert, gpt2, llama, mixtral


def plan_for(target, **values):
    units = {name.replace("__", "."): value for name, value in values.items()}
    return Plan(
        policy="alphapruning" if target == "sparsity" else "tempbalance",
        target=target,
        values=units,
        scores={},
        settings={},
        members={unit: (f"{unit}.a", f"{unit}.b") for unit in units},
        left_out={},
    )


def test_fused_projections_and_stacks_of_experts_are_one_layer():
    assert prunable_layers(open_source(gpt2()))["transformer.h.0.attn.c_attn"].tensor.shape == (64, 192)
    experts = prunable_layers(open_source(mixtral()))["model.layers.0.mlp.experts.gate_up_proj"]
    assert (len(experts.tensor.shape), experts.kind, experts.is_dense) == (3, "expert", False)


def test_the_layout_of_gpt2_is_known():
    layers = prunable_layers(open_source(gpt2()))
    assert layers["transformer.h.0.mlp.c_fc"].is_transposed
    assert not prunable_layers(open_source(llama()))["model.layers.0.mlp.up_proj"].is_transposed


def test_a_tied_weight_is_one_layer_under_both_names():
    layers = prunable_layers(open_source(gpt2()))
    assert layers["lm_head"] is layers["transformer.wte"]
    assert layers["lm_head"].copies == ("lm_head.weight",)


def test_the_same_share_is_given_to_the_layers_in_blocks():
    sparsities = uniform_sparsities(llama(), 0.5)
    parts = [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up", "down")]
    assert sparsities == {f"model.layers.{block}.{part}": 0.5 for block in range(2) for part in parts}


def test_layers_can_be_chosen():
    assert list(uniform_sparsities(bert(), 0.5, exclude=["*.layer.1.*", "*attention*"])) == [
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.0.output.dense",
    ]
    assert list(uniform_sparsities(bert(), 0.5, include=["pooler*"])) == ["pooler.dense"]


def test_a_model_without_blocks_wants_its_layers_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(InputError, match="none of its 2 layers stands in a numbered block"):
        uniform_sparsities(model, 0.5)
    assert uniform_sparsities(model, 0.5, include=["1"]) == {"1": 0.5}


def test_a_share_out_of_range_is_refused():
    with pytest.raises(InputError, match="sparsity: expected a share from 0 to 1, got 1.5"):
        uniform_sparsities(bert(), 1.5)


def test_a_plan_gives_every_layer_the_value_of_its_unit():
    found = sparsity_by_layer(plan_for("sparsity", block__0=0.25, block__1=0.75))
    assert found == {"block.0.a": 0.25, "block.0.b": 0.25, "block.1.a": 0.75, "block.1.b": 0.75}


def test_a_plan_of_something_else_is_refused():
    with pytest.raises(InputError, match="the plan sets the learning_rate of layers, not their sparsity"):
        sparsity_by_layer(plan_for("learning_rate", block__0=1.0))


@pytest.mark.parametrize("sparsities", [{}, {"pooler.dense": 0.0}], ids=["empty", "zero"])
def test_nothing_to_prune_is_refused(sparsities):
    with pytest.raises(InputError, match=rf"nothing to prune: none of {len(sparsities)} layers has a sparsity above 0"):
        asked_layers(open_source(bert()), sparsities)


def test_a_layer_of_sparsity_zero_takes_no_part():
    asked = asked_layers(open_source(bert()), {"pooler.dense": 0.5, "embeddings.word_embeddings": 0.0})
    assert [layer.name for layer, _ in asked] == ["pooler.dense"]


def test_layers_come_in_model_order():
    asked = asked_layers(open_source(llama()), {"model.layers.1.mlp.up_proj": 0.5, "model.layers.0.mlp.up_proj": 0.25})
    assert [(layer.name, share) for layer, share in asked] == [
        ("model.layers.0.mlp.up_proj", 0.25),
        ("model.layers.1.mlp.up_proj", 0.5),
    ]


def test_a_tied_weight_is_asked_for_once():
    source = open_source(gpt2())
    (found,) = asked_layers(source, {"transformer.wte": 0.5, "lm_head": 0.5})
    assert found[0].name == "transformer.wte"
    with pytest.raises(InputError, match="layers 'lm_head' and 'transformer.wte' are one weight"):
        asked_layers(source, {"transformer.wte": 0.5, "lm_head": 0.25})


def test_a_name_that_no_layer_has_is_refused_with_the_next_one():
    with pytest.raises(InputError, match=r"no layer 'pooler.dens' and 1 more\. Did you mean 'pooler.dense'\?"):
        asked_layers(open_source(bert()), {"pooler.dens": 0.5, "pooler.dense": 0.5, "x": 0.5})


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_sparsity_out_of_range_is_refused_by_its_layer(share):
    with pytest.raises(InputError, match="layer 'pooler.dense': expected a sparsity from 0 to 1, got"):
        asked_layers(open_source(bert()), {"pooler.dense": share})


def test_float8_is_refused():
    state = {"fc.weight": torch.ones(4, 4).to(torch.float8_e4m3fn)}
    with pytest.raises(InputError, match="layer 'fc' is stored as float8_e4m3fn: quantized weights are codes"):
        asked_layers(open_source(state), {"fc": 0.5})


def test_weights_without_numbers_are_refused():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(InputError, match="layer '0' has no weight to write to: meta"):
        asked_layers(open_source(model), {"0": 0.5})
