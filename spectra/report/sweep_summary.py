"""``summary.md`` of a sweep: what ran, what came out, and how far it can be trusted, for somebody who did not run it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from spectra.report.sweep_table import TextTable, choices_table, comparisons_table, settings_table
from spectra.results.sweep_record import LOGS, RUNS, TABLE, setting_words
from spectra.results.sweep_summary import SweepComparison, SweepSummary
from spectra.results.words import counted

_LEVEL = 0.05


def sweep_text(summary: SweepSummary, *, figures: Sequence[str] = ()) -> str:
    """Write the summary of a sweep in Markdown.

    Args:
        summary: Of the sweep.
        figures: Files, relative to the folder of the sweep.

    Returns:
        The text.
    """
    return "\n\n".join(_blocks(summary, figures)) + "\n"


def headline(summary: SweepSummary) -> str:
    """Say how much ran.

    Args:
        summary: Of the sweep.

    Returns:
        One line.
    """
    states = ", ".join(f"{count} {state}" for state, count in summary.states.items())
    settings, seeds = counted(len(summary.settings), "setting"), counted(len(summary.seeds), "seed")
    return f"{counted(sum(summary.states.values()), 'run')} of '{summary.recipe}' ({states}): {settings}, {seeds}"


def conclusions(summary: SweepSummary) -> Iterator[str]:
    """Say what came out.

    Args:
        summary: Of the sweep.

    Yields:
        A sentence each.
    """
    if summary.metric is None:
        yield "No run is finished, so that there is nothing to compare."
        return
    if best := [one.setting for one in summary.settings if one.is_best]:
        yield f"Best {summary.metric}: {'; '.join(best)}."
    name = setting_words(summary.baseline)
    if summary.comparisons:
        yield f"In {summary.metric} {_beyond_chance(summary.comparisons, name)}"
    if summary.choice_comparisons:
        chosen_by, reported_by = summary.choices[0].chosen_by, summary.choices[0].reported_by
        yield f"Of what {chosen_by} chose, in {reported_by} {_beyond_chance(summary.choice_comparisons, name)}"


def _beyond_chance(comparisons: Sequence[SweepComparison], baseline: str) -> str:
    clear = [one.setting for one in comparisons if one.p_holm is not None and one.p_holm <= _LEVEL]
    if len(comparisons) == 1 and comparisons[0].p_holm is not None:
        return f"the difference of {comparisons[0].setting} to {baseline} is {'' if clear else 'not '}beyond chance at 5 %."
    number = counted(len(comparisons), "difference")
    if all(one.p_holm is None for one in comparisons):
        return f"nothing can be said of {number} to {baseline}: too few seeds, or no spread."
    count = f"{len(clear) or 'none'} of {number} to {baseline} {'is' if len(clear) < 2 else 'are'}"
    return f"{count} beyond chance at 5 %, Holm-corrected{': ' + '; '.join(clear) if clear else ''}."


def _blocks(summary: SweepSummary, figures: Sequence[str]) -> Iterator[str]:
    yield f"# Sweep of `{summary.recipe}`"
    yield f"{headline(summary)}. Seeds: {_seeds(summary.seeds)}."
    if told := " ".join(conclusions(summary)):
        yield told
    yield "## Settings"
    yield _markdown(settings_table(summary))
    if summary.metric is not None:
        yield (
            f"Mean ± standard error over seeds{_bold(summary)}. {'Higher' if summary.higher_is_better else 'Lower'} is better."
        )
    yield from (f"![{file}]({file})" for file in figures)
    if summary.comparisons:
        yield f"## Differences to {setting_words(summary.baseline)}"
        yield _markdown(comparisons_table(summary.comparisons))
        yield (
            f"Of {summary.comparisons[0].metric}, seed by seed: with the same seed all settings see the same examples in the "
            "same order. Interval and p: Student's t of the paired differences, two-sided, which takes them for normal; of a "
            "few seeds that cannot be checked. Holm's correction is over the "
            f"{counted(len(summary.comparisons), 'comparison')} of this table."
        )
    if summary.choices:
        yield "## Chosen on eval, reported on test"
        yield _markdown(choices_table(summary))
        yield "Test had no say in what was chosen."
        if summary.choice_comparisons:
            yield f"Their differences to that of {setting_words(summary.baseline)}, in {summary.choices[0].reported_by}:"
            yield _markdown(comparisons_table(summary.choice_comparisons))
    if summary.failures:
        yield "## Failed runs"
        yield _list(f"`{RUNS}/{name}`: {error} (`{LOGS}/{name}.log`)" for name, error in summary.failures.items())
        yield "They are in no mean. The same command tries them again."
    if summary.notes:
        yield "## Notes"
        yield _list(summary.notes)
    yield f"One row for each run: `{TABLE}`. Each run has a folder in `{RUNS}`, with a summary of its own."


def _bold(summary: SweepSummary) -> str:
    return "; the best is bold" if any(one.is_best for one in summary.settings) else ""


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _markdown(table: TextTable) -> str:
    lines = [_row(table.headings), _row(["---" if place < table.num_words else "---:" for place in range(len(table.headings))])]
    for place, row in enumerate(table.rows):
        cells = [_escaped(cell) for cell in row]
        if place in table.best:
            cells[table.num_words + 1] = f"**{cells[table.num_words + 1]}**"
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(cell: str) -> str:
    for mark in "\\|*`<":
        cell = cell.replace(mark, f"\\{mark}")
    return cell
