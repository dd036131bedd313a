"""Answering a test set as it would be trained on, and comparing the answers with its responses."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spectra.errors import BackendError, InputError
from spectra.results.answer_records import AnswerRecord
from spectra.results.evaluation import EVALUATION_SCHEMA_VERSION, Evaluation
from spectra.training.sdft.batching import plan_batches
from spectra.training.sdft.extractors.code import CODE, REFERENCE_CODE
from spectra.training.sdft.extractors.extractor import Extractor, agree
from spectra.training.sdft.extractors.registry import extractor
from spectra.training.sdft.extractors.text import REFERENCE_TEXT, TEXT
from spectra.training.sdft.generation import (
    GREEDY,
    Backend,
    Completion,
    GenerationSpec,
    Request,
    fits,
    generation_spec,
    seed_of,
)
from spectra.training.sdft.record_runs import Progress, all_records, refuse_input, samples_digest
from spectra.training.sdft.refusals import has_refusal_phrase
from spectra.training.sdft.row_faults import naming_extractor, prompt_lengths
from spectra.training.sdft.samples import Sample, read_training_data
from spectra.training.sdft.similarity import bleu, rouge_l

Likelihood = tuple[float | None, int]  # nats of a reference, and its tokens


def evaluate_responses(
    backend: Backend | str | os.PathLike[str],
    data: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    task: str | Extractor | Callable[[str, Mapping[str, Any]], Any],
    compat: str | None = None,
    spec: str | GenerationSpec | Mapping[str, Any] = GREEDY,
    seed: int = 0,
    prompt_column: str | None = None,
    response_column: str | None = None,
    turns: str = "last",
    limit: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluation | None:
    """Let a model answer the prompts of a test set, and compare its answers with the responses there.

    The prompts are those it would be trained on: no words are added. A run that stopped goes on when it is called again with
    the same arguments; under ``torchrun`` or ``accelerate launch`` every process takes its part.

    Args:
        backend: What answers. A path or hub id is loaded with its adapter, if it is one; of a live model with an adapter, a
            :class:`~spectra.training.sdft.backends.tuned.TunedBackend` answers with it and a ``TransformersBackend`` without.
            For these two the likelihood of the responses is measured as well.
        data: A test set, in any form that can be rewritten; see :class:`~spectra.training.sdft.ResponseDistiller`.
        output: Where the scores go: ``.json``. Answers lie beside it from the moment they are there, in
            ``NAME.records.jsonl`` at the end. ``None``: nothing is written.
        task: What an answer has to agree with the response in; as for rewriting. With ``"text"`` nothing is counted as right
            or wrong.
        compat: ``"reference"`` compares by the rules of the reference code (sail-sg/sdft), as the published numbers do.
        spec: How is generated. Default: greedily, so that no luck of the draw is in a comparison. The published scores of math
            and tool use are of ``"reference"``.
        seed: Of the sampling.
        prompt_column: Where prompts are, in data of no known form.
        response_column: Where responses are.
        turns: ``"last"`` asks for the last answer of each conversation, ``"all"`` for each, after the original history.
        limit: Rows taken at most, from the start.
        force: Start afresh, over the files of another run.
        progress: Called with the number of answers that are there, and of all.

    Returns:
        The scores; ``None`` in a process that ends while others are still answering.

    Raises:
        InputError: Data without a response or of an unknown form, a task that finds nothing in it or fails, messages that the
            model's chat template refuses, or no prompt that fits into its context.
        ResultsError: Files of another run, or another process that writes to the same.
        BackendError: The model or server gave up. What it wrote is kept.
    """
    path = _output(output)
    if path is not None:
        refuse_input(path, data)
    by, spec = extractor(task, compat=compat), generation_spec(spec)
    samples = read_training_data(
        data, prompt_column=prompt_column, response_column=response_column, turns=turns, limit=limit
    ).samples
    work = _Answering(samples, _loaded(backend), by, spec, seed)
    answers = all_records(work, path, AnswerRecord.from_dict, force=force, progress=progress)
    if answers is None:
        return None
    found = Evaluation.of(
        answers, task=by.name, model=work.model, generation=spec.to_dict(), seed=seed, notes=tuple(_notes(work))
    )
    if path is not None:
        found.save(path)
    return found


@dataclass(frozen=True)
class _Answering:
    """Prompts, what answers them, and what the answers are compared by."""

    samples: Sequence[Sample]
    backend: Backend
    by: Extractor
    spec: GenerationSpec
    seed: int

    @cached_property
    def model(self) -> dict[str, str]:
        return self.backend.identity()  # which reads all weights

    @cached_property
    def requests(self) -> list[Request]:
        return [Request(sample.messages, tools=sample.tools) for sample in self.samples]

    @cached_property
    def batches(self) -> tuple[tuple[int, ...], ...]:
        """Which samples are answered together, in this order: their places; what cannot be evaluated at all is refused."""
        expected = [self._extracted(sample) for sample in self.samples]  # all, so that none can fail after hours
        if all(one is None for one in expected):
            raise InputError(
                f"task '{self.by.name}': none of the {len(self.samples):,} responses holds anything of it; the first is "
                f"{self.samples[0].response[:60]!r}. Choose another task, or another response column."
            )
        lengths = prompt_lengths(self.backend, self.requests, [sample.row for sample in self.samples])
        if lengths is not None and not any(fits(length, self.spec, self.backend.context) for length in lengths):
            raise InputError(
                f"no prompt fits: the shortest takes {min(lengths):,} tokens, too many with {self.spec.max_new_tokens:,} new "
                "ones. Lower max_new_tokens (--max-new-tokens), or raise max_length (--max-length) if the model takes more."
            )
        return plan_batches(lengths or [0] * len(self.samples), self.backend.batch_size)

    def _extracted(self, sample: Sample) -> object:
        with naming_extractor(self.by, f"the response of row {sample.row + 1}"):
            return self.by.extract(sample.response, sample.fields)

    def manifest(self) -> dict[str, Any]:
        """Return what a run must share with one that it continues; what cannot be asked at all is refused."""
        _ = self.batches
        return {
            "schema_version": EVALUATION_SCHEMA_VERSION,
            "method": "evaluation",
            "backend": self.backend.name,
            "model": self.model,
            "data": samples_digest(self.samples) | _tools_digest(self.samples),
            "task": {"name": self.by.name, "version": self.by.version},
            "generation": self.spec.to_dict(),
            "seed": self.seed,
        }

    def records(self, finished: set[str], rank: int, world: int) -> Iterator[list[AnswerRecord]]:
        """Answer what has no answer yet, some at a time; each process takes every so many-th batch, ordered by length."""
        for batch in self.batches[rank::world]:
            missing = [place for place in batch if self.samples[place].row_id not in finished]
            if missing:
                # What is drawn depends on the whole batch, unless each text has a seed of its own.
                yield from self._of_batch(missing if self.backend.has_own_seeds else batch, set(missing))

    def _of_batch(self, batch: Sequence[int], missing: set[int]) -> Iterator[list[AnswerRecord]]:
        seeds = [seed_of(self.seed, self.samples[place].row_id) for place in batch]
        failure = None
        try:
            written = dict(enumerate(self.backend.complete([self.requests[place] for place in batch], self.spec, seeds)))
        except BackendError as error:
            written, failure = dict(error.completions), error
        new = {batch[index]: one for index, one in sorted(written.items()) if batch[index] in missing}
        samples = [self.samples[place] for place in new]
        likelihoods = _likelihoods(self.backend, samples)
        yield [
            self._record(sample, one, likelihood)
            for sample, one, likelihood in zip(samples, new.values(), likelihoods, strict=True)
        ]
        if failure is not None:
            raise failure

    def _record(self, sample: Sample, written: Completion, likelihood: Likelihood) -> AnswerRecord:
        with naming_extractor(self.by, f"an answer to row {sample.row + 1}"):
            expected, found, is_match = agree(self.by, sample.response, written.text, sample.fields)
        is_judged = expected is not None and self.by not in (TEXT, REFERENCE_TEXT)
        return AnswerRecord(
            row_id=sample.row_id,
            row=sample.row,
            turn=sample.turn,
            prompt=sample.prompt,
            reference=sample.response,
            answer=written.text,
            n_tokens=written.n_tokens,
            finish_reason=written.finish_reason,
            extracted_reference=None if expected is None else str(expected),
            extracted_answer=None if found is None else str(found),
            is_correct=is_match if is_judged else None,
            rouge_l=rouge_l(sample.response, written.text),
            bleu=bleu(sample.response, written.text),
            has_refusal_phrase=has_refusal_phrase(written.text),
            nll_reference=likelihood[0],
            tokens_reference=likelihood[1],
        )


def _tools_digest(samples: Sequence[Sample]) -> dict[str, str]:
    """Tell what the names of samples do not: which tools a model is shown."""
    if not any(sample.tools for sample in samples):
        return {}
    text = json.dumps([sample.tools for sample in samples], sort_keys=True, default=str)
    return {"tools": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _likelihoods(backend: Any, samples: Sequence[Sample]) -> list[Likelihood]:
    """Measure how likely the responses of the data are to what answers, where it tells."""
    if backend.name != "transformers" or not samples:
        return [(None, 0)] * len(samples)
    from spectra.training.sdft.data_shifts import response_nll
    from spectra.training.sdft.seed_model import as_seed

    with as_seed(backend.model) as model:  # the same that answers
        responses = [sample.response for sample in samples]
        return list(response_nll(model, backend.tokenizer, samples, responses, batch_size=len(samples)))


def _notes(work: _Answering) -> Iterator[str]:
    model = getattr(work.backend, "model", None)
    if hasattr(model, "disable_adapter") or getattr(model, "_hf_peft_config_loaded", False):
        yield "the model's adapter was switched off: these are answers of its base; take a TunedBackend to evaluate the adapter"
    if work.by in (CODE, REFERENCE_CODE):
        yield f"task '{work.by.name}' runs nothing: whether programs do what they should is tested by lm-evaluation-harness"


def _loaded(backend: Backend | str | os.PathLike[str]) -> Backend:
    if isinstance(backend, str | os.PathLike):
        from spectra.training.sdft.backends.tuned import load_tuned_backend

        return load_tuned_backend(str(backend))
    return backend


def _output(output: str | os.PathLike[str] | None) -> Path | None:
    path = None if output is None else Path(output).expanduser()
    if path is not None and path.suffix != ".json":
        raise InputError(f"output: '{path.name}' is to hold the scores as JSON. Choose a name that ends in .json.")
    return path
