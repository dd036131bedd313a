"""Tiny models of many architectures, with dropout where their configuration has any, and their batches; shared by tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

_VOCABULARY, _LENGTH = 40, 7
_BODY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_TEXT = {**_BODY, "vocab_size": _VOCABULARY}
_BERT = {**_TEXT, "max_position_embeddings": _VOCABULARY}
_LLAMA = {**_TEXT, "num_key_value_heads": 1, "head_dim": 8, "attention_dropout": 0.1, "tie_word_embeddings": False}
_ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": _VOCABULARY, **_ENDS}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": _VOCABULARY}
_BART = {"d_model": 16, "vocab_size": _VOCABULARY, "dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1} | {
    f"{side}_{size}": value
    for side in ("encoder", "decoder")
    for size, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))
}


@dataclass(frozen=True)
class Family:
    """An architecture: its model class, its configuration, and the attention implementations it has."""

    model: str
    config: dict[str, Any]
    attention: tuple[str, ...] = ("sdpa", "eager")
    config_class: str = ""


FAMILIES = {
    "bert": Family("BertForSequenceClassification", _BERT),
    "bert, masked": Family("BertForMaskedLM", _BERT),
    "roberta": Family("RobertaForSequenceClassification", _BERT),
    "electra": Family("ElectraForSequenceClassification", {**_BERT, "embedding_size": 8}),
    "albert": Family("AlbertForSequenceClassification", {**_BERT, "embedding_size": 8}),
    "deberta-v2": Family(
        "DebertaV2ForSequenceClassification",
        {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "conv_kernel_size": 3},
        ("eager",),
    ),
    "distilbert": Family(
        "DistilBertForSequenceClassification",
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": _VOCABULARY, "max_position_embeddings": 16},
    ),
    "modernbert": Family(
        "ModernBertForSequenceClassification",
        {**_TEXT, **_ENDS, "cls_token_id": 1, "sep_token_id": 2}
        | dict.fromkeys(("attention_dropout", "mlp_dropout", "embedding_dropout", "classifier_dropout"), 0.1),
    ),
    "gpt2": Family("GPT2LMHeadModel", _GPT2),
    "gpt-neox": Family("GPTNeoXForCausalLM", {**_TEXT, "attention_dropout": 0.1, "hidden_dropout": 0.1}),
    "opt": Family(
        "OPTForCausalLM",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24, "vocab_size": _VOCABULARY}
        | {"max_position_embeddings": 16, "word_embed_proj_dim": 16, "attention_dropout": 0.1},
    ),
    "bloom": Family(
        "BloomForCausalLM",
        {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": _VOCABULARY, "hidden_dropout": 0.1},
        ("eager",),
    ),
    "llama": Family("LlamaForCausalLM", _LLAMA),
    "mistral": Family("MistralForCausalLM", _LLAMA),
    "qwen2": Family("Qwen2ForCausalLM", _LLAMA),
    "qwen3": Family("Qwen3ForCausalLM", _LLAMA),
    "gemma3": Family("Gemma3ForCausalLM", _LLAMA, config_class="Gemma3TextConfig"),
    "phi3": Family("Phi3ForCausalLM", {**_LLAMA, **_ENDS, "resid_pdrop": 0.1}),
    "starcoder2": Family("Starcoder2ForCausalLM", {**_LLAMA, **_ENDS, "residual_dropout": 0.1, "embedding_dropout": 0.1}),
    "t5": Family("T5ForConditionalGeneration", {**_T5, "decoder_start_token_id": 0}),
    "t5, gated": Family(
        "T5ForConditionalGeneration", {**_T5, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu"}
    ),
    "bart": Family("BartForConditionalGeneration", {**_BART, "max_position_embeddings": 16, "encoder_layerdrop": 0.5}),
    "whisper": Family(
        "WhisperForConditionalGeneration",
        {**_BART, **_ENDS, "max_source_positions": 20, "max_target_positions": 16, "num_mel_bins": 8}
        | {"decoder_start_token_id": 1},
    ),
    "vit": Family(
        "ViTForImageClassification",
        {**_BODY, "image_size": 16, "patch_size": 4, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    "swin": Family(
        "SwinForImageClassification",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2}
        | {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
}  # fmt: skip

CASES = [(name, attention) for name, family in FAMILIES.items() for attention in family.attention]


def tiny(name: str, attention: str = "") -> nn.Module:
    """A seeded model, with weights large enough that every part of it shows in the outputs."""
    family = FAMILIES[name]
    kind = getattr(transformers, family.model)
    config = getattr(transformers, family.config_class)(**family.config) if family.config_class else None
    config = config or kind.config_class(**family.config)
    config._attn_implementation = attention or family.attention[0]
    torch.manual_seed(0)
    model: nn.Module = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.2)
    return model.eval()


def batch_of(model: Any) -> dict[str, Tensor]:
    """What the model takes: two samples, the second one padded."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, _VOCABULARY, (2, _LENGTH), generator=generator)
    shapes = {"pixel_values": (2, 3, 16, 16), "input_features": (2, 8, 40)}
    if (inputs := model.main_input_name) in shapes:
        batch = {inputs: torch.randn(shapes[inputs], generator=generator)}
    else:
        mask = torch.ones_like(tokens)
        mask[1, -2:] = 0
        batch = {"input_ids": tokens, "attention_mask": mask}
    return batch | ({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {})
