"""How well a model answers a test set: agreement with the references, similarity to them, and their likelihood.

What can be said without a network and without another model; Yang et al. (2024), arXiv 2402.13669, section 4, also have answers
judged by GPT-4 and knowledge tested by lm-evaluation-harness.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, MissingPackageError
from spectra.results.answer_records import TOO_LONG, AnswerRecord
from spectra.results.mean_interval import LEVEL
from spectra.results.scores import Mean, Proportion
from spectra.results.versioned_json import write_json
from spectra.results.weight_rounds import plain_json
from spectra.results.words import counted

if TYPE_CHECKING:
    import pandas as pd

EVALUATION_SCHEMA_VERSION = 1

_MANY_CUT_OFF = 0.05  # our choice: more would move an accuracy by more than chance does in a thousand answers


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a model on a test set.

    Attributes:
        task: What answers are compared by.
        model: Which model, by name and digests.
        generation: How it answered, by name.
        seed: Of the sampling.
        answers: One for each prompt, in the order of the data.
        accuracy: Answers that agree with the reference, of those whose reference can be compared; ``None`` if none can. A
            prompt that left no room counts as answered by nothing, which is wrong.
        rouge_l: Similarity of answers and references in the order of their words, from 0 to 1.
        bleu: The same in runs of up to four words, sentence by sentence.
        mean_tokens: Tokens of an answer.
        mean_characters: Characters of an answer.
        truncated: Answers that were cut off.
        refusal_phrases: Answers with a phrase by which refusals are counted. A count of words: it is no measure of safety.
        mean_nll: Nats per token of the references under the prompts, over all of their tokens; NaN if not measured.
        tokens_reference: Those that were measured.
        notes: What is doubtful, and what to do about it.
    """

    task: str
    model: Mapping[str, str]
    generation: Mapping[str, Any]
    seed: int
    answers: tuple[AnswerRecord, ...]
    accuracy: Proportion | None
    rouge_l: Mean
    bleu: Mean
    mean_tokens: float
    mean_characters: float
    truncated: Proportion
    refusal_phrases: Proportion
    mean_nll: float
    tokens_reference: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        answers: Sequence[AnswerRecord],
        *,
        task: str,
        model: Mapping[str, str],
        generation: Mapping[str, Any],
        seed: int = 0,
        notes: Sequence[str] = (),
    ) -> Evaluation:
        """Summarise answers.

        Args:
            answers: At least one.
            task: What they are compared by.
            model: Which model, by name and digests.
            generation: How it answered, by name.
            seed: Of the sampling.
            notes: What is known to be doubtful.

        Returns:
            The scores.

        Raises:
            InputError: No answers.
        """
        if not answers:
            raise InputError("there are no answers to evaluate. Give at least one.")
        judged = [one.is_correct for one in answers if one.is_correct is not None]
        truncated = Proportion.of([one.is_truncated for one in answers])
        tokens = sum(one.tokens_reference for one in answers)
        return cls(
            task=task,
            model=dict(model),
            generation=dict(generation),
            seed=seed,
            answers=tuple(answers),
            accuracy=Proportion.of(judged) if judged else None,
            rouge_l=Mean.of([one.rouge_l for one in answers]),
            bleu=Mean.of([one.bleu for one in answers]),
            mean_tokens=statistics.fmean(one.n_tokens for one in answers),
            mean_characters=statistics.fmean(len(one.answer) for one in answers),
            truncated=truncated,
            refusal_phrases=Proportion.of([one.has_refusal_phrase for one in answers]),
            mean_nll=math.fsum(one.nll_reference or 0.0 for one in answers) / tokens if tokens else math.nan,
            tokens_reference=tokens,
            notes=(*notes, *_notes(answers, len(judged), truncated)),
        )

    @property
    def perplexity(self) -> float:
        """Of the references: e to the nats per token; NaN if not measured."""
        try:
            return math.exp(self.mean_nll)
        except OverflowError:
            return math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as JSON can hold them.

        Returns:
            Scores by name, with a schema version and how intervals were made, without the answers; ``None`` for what is not
            known.
        """
        content: dict[str, Any] = {
            "schema_version": EVALUATION_SCHEMA_VERSION,
            "task": self.task,
            "model": dict(self.model),
            "generation": dict(self.generation),
            "seed": self.seed,
            "interval": {"level": LEVEL, "method": "Wilson"},
            "num_answers": len(self.answers),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "rouge_l": self.rouge_l.to_dict(),
            "bleu": self.bleu.to_dict(),
            "mean_tokens": self.mean_tokens,
            "mean_characters": self.mean_characters,
            "truncated": self.truncated.to_dict(),
            "refusal_phrase_rate": self.refusal_phrases.to_dict(),
            "perplexity": self.perplexity,
            "mean_nll": self.mean_nll,
            "tokens_reference": self.tokens_reference,
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = plain_json(content)
        return plain

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each answer.

        Returns:
            The fields of :class:`~spectra.results.answer_records.AnswerRecord`, and whether the answer was cut off.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        return pandas.DataFrame([dataclasses.asdict(one) | {"is_truncated": one.is_truncated} for one in self.answers])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the scores as JSON, over earlier ones.

        Args:
            path: The file; its folder is made if missing.

        Raises:
            ResultsError: It cannot be written.
        """
        write_json(path, self.to_dict())

    def __str__(self) -> str:
        agree = "not counted as right or wrong" if self.accuracy is None else f"{self.accuracy} agree with the reference"
        likelihood = "" if math.isnan(self.mean_nll) else f", perplexity of the references {self.perplexity:.4g}"
        return (
            f"{self.task}, {counted(len(self.answers), 'answer')}: {agree}\n"
            f"ROUGE-L {self.rouge_l}, BLEU {self.bleu}{likelihood}; {self.mean_tokens:.4g} tokens per answer, "
            f"{self.truncated.share:.1%} cut off, {self.refusal_phrases.share:.1%} with words that refusals use"
        )


def _notes(answers: Sequence[AnswerRecord], num_judged: int, truncated: Proportion) -> Iterator[str]:
    if 0 < num_judged < len(answers):
        left_out = counted(len(answers) - num_judged, "answer")
        yield f"{left_out} left out of the accuracy: nothing was found in the reference to compare with"
    if num_roomless := sum(one.finish_reason == TOO_LONG for one in answers):
        yield f"{counted(num_roomless, 'prompt')} left no room, which counts as an empty answer; raise max_length"
    if truncated.share > _MANY_CUT_OFF:
        yield f"{truncated.count} of {truncated.total} answers were cut off ({truncated.share:.1%}); raise max_new_tokens"
