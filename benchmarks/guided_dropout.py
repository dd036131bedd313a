"""``dropout``: a training step with guided dropout beside the same step with ordinary dropout.

Guided dropout changes numbers and adds no code to a forward pass, so that a step should take as long as before: forward,
backward and AdamW of a BERT-shaped classifier (six layers of 384, random weights), whose own rates are 0.1. One model takes
all steps, the two kinds of dropout in turns and each first every other time, so that memory layout and drift hit both alike;
rates are applied between the steps, as a training run does it once.

First, the rates of the model itself, applied by name, must leave the loss as it is, bit by bit, and the guided ones must not.
What guidance costs beside the steps, one Fisher pass for each checkpoint, is not part of this.

Everything is timed in one child process, ``python -m benchmarks.guided_dropout REPEATS``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import median, median_interval, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

BAR = 1.01
ORDINARY, GUIDED, SAME = "ordinary", "guided", "same"
_DROP_PROB = 0.1
_PAIRS_PER_REPEAT = 10  # steps vary by some per cent; the median of 50 ratios then by about half of one
_WARM_UP_STEPS = 3
_BATCH, _LENGTH = 8, 64


def run(repeats: int) -> tuple[list[Comparison], list[str]]:
    """Measure the steps.

    Args:
        repeats: Rounds, of ten pairs of steps each.

    Returns:
        One row, and the median of the paired ratios with its interval, in words.

    Raises:
        AnswersDifferError: Applying a model's own rates changes its loss, or applying guided ones does not.
    """
    say("dropout: training steps in turns")
    found = run_module("benchmarks.guided_dropout", str(repeats)).output
    losses = found["losses"]
    if losses[SAME] != losses[ORDINARY] or losses[GUIDED] == losses[ORDINARY]:
        raise AnswersDifferError(f"dropout: expected one loss for '{SAME}' and '{ORDINARY}' and another, got {losses}.")
    guided, ordinary = (tuple(1e3 * seconds for seconds in found["seconds"][name]) for name in (GUIDED, ORDINARY))
    row = Comparison(
        "BERT shape: training step with guided dropout",
        "ordinary dropout",
        "ms",
        guided,
        ordinary,
        BAR,
        ratio_of="spectra/peer",
    )
    ratios = [ours / theirs for ours, theirs in zip(guided, ordinary, strict=True)]
    low, high = median_interval(ratios)
    return [row], [
        f"dropout: median of {len(ratios)} paired ratios {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f} "
        f"(bootstrap); {found['num_sites']} sites, {found['num_parameters'] / 1e6:.1f} million parameters"
    ]


def _model() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    sizes: dict[str, Any] = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
    rates: dict[str, Any] = {"hidden_dropout_prob": _DROP_PROB, "attention_probs_dropout_prob": _DROP_PROB}
    model: nn.Module = BertForSequenceClassification(BertConfig(**sizes, **rates))
    return model.train()


def _batch() -> dict[str, Tensor]:
    import torch

    tokens = torch.randint(1000, 30000, (_BATCH, _LENGTH))
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.arange(_BATCH) % 2}


def _rates(model: nn.Module) -> dict[str, dict[str, float]]:
    """Rates by contestant: guided ones spread over the range of the published instance, the classifier's stays."""
    from spectra.fisher.sites import find_sites
    from spectra.policies.drop_prob import guided_rates

    sites = find_sites(model)
    same = {site.name: _DROP_PROB for site in sites}
    # Times do not depend on which site has which rate.
    scores = {site.name: float(number) for number, site in enumerate(sites) if site.role != "classifier"}
    return {ORDINARY: {}, GUIDED: guided_rates(scores, p_upper=0.099), SAME: same}


def _loss(model: nn.Module, batch: dict[str, Tensor], rates: dict[str, float]) -> float:
    import torch

    from spectra.training.drop_sites import apply_rates

    torch.manual_seed(1)
    with apply_rates(model, rates), torch.no_grad():
        return float(model(**batch).loss)


def _step_seconds(model: nn.Module, optimizer: Optimizer, batch: dict[str, Tensor], rates: dict[str, float]) -> float:
    from spectra.training.drop_sites import apply_rates

    with apply_rates(model, rates):
        start = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start


def _measure(repeats: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    model, batch = _model(), _batch()
    rates = _rates(model)
    losses = {name: _loss(model, batch, chosen) for name, chosen in rates.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for _ in range(_WARM_UP_STEPS):
        _step_seconds(model, optimizer, batch, {})
    seconds: dict[str, list[float]] = {ORDINARY: [], GUIDED: []}
    for number in range(_PAIRS_PER_REPEAT * repeats):
        for name in (ORDINARY, GUIDED) if number % 2 else (GUIDED, ORDINARY):
            seconds[name].append(_step_seconds(model, optimizer, batch, rates[name]))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"losses": losses, "seconds": seconds, "num_sites": len(rates[SAME]), "num_parameters": num_parameters}


def _main() -> None:
    print(json.dumps(_measure(int(sys.argv[1]))))


if __name__ == "__main__":
    _main()
