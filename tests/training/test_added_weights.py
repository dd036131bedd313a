"""Adapters that are no LoRA: measured are the weights that peft merges them to, or an error says which are read."""

import copy

import peft
import pytest
import torch
from torch import nn

from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.policies.presets import scale_policy
from spectra.training import TempBalance
from spectra.training.live_weights import live_weights
from spectra.training.tempbalance_config import TempBalanceConfig
from tests.models import bert, gpt2, resnet
from tests.training.balanced_net import NUM_BLOCKS, Net, train

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name

DENSE = {"target_modules": ["fc1"]}
ADALORA = {"init_r": 4, "target_r": 2, "total_step": 10}
CONFIGS = {
    "adalora": lambda **on: peft.AdaLoraConfig(**ADALORA, **on),
    "loha": lambda **on: peft.LoHaConfig(r=4, alpha=6, **on),
    "lokr": lambda **on: peft.LoKrConfig(r=4, alpha=6, **on),
    "lokr of two factors each": lambda **on: peft.LoKrConfig(r=2, decompose_both=True, decompose_factor=8, **on),
    "vera": lambda **on: peft.VeraConfig(r=4, **on),
}
CASES = {name: (Net, config(**DENSE)) for name, config in CONFIGS.items()} | {
    "adalora of a transposed weight": (gpt2, CONFIGS["adalora"](target_modules=["c_fc"], fan_in_fan_out=True)),
    "vera of a transposed weight": (gpt2, CONFIGS["vera"](target_modules=["c_fc"], fan_in_fan_out=True)),
    "loha of a convolution": (resnet, CONFIGS["loha"](target_modules=["convolution"], use_effective_conv2d=True)),
    "lokr of a convolution": (resnet, CONFIGS["lokr"](target_modules=["convolution"])),
    "loha beside a module that is trained whole": (bert, CONFIGS["loha"](target_modules=["query"], modules_to_save=["key"])),
}
FLOAT32 = {"rtol": 2e-6, "atol": 4e-6}  # peft adds in float32


def moved(model):
    """As training would leave it: nothing that is trained is zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def adapted(make, config):
    return moved(peft.get_peft_model(make(), copy.deepcopy(config)))


def measured(model):
    """The weights that are measured, by name, as they are now."""
    analysis = TempBalanceConfig().resolved_policy.analysis
    jobs = live_weights(model, resolve_settings(**{**analysis, "lora": "merged"})).jobs
    return {job.tensor.name: torch.from_numpy(job.tensor.read(0, job.tensor.shape[0])).double() for job in jobs}


def assert_merged(model, like=None):
    merged = copy.deepcopy(model if like is None else like).merge_and_unload().state_dict()
    found = measured(model)
    assert set(found) <= set(merged)
    for name, weight in found.items():
        torch.testing.assert_close(weight, merged[name].double(), **FLOAT32, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_that_peft_merges(case):
    model = adapted(*CASES[case])
    assert_merged(model)
    changed = {name for name, _ in model.named_parameters() if "base_layer.weight" in name}
    base = {name: p for name, p in model.named_parameters() if name in changed}
    found = measured(model)
    plain = {name.removeprefix("base_model.model.").replace(".base_layer", ""): p for name, p in base.items()}
    assert plain.keys() <= found.keys()
    assert all(not torch.allclose(found[name], p.double(), atol=1e-3) for name, p in plain.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_and_disabled_adapters_count_as_the_model_computes(name):
    model = adapted(*CASES[name])
    trained, base = copy.deepcopy(model), Net().state_dict()
    model.merge_adapter()
    assert_merged(model, trained)
    model.base_model.disable_adapter_layers()  # merged, and off: what is inside is taken out again
    for weight, tensor in measured(model).items():
        torch.testing.assert_close(tensor, base[weight].double(), **FLOAT32)
    model.base_model.enable_adapter_layers()
    model.unmerge_adapter()
    with model.disable_adapter():
        for weight, tensor in measured(model).items():
            torch.testing.assert_close(tensor, base[weight].double(), **FLOAT32)
    assert_merged(model, trained)


def test_of_several_adapters_the_active_one_counts():
    model = peft.get_peft_model(Net(), peft.LoHaConfig(r=4, **DENSE), "first")
    model.add_adapter("second", peft.LoHaConfig(r=2, target_modules=["fc1", "fc2"]))
    moved(model)
    model.set_adapter("second")
    moved(model)
    assert_merged(model)
    model.set_adapter("first")
    assert_merged(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_tempbalance_follows_the_weights_in_training(name):
    model = adapted(*CASES[name])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    policy = scale_policy("emnlp2024-glue", remove_last=False)
    balance = TempBalance(model, optimizer, policy=policy, interval=1)
    before = dict(balance.scores)
    train(model, optimizer, 2, balance)
    assert balance.scores != before
    assert balance.members == {f"blocks.{n}": (f"blocks.{n}.fc1",) for n in range(NUM_BLOCKS)}
    assert {group["spectra_unit"] for group in optimizer.param_groups} == set(balance.members)
    whole = copy.deepcopy(model).merge_and_unload()
    for parameter in whole.parameters():
        parameter.requires_grad_(True)
    of_whole = TempBalance(whole, torch.optim.SGD(whole.parameters(), lr=0.1), policy=dict(policy.to_dict(), exclude=("*fc2",)))
    assert balance.scores == pytest.approx(of_whole.scores, rel=1e-5)  # merged in float32


def test_a_wrapped_model_has_the_same_weights():
    model = adapted(*CASES["loha"])
    plain, wrapped = measured(model), measured(nn.DataParallel(model))
    assert plain.keys() == wrapped.keys()
    assert all(torch.equal(plain[name], wrapped[name]) for name in plain)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (lambda: peft.IA3Config(target_modules=["fc1"], feedforward_modules=["fc1"]), "IA3"),
        (lambda: peft.OFTConfig(oft_block_size=8, target_modules=["fc1"]), "OFT"),
        (lambda: peft.FourierFTConfig(n_frequency=9, target_modules=["fc1"]), "FourierFT"),
    ],
)
def test_adapters_that_are_not_read_are_refused_and_those_that_are_named(config, kind):
    model = peft.get_peft_model(Net(), config())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    match = rf"'blocks\.0\.fc1': an adapter of the kind {kind}, .* Train LoRA, AdaLoRA, LoHa, LoKr or VeRA adapters, or whole"
    with pytest.raises(InputError, match=match):
        TempBalance(model, optimizer)


def test_a_prompt_changes_no_weight_and_is_refused():
    model = peft.get_peft_model(gpt2(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(InputError, match=r"a prompt or prefix is trained, which changes no layer's weight\. Train LoRA"):
        TempBalance(model, optimizer)


@pytest.mark.parametrize("other", [peft.LoraConfig, peft.LoKrConfig])
@pytest.mark.parametrize("where", ["fc1", "fc2"], ids=["one around the other", "side by side"])
def test_several_kinds_in_one_model_are_refused(other, where):
    model = peft.get_peft_model(Net(), peft.LoHaConfig(r=4, **DENSE), mixed=True)
    model.add_adapter("other", other(r=4, target_modules=[where]))
    model.set_adapter(["default", "other"])
    with pytest.raises(InputError, match=r"adapters of several kinds in one model are not read\. Use one kind"):
        TempBalance(model, torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
