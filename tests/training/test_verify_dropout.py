"""Trying every dropout site: real models pass, sites without effect are named, and the model stays as it was."""

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.fisher.sites import find_sites
from spectra.training import GuidedDropout, verify_sites
from tests.dropout_models import CASES, batch_of, tiny

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.mark.parametrize(("family", "attention"), CASES, ids=[" ".join(case) for case in CASES])
def test_every_site_found_has_an_effect(family, attention):
    model = tiny(family, attention)
    verify_sites(model, batch_of(model))


class TwoRates(nn.Module):
    """Attention as in some versions of transformers: the rate is read from one place by SDPA, from another one otherwise."""

    def __init__(self, implementation):
        super().__init__()
        self.implementation = implementation
        self.qkv, self.out_proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.dropout, self.dropout_prob = nn.Dropout(0.1), 0.1

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.implementation == "sdpa":
            rate = self.dropout_prob if self.training else 0.0
            return self.out_proj(nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=rate))
        return self.out_proj(self.dropout((q @ k.mT / 8**0.5).softmax(-1)) @ v)


@pytest.mark.parametrize(
    ("implementation", "silent", "works"), [("sdpa", "dropout", "dropout_prob"), ("eager", "dropout_prob", "dropout")]
)
def test_a_rate_that_the_attention_implementation_does_not_read_is_named(implementation, silent, works):
    model = TwoRates(implementation)
    assert {site.name for site in find_sites(model)} == {"dropout", "dropout_prob"}
    with pytest.raises(
        InputError, match=f"1 of 2 dropout sites of TwoRates .*: '{silent}' has no effect in training. The attention"
    ):
        verify_sites(model, X)
    verify_sites(model, X, [works])


def test_a_plan_is_not_applied_when_a_site_of_it_has_no_effect():
    model = TwoRates("sdpa")
    with pytest.raises(InputError, match="'dropout' has no effect in training"):
        GuidedDropout({"dropout": 0.3, "dropout_prob": 0.3}).apply(model, verify=X)
    assert (model.dropout.p, model.dropout_prob) == (0.1, 0.1)
    with GuidedDropout({"dropout_prob": 0.3}).apply(model, verify=X):
        assert model.dropout_prob == 0.3


class Careless(nn.Module):
    """Drops in evaluation, too."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.dropout = nn.Linear(8, 8), nn.Dropout(0.1), 0.1

    def forward(self, x):
        return nn.functional.dropout(self.drop(self.first(x)), self.dropout)


def test_a_site_that_drops_in_evaluation_is_named():
    with pytest.raises(InputError, match="1 of 2 dropout sites of Careless .*: 'dropout' drops in evaluation"):
        verify_sites(Careless(), X)


def test_a_name_that_is_no_site_is_refused():
    with pytest.raises(InputError, match=r"1 of 1 names are no dropout sites of Careless: 'drpo'\. Did you mean 'drop'"):
        verify_sites(Careless(), X, ["drpo"])


class Noisy(nn.Sequential):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x) * self.training)


def test_a_model_that_is_random_beside_its_dropout_is_refused():
    with pytest.raises(InputError, match="outputs of Noisy are random in training even with every dropout site at 0"):
        verify_sites(Noisy(nn.Linear(8, 8), nn.Dropout(0.1)), X)


@pytest.mark.parametrize(
    "batch", [X, (X, torch.zeros(4)), {"input": X}, ({"input": X}, torch.zeros(4))], ids=["inputs", "pair", "mapping", "both"]
)
def test_batches_of_every_shape_are_understood(batch):
    verify_sites(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)), batch)


def test_names_may_be_of_inserted_sites():
    model = tiny("llama")
    verify_sites(model, batch_of(model), ["model.layers.0.mlp.down_proj.output_dropout", "model.layers.1.output_dropout"])


@ASKED_BY_PEFT
@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_fresh_adapters_pass_though_their_second_factor_is_0(rate):
    from peft import LoraConfig, get_peft_model

    base = tiny("llama")
    model = get_peft_model(base, LoraConfig(r=2, lora_dropout=rate, target_modules=["q_proj", "embed_tokens"]))
    verify_sites(model, batch_of(base))


@pytest.mark.parametrize("family", ["bert", "bart"])
def test_labels_in_the_batch_leave_no_trace_in_the_configuration(family):
    model = tiny(family)
    before = model.config.to_dict()
    labels = torch.tensor([0, 1]) if family == "bert" else batch_of(model)["input_ids"]
    batch = {**batch_of(model), "labels": labels}
    verify_sites(model, batch)
    assert model.config.to_dict() == before
    model(**batch)
    assert (model.config.to_dict() == before) is (family != "bert")  # what a batch with labels does by itself


def test_outputs_that_are_not_finite_are_refused_with_the_parameter_that_is_not_either():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Dropout(0.1))
    with torch.no_grad():
        model[1].bias[3] = float("nan")
    with pytest.raises(InputError, match=r"outputs of Sequential are not finite, .* Nor is parameter '1\.bias': load"):
        verify_sites(model, X)


def test_a_batch_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match=r"outputs of Sequential are not finite, .* parameters are: check the batch"):
        verify_sites(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)), X * float("inf"))


def everything_of(model):
    """Copies of all that a trial must leave alone."""
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: module.training for name, module in model.named_modules()},
        {name: (vars(module).get("p"), vars(module).get("layerdrop")) for name, module in model.named_modules()},
        {name: parameter.grad for name, parameter in model.named_parameters()},
        {name: len(module._forward_hooks) for name, module in model.named_modules()},
        torch.get_rng_state(),
    )


def is_same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return all(map(is_same, first, second))
    return first == second


def mixed_mode(model):
    for number, module in enumerate(model.modules()):
        module.training = number % 3 == 0
    return model


@pytest.mark.parametrize("fails", [False, True], ids=["passes", "fails"])
@pytest.mark.parametrize("family", ["bert", "bart", "batch norm"])
def test_modes_random_numbers_buffers_and_rates_stay_as_they_were(family, fails):
    if family == "batch norm":
        model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.1))
        batch = {"input": X}
    else:
        model = tiny(family)
        batch = batch_of(model)
    calls = []
    if fails:
        next(model.children()).register_forward_hook(lambda *_: calls.append(1) if len(calls) < 3 else calls[9])
    torch.manual_seed(7)
    before = everything_of(mixed_mode(model))
    if fails:
        with pytest.raises(IndexError):
            verify_sites(model, batch)
    else:
        verify_sites(model, batch)
    assert is_same(everything_of(model), before)
