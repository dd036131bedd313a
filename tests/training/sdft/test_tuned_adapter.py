"""Which layers an adapter goes into, and what it is at first."""

import pytest
import torch

from spectra.errors import InputError
from spectra.training.sdft.tuned_adapter import has_adapter, with_adapter
from spectra.training.sdft.tuning_config import LoraOptions
from tests.dcs_runs import gpt2
from tests.tuned_responses import HEADS, SIZES, llama


def phi3():
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(Phi3Config(**SIZES, **HEADS, pad_token_id=0, bos_token_id=0, eos_token_id=0))


def adapted_layers(model):
    return {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "lora_A")}


def test_queries_and_values_are_adapted_and_nothing_else_is_trained():
    model = with_adapter(llama(), LoraOptions(), seed=0)
    assert adapted_layers(model) == {"q_proj", "v_proj"}
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 4
    assert all("lora" in name for name in trained)


def test_an_architecture_that_calls_them_otherwise_gets_what_peft_knows():
    assert adapted_layers(with_adapter(gpt2(), LoraOptions(), seed=0)) == {"c_attn"}


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [("all-linear", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}), (("self_attn.o_proj",), {"o_proj"})],
)
def test_other_layers_are_adapted_by_name(targets, adapted):
    assert adapted_layers(with_adapter(phi3(), LoraOptions(targets=targets), seed=0)) == adapted


def test_layers_that_are_not_there_or_not_known_are_refused():
    with pytest.raises(InputError, match=r"lora: Phi3ForCausalLM has no layers q_proj and v_proj, and peft knows no others"):
        with_adapter(phi3(), LoraOptions(), seed=0)
    with pytest.raises(InputError, match=r"no module 'q_prj'\. Did you mean 'q_proj'\? Name others, or 'all-linear'"):
        with_adapter(llama(), LoraOptions(targets=("q_prj",)), seed=0)


def test_the_adapter_changes_nothing_at_first_and_follows_the_seed_alone():
    tokens = torch.arange(4)[None]
    before = llama().eval()(tokens).logits
    state = torch.get_rng_state()
    one, same, other = (with_adapter(llama(), LoraOptions(), seed=seed).eval() for seed in (1, 1, 2))
    assert torch.equal(one(tokens).logits, before)
    first = [[p for name, p in model.named_parameters() if "lora_A" in name] for model in (one, same, other)]
    assert torch.equal(first[0][0], first[1][0])
    assert not torch.equal(first[0][0], first[2][0])
    llama()
    assert torch.equal(torch.get_rng_state(), state)


def test_an_adapter_is_seen():
    assert not has_adapter(llama())
    assert has_adapter(with_adapter(llama(), LoraOptions(), seed=0))
