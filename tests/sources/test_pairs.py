import copy

import numpy as np
import pytest
import torch

from spectra.errors import InputError, SourceError
from spectra.sources.pairs import pair_models, whole_source
from tests.adapters import adapted, folders, merged_by_peft, state
from tests.models import gpt2, llama, resnet, small_weights, write_small

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to, bases without a path, old names

# Sums of float32 products of magnitude up to about 20: what peft rounds when it merges.
FLOAT32 = {"rtol": 2e-6, "atol": 4e-6}


def whole(tensor):
    return tensor.read(0, tensor.shape[0] if tensor.shape else 1)


def moved(weights, step=0.25):
    return {name: weight + np.float32(step) for name, weight in weights.items()}


def all_of(pair):
    return {name: whole(tensor) for name, tensor in pair.changes.items()}


def trained_bias(model):
    """Biases trained beside an adapter, as with peft's ``bias='all'``."""
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data += 0.5
    return model


def test_changes_of_two_models_are_their_differences():
    before = small_weights() | {"norm.weight": np.ones(40, np.float32), "scale": np.float32(3.0)}
    after = moved(before)
    pair = pair_models(before, after)
    assert list(pair.changes) == list(pair.after) == list(before)
    for name, change in all_of(pair).items():
        np.testing.assert_array_equal(change.reshape(np.shape(before[name])), after[name].astype(np.float64) - before[name])
    assert pair.notes == ()


def test_weights_go_by_their_names_before():
    before = small_weights()
    pair = pair_models(before, {f"model.{name}": weight for name, weight in moved(before).items()})
    assert list(pair.changes) == [tensor.name for tensor in pair.after.values()] == list(before)


def test_what_only_one_model_has_is_noted():
    before, after = small_weights(), moved(small_weights())
    del after["head.weight"]
    pair = pair_models(before, after | {"score.weight": np.ones((3, 40), np.float32), "score.bias": np.ones(3, np.float32)})
    assert pair.notes == (
        "1 weight only before training, not compared: 'head.weight'",
        "2 weights only after training, not compared: 'score.weight', 'score.bias'",
    )


def test_a_weight_of_another_shape_has_no_change():
    before = small_weights()
    pair = pair_models(before, moved(before) | {"layers.0.fc.weight": np.ones((7, 9), np.float32)})
    assert pair.changes["layers.0.fc.weight"].no_base == "shape (7, 9) here, (60, 40) in the base"


def test_a_weight_without_numbers_after_training_has_no_change():
    before = {"fc.weight": torch.ones(9, 9), "out.weight": torch.ones(9, 9)}
    pair = pair_models(before, {"fc.weight": torch.ones(9, 9, device="meta"), "out.weight": torch.zeros(9, 9)})
    assert pair.changes["fc.weight"].no_base == "it cannot be read after training: meta"


def test_tied_weights_are_one():
    model = gpt2()
    pair = pair_models(model, copy.deepcopy(model))
    assert "lm_head.weight" not in pair.changes
    assert [tensor.name for tensor in pair.parameters].count("lm_head.weight") == 0
    assert sum(tensor.size for tensor in pair.parameters) == sum(p.numel() for p in model.parameters())
    assert pair.notes == ()


def test_a_file_that_leaves_the_tied_weight_out_lacks_nothing(tmp_path):
    model = gpt2()
    model.save_pretrained(tmp_path)
    assert pair_models(model, tmp_path).notes == pair_models(tmp_path, model).notes == ()


def test_a_head_that_was_tied_and_trained_by_itself_is_compared():
    before = {"embed.weight": torch.ones(20, 9)}
    before["lm_head.weight"] = before["embed.weight"]
    pair = pair_models(before, {"embed.weight": torch.zeros(20, 9), "lm_head.weight": torch.full((20, 9), 3.0)})
    assert {name: change.max() for name, change in all_of(pair).items()} == {"embed.weight": -1.0, "lm_head.weight": 2.0}


