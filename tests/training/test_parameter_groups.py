"""Parameters find their unit by name in every kind of model and wrapper, and groups are split without losing anything."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spectra.errors import InputError
from spectra.training.libraries import quiet
from spectra.training.parameter_groups import (
    DECAY_UNIT,
    UNIT,
    build_parameter_groups,
    group_unit,
    parameter_units,
    plain_parameter_name,
    split_parameter_groups,
    unwrapped_optimizer,
)
from tests.dropout_models import tiny


class Block(nn.Module):
    """Pre-LN: its first parameter is that of a normalization layer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return x + self.fc2(self.fc(self.norm(x)).relu())


class Net(nn.Module):
    def __init__(self, depth=12):
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.final = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.final(x))


def blocks_of(depth=12):
    return {f"blocks.{i}": (f"blocks.{i}.fc", f"blocks.{i}.fc2") for i in range(depth)}


def layers(*names):
    return {name: (name,) for name in names}


def test_a_block_has_every_parameter_below_its_path_and_only_those():
    units = parameter_units(Net(), blocks_of())
    assert list(units) == [name for name, _ in Net().named_parameters()]
    for name, unit in units.items():
        number = name.split(".")[1] if name.startswith("blocks.") else None
        assert unit == (f"blocks.{number}" if number else "")


def test_a_layer_has_its_own_parameters_and_names_that_begin_alike_are_not_confused():
    units = parameter_units(Net(), layers("blocks.1.fc", "blocks.1.fc2", "blocks.10.fc"))
    assert {name: unit for name, unit in units.items() if unit} == {
        "blocks.1.fc.weight": "blocks.1.fc",
        "blocks.1.fc.bias": "blocks.1.fc",
        "blocks.1.fc2.weight": "blocks.1.fc2",
        "blocks.10.fc.weight": "blocks.10.fc",
        "blocks.10.fc.bias": "blocks.10.fc",
    }


def test_units_of_the_user_have_the_parameters_of_their_layers_alone():
    units = parameter_units(Net(2), {"wide": ("blocks.0.fc", "blocks.1.fc"), "head": ("head",)})
    assert {name for name, unit in units.items() if unit == "wide"} == {
        f"blocks.{i}.fc.{leaf}" for i in (0, 1) for leaf in ("weight", "bias")
    }
    assert units["head.bias"] == "head"


def test_a_layer_taken_out_of_its_block_is_base_and_norms_stay():
    units = parameter_units(Net(2), {"blocks.0": ("blocks.0.fc2",), "blocks.1": ("blocks.1.fc", "blocks.1.fc2")})
    assert {name for name, unit in units.items() if name.startswith("blocks.") and not unit} == {
        "blocks.0.fc.weight",
        "blocks.0.fc.bias",
    }
    assert units["blocks.0.norm.bias"] == units["blocks.0.fc2.weight"] == "blocks.0"


def test_a_layer_moved_to_another_block_follows_that_one():
    units = parameter_units(Net(2), {"blocks.0": ("blocks.0.fc",), "blocks.1": ("blocks.1.fc", "blocks.1.fc2", "blocks.0.fc2")})
    assert units["blocks.0.fc2.weight"] == "blocks.1"
    assert units["blocks.0.fc.weight"] == "blocks.0"
    assert units["blocks.1.norm.weight"] == ""  # the unit is no longer a path above its layers


def test_parts_of_a_layer_taken_out_go_with_it():
    attention = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2), "fc": nn.Linear(4, 4), "normed": nn.LSTM(4, 4)})
    model = nn.ModuleList([attention])
    units = parameter_units(model, {"0": ("0.fc",)})
    assert {name for name, unit in units.items() if unit} == {"0.fc.weight", "0.fc.bias"}
    adapter = parameter_units(adapted(use_dora=True), {"bert.encoder.layer.0": (QUERY.replace("query", "key"),)})
    assert not any(unit for name, unit in adapter.items() if "query" in name)


