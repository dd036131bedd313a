"""One cell: train a model, let it rewrite the data, tune it in every way, and say what each way has given and taken.

Times are of the processor.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from analysis.sdft_forgetting import data, tokenizer
from analysis.sdft_forgetting.models import POSITIONS, trained, tuned
from analysis.sdft_forgetting.protocol import MIX_RATIO, Cell
from analysis.sdft_forgetting.wordings import TEMPLATE
from spectra.training.sdft import GenerationSpec, Request, ResponseDistiller, Sample, TransformersBackend, read_training_data
from spectra.training.sdft.data_shifts import data_shift, response_nll
from spectra.training.sdft.extractors import agree, extractor
from spectra.training.sdft.model_shifts import model_shift
from spectra.training.sdft.training_text import encoded

LENGTHS = {"max_new_tokens": 32, "max_length": POSITIONS}
AT_ONCE = 50  # answers

Rows = Sequence[Mapping[str, str]]
Tests = Mapping[str, tuple[Sequence[Sample], str]]  # what is asked, and how answers are compared


def run(cell: Cell) -> dict[str, Any]:
    """Train and judge the models of a cell; return what is kept of them."""
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)  # peft asks for an attribute by the name that transformers gives up
    torch.set_num_threads(1)
    words, sums = tokenizer.made(), data.sums(cell.seed)
    taught = data.foreign(sums.new, cell.num_taught, np.random.default_rng([3, cell.seed]))
    tests = _tests(sums, cell)
    began = time.process_time()
    base = trained(words, sums.known, cell)
    done = time.process_time()
    found = {"base": measured(base, words, tests), "base seconds": round(done - began, 1)}
    responses: dict[str, Rows] = {"vanilla": taught}
    if any(arm in MIX_RATIO for _, arm, _ in cell.tunings):
        rewritten, found["rewriting"] = _rewritten(base, words, taught, cell)
        responses |= rewritten
    models = [_model(base, words, responses[arm], tests, (adapter, arm, rate), cell) for adapter, arm, rate in cell.tunings]
    return {**asdict(cell), **found, "models": models}


def measured(model: nn.Module, words: Any, tests: Tests) -> dict[str, float]:
    """Ask a model: shares of right answers, and the loss on the second skill in nats per token."""
    accuracies = {name: _accuracy(model, words, *test) for name, test in tests.items()}
    samples, _ = tests["skill"]
    found = response_nll(model, words, samples, [sample.response for sample in samples], batch_size=AT_ONCE)
    loss = sum(nats for nats, _ in found) / sum(number for _, number in found)
    return accuracies | {"skill loss": round(loss, 5)}


def _tests(sums: data.Sums, cell: Cell) -> Tests:
    draw, number = np.random.default_rng([4, cell.seed]), cell.num_judged
    rows = {
        "target": (data.foreign(sums.new, number, draw), "math"),
        "as before": (data.as_before(sums.new, number, draw), "math"),
        "known": (data.as_before(sums.known, number, draw), "math"),
        "skill": (data.reversing(number, draw), "exact"),
    }
    return {name: (read_training_data(of).samples, task) for name, (of, task) in rows.items()}


def _accuracy(model: nn.Module, words: Any, samples: Sequence[Sample], task: str) -> float:
    requests = [Request(sample.messages) for sample in samples]
    spec = GenerationSpec(sampled=False, **LENGTHS)
    answers = TransformersBackend(model, words, batch_size=AT_ONCE).complete(requests, spec, [0] * len(requests))
    by = extractor(task)
    hits = [agree(by, sample.response, answer.text, sample.fields)[2] for sample, answer in zip(samples, answers, strict=True)]
    return sum(hits) / len(hits)


def _rewritten(base: nn.Module, words: Any, taught: Rows, cell: Cell) -> tuple[dict[str, Rows], dict[str, Any]]:
    """Let the model rewrite; return the rows of each arm, and what became of the responses."""
    began = time.process_time()
    distiller = ResponseDistiller(
        base, words, task="math", template=TEMPLATE, generation=LENGTHS, seed=cell.seed, batch_size=AT_ONCE
    )
    # Candidates are drawn by the seed, and are the same for every ratio.
    done = {arm: distiller.distill(taught, mix_ratio=ratio) for arm, ratio in MIX_RATIO.items()}
    seconds = time.process_time() - began
    records, report = done["sdft"].records, done["sdft"].report()
    likely = data_shift(base, words, records, read_training_data(taught).samples, batch_size=AT_ONCE).overall
    kept = {
        "accepted": report.accepted,
        "identical": report.identical,
        "rejected": dict(report.rejected),
        "nll original": round(likely.mean_nll_original, 5),
        "nll selected": round(likely.mean_nll_response, 5),
        "seconds": round(seconds, 1),
        "examples": [{"candidate": one.candidate, "decision": one.decision} for one in records[:3]],
    }
    return {arm: one.rows for arm, one in done.items()}, kept


def _model(base: nn.Module, words: Any, rows: Rows, tests: Tests, tuning: tuple[str, str, float], cell: Cell) -> dict[str, Any]:
    adapter, arm, rate = tuning
    began = time.process_time()
    examples = [encoded(words, sample.messages, sample.response) for sample in read_training_data(rows).samples]
    model = tuned(base, examples, adapter, rate, cell)
    seconds = time.process_time() - began
    return {
        "adapter": adapter,
        "arm": arm,
        "learning_rate": rate,
        **measured(model, words, tests),
        "shift": round(model_shift(base, model, spectra=False, device="cpu").relative_change, 6),
        "seconds": round(seconds, 1),
    }
