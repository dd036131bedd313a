"""The seed model inside the model that is being tuned."""

import pytest
import torch

from spectra.errors import InputError
from spectra.training.libraries import quiet
from spectra.training.sdft.seed_model import as_seed
from tests.writers import llama

TOKENS = torch.tensor([[5, 6, 7, 8]])


def tuned(seed=3):
    """A LoRA over Llama that changes what it says."""
    from peft import LoraConfig, get_peft_model

    with quiet():
        model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    return _moved(model, seed)


def tuned_within(seed=3):
    """The same, by what transformers has of peft itself."""
    from peft import LoraConfig

    model = llama()
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    return _moved(model, seed)


def _moved(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_()
    return model


def state(model):
    modes = {name: module.training for name, module in model.named_modules()}
    return modes, {name: (parameter.requires_grad, parameter.detach().clone()) for name, parameter in model.named_parameters()}


def assert_same(before, after):
    assert before[0] == after[0]
    assert before[1].keys() == after[1].keys()
    for name, (trained, value) in before[1].items():
        assert after[1][name][0] == trained, name
        assert torch.equal(after[1][name][1], value), name


@torch.no_grad()
def said(model):
    return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("make", [tuned, tuned_within], ids=["peft", "transformers"])
def test_the_base_speaks_and_the_adapter_again_afterwards(make):
    model = make().eval()
    before, base = said(model), said(llama())
    assert not torch.allclose(before, base)
    with as_seed(model) as seed:
        assert torch.equal(said(seed), base)
    assert torch.equal(said(model), before)


@pytest.mark.parametrize("make", [tuned, tuned_within, llama], ids=["peft", "transformers", "no adapter"])
def test_modes_and_what_is_trained_are_put_back_even_after_an_error(make):
    model = make().train()
    list(model.modules())[5].eval()
    next(parameter for parameter in model.parameters() if parameter.requires_grad).requires_grad_(False)
    before = state(model)
    with pytest.raises(KeyError), as_seed(model) as seed:  # noqa: PT012 - what is seen inside, and what is left of it
        assert not any(module.training for module in model.modules())
        assert not said(seed).requires_grad
        raise KeyError
    assert_same(before, state(model))
    assert torch.is_grad_enabled()


def test_a_merged_adapter_is_refused_since_switching_it_off_would_change_weights():
    model = tuned()
    model.merge_adapter()
    before = state(model)
    with pytest.raises(InputError, match=r"merged into the weights.*unmerge_adapter\(\)"), as_seed(model):
        pass
    assert_same(before, state(model))