@pytest.mark.parametrize(("planned", "trained"), [("BertModel", "bert"), ("bert", "BertModel")])
def test_a_plan_of_the_model_with_or_without_its_head_fits(planned, trained):
    models = {"bert": tiny("bert")}
    models["BertModel"] = models["bert"].bert
    path = {"bert": "bert.encoder.layer", "BertModel": "encoder.layer"}
    parts = ("attention.self.query", "output.dense")
    members = {f"{path[planned]}.{i}": tuple(f"{path[planned]}.{i}.{part}" for part in parts) for i in range(2)}
    units = parameter_units(models[trained], members)
    assert units[f"{path[trained]}.1.output.dense.bias"] == f"{path[planned]}.1"
    assert units[f"{path[trained]}.1.output.LayerNorm.weight"] == f"{path[planned]}.1"
    assert units[f"{path[trained]}.1.intermediate.dense.weight"] == ""


def test_a_prefix_must_be_the_only_one_and_no_number():
    two = nn.ModuleDict({name: nn.ModuleDict({"fc": nn.Linear(2, 2)}) for name in ("left", "right")})
    with pytest.raises(
        InputError, match="ModuleDict does not have 1 of 1 layer: 'fc' of the unit 'fc'.* plan of the model that you"
    ):
        parameter_units(two, layers("fc"))
    with pytest.raises(InputError, match="ModuleList does not have 1 of 1 layer: 'fc'"):
        parameter_units(nn.ModuleList([nn.ModuleDict({"fc": nn.Linear(2, 2)})]), layers("fc"))


def test_a_misspelled_member_is_named_though_its_unit_has_others():
    members = {"blocks.0": ("blocks.0.fc", "blocks.0.fcc2")}
    match = (
        "Net does not have 1 of 2 layers: 'blocks.0.fcc2' of the unit 'blocks.0'. Did you mean 'blocks.0.fc2'.* Correct these"
    )
    with pytest.raises(InputError, match=match):
        parameter_units(Net(1), members)


def test_the_innermost_block_decides_where_lists_are_nested():
    model = nn.ModuleDict({"encoder": nn.ModuleList([nn.ModuleDict({"layer": nn.ModuleList([Block(), Block()])})])})
    inner = {f"encoder.0.layer.{i}": (f"encoder.0.layer.{i}.fc",) for i in range(2)}
    assert parameter_units(model, inner)["encoder.0.layer.1.norm.weight"] == "encoder.0.layer.1"
    both = {"encoder.0": ("encoder.0.layer.0.fc2",), **inner}
    units = parameter_units(model, both)
    assert units["encoder.0.layer.0.fc2.weight"] == "encoder.0"  # a layer's own unit comes before blocks
    assert units["encoder.0.layer.0.norm.weight"] == "encoder.0.layer.0"


def test_encoder_and_decoder_of_t5_with_the_same_numbers_are_kept_apart():
    model = tiny("t5")
    names = [name.removesuffix(".weight") for name, p in model.named_parameters() if p.ndim == 2 and ".block." in name]
    members = {}
    for name in names:
        members.setdefault(".".join(name.split(".")[:5]), []).append(name)
    units = parameter_units(model, members)
    assert units["encoder.block.0.layer.0.SelfAttention.q.weight"] == "encoder.block.0.layer.0"
    assert units["decoder.block.0.layer.1.layer_norm.weight"] == "decoder.block.0.layer.1"
    assert units["shared.weight"] == ""


