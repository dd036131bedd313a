"""``fisher``: one pass of the Fisher beside plain forward and backward passes of the same samples in the same batches.

A pass of the empirical Fisher does everything a user waits for: the check of the first batch, all batches, the record with its
tables. Models have the shapes of all-MiniLM-L6-v2 (as a classifier, and as a masked language model whose output layer is tied
to its embedding), GPT-2 small (tied, too) and T5 small; weights are random, which changes no time. Batch sizes from 1 to 32,
short and long texts.

The first batch costs several others, as its gradients are proved to be those of its samples; passes are as long as short real
ones, tens of batches.

First, the Fisher of the first batch must be that of a plain loop over its samples. Memory is the peak of a process of its own,
in copies of the parameters above that of a process that runs the plain passes, which hold a copy of the gradients.

Everything runs in child processes: ``python -m benchmarks.fisher_pass CASE REPEATS`` for times, ``... CASE plain|fisher`` for
memory.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import CORES, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from torch import Tensor, nn

TIME_BAR, MEMORY_BAR = 1.6, 2.2
_TOLERANCE = 1e-6  # of the largest entry of the model: the specification's bar for float32


@dataclass(frozen=True)
class Case:
    """What is measured: a model, batches of ``batch_size`` texts of ``length`` tokens, ``num_batches`` of them.

    Attributes:
        model: ``classifier``, ``masked``, ``gpt2`` or ``t5``.
        batch_size: Texts in a batch.
        length: Tokens in a text.
        num_batches: In a pass.
        has_memory: Whether memory is measured, too.
    """

    model: str
    batch_size: int
    length: int
    num_batches: int
    has_memory: bool = False

    def __str__(self) -> str:
        return f"{_NAMES[self.model]}, {self.batch_size} × {self.length} tokens"


_NAMES = {
    "classifier": "MiniLM classifier",
    "masked": "MiniLM masked LM",
    "gpt2": "GPT-2 small",
    "t5": "T5 small",
}
CASES = (
    Case("classifier", 1, 64, 96),
    Case("classifier", 8, 64, 32, has_memory=True),
    Case("classifier", 32, 16, 32),
    Case("classifier", 32, 64, 16),
    Case("masked", 16, 64, 16, has_memory=True),
    Case("gpt2", 1, 128, 32),
    Case("gpt2", 4, 128, 16, has_memory=True),
    Case("t5", 8, 64, 16, has_memory=True),
)


def run(repeats: int) -> list[Comparison]:
    """Measure all cases.

    Args:
        repeats: Pairs of passes for each.

    Returns:
        A row for the time of each case, and for the memory of some.

    Raises:
        AnswersDifferError: A Fisher is not that of the plain loop.
    """
    rows = []
    for number, case in enumerate(CASES):
        say(f"fisher: {case}")
        found = run_module("benchmarks.fisher_pass", str(number), str(repeats), threads=CORES).output
        if not found["difference"] <= _TOLERANCE:
            raise AnswersDifferError(f"fisher: {case}: {found['difference']:.1e} of the largest entry from the plain loop.")
        rows.append(_row(f"Fisher pass: {case}", "s", found["fisher"], found["plain"], TIME_BAR))
        if case.has_memory:
            rows.append(_memory(number, case, found["copy_mib"]))
    return rows


def _memory(number: int, case: Case, copy_mib: float) -> Comparison:
    """Compare what the Fisher needs above the plain passes with a copy of the parameters."""
    peaks = {
        what: run_module("benchmarks.fisher_pass", str(number), what, threads=CORES).peak_mib for what in ("plain", "fisher")
    }
    above = max(peaks["fisher"] - peaks["plain"], 0.0)
    return _row(f"memory above plain passes: {case}", "MiB", [above], [copy_mib], MEMORY_BAR)


def _row(what: str, unit: str, ours: list[float], theirs: list[float], bar: float) -> Comparison:
    peer = "plain forward + backward" if unit == "s" else "one copy of the parameters"
    return Comparison(what, peer, unit, tuple(ours), tuple(theirs), bar, ratio_of="spectra/peer")


def _model(case: Case) -> nn.Module:
    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForSequenceClassification,
        GPT2Config,
        GPT2LMHeadModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
    start: dict[str, Any] = {"decoder_start_token_id": 0}
    makers: dict[str, Any] = {
        "classifier": lambda: BertForSequenceClassification(BertConfig(**sizes)),
        "masked": lambda: BertForMaskedLM(BertConfig(**sizes)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config()),
        "t5": lambda: T5ForConditionalGeneration(T5Config(**start)),
    }
    model: nn.Module = makers[case.model]()
    return model.eval()


def _batches(case: Case) -> list[dict[str, Tensor]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(case.num_batches):
        tokens = torch.randint(1000, 30000, (case.batch_size, case.length), generator=generator)
        batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if case.model == "classifier":
            labels = torch.randint(2, (case.batch_size,), generator=generator)
        elif case.model == "masked":
            labels = tokens.masked_fill(torch.rand(tokens.shape, generator=generator) > 0.15, -100)
        else:
            labels = tokens.clone()
        batches.append({**batch, "labels": labels})
    return batches


def _plain(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    for batch in batches:
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)


def _fisher(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    from spectra.fisher.estimate import fisher

    fisher(model, batches)


def _difference(model: nn.Module, batch: dict[str, Tensor]) -> float:
    """Return the largest difference to the plain loop, relative to the largest entry."""
    from spectra.fisher.estimate import fisher

    few = {name: tensor[:4] for name, tensor in batch.items()}
    ours, loop = fisher(model, [few]).values, fisher(model, [few], route="loop").values
    largest = max(float(values.max()) for values in loop.values())
    return max(float(abs(ours[name] - loop[name]).max()) for name in loop) / largest


def _measure(case: Case, repeats: int) -> dict[str, Any]:
    model, batches = _model(case), _batches(case)
    difference = _difference(model, batches[0])
    passes = {"plain": _plain, "fisher": _fisher}
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    _plain(model, batches[:1])
    for number in range(repeats):
        for name in list(passes) if number % 2 else reversed(passes):
            start = time.perf_counter()
            passes[name](model, batches)
            seconds[name].append(time.perf_counter() - start)
    copy_mib = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / 2**20
    return {**seconds, "difference": difference, "copy_mib": copy_mib}


def _main() -> None:
    case, what = CASES[int(sys.argv[1])], sys.argv[2]
    if what.isdigit():
        print(json.dumps(_measure(case, int(what))))
    else:
        {"plain": _plain, "fisher": _fisher}[what](_model(case), _batches(case))
        print("{}")


if __name__ == "__main__":
    _main()
