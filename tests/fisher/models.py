"""Tiny models with the data of a few samples, each also alone and without padding; shared by the tests of the estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

WORDS, LENGTHS = 20, (8, 5, 7, 3, 8)  # tokens known, tokens of each sample
NUM_SAMPLES = len(LENGTHS)

ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {**SMALL, **ENDS, "vocab_size": WORDS, "max_position_embeddings": 12}
LLAMA = {**TEXT, "num_attention_heads": 4, "num_key_value_heads": 2}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": WORDS, "n_positions": 12, **ENDS}
T5 = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 2, "num_heads": 2, "vocab_size": WORDS, "decoder_start_token_id": 0}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2} | {
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": WORDS, "max_position_embeddings": 12, **ENDS,
}  # fmt: skip
VIT = {**SMALL, "image_size": 8, "patch_size": 4, "num_labels": 3}
RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Attributes:
        model: In eval mode, seeded, with weights so large that its predictions are not uniform.
        batch: All samples, padded.
        samples: The same one by one, as batches of one without padding.
    """

    model: nn.Module
    batch: Mapping[str, Tensor]
    samples: list[Mapping[str, Tensor]]

    def batches(self, size: int = NUM_SAMPLES) -> list[Mapping[str, Tensor]]:
        """All samples in batches of a size; the last one may be smaller."""
        return list(in_batches(self.batch, size))


def in_batches(batch: Mapping[str, Tensor], size: int) -> Iterator[Mapping[str, Tensor]]:
    """Cut a batch into smaller ones."""
    count = len(next(iter(batch.values())))
    for start in range(0, count, size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}


def made(name: str, **settings: Any) -> nn.Module:
    """A transformers model by its class."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    return stirred(kind(kind.config_class(**settings)).eval())


def stirred(model: nn.Module, seed: int = 1) -> nn.Module:
    """Weights so large that predictions are not uniform, biases that are not zero, scales that are not one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise if parameter.dim() > 1 else parameter + noise)
    return model


def random_tokens(*shape: int, seed: int) -> Tensor:
    """Ids that are no special tokens."""
    return torch.randint(3, WORDS, shape, generator=torch.Generator().manual_seed(seed))


def _padded(rows: list[Tensor], fill: int, *, left: bool) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill, padding_side="left" if left else "right")


def _text(targets: list[Tensor], *, left: bool = False, positions: bool = False) -> tuple[dict[str, Tensor], list[Any]]:
    """Texts of ``LENGTHS``, whose labels are given."""
    ids = [random_tokens(length, seed=length + 10 * n) for n, length in enumerate(LENGTHS)]
    batch = {
        "input_ids": _padded(ids, 0, left=left),
        "attention_mask": _padded([torch.ones_like(row) for row in ids], 0, left=left),
        "labels": _padded(targets, -100, left=left and len(targets[0]) == len(ids[0])),
    }
    if positions:
        batch["position_ids"] = _padded([torch.arange(len(row)) for row in ids], 0, left=left)
    samples = [
        {"input_ids": row[None], "attention_mask": torch.ones_like(row)[None], "labels": target[None]}
        for row, target in zip(ids, targets, strict=True)
    ]
    return batch, samples


def _some(row: Tensor) -> Tensor:
    """Labels at every second position from the second on."""
    return torch.where(torch.arange(len(row)) % 2 == 1, row, -100)


def masked(name: str, *, left: bool = False, **settings: Any) -> Case:
    """A masked language model."""
    targets = [_some(random_tokens(length, seed=n)) for n, length in enumerate(LENGTHS)]
    return Case(made(name, **{**TEXT, **settings}), *_text(targets, left=left, positions=left))


def causal(name: str, *, left: bool = False, **settings: Any) -> Case:
    """A causal language model; its labels are its inputs."""
    ids = [random_tokens(length, seed=length + 10 * n) for n, length in enumerate(LENGTHS)]
    return Case(made(name, **settings), *_text(ids, left=left, positions=left))


def seq2seq(name: str, **settings: Any) -> Case:
    """A sequence-to-sequence model; the outputs have lengths of their own."""
    targets = [random_tokens(length, seed=n) for n, length in enumerate((4, 6, 3, 5, 2))]
    return Case(made(name, **settings), *_text(targets))


def text_classifier(name: str, **settings: Any) -> Case:
    """A classifier of texts."""
    batch, samples = _text([torch.zeros(length, dtype=torch.long) for length in LENGTHS])
    labels = torch.arange(NUM_SAMPLES) % 3
    samples = [{**sample, "labels": labels[n : n + 1]} for n, sample in enumerate(samples)]
    return Case(made(name, **{**TEXT, "num_labels": 3, **settings}), {**batch, "labels": labels}, samples)


def image_classifier(name: str, **settings: Any) -> Case:
    """A classifier of pictures."""
    batch = {
        "pixel_values": torch.randn(NUM_SAMPLES, 3, 8, 8, generator=torch.Generator().manual_seed(2)),
        "labels": torch.arange(NUM_SAMPLES) % 3,
    }
    return Case(made(name, **settings), batch, list(in_batches(batch, 1)))


EAGER, SDPA = {"attn_implementation": "eager"}, {"attn_implementation": "sdpa"}

CASES: dict[str, Callable[[], Case]] = {
    "bert, eager": lambda: masked("BertForMaskedLM", **EAGER),
    "bert, sdpa": lambda: masked("BertForMaskedLM", **SDPA),
    "bert, left padding": lambda: masked("BertForMaskedLM", left=True),
    "bert, classes": lambda: text_classifier("BertForSequenceClassification"),
    "roberta": lambda: masked("RobertaForMaskedLM", max_position_embeddings=16),
    "albert, shared layers": lambda: masked("AlbertForMaskedLM", embedding_size=8),
    "gpt2, eager": lambda: causal("GPT2LMHeadModel", **GPT2, **EAGER),
    "gpt2, sdpa": lambda: causal("GPT2LMHeadModel", **GPT2, **SDPA),
    "gpt2, left padding": lambda: causal("GPT2LMHeadModel", left=True, **GPT2),
    "llama, tied, eager": lambda: causal("LlamaForCausalLM", **LLAMA, **EAGER, tie_word_embeddings=True),
    "llama, untied, sdpa": lambda: causal("LlamaForCausalLM", **LLAMA, **SDPA, tie_word_embeddings=False),
    "llama, left padding": lambda: causal("LlamaForCausalLM", left=True, **LLAMA),
    "t5, tied": lambda: seq2seq("T5ForConditionalGeneration", **T5),
    "t5, untied, gated": lambda: seq2seq(
        "T5ForConditionalGeneration", **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False
    ),
    "bart": lambda: seq2seq("BartForConditionalGeneration", **BART),
    "vit, eager": lambda: image_classifier("ViTForImageClassification", **VIT, **EAGER),
    "vit, sdpa": lambda: image_classifier("ViTForImageClassification", **VIT, **SDPA),
    "resnet": lambda: image_classifier("ResNetForImageClassification", **RESNET),
}