def test_tied_weights_go_by_their_first_name_and_appear_once():
    model = tiny("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    units = parameter_units(model, {"transformer.h.0": ("transformer.h.0.mlp.c_fc",), "lm_head": ("lm_head",)})
    assert "lm_head.weight" not in units
    assert units["transformer.wte.weight"] == ""
    groups = build_parameter_groups(model, units)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_weights_that_a_module_names_otherwise_go_with_their_layer():
    model = nn.ModuleDict(
        {
            "attn": nn.MultiheadAttention(4, 2),
            "rnn": nn.LSTM(4, 4),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        }
    )
    nn.utils.parametrizations.orthogonal(model["attn"], "in_proj_weight")
    units = parameter_units(model, layers("attn.in_proj_weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "normed"))
    assert units == {
        "attn.in_proj_bias": "attn.in_proj_weight",
        "attn.out_proj.weight": "",
        "attn.out_proj.bias": "",
        "attn.parametrizations.in_proj_weight.original": "attn.in_proj_weight",
        "rnn.weight_ih_l0": "rnn.weight_ih_l0",
        "rnn.weight_hh_l0": "rnn.weight_hh_l0",
        "rnn.bias_ih_l0": "rnn.weight_ih_l0",
        "rnn.bias_hh_l0": "rnn.weight_hh_l0",
        "normed.bias": "normed",
        "normed.parametrizations.weight.original0": "normed",
        "normed.parametrizations.weight.original1": "normed",
    }


def test_a_model_that_is_one_layer_is_a_unit():
    assert parameter_units(nn.Linear(2, 2), layers("weight")) == {"weight": "weight", "bias": "weight"}


QUERY = "bert.encoder.layer.0.attention.self.query"


def adapted(**settings):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["query", "word_embeddings"], modules_to_save=["classifier"], **settings)
    with quiet():
        return get_peft_model(tiny("bert"), config)


def test_adapters_go_with_the_layer_that_they_change():
    model = adapted(use_dora=True)
    units = parameter_units(model, layers(QUERY, "classifier", "bert.embeddings.word_embeddings"))
    found = {name for name, unit in units.items() if unit == QUERY}
    inside = f"base_model.model.{QUERY}"
    assert found == {
        *(f"{inside}.base_layer.{leaf}" for leaf in ("weight", "bias")),
        *(f"{inside}.lora_{part}.default.weight" for part in ("A", "B", "magnitude_vector")),
    }
    embeddings = {name.split("word_embeddings.")[1] for name, unit in units.items() if unit.endswith("word_embeddings")}
    parts = {"lora_embedding_A.default", "lora_embedding_B.default", "lora_magnitude_vector.default.weight"}
    assert embeddings == {"base_layer.weight", *parts}
    assert units["base_model.model.classifier.modules_to_save.default.bias"] == "classifier"


def test_adapters_go_with_their_block_and_groups_hold_only_what_is_trained():
    model = adapted()
    units = parameter_units(model, {"bert.encoder.layer.0": (QUERY,), "bert.encoder.layer.1": (QUERY.replace(".0.", ".1."),)})
    groups = build_parameter_groups(model, units, lr=0.1)
    assert [group[UNIT] for group in groups] == ["", "bert.encoder.layer.0", "bert.encoder.layer.1"]
    assert [len(group["params"]) for group in groups[1:]] == [2, 2]  # A and B
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])


def test_an_adapter_of_one_stacked_parameter_goes_with_that_parameter():
    from peft import LoraConfig, get_peft_model

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.ones(2, 4, 4))
            self.down = nn.Parameter(torch.ones(2, 4, 4))

        def forward(self, x):
            return x @ self.up[0] @ self.down[0]

    config = LoraConfig(r=2, target_parameters=["experts.up", "experts.down"], target_modules=[])
    model = get_peft_model(nn.ModuleDict({"experts": Experts()}), config)
    units = parameter_units(model, layers("experts.up", "experts.down"))
    by_unit = {unit: sum(u == unit and "lora_" in name for name, u in units.items()) for unit in ("experts.up", "experts.down")}
    assert by_unit == {"experts.up": 2, "experts.down": 2}
    assert [unit for name, unit in units.items() if name.endswith(".up")] == ["experts.up"]


def wrapped(kind):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    net = Net(2)
    if kind == "checkpointing":
        net.blocks[1] = checkpoint_wrapper(net.blocks[1])
    if kind in ("compiled", "both"):
        net = torch.compile(net, backend="eager")
    return nn.DataParallel(net) if kind in ("parallel", "both") else net


@pytest.mark.parametrize("kind", ["parallel", "compiled", "both", "checkpointing"])
@pytest.mark.parametrize("members", [blocks_of(2), layers("blocks.1.fc", "blocks.1.fc2")], ids=["blocks", "layers"])
def test_wrappers_change_nothing(kind, members):
    plain = list(parameter_units(Net(2), members).values())
    model = wrapped(kind)
    assert list(parameter_units(model, members).values()) == plain


