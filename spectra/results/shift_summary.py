"""How likely a sample's two responses are to a model, the original and the selected one, and what samples come to together."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.errors import InputError
from spectra.results.mean_interval import mean_interval
from spectra.results.weight_rounds import plain_json


@dataclass(frozen=True, kw_only=True)
class SampleShift:
    """One sample: how likely its original and its selected response are under the training prompt.

    Attributes:
        row_id: Of the sample.
        decision: A key of :data:`spectra.results.distill_records.DECISIONS`.
        nll_original: Negative log-likelihood of the original, in nats, over all of its tokens.
        tokens_original: Its tokens, with what ends it; more than 0.
        nll_response: Likewise, of the response that was selected. The same where the original stays.
        tokens_response: Likewise.
        rouge_l: Similarity of the original and the candidate, taken or not; NaN if there was no candidate.
        bleu: Likewise.
    """

    row_id: str
    decision: str
    nll_original: float
    tokens_original: int
    nll_response: float
    tokens_response: int
    rouge_l: float
    bleu: float

    @property
    def mean_nll_original(self) -> float:
        """Nats per token of the original."""
        return self.nll_original / self.tokens_original

    @property
    def mean_nll_response(self) -> float:
        """Nats per token of the selected response."""
        return self.nll_response / self.tokens_response

    @property
    def difference(self) -> float:
        """Nats per token, selected minus original: negative where rewriting did what it is for."""
        return self.mean_nll_response - self.mean_nll_original


@dataclass(frozen=True, kw_only=True)
class ShiftSummary:
    """What some of the samples come to.

    Attributes:
        num_samples: How many.
        mean_nll_original: Nats per token of the originals, over all of their tokens: long responses count more.
        mean_nll_response: Likewise, of the selected responses.
        mean_tokens_original: Tokens of an original. Read it beside the others: what is longer is likelier token by token.
        mean_tokens_response: Likewise, of a selected response.
        difference: Nats per token, selected minus original, averaged over samples, which count alike.
        difference_low: Lower end of its 95 % interval, by resampling samples; NaN for a single one.
        difference_high: Upper end.
        rouge_l: Mean similarity of originals and candidates; NaN without any candidate.
        bleu: Likewise.
    """

    num_samples: int
    mean_nll_original: float
    mean_nll_response: float
    mean_tokens_original: float
    mean_tokens_response: float
    difference: float
    difference_low: float
    difference_high: float
    rouge_l: float
    bleu: float

    @classmethod
    def of(cls, samples: Sequence[SampleShift], *, seed: int = 0) -> ShiftSummary:
        """Summarise samples.

        Args:
            samples: At least one.
            seed: Of the interval.

        Returns:
            The summary.

        Raises:
            InputError: No samples.
        """
        if not samples:
            raise InputError("there are no samples to summarise. Give at least one.")
        before, after = sum(one.tokens_original for one in samples), sum(one.tokens_response for one in samples)
        differences = [one.difference for one in samples]
        low, high = mean_interval(differences, seed=seed)
        return cls(
            num_samples=len(samples),
            mean_nll_original=math.fsum(one.nll_original for one in samples) / before,
            mean_nll_response=math.fsum(one.nll_response for one in samples) / after,
            mean_tokens_original=before / len(samples),
            mean_tokens_response=after / len(samples),
            difference=math.fsum(differences) / len(samples),
            difference_low=low,
            difference_high=high,
            rouge_l=_known_mean([one.rouge_l for one in samples]),
            bleu=_known_mean([one.bleu for one in samples]),
        )

    @property
    def perplexity_original(self) -> float:
        """Of the originals: e to the nats per token."""
        return _exp(self.mean_nll_original)

    @property
    def perplexity_response(self) -> float:
        """Of the selected responses."""
        return _exp(self.mean_nll_response)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the perplexities as JSON can hold them."""
        perplexities = {"perplexity_original": self.perplexity_original, "perplexity_response": self.perplexity_response}
        content: dict[str, Any] = plain_json(dataclasses.asdict(self) | perplexities)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ShiftSummary:
        """Make a summary of what JSON gives back.

        Args:
            content: From :meth:`to_dict`.

        Returns:
            The summary.

        Raises:
            KeyError: A field is missing.
            TypeError: A field holds something else than a number.
            ValueError: A text that is no number.
        """
        return cls(**read_fields(cls, content))


def read_fields(kind: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a record from what JSON gives back.

    Args:
        kind: A dataclass of texts and numbers.
        content: Its fields, as :func:`~spectra.results.weight_rounds.plain_json` wrote them; others are not looked at.

    Returns:
        Values by name; NaN for ``null``.

    Raises:
        KeyError: A field is missing.
        TypeError: A field holds something else than a text or a number.
        ValueError: A text that is no number.
    """
    read: dict[str, Callable[[Any], Any]] = {"str": str, "int": int, "float": _number}
    return {field.name: read[str(field.type)](content[field.name]) for field in dataclasses.fields(kind)}


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
