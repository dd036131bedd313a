"""What a rewriting run came to: how many responses changed, why others did not, and how much longer they became.

Source: Yang et al. (2024), arXiv 2402.13669, section 3, for the selection that is counted here.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, MissingPackageError
from spectra.results.distill_records import REASONS, DistillRecord
from spectra.results.weight_rounds import plain_json
from spectra.results.words import counted

if TYPE_CHECKING:
    import pandas as pd

SELECTION_REPORT_SCHEMA_VERSION = 1

# Our choice. The data of the reference code lies on both sides: 11 % of OpenFunctions changed, 82 % of Alpaca.
_FEW_CHANGED = 0.2
_MANY_REJECTED = 0.3  # our choice: for one reason

_REMEDIES: Mapping[str, str] = {
    "empty": "check that the model is tuned for chat and that its tokenizer has the chat template it was tuned with",
    "truncated": "raise max_new_tokens",
    "leak": "take a template that asks more clearly not to mention the supplied answer",
    "repetition": "sample, with a higher temperature, or take a stronger model",
    "copy_of_prompt": "check that the model is tuned for chat and that its tokenizer has the chat template it was tuned with",
    "mismatch": "sample, and raise n_candidates, or take a stronger model",
    "nothing_extracted": "take a template that asks for the form of the answer, and check that the task is the right one",
    "no_reference": "check that the task is the right one for this data",
    "prompt_too_long": "raise max_length as far as the model takes, or lower max_new_tokens",
    "low_rouge_l": "lower min_rouge_l",
    "failed_tests": "sample, and raise n_candidates, and check that the original responses pass the tests",
}


@dataclass(frozen=True)
class LengthRatio:
    """How much longer accepted responses are than the originals: ratios of characters, one for each sample.

    Attributes:
        mean: Of the ratios. Short originals count a lot in it.
        lower_quartile: Interpolated between the ratios on both sides of it, as are the others.
        median: Of the ratios.
        upper_quartile: Of the ratios.
    """

    mean: float
    lower_quartile: float
    median: float
    upper_quartile: float


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """Decisions of a rewriting run, counted.

    Attributes:
        num_samples: Of which each is accepted, identical or rejected.
        accepted: Responses that changed.
        identical: Candidates that were the original, word for word.
        rejected: Candidates by the reason why they were not taken, most frequent first; those that did not occur are left out.
        length_ratio: Of the accepted; ``None`` if there are none.
        num_tokens: Of the candidates on record, the rejected included: of each sample the one that won or was the last.
        tokens_per_second: Of one process, over the same candidates; NaN where no time was measured.
        groups: A report for each value of a column, largest group first; empty unless asked for.
        notes: What is doubtful, and what to do about it.
    """

    num_samples: int
    accepted: int
    identical: int
    rejected: Mapping[str, int]
    length_ratio: LengthRatio | None
    num_tokens: int
    tokens_per_second: float
    groups: Mapping[str, SelectionReport] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: Sequence[DistillRecord], *, groups: Sequence[str] | None = None) -> SelectionReport:
        """Count the decisions of a run.

        Args:
            records: One for each sample, such as ``load_records`` returns.
            groups: The group of each record, to count them also apart.

        Returns:
            The report. ``notes`` says when fewer than 20 % of the responses changed or more than 30 % of the candidates were
            rejected for one reason.

        Raises:
            InputError: No records, or another number of groups than of records.
        """
        if not records:
            raise InputError("there are no records to report on. Wait until the run has written some.")
        if groups is not None and len(groups) != len(records):
            raise InputError(
                f"groups has {counted(len(groups), 'value')} for {counted(len(records), 'record')}: pass one each."
            )
        decisions = Counter(record.decision for record in records)
        reasons = Counter(record.reason for record in records if record.reason is not None)
        known = {reason: reasons[reason] for reason in REASONS if reason in reasons}
        rejected = dict(sorted(known.items(), key=lambda item: -item[1]))
        num_tokens, seconds = sum(record.n_tokens for record in records), math.fsum(record.seconds for record in records)
        return cls(
            num_samples=len(records),
            accepted=decisions["accepted"],
            identical=decisions["identical"],
            rejected=rejected,
            length_ratio=_length_ratio(records),
            num_tokens=num_tokens,
            tokens_per_second=num_tokens / seconds if seconds > 0.0 else math.nan,
            groups={} if groups is None else _grouped(records, groups),
            notes=_notes(len(records), decisions, rejected),
        )

    @property
    def num_rejected(self) -> int:
        """Candidates that were not taken, for whatever reason."""
        return sum(self.rejected.values())

    @property
    def share_changed(self) -> float:
        """The accepted as a share of all samples."""
        return self.accepted / self.num_samples

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it.

        Returns:
            Fields by name, with a schema version; ``None`` for what is not known.
        """
        groups = {name: report._content() for name, report in self.groups.items()}
        return {"schema_version": SELECTION_REPORT_SCHEMA_VERSION, **self._content(), "groups": groups}

    def table(self) -> list[dict[str, Any]]:
        """Return a row of plain values for the whole and for each group.

        Returns:
            Rows by column name: counts, shares and lengths. ``group`` is ``None`` for the whole, and each reason that occurs
            has a column ``rejected_REASON``; ``None`` for what is not known.
        """
        return [_row(name, report, self.rejected) for name, report in ((None, self), *self.groups.items())]

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a DataFrame.

        Returns:
            Its rows; NaN for numbers that are not known.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        frame = pandas.DataFrame(self.table())
        numbers = [name for name in frame.columns if name.startswith(("length_ratio", "tokens_per_second"))]
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.rejected.items())
        why = f" ({reasons})" if reasons else ""
        changed = f"{self.accepted} accepted ({self.share_changed:.1%})"
        first = (
            f"{counted(self.num_samples, 'sample')}: {changed}, {self.identical} identical, {self.num_rejected} rejected{why}"
        )
        speed = "" if math.isnan(self.tokens_per_second) else f", {self.tokens_per_second:.4g} per second"
        return f"{first}\n{_length_words(self.length_ratio)}; {counted(self.num_tokens, 'token')} written{speed}"

    def _content(self) -> dict[str, Any]:
        content = vars(self) | {
            "rejected": dict(self.rejected),
            "share_changed": self.share_changed,
            "length_ratio": None if self.length_ratio is None else vars(self.length_ratio),
        }
        return {name: plain_json(value) for name, value in content.items() if name != "groups"}