@pytest.mark.parametrize("sharding", ["fsdp2", "fsdp1"])
def test_sharded_models_have_the_units_of_the_plain_one(sharding, tmp_path):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = shard(Net(2), sharding)
        units = parameter_units(model, blocks_of(2))
        assert list(units.values()) == list(parameter_units(Net(2), blocks_of(2)).values())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        split_parameter_groups(optimizer, model, units)
        assert [group[UNIT] for group in optimizer.param_groups] == ["", "blocks.0", "blocks.1"]
    finally:
        dist.destroy_process_group()


def shard(model, how):
    if how == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (1,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    with pytest.warns():  # that it is old, and slow on a CPU
        return FullyShardedDataParallel(
            model, auto_wrap_policy=ModuleWrapPolicy({Block}), use_orig_params=True, device_id=torch.device("cpu")
        )


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("module._orig_mod.fc.weight", "fc.weight"),
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.fc", "layers.0.fc"),
        ("module.base_model.model.score.modules_to_save.default.weight", "score.weight"),
        ("base_model.model.score.original_module.weight", "score.weight"),
        ("encoder.module.fc", "encoder.module.fc"),
        ("", ""),
    ],
)
def test_plain_names(name, plain):
    assert plain_parameter_name(name) == plain


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3), "bn": nn.BatchNorm2d(4), "down": self.shortcut()}) for _ in range(2)
        )
        self.norm = nn.LayerNorm(4)

    @staticmethod
    def shortcut():
        return nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


def test_norms_follow_the_layer_before_them_within_the_nearest_module():
    members = layers("blocks.0.conv", "blocks.0.down.0", "blocks.1.conv", "blocks.1.down.0")
    units = parameter_units(ConvNet(), members, norms_follow=True)
    assert units["blocks.0.bn.weight"] == units["blocks.0.bn.bias"] == "blocks.0.conv"
    assert units["blocks.1.down.1.weight"] == "blocks.1.down.0"
    assert units["norm.weight"] == "blocks.1.down.0"
    assert units["bn1.weight"] == ""  # conv1 is no unit, and bn1 stays with it
    assert parameter_units(ConvNet(), members)["blocks.0.bn.weight"] == ""


def test_a_norm_with_nothing_before_it_follows_the_next_layer():
    units = parameter_units(Net(2), layers(*(f"blocks.{i}.{fc}" for i in range(2) for fc in ("fc", "fc2"))), norms_follow=True)
    assert units["blocks.0.norm.weight"] == "blocks.0.fc"
    assert units["blocks.1.norm.weight"] == "blocks.1.fc"
    assert units["final.weight"] == "blocks.1.fc2"


def test_norms_of_embeddings_stay_with_them():
    units = parameter_units(tiny("bert"), layers(QUERY), norms_follow=True)
    assert units["bert.embeddings.LayerNorm.weight"] == ""


def options(group):
    return {key: value for key, value in group.items() if key not in ("params", "param_names", UNIT, DECAY_UNIT)}


@given(data=st.data())
def test_splitting_loses_nothing_doubles_nothing_and_keeps_order_and_options(data):
    model = Net(3)
    names = [name for name, _ in model.named_parameters()]
    parameters = dict(model.named_parameters())

    def drawn(values):
        return dict(zip(names, data.draw(st.lists(values, min_size=len(names), max_size=len(names))), strict=True))

    units, home = drawn(st.sampled_from(["", "a", "b", "c"])), drawn(st.integers(0, 2))
    groups = [
        {"params": [parameters[name] for name in names if home[name] == number], "lr": 0.1 * (number + 1), "own": number}
        for number in sorted(set(home.values()))
    ]
    parts = build_parameter_groups(model, units, groups=groups, weight_decay=0.5, lr=9.0)
    unit_of = {id(parameters[name]): unit for name, unit in units.items()}
    order = ["", *dict.fromkeys(unit for unit in units.values() if unit)]
    assert all(part["params"] for part in parts)
    for group in groups:
        its_parts = [part for part in parts if part["own"] == group["own"]]
        assert [part[UNIT] for part in its_parts] == [u for u in order if u in {part[UNIT] for part in its_parts}]
        for part in its_parts:
            expected = [p for p in group["params"] if unit_of[id(p)] == part[UNIT]]
            assert list(map(id, part["params"])) == list(map(id, expected))
            assert options(part) == {"lr": group["lr"], "own": group["own"], "weight_decay": 0.5}
    assert sorted(map(id, parameters.values())) == sorted(id(p) for part in parts for p in part["params"])
    by_split = torch.optim.SGD(groups, lr=9.0, weight_decay=0.5)
    split_parameter_groups(by_split, model, units)
    by_build = torch.optim.SGD(parts, lr=9.0)
    assert [list(map(id, g["params"])) for g in by_split.param_groups] == [
        list(map(id, g["params"])) for g in by_build.param_groups
    ]
    assert [options(g) for g in by_split.param_groups] == [options(g) for g in by_build.param_groups]


