"""Adapters of tiny seeded models, by the peft library; shared by the tests that read adapters."""

from __future__ import annotations

import copy
import json

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from tests.models import bert, gpt2, llama, resnet

QUERY, VALUE = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight"

# peft merges in the dtype of the weights, float32 here, and rounds; numbers go up to about 20 (seeded standard normals).
FLOAT32 = {"rtol": 2e-6, "atol": 4e-6}

CASES = {
    "linear": (llama, {"target_modules": ["q_proj", "down_proj"]}),
    "rank-stabilised": (llama, {"target_modules": ["q_proj"], "use_rslora": True}),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "k_proj", "down_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 6, "^model.layers.1.*k_proj": 2},
            "alpha_pattern": {"down_proj": 5, "q_proj": 32, r"layers\.[01].mlp.down_proj": 7},
        },
    ),
    "embedding": (llama, {"target_modules": ["embed_tokens", "v_proj"]}),
    "saved whole": (llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "transposed": (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "tied embedding": (gpt2, {"target_modules": ["wte", "c_fc"], "fan_in_fan_out": True}),
    "convolution": (resnet, {"target_modules": ["convolution"], "use_rslora": True}),
    "encoder": (bert, {"target_modules": ["query"]}),
}
DORA = {
    "linear": (llama, {"target_modules": ["q_proj", "down_proj"]}),
    "embedding": (llama, {"target_modules": ["embed_tokens"]}),
    "transposed": (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "convolution": (resnet, {"target_modules": ["convolution"]}),
}


def adapted(make, **options):
    """A seeded model with an adapter that was 'trained': nothing of it is zero."""
    model = get_peft_model(make(), LoraConfig(**{"r": 4, "lora_alpha": 6, "init_lora_weights": False, **options}))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name or "modules_to_save" in name:
            parameter.data *= 1.0 + 0.3 * torch.rand(parameter.shape, generator=generator)
    return model


def folders(make, tmp_path, **options):
    """The adapter and its base on disk, and the live model."""
    make().save_pretrained(tmp_path / "base")
    model = adapted(make, **options)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", tmp_path / "base", model


def state(model):
    return {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}


def merged_by_peft(model):
    return state(copy.deepcopy(model).merge_and_unload())


def rows(source):
    return {tensor.name: tensor for tensor in source.tensors}


def whole(tensor):
    return tensor.read(0, tensor.shape[0])


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    save_file(change(weights), path)


def assert_equal_to(source, expected):
    for tensor in source.tensors:
        assert (tensor.unreadable, tensor.no_base) == (None, None), tensor.name
        assert tensor.shape == expected[tensor.name].shape, tensor.name
        np.testing.assert_allclose(whole(tensor), expected[tensor.name], **FLOAT32, err_msg=tensor.name)
        np.testing.assert_allclose(tensor.read(1, 2), whole(tensor)[1:2], rtol=1e-13, atol=1e-13)
