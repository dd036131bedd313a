import pytest
import torch

from spectra.errors import InputError, SourceError
from spectra.training.libraries import quiet
from spectra.training.sdft.backends.transformers import TransformersBackend
from spectra.training.sdft.backends.tuned import TunedBackend, load_tuned_backend
from spectra.training.sdft.generation import GenerationSpec, Request
from tests.pretrained import save_gpt2
from tests.writers import llama, tokenizer

SPEC = GenerationSpec(sampled=False, max_new_tokens=6, max_length=None)
REQUESTS = [Request(({"role": "user", "content": text},)) for text in ("the film was", "very bad and good", "it")]


def texts(backend):
    return [one.text for one in backend.complete(REQUESTS, SPEC, range(len(REQUESTS)))]


def tuned(model, **options):
    """A LoRA that changes what a model says."""
    from peft import LoraConfig, get_peft_model

    options = {"target_modules": ["q_proj", "v_proj"]} | options
    with quiet():
        model = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **options))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_()
    return model


def test_the_adapter_speaks_as_if_it_were_merged():
    base, model = TransformersBackend(llama(), tokenizer()), tuned(llama())
    merged = TransformersBackend(tuned(llama()).merge_and_unload(), tokenizer())
    assert texts(TunedBackend(model, tokenizer())) == texts(merged) != texts(base)


def test_it_is_told_from_its_base_and_from_other_weights():
    base, model = TransformersBackend(llama(), tokenizer()).identity(), tuned(llama())
    found = TunedBackend(model, tokenizer()).identity()
    assert found["model"] == f"{base['model']} + default"
    assert found["weights"] != base["weights"]
    with torch.no_grad():
        model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default").weight.add_(1.0)
    assert TunedBackend(model, tokenizer()).identity()["weights"] != found["weights"]
    assert TunedBackend(model, tokenizer(), called="mine").identity()["model"] == "mine"


def test_a_model_without_an_adapter_is_as_it_is():
    plain, same = TransformersBackend(llama(), tokenizer()), TunedBackend(llama(), tokenizer())
    assert same.identity() == plain.identity()
    assert texts(same) == texts(plain)


def test_the_model_is_left_as_it_was():
    model = tuned(llama())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    texts(TunedBackend(model, tokenizer()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(module.training for module in model.modules())
    assert model.active_adapters == ["default"]


def test_a_saved_adapter_is_loaded_over_its_base(tmp_path):
    from transformers import GPT2LMHeadModel

    folder = save_gpt2(tmp_path / "base")
    with quiet():
        base = GPT2LMHeadModel.from_pretrained(folder)
        tuned(base, target_modules=["c_attn"], fan_in_fan_out=True).save_pretrained(tmp_path / "adapter")
    backend = load_tuned_backend(str(tmp_path / "adapter"))
    assert any("lora" in name for name, _ in backend.model.named_parameters())
    assert backend.identity()["model"] == "adapter"
    with quiet():
        again = tuned(GPT2LMHeadModel.from_pretrained(folder), target_modules=["c_attn"], fan_in_fan_out=True)
    assert texts(backend) == texts(TunedBackend(again, backend.tokenizer))


def test_an_adapter_that_would_be_switched_off_is_refused():
    model = llama()
    from peft import LoraConfig

    with quiet():
        model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(InputError, match=r"transformers \(load_adapter\) and would be switched off. Load it with PeftModel"):
        TunedBackend(model, tokenizer())


def test_an_adapter_outside_of_the_model_is_refused():
    from peft import PromptTuningConfig, get_peft_model

    with quiet():
        model = get_peft_model(llama(), PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(InputError, match="learns a prompt, which is not inside the model. Only adapters of weights"):
        TunedBackend(model, tokenizer())


def test_a_checkpoint_that_lacks_weights_does_not_answer(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_gpt2(tmp_path / "half")
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if "ln_f" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match="half' lacks weights that a causal language model needs"):
        load_tuned_backend(str(folder))
