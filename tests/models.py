"""Tiny seeded models, and the containers a model is kept in; shared by the tests that read weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# Wide enough that every kind of layer has a fit: 64 eigenvalues, 32 for the keys and values of grouped queries.
WIDTH, DEPTH, VOCABULARY = 64, 2, 128


def heavy_tailed(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """A float32 matrix with columns of Pareto-distributed length, so that its spectrum has a tail."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, cols)) * (1.0 - rng.random(cols)) ** (-1.0 / 3.0)).astype(np.float32)


def small_weights(blocks: int = 4) -> dict[str, np.ndarray]:
    """A state dict without torch: an embedding, numbered blocks and a head."""
    middle = {f"layers.{i}.fc.weight": heavy_tailed(60, 40, seed=i) for i in range(blocks)}
    return {"embed.weight": heavy_tailed(150, 40, seed=91), **middle, "head.weight": heavy_tailed(50, 40, seed=92)}


def uneven_weights(layers: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict in which no two sides are equal, so that no weights are decomposed together."""
    return {f"layers.{i}.fc.weight": heavy_tailed(60 + 4 * i, 20 + 3 * i, seed=seed + i) for i in range(layers)}


def write_small(path: Path, **changes: np.ndarray) -> Path:
    """Write the small state dict as a safetensors file; keyword arguments replace or add tensors, dots as ``__``."""
    from safetensors.numpy import save_file

    save_file({**small_weights(), **{name.replace("__", "."): value for name, value in changes.items()}}, path)
    return path


def write_layers(path: Path, num_layers: int, change: float = 0.0) -> Path:
    """Write layers each of another width, so that none are decomposed together; ``change`` is the size of noise added."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(num_layers)
    layers = {f"layers.{i}.fc.weight": heavy_tailed(60, 16 + i, seed=i) for i in range(num_layers)}
    save_file({name: layer + np.float32(change * rng.standard_normal(layer.shape)) for name, layer in layers.items()}, path)
    return path


def gpt2() -> torch.nn.Module:
    """GPT-2: dense layers stored as (in, out), the head tied to the embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return _seeded(
        GPT2LMHeadModel,
        GPT2Config(
            n_embd=WIDTH, n_layer=DEPTH, n_head=4, vocab_size=VOCABULARY, n_positions=48, bos_token_id=0, eos_token_id=0
        ),
    )


def llama() -> torch.nn.Module:
    """Llama with grouped-query attention and an output layer of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return _seeded(LlamaForCausalLM, LlamaConfig(**_decoder(), tie_word_embeddings=False))


def mixtral() -> torch.nn.Module:
    """Mixtral: the experts of a block stacked in one three-dimensional parameter."""
    from transformers import MixtralConfig, MixtralForCausalLM

    return _seeded(MixtralForCausalLM, MixtralConfig(**_decoder(), num_local_experts=4))


def bert() -> torch.nn.Module:
    """BERT, the encoder."""
    from transformers import BertConfig, BertModel

    return _seeded(BertModel, BertConfig(**_encoder(), vocab_size=VOCABULARY, max_position_embeddings=48))


def vit() -> torch.nn.Module:
    """A vision transformer: a convolution cuts the patches, positions are a three-dimensional parameter."""
    from transformers import ViTConfig, ViTModel

    return _seeded(ViTModel, ViTConfig(**_encoder(), image_size=32, patch_size=8))


def resnet() -> torch.nn.Module:
    """A residual network: convolutions and batch norms."""
    from transformers import ResNetConfig, ResNetModel

    return _seeded(ResNetModel, ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic"))


MODELS = {"gpt2": gpt2, "llama": llama, "mixtral": mixtral, "bert": bert, "vit": vit, "resnet": resnet}


def _decoder() -> dict[str, Any]:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": DEPTH, "vocab_size": VOCABULARY}
    return {**sizes, "num_attention_heads": 4, "num_key_value_heads": 2}


def _encoder() -> dict[str, Any]:
    return {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": DEPTH, "num_attention_heads": 4}


def _seeded(kind: Any, config: Any) -> torch.nn.Module:
    import torch

    torch.manual_seed(0)
    model: torch.nn.Module = kind(config)
    return model.eval()


# Tiny models of architectures that store several projections, or many experts, in one weight: the name of the
# configuration's class, and sizes. Four heads, so that a cut may miss them; groups where the architecture has them.
_NEOX = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 64}
_LLAMA = {**_NEOX, "num_key_value_heads": 2}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
_ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 64}

FUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _GPT2),
    "openai-gpt": ("OpenAIGPTConfig", _GPT2),
    "gpt_bigcode, multi-query": ("GPTBigCodeConfig", _GPT2),
    "gpt_bigcode, multi-head": ("GPTBigCodeConfig", {**_GPT2, "multi_query": False}),
    "codegen": ("CodeGenConfig", {**_GPT2, "rotary_dim": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 64, "expansion_ratio": 2}),
    "gpt_neox": ("GPTNeoXConfig", _NEOX),
    "gpt_neox_japanese": ("GPTNeoXJapaneseConfig", {**_FALCON, **_ENDS, "intermediate_multiple_size": 2}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64}),
    "persimmon": ("PersimmonConfig", {**_NEOX, **_ENDS, "qk_layernorm": False}),
    "falcon, multi-query": ("FalconConfig", _FALCON),
    "falcon, multi-head": ("FalconConfig", {**_FALCON, "multi_query": False, "alibi": True}),
    "falcon, grouped": ("FalconConfig", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "phi3": ("Phi3Config", {**_LLAMA, **_ENDS}),
    "modernbert": ("ModernBertConfig", {**_NEOX, **_ENDS, "cls_token_id": 1, "sep_token_id": 2}),
    "deberta": ("DebertaConfig", {**_NEOX, "pos_att_type": [], "relative_attention": False}),
    "starcoder2": ("Starcoder2Config", {**_LLAMA, **_ENDS}),
    "glm": ("GlmConfig", {**_LLAMA, **_ENDS, "head_dim": 8}),
    "mamba": ("MambaConfig", _MAMBA),
}

