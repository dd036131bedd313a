"""What came out of a sweep: means over seeds, paired differences to a baseline, and which setting was chosen on what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectra.results.paired_difference import PairedDifference
from spectra.results.weight_rounds import plain_json

SWEEP_SUMMARY_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A metric over the seeds of a setting.

    Attributes:
        num: Finished runs that have it.
        mean: Of them.
        std_error: Of the mean; ``None`` for one run, of which nothing can be said.
    """

    num: int
    mean: float
    std_error: float | None


@dataclass(frozen=True, kw_only=True)
class SettingSummary:
    """A setting over its seeds.

    Attributes:
        setting: What it is called.
        options: Values by option.
        num_runs: Cells it has.
        num_finished: Of them.
        means: By metric; a metric that no run has is missing.
        is_best: It has the best mean of those with most finished runs; equal ones are it together.
    """

    setting: str
    options: Mapping[str, Any]
    num_runs: int
    num_finished: int
    means: Mapping[str, Mean]
    is_best: bool = False


@dataclass(frozen=True, kw_only=True)
class SweepComparison:
    """A setting against a baseline, seed by seed.

    Attributes:
        setting: What it is called.
        baseline: What that is called.
        metric: Which is compared.
        difference: Setting minus baseline.
        p_holm: The p value of the t test, corrected by Holm over all comparisons of its table.
    """

    setting: str
    baseline: str
    metric: str
    difference: PairedDifference
    p_holm: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting that was best on the examples to choose by, and its result on those to report.

    Attributes:
        among: What the settings it was chosen among have in common; empty where these are all.
        num_settings: How many they are.
        setting: The one that was chosen.
        equals: Others that were as good, and come after it.
        chosen_by: Metric of the choice, ``eval_*``.
        chosen: Its value.
        reported_by: The same metric, ``test_*``.
        reported: Its value.
    """

    among: str
    num_settings: int
    setting: str
    equals: tuple[str, ...]
    chosen_by: str
    chosen: Mean
    reported_by: str
    reported: Mean


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """A sweep in numbers.

    Attributes:
        recipe: Path of the recipe, as it was given.
        metric: By which settings are compared; ``None`` as long as no run is finished.
        higher_is_better: Of that metric.
        baseline: Values by option of what settings are compared with; empty without.
        options: What settings differ in.
        seeds: Of all runs.
        states: How many are in which state.
        settings: In the order in which they run.
        comparisons: Of every setting with its baseline: the setting that differs from it in the baseline's options only.
        choices: The best setting on eval with its result on test, one for each value of the baseline's options, so that each
            has its own tuning, or one of all where these have one setting each; empty where there is no eval, test or choice.
        choice_comparisons: Of the chosen settings with that of the baseline, on test.
        failures: Names of failed runs, and why they failed.
        notes: What is doubtful.
    """

    recipe: str
    metric: str | None
    higher_is_better: bool
    baseline: Mapping[str, Any]
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    states: Mapping[str, int]
    settings: tuple[SettingSummary, ...]
    comparisons: tuple[SweepComparison, ...] = ()
    choices: tuple[Choice, ...] = ()
    choice_comparisons: tuple[SweepComparison, ...] = ()
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON can hold it, with its schema version."""
        content: dict[str, Any] = plain_json({"schema_version": SWEEP_SUMMARY_SCHEMA_VERSION} | dataclasses.asdict(self))
        return content
