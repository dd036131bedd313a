"""How far up a model ranks the true reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 8  # turns

Collate = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Tensor]]


def judged(model: nn.Module, rows: Sequence[Mapping[str, Any]], collate: Collate) -> dict[str, float]:
    """Judge a model that is in training: accuracy, and the share of wrong candidates below the true reply."""
    model.eval()
    places = torch.cat([_places(model, collate(rows[at : at + AT_ONCE])) for at in range(0, len(rows), AT_ONCE)])
    model.train()
    num_wrong = len(rows[0]["input_ids"]) - 1
    accuracy, below = (places == 0.0).double().mean(), 1.0 - places.double().mean() / num_wrong
    return {"accuracy": round(float(accuracy), 4), "below": round(float(below), 4)}


@torch.no_grad()
def _places(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Count the candidates of each turn that are above the true reply; equals count half, as they do by chance."""
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    logits: Tensor = model(input_ids=tokens.flatten(0, 1), attention_mask=mask.flatten(0, 1)).logits[:, 1]
    logits = logits.reshape(tokens.shape[:2])
    true = logits.gather(1, batch["labels"][:, None])
    places: Tensor = (logits > true).sum(1) + ((logits == true).sum(1) - 1) / 2.0
    return places
