"""Summing up a sweep: means over seeds, differences seed by seed, and a choice that is not made by what is reported."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.results.paired_difference import holm, paired_difference
from spectra.results.sweep_record import FAILED, FINISHED, SweepRecord, SweepRun, setting_words
from spectra.results.sweep_summary import Choice, Mean, SettingSummary, SweepComparison, SweepSummary

# The first that a sweep has is what it is summed up by: what leads the metrics of each task, then the loss.
_LEADING = ("accuracy", "pearson", "perplexity", "loss")
_LOWER_IS_BETTER = ("loss", "perplexity", "mse")  # metrics that end so
_CHOSEN_BY, _REPORTED_BY = "eval_", "test_"


@dataclass(frozen=True)
class _Setting:
    """The runs of a setting."""

    options: Mapping[str, Any]
    runs: tuple[SweepRun, ...]

    @property
    def words(self) -> str:
        return setting_words(self.options)

    @property
    def num_finished(self) -> int:
        return sum(run.state == FINISHED for run in self.runs)

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by seed; of a run that diverged it is no number, and missing."""
        found = {run.cell.seed: run.metrics.get(metric, math.nan) for run in self.runs}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}


def summarize(record: SweepRecord, *, metric: str | None = None, baseline: Mapping[str, Any] | None = None) -> SweepSummary:
    """Sum up a sweep. Runs that are not finished are counted, and are in no mean.

    With the same seed all settings see the same examples in the same order, so that differences are taken seed by seed.

    Args:
        record: The sweep, which may be at work.
        metric: ``eval_*`` or ``test_*``. Default: ``eval_accuracy``, or what else leads the metrics of the task.
        baseline: Values of some options, or of all: each setting is compared with the one that has these, and else its own.

    Returns:
        The summary.

    Raises:
        InputError: A metric that no finished run has, or a baseline that no setting is.
    """
    baseline = dict(baseline or {})
    settings = _settings(record)
    _check_baseline(settings, baseline)
    chosen_metric = leading_metric(record.metrics, metric)
    summary = SweepSummary(
        recipe=record.recipe,
        metric=chosen_metric,
        higher_is_better=chosen_metric is None or higher_is_better(chosen_metric),
        baseline=baseline,
        options=record.options,
        seeds=tuple(sorted({run.cell.seed for run in record.runs})),
        states={state: sum(run.state == state for run in record.runs) for state in dict.fromkeys(r.state for r in record.runs)},
        settings=tuple(_summary(setting, record.metrics) for setting in settings),
        failures={run.cell.name: run.cell.error or "" for run in record.runs if run.state == FAILED},
    )
    return summary if chosen_metric is None else _judged(summary, settings, chosen_metric)


def higher_is_better(metric: str) -> bool:
    """Tell whether more of a metric is better: of all but losses."""
    return not metric.endswith(_LOWER_IS_BETTER)


def leading_metric(known: Collection[str], asked: str | None = None) -> str | None:
    """Return the metric that runs are compared by.

    Args:
        known: Those that there are.
        asked: One of them.

    Returns:
        The one that was asked for, or ``eval_accuracy``, or what else leads the metrics of the task; ``None`` without any.

    Raises:
        InputError: There is none that is called as was asked.
    """
    if not known:
        return None
    if asked is None:
        leading = (f"{use}{name}" for use in (_CHOSEN_BY, _REPORTED_BY) for name in _LEADING)
        return next((name for name in leading if name in known), min(known))
    if asked not in known:
        raise InputError(f"metric: no finished run has '{asked}'.{did_you_mean(asked, known)} Known: {', '.join(known)}.")
    return asked


def _settings(record: SweepRecord) -> list[_Setting]:
    runs: dict[str, list[SweepRun]] = {}
    for run in record.runs:
        runs.setdefault(run.cell.setting, []).append(run)
    return [_Setting(found[0].cell.options, tuple(found)) for found in runs.values()]


def _check_baseline(settings: Sequence[_Setting], baseline: Mapping[str, Any]) -> None:
    if not any(_has(setting.options, baseline) for setting in settings):
        known = ", ".join(f"'{setting.words}'" for setting in settings)
        raise InputError(f"baseline: no setting has '{setting_words(baseline)}'. The settings are {known}.")


def _summary(setting: _Setting, metrics: Iterable[str]) -> SettingSummary:
    values = {metric: setting.values(metric) for metric in metrics}
    return SettingSummary(
        setting=setting.words,
        options=setting.options,
        num_runs=len(setting.runs),
        num_finished=setting.num_finished,
        means={metric: _mean(list(found.values())) for metric, found in values.items() if found},
    )


def _mean(values: Sequence[float]) -> Mean:
    std_error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Mean(num=len(values), mean=statistics.fmean(values), std_error=std_error)


def _judged(summary: SweepSummary, settings: Sequence[_Setting], metric: str) -> SweepSummary:
    """Add what one metric says."""
    best = {one.setting for one in _best(summary.settings, metric)}
    choices = tuple(_choices(summary, metric))
    chosen = [setting for choice in choices for setting in settings if setting.words == choice.setting]
    pairs = list(_pairs(settings, summary.baseline))
    return dataclasses.replace(
        summary,
        settings=tuple(dataclasses.replace(one, is_best=one.setting in best) for one in summary.settings),
        comparisons=_comparisons(pairs, metric),
        choices=choices,
        choice_comparisons=_comparisons(_with_chosen(chosen, summary.baseline), choices[0].reported_by) if choices else (),
        notes=(*_notes(settings, summary.baseline, metric), *_ties(choices)),
    )


