"""How likely the responses of a data set are to a model, before and after rewriting: the direct test of what rewriting is for.

Yang et al. (2024), arXiv 2402.13669, section 3, hold that fine-tuning harms a model as far as its data are unlike what it would
write itself, and that rewritten responses are closer. Their code compares the outputs of tuned models; this compares the data.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.errors import MissingPackageError
from spectra.results.mean_interval import LEVEL, NUM_DRAWS
from spectra.results.shift_summary import SampleShift, ShiftSummary, read_fields
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.weight_rounds import plain_json
from spectra.results.words import counted

if TYPE_CHECKING:
    import pandas as pd

DATA_SHIFT_SCHEMA_VERSION = 1

# Our choices: an interval of fewer is too narrow, and a longer text is likelier token by token whoever wrote it.
_FEW, _MUCH_LONGER = 20, 1.5

_AGAIN = "Make it again: spectra distill shift OUT.jsonl --model MODEL"


@dataclass(frozen=True, kw_only=True)
class DataShift:
    """How much likelier the selected responses of a data set are to a model than the originals.

    Attributes:
        model: Which model, by name and digests.
        samples: Those that were measured, in the order of the data.
        overall: All of them.
        accepted: Those whose response changed; ``None`` if none did.
        num_left_out: Samples that were not, as no token of the one or the other response had room.
        max_length: Tokens at which prompt and response were cut off; ``None``: nowhere.
        seed: Of the intervals.
        notes: What is doubtful.
    """

    model: Mapping[str, str]
    samples: tuple[SampleShift, ...]
    overall: ShiftSummary
    accepted: ShiftSummary | None
    num_left_out: int = 0
    max_length: int | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        samples: Sequence[SampleShift],
        *,
        model: Mapping[str, str],
        num_left_out: int = 0,
        max_length: int | None = None,
        seed: int = 0,
    ) -> DataShift:
        """Summarise what was measured.

        Args:
            samples: At least one.
            model: Which model, by name and digests.
            num_left_out: Samples that could not be measured.
            max_length: Where prompt and response were cut off.
            seed: Of the intervals.

        Returns:
            The shift, with a note where it cannot be trusted or is not what rewriting is for.

        Raises:
            InputError: No samples.
        """
        changed = [one for one in samples if one.decision == "accepted"]
        accepted = ShiftSummary.of(changed, seed=seed) if changed else None
        return cls(
            model=dict(model),
            samples=tuple(samples),
            overall=ShiftSummary.of(samples, seed=seed),
            accepted=accepted,
            num_left_out=num_left_out,
            max_length=max_length,
            seed=seed,
            notes=tuple(_notes(accepted, num_left_out)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it.

        Returns:
            Fields by name, with a schema version and how intervals were made; ``None`` for what is not known.
        """
        return {
            "schema_version": DATA_SHIFT_SCHEMA_VERSION,
            "model": dict(self.model),
            "max_length": self.max_length,
            "seed": self.seed,
            "interval": {"level": LEVEL, "num_draws": NUM_DRAWS},
            "num_left_out": self.num_left_out,
            "notes": list(self.notes),
            "overall": self.overall.to_dict(),
            "accepted": None if self.accepted is None else self.accepted.to_dict(),
            "samples": [plain_json(dataclasses.asdict(one)) for one in self.samples],
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each sample.

        Returns:
            Its fields, nats per token of both responses, and their difference.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        derived = ("mean_nll_original", "mean_nll_response", "difference")
        return pandas.DataFrame(
            [dataclasses.asdict(one) | {name: getattr(one, name) for name in derived} for one in self.samples]
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as JSON, over an earlier one.

        Args:
            path: By custom ``OUT.shift.json`` beside ``OUT.jsonl``; its folder is made if missing.

        Raises:
            ResultsError: It cannot be written.
        """
        write_json(path, self.to_dict())

    def __str__(self) -> str:
        whole = self.overall
        before = f"{whole.mean_nll_original:.4g} nats per token of the originals (perplexity {whole.perplexity_original:.4g})"
        after = f"{whole.mean_nll_response:.4g} of the selected responses ({whole.perplexity_response:.4g})"
        difference = f"difference per sample {_interval_words(whole)}"
        first = f"{counted(whole.num_samples, 'sample')}: {before}, {after}; {difference}"
        part = self.accepted
        if part is None:
            return f"{first}\nno accepted response"
        lengths = f"{part.mean_tokens_response:.4g} tokens for {part.mean_tokens_original:.4g}"
        return (
            f"{first}\n{part.num_samples} accepted: difference {_interval_words(part)}, {lengths}, "
            f"ROUGE-L {part.rouge_l:.3f}, BLEU {part.bleu:.3f}"
        )


def load_data_shift(path: str | os.PathLike[str]) -> DataShift:
    """Read what :meth:`DataShift.save` wrote.

    Args:
        path: The file.

    Returns:
        The shift.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    return read_versioned(path, "data shift", DATA_SHIFT_SCHEMA_VERSION, _shift, again=_AGAIN)


def _shift(content: Mapping[str, Any]) -> DataShift:
    accepted = content["accepted"]
    return DataShift(
        model={str(name): str(value) for name, value in content["model"].items()},
        samples=tuple(SampleShift(**read_fields(SampleShift, one)) for one in content["samples"]),
        overall=ShiftSummary.from_dict(content["overall"]),
        accepted=None if accepted is None else ShiftSummary.from_dict(accepted),
        num_left_out=int(content["num_left_out"]),
        max_length=None if content["max_length"] is None else int(content["max_length"]),
        seed=int(content["seed"]),
        notes=tuple(map(str, content["notes"])),
    )


def _notes(accepted: ShiftSummary | None, num_left_out: int) -> Iterator[str]:
    if num_left_out:
        yield f"{counted(num_left_out, 'sample')} left out: a prompt leaves no room for a response; raise max_length"
    if accepted is None:
        return
    if accepted.num_samples < _FEW:
        yield f"only {accepted.num_samples} accepted: the interval of their difference is too narrow; measure more samples"
    if accepted.difference_low > 0.0:
        yield (
            "the accepted responses are less likely to this model than the originals, the reverse of what rewriting is for: "
            "check that it is the model that wrote them, with its chat template"
        )
    ratio = accepted.mean_tokens_response / accepted.mean_tokens_original
    if ratio > _MUCH_LONGER:
        yield (
            f"accepted responses have {ratio:.1f} times the tokens of the originals: longer texts are likelier token by token, "
            "so that a part of the difference is length"
        )


def _interval_words(summary: ShiftSummary) -> str:
    low, high = summary.difference_low, summary.difference_high
    return f"{summary.difference:+.4g} (95 % interval {low:+.3g} to {high:+.3g})"