def test_names_in_groups_survive_and_tensors_are_cloned():
    model = Net(2)
    units = parameter_units(model, blocks_of(2))
    rate = torch.tensor(0.1)
    groups = build_parameter_groups(model, units, groups=[{"params": model.named_parameters(), "betas": (0.5, 0.9)}], lr=rate)
    optimizer = torch.optim.AdamW(groups)
    parameters = dict(model.named_parameters())
    for group in optimizer.param_groups:
        assert [id(parameters[name]) for name in group["param_names"]] == list(map(id, group["params"]))
        assert {units[name] for name in group["param_names"]} == {group[UNIT]}
        assert group["betas"] == (0.5, 0.9)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert len({id(one) for one in [rate, *rates]}) == len(rates) + 1
    again = torch.optim.AdamW(model.named_parameters(), lr=0.1)
    split_parameter_groups(again, model, units)
    assert [g["param_names"] for g in again.param_groups] == [g["param_names"] for g in optimizer.param_groups]


def test_one_parameter_can_be_given_without_a_list():
    model = nn.Linear(2, 2)
    assert build_parameter_groups(model, {}, groups=[{"params": model.weight}]) == [{"params": [model.weight], UNIT: ""}]


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(8, 3, generator=generator)).square().mean().backward()
        optimizer.step()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD])
@pytest.mark.parametrize("steps_before", [0, 5])
def test_a_split_optimizer_trains_as_before_bit_for_bit_and_its_state_stays(kind, steps_before):
    torch.manual_seed(0)
    model = Net(2)
    reference = copy.deepcopy(model)
    settings = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer, plain = kind(model.parameters(), lr=0.01, **settings), kind(reference.parameters(), lr=0.01, **settings)
    train(model, optimizer, steps_before)
    list_object, state = optimizer.param_groups, {id(p): id(s) for p, s in optimizer.state.items()}
    split_parameter_groups(optimizer, model, parameter_units(model, blocks_of(2)))
    assert optimizer.param_groups is list_object
    assert {id(p): id(s) for p, s in optimizer.state.items()} == state
    train(model, optimizer, 20 - steps_before, steps_before)
    train(reference, plain, 20)
    assert same(model, reference)


def test_splitting_again_by_the_same_units_does_nothing_even_with_a_scheduler():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    units = parameter_units(model, blocks_of(2))
    split_parameter_groups(optimizer, model, units)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    groups = list(optimizer.param_groups)
    split_parameter_groups(optimizer, model, units)
    assert list(map(id, optimizer.param_groups)) == list(map(id, groups))


def test_accelerates_wrapper_is_taken_off():
    from accelerate import Accelerator

    model = Net(2)
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = Accelerator(cpu=True).prepare(inner)
    assert unwrapped_optimizer(wrapper) is inner
    split_parameter_groups(wrapper, model, parameter_units(model, blocks_of(2)))
    assert [group[UNIT] for group in inner.param_groups] == ["", "blocks.0", "blocks.1"]