def _best(settings: Sequence[SettingSummary], metric: str) -> list[SettingSummary]:
    """Return the settings with the best mean of those with most values: a mean of fewer is high by chance more easily."""
    have = [one for one in settings if metric in one.means]
    most = max((one.means[metric].num for one in have), default=0)
    full = [one for one in have if one.means[metric].num == most]
    best = (max if higher_is_better(metric) else min)((one.means[metric].mean for one in full), default=math.nan)
    return [one for one in full if one.means[metric].mean == best] if len(settings) > 1 else []


def _choices(summary: SweepSummary, metric: str) -> Iterator[Choice]:
    """Choose on eval and report on test, where something was to choose, and both were measured."""
    name = metric.removeprefix(_CHOSEN_BY).removeprefix(_REPORTED_BY)
    by, reported_by = f"{_CHOSEN_BY}{name}", f"{_REPORTED_BY}{name}"
    groups: dict[str, list[SettingSummary]] = {}
    for one in summary.settings:
        shared = {option: one.options[option] for option in summary.baseline if option in one.options}
        groups.setdefault(setting_words(shared) if shared else "", []).append(one)
    if all(len(among) == 1 for among in groups.values()):  # each is a value of the baseline's options: they are to choose from
        groups = {"": list(summary.settings)} if len(summary.settings) > 1 else {}
    for words, among in groups.items():
        chosen, *equals = _best(among, by) or among[:1]
        if by in chosen.means and reported_by in chosen.means:
            yield Choice(
                among=words,
                num_settings=len(among),
                setting=chosen.setting,
                equals=tuple(one.setting for one in equals),
                chosen_by=by,
                chosen=chosen.means[by],
                reported_by=reported_by,
                reported=chosen.means[reported_by],
            )


def _pairs(settings: Sequence[_Setting], baseline: Mapping[str, Any]) -> Iterator[tuple[_Setting, _Setting]]:
    """Yield each setting with the one that differs from it in the baseline's options only."""
    for setting in settings:
        wanted = {**setting.options, **baseline}
        partner = next((other for other in settings if other.options == wanted), None)
        if partner is not None and partner is not setting:
            yield setting, partner


def _with_chosen(chosen: Sequence[_Setting], baseline: Mapping[str, Any]) -> Iterator[tuple[_Setting, _Setting]]:
    """Yield each setting that was chosen with the one of the baseline that was."""
    partner = next((setting for setting in chosen if baseline and _has(setting.options, baseline)), None)
    if partner is not None:
        yield from ((setting, partner) for setting in chosen if setting is not partner)


def _comparisons(pairs: Iterable[tuple[_Setting, _Setting]], metric: str) -> tuple[SweepComparison, ...]:
    found = []
    for setting, partner in pairs:
        values, others = setting.values(metric), partner.values(metric)
        if seeds := [seed for seed in values if seed in others]:
            difference = paired_difference([values[seed] for seed in seeds], [others[seed] for seed in seeds])
            found.append((setting.words, partner.words, difference))
    corrected = holm([difference.p_value for _, _, difference in found])
    return tuple(
        SweepComparison(setting=setting, baseline=partner, metric=metric, difference=difference, p_holm=p)
        for (setting, partner, difference), p in zip(found, corrected, strict=True)
    )


def _notes(settings: Sequence[_Setting], baseline: Mapping[str, Any], metric: str) -> Iterator[str]:
    if max(len(setting.runs) for setting in settings) == 1:
        yield "One seed for each setting: what is chance and what is not cannot be told. Give more --seeds."
    most = max(len(setting.values(metric)) for setting in settings)
    fewer = [setting for setting in settings if len(setting.values(metric)) < most]
    if fewer:
        words = ", ".join(f"'{setting.words}' ({len(setting.values(metric))} of {most})" for setting in fewer)
        yield f"Fewer seeds than others: {words}. Such a mean is over other seeds, and is not taken for the best."
    for run in (run for setting in settings for run in setting.runs if run.state == FINISHED):
        if not math.isfinite(run.metrics.get(metric, math.nan)):
            yield f"'{run.cell.name}' is finished and has no {metric}: none was measured, or it is no number. It is in no mean."
    partners = {id(setting) for setting, _ in _pairs(settings, baseline)}
    if alone := [one for one in settings if baseline and id(one) not in partners and not _has(one.options, baseline)]:
        words = ", ".join(f"'{setting.words}'" for setting in alone)
        yield f"No setting with '{setting_words(baseline)}' is otherwise as {words}, so that nothing is compared with these."
    if metric.startswith(_REPORTED_BY) and len(settings) > 1:
        yield "The best by a test metric is best by chance, too: what is chosen by it looks better than it is."


def _ties(choices: Iterable[Choice]) -> Iterator[str]:
    for choice in choices:
        if choice.equals:
            yield f"'{choice.setting}' was chosen as the first of equal ones in {choice.chosen_by}: {'; '.join(choice.equals)}."


def _has(options: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(option in options and options[option] == value for option, value in wanted.items())
