import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from spectra import InputError, SourceError
from spectra.sources import open_source
from tests.adapters import FLOAT32, QUERY, VALUE, adapted, assert_equal_to, merged_by_peft, rows, state, whole
from tests.models import llama

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to and bases without a path


# Live models: which adapters count.


def two_adapters():
    model = adapted(llama, target_modules=["q_proj"])
    model.add_adapter("other", LoraConfig(r=3, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return model


@pytest.mark.parametrize("active", ["default", "other", ["default", "other"]], ids=str)
def test_the_active_adapters_of_a_live_model_count(active):
    model = two_adapters()
    model.base_model.set_adapter(active)
    source = open_source(model)
    assert (VALUE in rows(source)) == (active != "default")
    after = merged_by_peft(model)
    np.testing.assert_allclose(whole(rows(source)[QUERY]), after[QUERY] - state(llama())[QUERY], rtol=1e-5, atol=4e-6)
    left, right = rows(source)[QUERY].factors()
    assert left.shape[1] == {"default": 4, "other": 3}.get(str(active), 7)
    np.testing.assert_allclose(left @ right, whole(rows(source)[QUERY]), rtol=1e-13, atol=1e-13)
    assert_equal_to(open_source(model, lora="merged"), after)
    factors = [name for name in rows(open_source(model, lora="factors")) if name.startswith(QUERY.removesuffix("weight"))]
    assert len(factors) == (4 if isinstance(active, list) else 2)


def test_merged_adapters_of_a_live_model_are_taken_out_again():
    model, plain = adapted(llama, target_modules=["q_proj"]), adapted(llama, target_modules=["q_proj"])
    model.merge_adapter()
    np.testing.assert_allclose(whole(rows(open_source(model))[QUERY]), whole(rows(open_source(plain))[QUERY]), rtol=1e-13)
    np.testing.assert_allclose(whole(rows(open_source(model, lora="base"))[QUERY]), state(llama())[QUERY], **FLOAT32)
    assert_equal_to(open_source(model, lora="merged"), merged_by_peft(plain))


def test_what_is_merged_counts_whatever_is_active():
    model = two_adapters()
    model.merge_adapter(["default"])
    for layer in (module for module in model.modules() if hasattr(module, "lora_A")):
        layer._active_adapter = ["other"]  # peft's own set_adapter would take the merged one out first
    delta = rows(open_source(model))[QUERY]
    assert delta.factors()[0].shape[1] == 4  # the rank of the merged one; the other has 3
    own = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight.detach().double().numpy()
    np.testing.assert_array_equal(whole(rows(open_source(model, lora="merged"))[QUERY]), own)
    np.testing.assert_allclose(own - state(llama())[QUERY], whole(delta), rtol=1e-5, atol=4e-6)


def test_a_merged_dora_cannot_be_taken_out():
    model = adapted(llama, target_modules=["q_proj"], use_dora=True)
    model.merge_adapter()
    assert "call unmerge_adapter first" in rows(open_source(model, lora="base"))[QUERY].unreadable
    plain = adapted(llama, target_modules=["q_proj"], use_dora=True)
    assert_equal_to(open_source(model, lora="merged"), merged_by_peft(plain))


@pytest.mark.parametrize("is_merged", [False, True])
def test_disabled_adapters_leave_the_base(is_merged):
    model = adapted(llama, target_modules=["q_proj"], modules_to_save=["lm_head"])
    if is_merged:
        model.merge_adapter()
    with model.disable_adapter():
        assert_equal_to(open_source(model, lora="merged"), state(llama()))
        with pytest.raises(SourceError, match="changes no weight: no adapter is there, or none is active"):
            open_source(model)


def test_several_active_adapters_with_dora_are_refused():
    model = adapted(llama, target_modules=["q_proj"], use_dora=True)
    model.add_adapter("other", LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "other"])
    found = rows(open_source(model, lora="merged"))
    assert "several active adapters, DoRA among them" in found[QUERY].unreadable
    assert found[VALUE].unreadable is None


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel], ids=["compiled", "parallel"])
def test_a_wrapped_live_model_is_unwrapped(wrap):
    model = adapted(llama, target_modules=["q_proj"])
    assert list(rows(open_source(wrap(model)))) == list(rows(open_source(model)))


def test_adapters_put_into_a_model_of_transformers_count():
    model = llama()
    model.add_adapter(LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    assert list(rows(open_source(model))) == [QUERY, QUERY.replace("layers.0", "layers.1")]


def test_a_live_model_is_not_changed():
    model = adapted(llama, target_modules=["q_proj"], use_dora=True)
    before = copy.deepcopy(model.state_dict())
    for mode in ("merged", "factors", "base"):
        [whole(tensor) for tensor in open_source(model, lora=mode).tensors if not tensor.unreadable]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_live_model_takes_no_base():
    with pytest.raises(InputError, match="base: a live model with adapters holds its base already"):
        open_source(adapted(llama, target_modules=["q_proj"]), base=llama())


def test_other_adapters_in_a_live_model_are_listed_as_parameters():
    from peft import IA3Config

    model = get_peft_model(llama(), IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]))
    names = rows(open_source(model))
    assert any(name.endswith("k_proj.base_layer.weight") for name in names)


def test_adalora_is_no_lora():
    from peft import AdaLoraConfig

    model = get_peft_model(llama(), AdaLoraConfig(target_modules=["q_proj"], total_step=10))
    assert "an AdaLoRA adapter" in rows(open_source(model, lora="merged"))[QUERY].unreadable
