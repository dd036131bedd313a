"""From samples to records: which are asked about, in which batches, and what becomes of each; no files here."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spectra.errors import BackendError, InputError
from spectra.results.distill_records import DistillRecord
from spectra.training.sdft.batching import plan_batches
from spectra.training.sdft.config import DistillConfig
from spectra.training.sdft.filters import LEAKS_DIGEST
from spectra.training.sdft.generation import Backend, Completion, GenerationSpec, Request, fits, seed_of
from spectra.training.sdft.record_runs import samples_digest
from spectra.training.sdft.row_faults import naming_extractor, prompt_lengths
from spectra.training.sdft.run_files import PLAN
from spectra.training.sdft.samples import Sample
from spectra.training.sdft.selection import SelectionRules, Verdict, judge
from spectra.training.sdft.templates import RewriteTemplate, rewriting_request

SCHEMA_VERSION = 1

Batches = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Rewriting:
    """Samples, and a model that rewrites their responses.

    Attributes:
        samples: All of them.
        backend: What writes.
        config: Options.
    """

    samples: Sequence[Sample]
    backend: Backend
    config: DistillConfig

    @cached_property
    def unasked(self) -> dict[int, str]:
        """Samples that the model is not asked about, with the reason: no candidate could be taken."""
        reasons = {place: "no_reference" for place, sample in enumerate(self.samples) if self._extracted(sample) is None}
        if len(reasons) == len(self.samples):
            raise InputError(
                f"task '{self._rules.extractor.name}': none of the {len(self.samples):,} responses holds anything of it; "
                f"the first is {self.samples[0].response[:60]!r}. Choose another task, or another response column."
            )
        reasons |= {place: "prompt_too_long" for place in self._too_long if place not in reasons}
        if len(reasons) == len(self.samples):
            raise InputError(self._nothing_fits())
        return reasons

    @cached_property
    def batches(self) -> Batches:
        """Which samples are asked about together, in this order: their places."""
        asked = [place for place in range(len(self.samples)) if place not in self.unasked]
        lengths = self._lengths or [0] * len(self.samples)
        plan = plan_batches([lengths[place] for place in asked], self.backend.batch_size)
        return tuple(tuple(asked[index] for index in batch) for batch in plan)

    def manifest(self) -> dict[str, Any]:
        """Return what a run must share with one that it continues; samples that cannot be asked about at all are refused."""
        config, template, by = self.config, self._template, self._rules.extractor
        ids = ";".join(",".join(self.samples[place].row_id for place in batch) for batch in self.batches)
        return {
            "schema_version": SCHEMA_VERSION,
            "method": "SDFT by rewriting, arXiv 2402.13669",
            "backend": self.backend.name,
            "model": self.backend.identity(),
            PLAN: {"batch_size": self.backend.batch_size, "digest": hashlib.sha256(ids.encode()).hexdigest()[:16]},
            "data": samples_digest(self.samples) | self._other_columns(),
            "task": {"name": by.name, "version": by.version},
            "template": {"id": template.id, "digest": template.digest()},
            "generation": self._spec.to_dict(),
            "seed": config.seed,
            "n_candidates": config.n_candidates,
            "selection": {
                "allow_truncated": config.allow_truncated,
                "compat": config.compat,
                "min_rouge_l": config.min_rouge_l,
                "leaks": LEAKS_DIGEST,
                "leak_phrases": sorted(config.leak_phrases),
                "test_column": config.test_column,
            },
        }

    def _other_columns(self) -> dict[str, str]:
        """Tell what else of the rows decides: tests, and all that an extractor of one's own may look at."""
        if isinstance(self.config.task, str) and self.config.test_column is None:
            return {}
        text = json.dumps([dict(sample.fields) for sample in self.samples], sort_keys=True, default=str)
        return {"columns": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]}

    def records(self, finished: set[str], rank: int, world: int) -> Iterator[list[DistillRecord]]:
        """Rewrite.

        Args:
            finished: Samples that have a record, by ``row_id``.
            rank: Which process this is.
            world: How many there are; each takes every ``world``-th batch, as they are ordered by length.

        Yields:
            Records of samples that had none, some at a time.

        Raises:
            BackendError: The model or server gave up, after what it wrote has been yielded.
        """
        if rank == 0:
            yield [one for one in map(self._unasked_record, self.unasked) if one.row_id not in finished]
        for batch in self.batches[rank::world]:
            samples = [self.samples[place] for place in batch]
            missing = [sample for sample in samples if sample.row_id not in finished]
            if not missing:
                continue
            # What is drawn depends on the whole batch, unless each text has a seed of its own.
            for part in self._of_batch(missing if self.backend.has_own_seeds else samples):
                yield [record for record in part if record.row_id not in finished]

    def requests(self, samples: Sequence[Sample]) -> list[Request]:
        """Return what the model is asked about samples.

        Args:
            samples: With prompts and responses.
        """
        return [rewriting_request(self._template, sample.prompt, sample.response) for sample in samples]

    def _of_batch(self, samples: Sequence[Sample]) -> Iterator[list[DistillRecord]]:
        pending = list(samples)
        for attempt in range(1, self.config.n_candidates + 1):
            began = time.perf_counter()
            seeds = [seed_of(self.config.seed, attempt, sample.row_id) for sample in pending]
            failure = None
            try:
                written = dict(enumerate(self.backend.complete(self.requests(pending), self._spec, seeds)))
            except BackendError as error:
                written, failure = dict(error.completions), error
            seconds = (time.perf_counter() - began) / len(pending)
            judged = [(pending[place], *self._judged(pending[place], one)) for place, one in sorted(written.items())]
            is_last = attempt == self.config.n_candidates
            final = [is_last or verdict.reason in (None, "prompt_too_long") for _, _, verdict in judged]
            yield [
                _record(sample, candidate, verdict, self._template.id, attempt=attempt, seconds=seconds)
                for (sample, candidate, verdict), is_final in zip(judged, final, strict=True)
                if is_final
            ]
            if failure is not None:
                raise failure
            pending = [sample for (sample, _, _), is_final in zip(judged, final, strict=True) if not is_final]
            if not pending:
                return

    def _judged(self, sample: Sample, written: Completion) -> tuple[Completion, Verdict]:
        prefix = self._template.assistant_prefix if self._template.keep_prefix and written.text else ""
        text = prefix + written.text
        candidate = Completion(text, written.n_tokens, written.finish_reason)
        return candidate, judge(sample, candidate, self._rules)

    def _unasked_record(self, place: int) -> DistillRecord:
        verdict = Verdict(decision="rejected", reason=self.unasked[place])
        return _record(self.samples[place], Completion("", 0, ""), verdict, self._template.id, attempt=0, seconds=0.0)

    def _extracted(self, sample: Sample) -> object:
        by = self._rules.extractor
        with naming_extractor(by, f"the response of row {sample.row + 1}"):
            return by.extract(sample.response, sample.fields)

    def _nothing_fits(self) -> str:
        assert self._lengths is not None
        shortest = min(self._lengths)
        limits = [limit for limit in (self._spec.max_length, self.backend.context) if limit is not None]
        return (
            f"no prompt fits: the shortest takes {shortest:,} tokens, and with {self._spec.max_new_tokens:,} new ones that is "
            f"more than {min(limits):,}. Lower max_new_tokens (--max-new-tokens), or raise max_length (--max-length) if the "
            "model takes more."
        )

    @cached_property
    def _lengths(self) -> list[int] | None:
        return prompt_lengths(self.backend, self.requests(self.samples), [sample.row for sample in self.samples])

    @property
    def _too_long(self) -> list[int]:
        if self._lengths is None:
            return []
        return [place for place, length in enumerate(self._lengths) if not fits(length, self._spec, self.backend.context)]

    @cached_property
    def _spec(self) -> GenerationSpec:
        return self.config.spec()

    @cached_property
    def _template(self) -> RewriteTemplate:
        return self.config.rewriting()

    @cached_property
    def _rules(self) -> SelectionRules:
        config = self.config
        return SelectionRules(
            extractor=config.extractor(),
            phrases=(*config.leak_phrases, *self._template.leak_phrases),
            allow_truncated=config.allow_truncated,
            min_rouge_l=config.min_rouge_l,
            test_column=config.test_column,
            is_reference=config.compat == "reference",
        )


def _record(
    sample: Sample, candidate: Completion, verdict: Verdict, template: str, *, attempt: int, seconds: float
) -> DistillRecord:
    is_taken = verdict.decision == "accepted"
    return DistillRecord(
        row_id=sample.row_id,
        row=sample.row,
        turn=sample.turn,
        decision=verdict.decision,
        reason=verdict.reason,
        prompt=sample.prompt,
        original=sample.response,
        candidate=candidate.text if attempt else None,
        response=candidate.text if is_taken else sample.response,
        extracted_original=verdict.extracted_original,
        extracted_candidate=verdict.extracted_candidate,
        n_tokens=candidate.n_tokens,
        finish_reason=candidate.finish_reason,
        template=template,
        attempt=attempt,
        seconds=round(seconds, 4),
    )