def test_parameters_that_the_optimizer_lacks_are_fine():
    model = Net(2)
    optimizer = torch.optim.SGD(model.blocks[0].parameters(), lr=0.1)
    split_parameter_groups(optimizer, model, parameter_units(model, blocks_of(2)))
    assert [group[UNIT] for group in optimizer.param_groups] == ["blocks.0"]


def refused_split(optimizer, model, units, match):
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(InputError, match=match):
        split_parameter_groups(optimizer, model, units)
    assert [dict(group) for group in optimizer.param_groups] == before


def test_a_parameter_of_another_model_is_refused():
    model, other = Net(2), nn.Linear(7, 5)
    optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": other.parameters()}], lr=0.1)
    match = r"group 1 has a parameter of shape \(5, 7\) that the model does not have\. .* after all wrapping"
    refused_split(optimizer, model, {}, match)


def test_a_scheduler_that_is_attached_is_refused():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    refused_split(optimizer, model, parameter_units(model, blocks_of(2)), "a scheduler is attached.* Split the groups first")


def test_splitting_by_other_units_is_refused():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    split_parameter_groups(optimizer, model, parameter_units(model, blocks_of(2)))
    match = r"group 1 is split already for its learning_rate, as 'blocks.0', and its parameter of shape \(4,\) belongs to ''"
    refused_split(optimizer, model, parameter_units(model, layers("blocks.0.fc")), match)


def test_optimizers_whose_groups_cannot_be_split_are_refused():
    model = Net(2)

    class ZeroRedundancyOptimizer(torch.optim.SGD):
        """The real one needs processes; what counts is its name."""

    units = parameter_units(model, blocks_of(2))
    refused_split(torch.optim.LBFGS(model.parameters()), model, units, "LBFGS takes one group only")
    refused_split(ZeroRedundancyOptimizer(model.parameters()), model, units, "has shared its groups out already")


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(InputError, match=r"expected a torch.optim.Optimizer, got list"):
        split_parameter_groups([], Net(1), {})


def test_units_of_another_model_are_refused():
    with pytest.raises(
        InputError, match=r"Net does not have 2 of 3 layers: 'blocks.2.fc' of the unit 'blocks.2', 'tail'.* Did you mean"
    ):
        parameter_units(Net(2), {"blocks.0": ("blocks.0.fc",), "blocks.2": ("blocks.2.fc",), "tail": ("tail",)})
    with pytest.raises(
        InputError, match=r"1 of 22 names are no parameters of Net, such as 'head.wait'\. Did you mean 'head.weight'"
    ):
        build_parameter_groups(Net(3), parameter_units(Net(3), {}) | {"head.wait": "x"})


def test_units_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="a unit without a name"):
        parameter_units(Net(2), {"": ("head",)})
    with pytest.raises(InputError, match=r"layer 'head' is in two units, 'a' and 'b'"):
        parameter_units(Net(2), {"a": ("head",), "b": ("head", "stem")})


def test_parameters_that_fsdp_has_put_together_are_refused():
    model = nn.Module()
    model.register_parameter("_flat_param", nn.Parameter(torch.ones(3)))
    with pytest.raises(InputError, match="'_flat_param' holds the parameters of several modules.* use_orig_params=True"):
        parameter_units(model, {})


def test_groups_that_list_a_parameter_twice_or_are_split_are_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"a parameter of shape \(2, 2\) is in group 0 and in group 1"):
        build_parameter_groups(model, {}, groups=[{"params": [model.weight]}, {"params": [model.bias, model.weight]}])
    with pytest.raises(InputError, match="group 0 is split by unit already"):
        build_parameter_groups(model, {}, groups=build_parameter_groups(model, {}))


BOTH = {"learning_rate": blocks_of(2), "weight_decay": layers("stem", "blocks.0.fc", "blocks.0.fc2", "blocks.1.fc2")}


