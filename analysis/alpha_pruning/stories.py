"""stories260K, a language model of 5 blocks: its perplexity on texts that it wrote itself before it was pruned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.alpha_pruning.allocations import Plans
from analysis.alpha_pruning.pruned import Row, rows_of

NUM_TEXTS, NUM_TOKENS = 48, 256  # of each kind and seed
_PADDING, _NO_TARGET = 0, -100


def rows(folder: Path, plans: Plans, seed: int) -> list[Row]:
    """Prune and measure, with texts of this seed: half for Wanda's norms, half for the perplexity."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    calibration, held_out = own_texts(model, seed).split(NUM_TEXTS)
    return rows_of(model, plans, [_batch(calibration)], lambda: perplexity(model, held_out), seed=seed, block_by_block=True)


def own_texts(model: Any, seed: int) -> Tensor:
    """Let the model go on from the begin token, each word drawn with the model's own probability."""
    import transformers

    torch.manual_seed(seed)
    plain = transformers.GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=NUM_TOKENS - 1, pad_token_id=_PADDING
    )
    begin = torch.full((2 * NUM_TEXTS, 1), model.config.bos_token_id)
    with torch.no_grad():
        return model.generate(begin, attention_mask=torch.ones_like(begin), generation_config=plain)  # type: ignore[no-any-return]


def perplexity(model: Any, texts: Tensor) -> float:
    """Return the exponential of the mean loss per token."""
    with torch.no_grad():
        return math.exp(float(model(**_batch(texts), labels=texts.masked_fill(texts == _PADDING, _NO_TARGET)).loss))


def _batch(texts: Tensor) -> dict[str, Tensor]:
    return {"input_ids": texts, "attention_mask": (texts != _PADDING).long()}
