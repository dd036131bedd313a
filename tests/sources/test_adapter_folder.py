import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file

from spectra import InputError, SourceError
from spectra.sources import open_source
from spectra.sources.adapter import MODES
from tests.adapters import QUERY, edit, edit_weights, folders, rows, whole
from tests.models import llama, mixtral

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to and bases without a path


# Refusals.


@pytest.mark.parametrize("mode", ["merged", "factors", "base"])
def test_a_mode_of_adapters_is_for_adapters(mode):
    with pytest.raises(InputError, match=f"lora='{mode}' is for adapters, and 'mapping of 1 tensors' is none"):
        open_source({"a.weight": np.ones((3, 3))}, lora=mode)


def test_an_unknown_mode_is_refused():
    with pytest.raises(
        InputError, match="lora: unknown mode 'merge'. Did you mean 'merged'. Known: delta, merged, factors, base"
    ):
        open_source({"a.weight": np.ones((3, 3))}, lora="merge")


@pytest.mark.parametrize("kind", ["LOHA", "LOKR", "IA3", "ADALORA", "PROMPT_TUNING", None])
def test_other_kinds_of_adapters_are_refused(kind, tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit(adapter, peft_type=kind)
    for mode in MODES:
        with pytest.raises(SourceError, match=f"is of kind {kind}, which is not read; LoRA is"):
            open_source(adapter, base=base, lora=mode)


@pytest.mark.parametrize(
    "options", [{"kasa_config": {"beta": 1.0}}, {"use_qalora": True}, {"layer_replication": [[0, 2], [1, 2]]}]
)
def test_variants_that_are_no_product_are_refused(options, tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit(adapter, **options)
    with pytest.raises(SourceError, match=r"its weights are not W \+ s B A. lora='factors' analyses A and B"):
        open_source(adapter)
    assert len(open_source(adapter, lora="factors").tensors) == 4


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"])
def test_initialisations_that_changed_the_base_are_refused(start, tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit(adapter, init_lora_weights=start)
    for mode in ("delta", "merged"):
        with pytest.raises(SourceError, match=f"was initialised by '{start}', which changed the base's weights as well"):
            open_source(adapter, base=base, lora=mode)


def test_the_delta_of_dora_is_refused(tmp_path):
    adapter, base, model = folders(llama, tmp_path, target_modules=["q_proj"], use_dora=True)
    for arguments in ({"model": adapter, "base": base}, {"model": model}):
        with pytest.raises(SourceError, match="DoRA rescales the merged weight, .*; lora='merged' analyses the result"):
            open_source(**arguments)


def test_adapters_of_stacked_experts_are_listed_with_a_reason(tmp_path):
    options = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    adapter, base, model = folders(mixtral, tmp_path, **options)
    for source in (open_source(adapter, base=base), open_source(model), open_source(adapter, lora="factors")):
        reasons = [tensor.unreadable for tensor in source.tensors if "experts" in tensor.name]
        assert len(reasons) == 4
        assert all("an adapter of" in reason and "which is not read yet" in reason for reason in reasons)
    for source in (open_source(adapter, base=mixtral(), lora="merged"), open_source(model, lora="merged")):
        assert [bool(tensor.unreadable) for name, tensor in rows(source).items() if ".experts." in name] == [True] * 4
        assert rows(source)[QUERY].unreadable is None
    with pytest.raises(SourceError, match="lacks 2 weights that the adapter .* changes: 'model.layers.0.mlp.experts'"):
        open_source(adapter, base=base, lora="merged")  # transformers saves the experts of Mixtral one by one, renamed


def test_single_trained_tokens_are_listed_with_a_reason(tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"], trainable_token_indices=[3, 5])
    tokens = [tensor for tensor in open_source(adapter, base=base).tensors if "trainable_tokens" in tensor.name]
    assert [tensor.unreadable for tensor in tokens] == ["single trained tokens, which are not read yet"]
    embedding = rows(open_source(adapter, base=base, lora="merged"))["model.embed_tokens.weight"]
    assert embedding.unreadable == "single trained tokens, which are not read yet"


def test_adapters_of_grouped_convolutions_are_listed_with_a_reason():
    class Grouped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.grouped, self.plain = torch.nn.Conv2d(8, 8, 3, groups=2), torch.nn.Conv2d(8, 8, 3)

    model = get_peft_model(Grouped(), LoraConfig(r=4, target_modules=["grouped", "plain"], init_lora_weights=False))
    found = rows(open_source(model))
    assert found["plain.weight"].unreadable is None
    reasons = {tensor.unreadable for name, tensor in found.items() if "grouped" in name}
    assert reasons == {"an adapter of a grouped convolution, which has no merged weight"}


def drop(part):
    return lambda weights: {name: weight for name, weight in weights.items() if not ("layers.0" in name and part in name)}


def reshape(part, shape):
    return lambda weights: {
        name: np.ones(shape, np.float32) if "layers.0" in name and part in name else w for name, w in weights.items()
    }


def rename(old, new):
    return lambda weights: {name.replace(old, new): weight for name, weight in weights.items()}


DAMAGED = {
    "no A": (drop("lora_A"), "'model.layers.0.self_attn.q_proj' has no lora_A: half of an adapter"),
    "no B": (drop("lora_B"), "'model.layers.0.self_attn.q_proj' has no lora_B: half of an adapter"),
    "ranks": (reshape("lora_A", (5, 64)), r"factors of shapes \(5, 64\) and \(64, 4\) do not fit each other"),
    "a shard": (reshape("lora_A", (256,)), r"factors of shapes \(256,\) and \(64, 4\) do not fit each other"),
    "unknown part": (
        rename("layers.1.self_attn.q_proj.lora_A", "layers.1.self_attn.q_proj.lora_E"),
        "no part of an adapter that",
    ),
    "integers": (
        lambda weights: {name: weight.astype(np.int8) for name, weight in weights.items()},
        "holds int8 numbers, which are not read",
    ),
    "two adapters": (
        lambda weights: {**weights, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.b.weight": np.ones((4, 64))},
        "holds several adapters",
    ),
    "another rank": (
        lambda weights: {
            name: (weight[:3] if "lora_A" in name else np.ascontiguousarray(weight[:, :3])) for name, weight in weights.items()
        },
        "has factors of rank 3 where adapter_config.json says 4: the scale is unknown",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_weights_are_refused(damage, tmp_path):
    change, message = DAMAGED[damage]
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit_weights(adapter, change)
    with pytest.raises(SourceError, match=message):
        open_source(adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": None}, "r of 'model.layers.0.self_attn.q_proj' is None, expected a number"),
        ({"lora_alpha": "8"}, "lora_alpha of 'model.layers.0.self_attn.q_proj' is '8', expected a number"),
        ({"lora_alpha": math.inf}, "is inf, expected a number"),
        ({"r": 0}, "is 0, expected a number"),
        ({"alpha_pattern": {"q_proj(": 3}}, r"alpha_pattern has 'q_proj\(', which is no regular expression"),
    ],
    ids=["no rank", "text", "infinite", "zero rank", "pattern"],
)
def test_an_unusable_configuration_is_refused(changes, message, tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit(adapter, **changes)
    with pytest.raises(SourceError, match=message):
        open_source(adapter)


def test_a_configuration_without_weights_is_refused(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(SourceError, match="has an adapter_config.json and no weights beside it"):
        open_source(adapter)


def test_a_model_beside_an_adapters_configuration_alone_is_a_model(tmp_path):
    _, base, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    (base / "adapter_config.json").write_text("{}")
    assert len(open_source(base).tensors) == len(llama().state_dict())


# Containers.


def test_torch_files_and_old_names_are_read(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    expected = {name: whole(tensor) for name, tensor in rows(open_source(adapter)).items()}
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    old = {name.replace(".weight", ".default.weight"): torch.from_numpy(weight) for name, weight in weights.items()}
    torch.save(old, adapter / "adapter_model.bin")
    found = open_source(adapter)
    assert found.format == "torch"
    for name, tensor in rows(found).items():
        np.testing.assert_array_equal(whole(tensor), expected[name])


def test_the_weights_file_means_the_adapter(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    file = adapter / "adapter_model.safetensors"
    assert list(rows(open_source(file))) == list(rows(open_source(adapter)))
    assert open_source(file).files == (file,)


def test_half_precision_factors_are_multiplied_in_float64(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    edit_weights(adapter, lambda weights: {name: weight.astype(np.float16) for name, weight in weights.items()})
    weights = load_file(adapter / "adapter_model.safetensors")
    tensor = open_source(adapter).tensors[0]
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    exact = weights[f"{prefix}.lora_B.weight"].astype(float) @ weights[f"{prefix}.lora_A.weight"].astype(float) * 1.5
    np.testing.assert_allclose(whole(tensor), exact, rtol=1e-12, atol=1e-12)
    assert tensor.dtype == "float16"
