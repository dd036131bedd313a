"""A language model with a head of its own: on its own texts, where the empirical Fisher is the true one, and on others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spectra
from analysis.fisher_sst2.measurements import merged
from analysis.fisher_sst2.orderings import AGGREGATES, agreement, scores, short, summary

NUM_TEXTS, NUM_TOKENS, PARTS, DRAWS = 256, 128, 4, 4
_PADDING, _NO_TARGET = 0, -100


def study(folder: Path, dolly: Path, seed: int) -> dict[str, Any]:
    """Compare empirical and sampled Fishers on both kinds of text."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    started = time.process_time()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = {
        "its own texts": _compared(model, own_texts(model, seed)),
        "dolly": _compared(model, other_texts(tokenizer, dolly)),
    }
    return {**found, "cpu seconds": short(time.process_time() - started)}


def own_texts(model: Any, seed: int) -> Tensor:
    """Let the model go on from the begin token, each word drawn with the model's own probability."""
    import transformers

    torch.manual_seed(seed)
    plain = transformers.GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=NUM_TOKENS - 1, pad_token_id=_PADDING
    )
    begin = torch.full((NUM_TEXTS, 1), model.config.bos_token_id)
    with torch.no_grad():
        return model.generate(begin, attention_mask=torch.ones_like(begin), generation_config=plain)  # type: ignore[no-any-return]


def other_texts(tokenizer: Any, dolly: Path) -> Tensor:
    """Take the beginnings of the first answers that are long enough."""
    answers = [record["output"] for record in json.loads(dolly.read_text(encoding="utf-8"))]
    rows = (tokenizer(answer)["input_ids"][:NUM_TOKENS] for answer in answers)
    return torch.tensor([row for row in rows if len(row) == NUM_TOKENS][:NUM_TEXTS])


def _compared(model: Any, texts: Tensor) -> dict[str, Any]:
    kinds = {
        kind: [_fisher(model, part, kind, seed) for seed, part in enumerate(texts.chunk(PARTS))]
        for kind in ("empirical", "sampled")
    }
    totals = {kind: [sum(tensor.trace for tensor in part.tensors) for part in parts] for kind, parts in kinds.items()}
    whole = {kind: merged(parts) for kind, parts in kinds.items()}
    halves = {kind: (merged(parts[: PARTS // 2]), merged(parts[PARTS // 2 :])) for kind, parts in kinds.items()}
    with torch.no_grad():
        loss = float(model(texts, labels=_targets(texts)).loss)
    return {
        "texts": len(texts),
        "loss per token": short(loss),
        "trace, empirical over sampled": summary(a / b for a, b in zip(totals["empirical"], totals["sampled"], strict=True)),
        "layers, empirical and sampled": {
            aggregate: short(agreement(*(scores(whole[kind], "layer", aggregate) for kind in whole)))
            for aggregate in AGGREGATES
        },
        "layers, two halves": {
            kind: {
                aggregate: short(agreement(*(scores(half, "layer", aggregate) for half in pair))) for aggregate in AGGREGATES
            }
            for kind, pair in halves.items()
        },
    }


def _fisher(model: Any, texts: Tensor, kind: str, seed: int) -> spectra.Fisher:
    batches = [{"input_ids": rows, "labels": _targets(rows)} for rows in texts.split(16)]
    draws = DRAWS if kind == "sampled" else 1
    return spectra.fisher(model, batches, kind=kind, reduction="sequence_sum", num_draws=draws, seed=seed)


def _targets(texts: Tensor) -> Tensor:
    """Ask nothing where a text has ended: two texts of padding, which the model never wrote, outweigh the 254 others."""
    return texts.masked_fill(texts == _PADDING, _NO_TARGET)