@pytest.mark.parametrize("form", ["live", "live with its seed", "folder", "folder that names its base"])
def test_changes_of_an_adapter_are_those_that_peft_merges(tmp_path, form):
    adapter, base, model = folders(llama, tmp_path, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"])
    expected = merged_by_peft(model)
    before = state(llama())
    if form == "folder that names its base":
        model.peft_config["default"].base_model_name_or_path = str(base)
        model.save_pretrained(adapter)
    seed = {"live with its seed": llama(), "folder": base}.get(form)
    pair = pair_models(seed, adapter if "folder" in form else model)
    assert {tensor.name for tensor in pair.parameters} == set(before)  # gains, which the modes of adapters leave out, too
    for name, change in all_of(pair).items():
        np.testing.assert_allclose(change, expected[name] - before[name], **FLOAT32, err_msg=name)
        np.testing.assert_allclose(whole(pair.after[name]), expected[name], **FLOAT32, err_msg=name)
    if form != "live with its seed":
        assert len(pair.changes) == 5
        assert [name for name, change in pair.changes.items() if change.factors is None] == ["lm_head.weight"]
    assert pair.notes == ()


@pytest.mark.parametrize("form", ["live", "folder"])
def test_changes_by_dora_are_differences(tmp_path, form):
    adapter, base, model = folders(llama, tmp_path, target_modules=["q_proj"], use_dora=True)
    expected, before = merged_by_peft(model), state(llama())
    pair = pair_models(*((base, adapter) if form == "folder" else (None, model)))
    assert len(pair.changes) == 2
    for name, change in all_of(pair).items():
        np.testing.assert_allclose(change, expected[name] - before[name], **FLOAT32)


def test_the_numbers_before_are_those_without_the_adapter_even_where_it_is_merged():
    model, before = adapted(llama, target_modules=["q_proj"], modules_to_save=["lm_head"]), state(llama())
    model.merge_adapter()
    pair = pair_models(None, model)
    for tensor in pair.parameters:
        np.testing.assert_allclose(whole(tensor), before[tensor.name], **FLOAT32, err_msg=tensor.name)


def test_biases_in_the_file_of_an_adapter_are_compared(tmp_path):
    adapter, base, model = folders(gpt2, tmp_path, target_modules=["c_fc"], fan_in_fan_out=True, bias="all")
    trained_bias(model).save_pretrained(adapter)
    pair = pair_models(base, adapter)
    changed = {name: change for name, change in all_of(pair).items() if name.endswith("bias")}
    assert set(changed) == {name for name, _ in gpt2().named_parameters() if name.endswith("bias")}
    assert all((change == 0.5).all() for change in changed.values())


def test_biases_trained_in_a_live_model_are_compared_where_the_seed_is_given_and_noted_elsewhere():
    model = trained_bias(adapted(gpt2, target_modules=["c_fc"], fan_in_fan_out=True, bias="all"))
    changes = all_of(pair_models(gpt2(), model))
    assert (changes["transformer.h.0.mlp.c_fc.bias"] == 0.5).all()
    pair = pair_models(None, model)
    assert "transformer.h.0.mlp.c_fc.bias" not in pair.changes
    (note,) = pair.notes  # two norms and four layers in each of two blocks, and the last norm
    assert note.startswith("13 weights trained beside the adapter, not compared: 'transformer.h.0.ln_1.bias', ")
    assert note.endswith("; give the model before training too")


def test_a_layer_whose_adapter_is_not_read_has_no_change_and_no_silence(tmp_path):
    *_, model = folders(resnet, tmp_path, target_modules=["convolution"])
    layer = next(m for m in model.modules() if hasattr(m, "lora_A"))
    layer.lora_variant = {"default": object()}
    pair = pair_models(None, model)
    (reason,) = {change.no_base for change in pair.changes.values() if change.no_base}
    assert reason == "it cannot be read after training: an adapter of the kind object, which is not read"


def test_an_adapter_as_the_model_before_counts_with_its_base(tmp_path):
    adapter, base, model = folders(gpt2, tmp_path, target_modules=["c_fc"], fan_in_fan_out=True, bias="all")
    model = trained_bias(model)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(adapter)
    expected = merged_by_peft(model)
    for form in (adapter, model):
        source = whole_source(form)
        names = {tensor.name for tensor in source.tensors}
        assert names | {"lm_head.weight"} == set(expected)  # tied: the file leaves it out
        for tensor in source.tensors:
            np.testing.assert_allclose(whole(tensor), expected[tensor.name], **FLOAT32, err_msg=tensor.name)


def test_a_model_alone_is_no_pair(tmp_path):
    with pytest.raises(InputError, match="names none that training started from"):
        pair_models(None, write_small(tmp_path / "model.safetensors"))
    with pytest.raises(InputError, match="expected a path, a hub id"):
        pair_models(None, 3)
    with pytest.raises(InputError, match="expected a path, a hub id"):
        pair_models(3, small_weights())
    with pytest.raises(SourceError, match="no file or folder"):
        pair_models(None, "./nowhere")


def test_two_models_without_a_common_weight_are_no_pair():
    with pytest.raises(SourceError, match="have no weight in common: there is 'b.weight' here, 'a.weight' there"):
        pair_models({"a.weight": np.ones((9, 9))}, {"b.weight": np.ones((9, 9))})
