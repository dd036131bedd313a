"""``tempbalance``: one update of TempBalance's alphas beside the route of the method's published code.

That route takes each layer in turn: ``torch.linalg.svdvals`` of the weight in its own dtype, squares, sorts, fits the upper
half. It runs with one and with two threads, and whichever has the better median counts; ours has two worker threads. Models
have the shapes of all-MiniLM-L6-v2 and GPT-2 small, without their embeddings; weights are random, which changes no time.

First, the alphas of all layers must agree: both are float32, and differ by Gram matrix or singular values.

Everything is timed in one child process per model, ``python -m benchmarks.tempbalance_update CASE REPEATS``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import CORES, median, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from torch import Tensor, nn

BAR = 3.0
_TOLERANCE = 1e-3  # relative, of alpha
_CASES = {"minilm": "MiniLM shape", "gpt2": "GPT-2 shape"}
_OURS = "spectra"


def run(repeats: int) -> list[Comparison]:
    """Measure an update of both models.

    Args:
        repeats: Updates of each contestant.

    Returns:
        One row per model.

    Raises:
        AnswersDifferError: An alpha is not that of the published route.
    """
    rows = []
    for case, name in _CASES.items():
        say(f"tempbalance: {name}")
        found = run_module("benchmarks.tempbalance_update", case, str(repeats), threads=CORES).output
        if not found["difference"] <= _TOLERANCE:
            raise AnswersDifferError(f"tempbalance: {name}: alphas differ by up to {found['difference']:.1e}, relatively.")
        seconds: dict[str, list[float]] = found["seconds"]
        ours = seconds.pop(_OURS)
        threads = min(seconds, key=lambda peer: median(seconds[peer]))
        what = f"{name}: update of the alphas of {found['num_layers']} layers"
        rows.append(Comparison(what, f"svdvals, {threads}", "s", tuple(ours), tuple(seconds[threads]), BAR))
    return rows


def _model(case: str) -> nn.Module:
    import torch
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
    model: nn.Module = BertModel(BertConfig(**sizes)) if case == "minilm" else GPT2Model(GPT2Config())
    return model


def _published(weight: Tensor) -> float:
    """The fit of the published code on its singular values: xmin is the value at half the rank."""
    import torch

    values = torch.sort(torch.linalg.svdvals(weight).square()).values
    tail = values[len(values) // 2 :]
    return 1.0 + len(tail) / float(tail.log().sum() - len(tail) * tail[0].log())


def _measure(case: str, repeats: int) -> dict[str, Any]:
    import torch

    from spectra.diagnose.profiles import resolve_settings
    from spectra.training.layer_meter import LayerMeter

    model = _model(case)
    settings = resolve_settings("tempbalance", min_evals=50)
    meter = LayerMeter(model, settings, workers=CORES)
    weights = [model.get_parameter(f"{name}.weight").detach() for name in meter.layers]

    def published(threads: int) -> list[float]:
        torch.set_num_threads(threads)
        return [_published(weight) for weight in weights]

    def ours() -> list[float]:
        return [row.alpha for row in meter.measure()]

    updates = {"1 thread": lambda: published(1), f"{CORES} threads": lambda: published(CORES), _OURS: ours}
    answers = {name: update() for name, update in updates.items()}  # warms up, too
    difference = max(
        abs(mine - theirs) / theirs for name in updates for mine, theirs in zip(answers[_OURS], answers[name], strict=True)
    )
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for number in range(repeats):
        for name in list(updates) if number % 2 else reversed(updates):
            start = time.perf_counter()
            updates[name]()
            seconds[name].append(time.perf_counter() - start)
    return {"seconds": seconds, "difference": difference, "num_layers": len(weights)}


def _main() -> None:
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))


if __name__ == "__main__":
    _main()