def _length_ratio(records: Sequence[DistillRecord]) -> LengthRatio | None:
    accepted = (record.length_ratio for record in records if record.decision == "accepted")
    ratios = [ratio for ratio in accepted if not math.isnan(ratio)]
    if not ratios:
        return None
    # A single ratio is its own quartile; before Python 3.13 the library refuses it.
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return LengthRatio(statistics.fmean(ratios), *quartiles)


def _grouped(records: Sequence[DistillRecord], groups: Sequence[str]) -> dict[str, SelectionReport]:
    members: dict[str, list[DistillRecord]] = {}
    for record, group in zip(records, groups, strict=True):
        members.setdefault(group, []).append(record)
    ordered = sorted(members.items(), key=lambda item: -len(item[1]))
    return {group: SelectionReport.of(inside) for group, inside in ordered}


def _notes(num_samples: int, decisions: Mapping[str, int], rejected: Mapping[str, int]) -> tuple[str, ...]:
    notes = []
    changed, identical = decisions["accepted"], decisions["identical"]
    if changed < _FEW_CHANGED * num_samples:
        why = "the model mostly repeats the originals" if 2 * identical > num_samples else "see why candidates were rejected"
        notes.append(
            f"{changed} of {counted(num_samples, 'response')} changed ({changed / num_samples:.1%}): training on this set "
            f"differs little from training on the original one; {why}"
        )
    for reason, count in rejected.items():
        if count > _MANY_REJECTED * num_samples:
            share = f"{count} of {counted(num_samples, 'response')} ({count / num_samples:.1%})"
            notes.append(f"{share} rejected as '{reason}': {REASONS[reason]}; {_REMEDIES[reason]}")
    return tuple(notes)


def _row(group: str | None, report: SelectionReport, reasons: Mapping[str, int]) -> dict[str, Any]:
    lengths = {} if report.length_ratio is None else vars(report.length_ratio)
    names = ("mean", "lower_quartile", "median", "upper_quartile")
    return {
        "group": group,
        "num_samples": report.num_samples,
        "accepted": report.accepted,
        "identical": report.identical,
        "rejected": report.num_rejected,
        **{f"rejected_{reason}": report.rejected.get(reason, 0) for reason in reasons},
        "share_changed": report.share_changed,
        **{f"length_ratio_{name}": lengths.get(name) for name in names},
        "num_tokens": report.num_tokens,
        "tokens_per_second": plain_json(report.tokens_per_second),
    }


def _length_words(ratio: LengthRatio | None) -> str:
    if ratio is None:
        return "no accepted response"
    quartiles = f"quartiles {ratio.lower_quartile:.3g} and {ratio.upper_quartile:.3g}, mean {ratio.mean:.3g}"
    return f"accepted responses have {ratio.median:.3g} times the characters of the originals in the median ({quartiles})"