_EXPERTS = {**_LLAMA, **_ENDS, "num_experts_per_tok": 2, "head_dim": 8}
_QWEN_EXPERTS = {**_EXPERTS, "num_experts": 4, "moe_intermediate_size": 24}
_DEEPSEEK = (
    {**_EXPERTS, "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "moe_intermediate_size": 24}
    | {"kv_lora_rank": 8, "q_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "head_dim": 4}
    | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
)
_DBRX = {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 16, "vocab_size": 64} | {
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
    "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
}

EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {**_EXPERTS, "num_local_experts": 4}),
    "qwen2_moe": ("Qwen2MoeConfig", {**_QWEN_EXPERTS, "shared_expert_intermediate_size": 40, "decoder_sparse_step": 1}),
    "qwen3_moe": ("Qwen3MoeConfig", {**_QWEN_EXPERTS, "decoder_sparse_step": 1}),
    "olmoe": ("OlmoeConfig", {**_EXPERTS, "num_experts": 4}),
    "deepseek_v2": ("DeepseekV2Config", {**_DEEPSEEK, "topk_method": "greedy"}),
    "deepseek_v3": ("DeepseekV3Config", _DEEPSEEK),
    "gpt_oss": ("GptOssConfig", {**_EXPERTS, "num_local_experts": 4}),
    "llama4_text": (
        "Llama4TextConfig",
        {**_EXPERTS, "num_local_experts": 4, "intermediate_size_mlp": 40, "interleave_moe_layer_step": 1},
    ),
    "dbrx": ("DbrxConfig", _DBRX),
    "granitemoe": ("GraniteMoeConfig", {**_EXPERTS, "num_local_experts": 4}),
    "jetmoe": ("JetMoeConfig", {**_EXPERTS, "num_local_experts": 4, "kv_channels": 8}),
}


def tiny(architecture: str) -> torch.nn.Module:
    """A model of ``FUSED`` or ``EXPERTS``: without output layer, seeded, biases not zero."""
    import torch
    import transformers

    name, sizes = {**FUSED, **EXPERTS}[architecture]
    model = _seeded(transformers.AutoModel.from_config, getattr(transformers, name)(**sizes))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith(".bias"):
                parameter.normal_(std=0.02, generator=generator)
            elif parameter.dim() >= 2:  # large enough that attention is not uniform
                parameter.normal_(std=0.2, generator=generator)
    return model


# A container is a function of a model and an empty folder; what it returns is given to ``spectra.analyze``.


def as_module(model: Any, folder: Path) -> Any:
    return model


def as_mapping(model: Any, folder: Path) -> Any:
    return model.state_dict()


def as_mapping_of_arrays(model: Any, folder: Path) -> Any:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def as_safetensors_folder(model: Any, folder: Path) -> Any:
    from safetensors.torch import save_file

    save_file(untied(model), folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    return folder


def as_safetensors_shards(model: Any, folder: Path) -> Any:
    from safetensors.torch import save_file

    return _in_three_shards(untied(model), model, folder, "model-{}-of-00003.safetensors", save_file)


def as_safetensors_file(model: Any, folder: Path) -> Any:
    from safetensors.torch import save_file

    save_file(untied(model), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def as_torch_folder(model: Any, folder: Path) -> Any:
    import torch

    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    model.config.save_pretrained(folder)
    return folder


def as_torch_shards(model: Any, folder: Path) -> Any:
    import torch

    return _in_three_shards(untied(model), model, folder, "pytorch_model-{}-of-00003.bin", torch.save)


def as_torch_file(model: Any, folder: Path) -> Any:
    import torch

    torch.save(model.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


CONTAINERS = {
    "module": as_module,
    "mapping": as_mapping,
    "mapping of arrays": as_mapping_of_arrays,
    "safetensors folder": as_safetensors_folder,
    "safetensors shards": as_safetensors_shards,
    "safetensors file": as_safetensors_file,
    "torch folder": as_torch_folder,
    "torch shards": as_torch_shards,
    "torch file": as_torch_file,
}


def untied(model: Any) -> dict[str, Any]:
    """The state dict with shared storage under its first name only, as ``save_pretrained`` writes it."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            state[name] = tensor
        seen.add(tensor.data_ptr())
    return state


def _in_three_shards(state: dict[str, Any], model: Any, folder: Path, pattern: str, save: Any) -> Path:
    weight_map = {name: pattern.format(f"{1 + i * 3 // len(state):05}") for i, name in enumerate(state)}
    for file in set(weight_map.values()):
        save({name: state[name] for name in state if weight_map[name] == file}, folder / file)
    index = "model.safetensors.index.json" if "safetensors" in pattern else "pytorch_model.bin.index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))
    model.config.save_pretrained(folder)
    return folder
