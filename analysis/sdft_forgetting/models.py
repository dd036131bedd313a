"""The model: made from nothing, trained, and tuned with an adapter or as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, get_cosine_schedule_with_warmup

from analysis.sdft_forgetting.data import Pair, lessons
from analysis.sdft_forgetting.protocol import BATCH_SIZE, Cell
from spectra.training.sdft.training_text import encoded

POSITIONS = 128
SIZES = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}
INITIAL_STD = 0.08  # the usual 0.02 is made for layers many times as wide: attention would hardly begin to learn
LEARNING_RATE, WARMUP = 2e-3, 0.05  # before tuning
LORA = {  # rank, and where: the reference's place with fewer ranks, and every linear layer with many
    "rank 2": (2, ["q_proj", "v_proj"]),
    "rank 32": (32, "all-linear"),
}
_IGNORED = -100

Example = tuple[list[int], int]  # its tokens, and how many at the beginning are not learned


def trained(tokenizer: Any, known: Sequence[Pair], cell: Cell) -> Any:
    """Train the model that is tuned later: on every token, as language models are."""
    torch.manual_seed(cell.seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        initializer_range=INITIAL_STD,
        **SIZES,
        **ids,
    )
    model = LlamaForCausalLM(config)
    batches = ([(encoded(tokenizer, *lesson)[0], 0) for lesson in batch] for batch in lessons(known, cell.seed))
    fit(model, islice(batches, cell.base_steps), cell.base_steps, learning_rate=LEARNING_RATE, warmup=WARMUP)
    return model


def tuned(base: nn.Module, examples: Sequence[Example], adapter: str, learning_rate: float, cell: Cell) -> Any:
    """Tune a copy on responses; an adapter is merged afterwards. The order and an adapter's first weights are the seed's."""
    model: Any = deepcopy(base)
    if adapter in LORA:
        torch.manual_seed(cell.seed)
        rank, modules = LORA[adapter]
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=modules, task_type="CAUSAL_LM"))
    batches = list(_epochs(examples, cell))
    fit(model, batches, len(batches), learning_rate=learning_rate)
    return model.merge_and_unload() if adapter in LORA else model


def fit(
    model: nn.Module, batches: Iterable[Sequence[Example]], num_steps: int, *, learning_rate: float, warmup: float = 0.0
) -> None:
    """Train by AdamW, with a cosine schedule to zero and gradients of a norm of at most 1."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(warmup * num_steps), num_steps)
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        _backward(model, batch)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _backward(model: nn.Module, batch: Sequence[Example]) -> None:
    """Take the mean over the tokens of the batch; in two parts, the short and the long, so that little is padding."""
    ordered = sorted(batch, key=lambda example: len(example[0]))
    number = sum(len(tokens) - max(first, 1) for tokens, first in batch)
    for part in (ordered[: len(batch) // 2], ordered[len(batch) // 2 :]):
        (_nll(model, part) / number).backward()


def _nll(model: Any, part: Sequence[Example]) -> Tensor:
    tokens = pad_sequence([torch.tensor(row) for row, _ in part], batch_first=True)
    labels = torch.full_like(tokens, _IGNORED)
    for label, (row, first) in zip(labels, part, strict=True):
        label[first : len(row)] = torch.tensor(row[first:])
    # What fills up stands on the right, where no token of an example sees it.
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED, reduction="sum")


def _epochs(examples: Sequence[Example], cell: Cell) -> Iterator[list[Example]]:
    draw = np.random.default_rng([2, cell.seed])
    for _ in range(cell.epochs):
        order = draw.permutation(len(examples))
        for start in range(0, len(order), BATCH_SIZE):
            yield [examples[place] for place in order[start : start + BATCH_SIZE]]
