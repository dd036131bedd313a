"""The options of rewriting a data set's responses: their only definition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spectra.errors import InputError, did_you_mean
from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.registry import extractor
from spectra.training.sdft.generation import GenerationSpec, generation_spec, is_count, is_number
from spectra.training.sdft.templates import RewriteTemplate, default_template, template

_OF_DISTILL = ("prompt_column", "response_column", "turns", "limit", "mix_ratio", "force", "progress")


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Options of :class:`~spectra.training.sdft.ResponseDistiller`.

    Attributes:
        task: What a candidate has to agree with the original response in: ``"math"`` (the final number), ``"call"`` (the
            function call), ``"code"`` (it parses), ``"choice"``, ``"json"``, ``"exact"``, or ``"text"`` (nothing: any text that
            passes the filters); or an extractor. It has no default: guessing it would silently weaken the selection.
        template: What the model is asked: a name such as ``"rewrite/v1"``, a TOML file, or a template. Default: the task's.
        generation: How it answers: ``"reference"`` (sampled, as the reference code does), ``"greedy"``, or the settings.
        n_candidates: Candidates of a sample at most; the first that passes is taken.
        seed: Of the sampling.
        allow_truncated: Accept candidates that stopped at the length limit. The reference code does.
        compat: ``"reference"`` selects by the rules of the reference code, quirks included.
        min_rouge_l: Smallest similarity (ROUGE-L) of a candidate and the original response. 0 accepts any.
        leak_phrases: Phrases that give the rewriting away, beside those known.
        test_column: For code: the column that holds tests, which are run. Read the warning in the docs first.

    Raises:
        InputError: Values that cannot be; all are named.
    """

    task: str | Extractor | Callable[[str, Mapping[str, Any]], Any]
    template: str | Path | RewriteTemplate | None = None
    generation: str | GenerationSpec | Mapping[str, Any] = "reference"
    n_candidates: int = 1
    seed: int = 0
    allow_truncated: bool = False
    compat: Literal["reference"] | None = None
    min_rouge_l: float = 0.0
    leak_phrases: tuple[str, ...] = ()
    test_column: str | None = None

    def __post_init__(self) -> None:
        faults = [fault for check in (self.extractor, self.spec, self.rewriting) if (fault := _fault_of(check))]
        if not is_count(self.n_candidates, 1):
            faults.append(f"n_candidates: expected at least 1, got {self.n_candidates!r}")
        elif self.n_candidates > 1 and not faults and not self.spec().sampled:
            faults.append(f"n_candidates: greedy answers are all the same. Sample, or ask once, not {self.n_candidates} times")
        if not is_count(self.seed, 0):
            faults.append(f"seed: expected a whole number from 0, got {self.seed!r}")
        if not is_number(self.min_rouge_l) or not 0.0 <= self.min_rouge_l <= 1.0:
            faults.append(f"min_rouge_l: expected a number from 0 to 1, got {self.min_rouge_l!r}")
        if self.allow_truncated not in (True, False):
            faults.append(f"allow_truncated: expected True or False, got {self.allow_truncated!r}")
        if not isinstance(self.leak_phrases, list | tuple) or not all(isinstance(text, str) for text in self.leak_phrases):
            faults.append(f"leak_phrases: expected texts, such as ('as an AI',), got {self.leak_phrases!r}")
        if self.test_column is not None and self.task != "code":
            faults.append("test_column: tests are of task 'code' only")
        if faults:
            raise InputError(f"DistillConfig: {'; '.join(fault.removesuffix('.') for fault in faults)}.")

    def extractor(self) -> Extractor:
        """Return what candidates and responses are compared by."""
        return extractor(self.task, compat=self.compat)

    def spec(self) -> GenerationSpec:
        """Return how the model answers."""
        return generation_spec(self.generation)

    def rewriting(self) -> RewriteTemplate:
        """Return what the model is asked."""
        if self.template is not None:
            return template(self.template)
        return default_template(self.task if isinstance(self.task, str) else "text")


def distill_config(given: DistillConfig | Mapping[str, Any] | None = None, **changes: Any) -> DistillConfig:
    """Make options of what a user gives.

    Args:
        given: Options, or some of them by name.
        **changes: Options by name; they win.

    Returns:
        The options.

    Raises:
        InputError: An unknown name, no task, or values that cannot be.
    """
    if isinstance(given, DistillConfig):
        return dataclasses.replace(given, **changes)
    options = {**(given or {}), **changes}
    known = [option.name for option in dataclasses.fields(DistillConfig)]
    unknown = next((name for name in options if name not in known), None)
    if unknown in _OF_DISTILL:
        raise InputError(f"DistillConfig has no option '{unknown}': it is an argument of distill().")
    if unknown is not None:
        raise InputError(f"DistillConfig has no option '{unknown}'.{did_you_mean(unknown, known)} Known: {', '.join(known)}.")
    if "task" not in options:
        raise InputError("task: say what a rewritten response must agree in: math, call, code, choice, json, exact or text.")
    return DistillConfig(**options)


def _fault_of(check: Callable[[], Any]) -> str | None:
    try:
        check()
    except InputError as error:
        return str(error)
    return None