@pytest.mark.parametrize("targets", [("learning_rate", "weight_decay"), ("weight_decay", "learning_rate")])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_each_target_has_its_units_and_a_group_what_they_share_in_either_order(targets, steps_before):
    torch.manual_seed(0)
    model = Net(2)
    reference = copy.deepcopy(model)
    optimizer, plain = (torch.optim.AdamW(one.parameters(), lr=0.01, betas=(0.8, 0.9)) for one in (model, reference))
    optimizer.param_groups[0]["initial_lr"] = 0.02
    train(model, optimizer, steps_before)
    state = {id(p): id(s) for p, s in optimizer.state.items()}
    for target in targets:
        split_parameter_groups(optimizer, model, parameter_units(model, BOTH[target]), target=target)
    wanted = {target: parameter_units(model, BOTH[target]) for target in targets}
    pairs = {name: tuple(wanted[target][name] for target in targets) for name, _ in model.named_parameters()}
    home = {id(p): tuple(group_unit(g, t) for t in targets) for g in optimizer.param_groups for p in g["params"]}
    assert {name: home[id(p)] for name, p in model.named_parameters()} == pairs
    # One group for each pair: no more than is needed.
    assert sorted(tuple(group_unit(g, t) for t in targets) for g in optimizer.param_groups) == sorted(set(pairs.values()))
    assert {id(p): id(s) for p, s in optimizer.state.items()} == state
    assert {(g["lr"], g["betas"], g["initial_lr"]) for g in optimizer.param_groups} == {(0.01, (0.8, 0.9), 0.02)}
    train(model, optimizer, 8 - steps_before, steps_before)
    train(reference, plain, 8)
    assert same(model, reference)


@given(data=st.data())
def test_splitting_for_both_targets_loses_nothing_and_parts_groups_by_both_units_alone(data):
    model = Net(1)
    parameters = dict(model.named_parameters())
    drawn = st.fixed_dictionaries({name: st.sampled_from(["", "a", "b"]) for name in parameters})
    units = {"learning_rate": data.draw(drawn), "weight_decay": data.draw(drawn)}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    for target in data.draw(st.permutations(list(units))):
        split_parameter_groups(optimizer, model, units[target], target=target)
    found = [(group_unit(g), group_unit(g, "weight_decay"), list(map(id, g["params"]))) for g in optimizer.param_groups]
    of_pair = {}
    for name, parameter in parameters.items():
        of_pair.setdefault((units["learning_rate"][name], units["weight_decay"][name]), []).append(id(parameter))
    assert {(rate, decay): ids for rate, decay, ids in found} == of_pair
    assert len(found) == len(of_pair)


def test_weight_decays_follow_the_units_of_learning_rates_until_they_have_their_own():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    split_parameter_groups(optimizer, model, parameter_units(model, blocks_of(2)))
    assert [group_unit(group, "weight_decay") for group in optimizer.param_groups] == ["", "blocks.0", "blocks.1"]
    split_parameter_groups(optimizer, model, parameter_units(model, layers("blocks.1.fc")), target="weight_decay")
    assert [group_unit(group) for group in optimizer.param_groups] == ["", "blocks.0", "blocks.1", "blocks.1"]
    assert [group_unit(group, "weight_decay") for group in optimizer.param_groups] == ["", "", "", "blocks.1.fc"]


def test_a_second_target_with_the_same_units_leaves_the_groups_as_they_are_even_with_a_scheduler():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    units = parameter_units(model, blocks_of(2))
    split_parameter_groups(optimizer, model, units)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    groups = list(map(id, optimizer.param_groups))
    split_parameter_groups(optimizer, model, units, target="weight_decay")
    assert list(map(id, optimizer.param_groups)) == groups
    with pytest.raises(InputError, match=r"group 0 is split already for its weight_decay, as ''.* one policy for each"):
        split_parameter_groups(optimizer, model, parameter_units(model, layers("stem")), target="weight_decay")
    with pytest.raises(InputError, match=r"unknown target 'weight_decays'\. Did you mean 'weight_decay'"):
        split_parameter_groups(optimizer, model, units, target="weight_decays")


def test_a_second_target_that_needs_more_groups_than_a_scheduler_counted_is_refused():
    model = Net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    split_parameter_groups(optimizer, model, parameter_units(model, blocks_of(2)))
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(InputError, match="a scheduler is attached"):
        split_parameter_groups(optimizer, model, parameter_units(model, layers("blocks.1.fc")), target="weight_decay")
    assert len(optimizer.param_groups) == 3
