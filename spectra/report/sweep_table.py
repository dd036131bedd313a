"""The tables of a sweep, in cells of text: for the terminal, and for its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spectra.results.sweep_record import SweepRecord, short_option, value_words
from spectra.results.sweep_summary import Mean, SettingSummary, SweepComparison, SweepSummary

if TYPE_CHECKING:
    from rich.table import Table

_NOTHING = "–"
_SMALLEST_P = 0.001
_NARROWEST = 16  # characters of words that a terminal shows in a line
_GAP = 2


@dataclass(frozen=True)
class TextTable:
    """A table in words.

    Attributes:
        headings: Of the columns.
        rows: Cells, as many as headings.
        num_words: Columns from the left that are words; numbers stand to the right.
        optional: Headings of columns that a narrow terminal goes without, the first to go first.
        best: Rows with the best number, from 0; it stands in the column ``num_words + 1``.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_words: int
    optional: tuple[str, ...] = ()
    best: frozenset[int] = frozenset()


def settings_table(summary: SweepSummary) -> TextTable:
    """Make the table of settings: mean and standard error over seeds, of the metric and of its like on test or eval.

    Args:
        summary: Of a sweep.

    Returns:
        The table.
    """
    metrics = tuple(_shown(summary))
    names = _headings(summary.options)
    rows = tuple(
        (*_options(one.options, one.setting, summary.options), _count(one), *(_mean(one, metric) for metric in metrics))
        for one in summary.settings
    )
    best = frozenset(place for place, one in enumerate(summary.settings) if one.is_best)
    return TextTable((*names, "seeds", *metrics), rows, len(names), metrics[1:], best)


def comparisons_table(comparisons: Sequence[SweepComparison]) -> TextTable:
    """Make the table of differences to a baseline.

    Args:
        comparisons: Of a sweep.

    Returns:
        The table; Wilcoxon's test has a column where it says something.
    """
    has_ranks = any(one.difference.p_wilcoxon is not None for one in comparisons)
    headings = ("setting", "seeds", "difference", "95 % interval", "p", "p (Holm)", *(["p (Wilcoxon)"] * has_ranks))
    rows = tuple((*_comparison(one), *([_p(one.difference.p_wilcoxon)] * has_ranks)) for one in comparisons)
    return TextTable(headings, rows, 1, ("p (Wilcoxon)", "p", "seeds"))


def choices_table(summary: SweepSummary) -> TextTable:
    """Make the table of what was chosen on eval, with its result on test.

    Args:
        summary: With choices.

    Returns:
        The table.
    """
    first = summary.choices[0]
    rows = tuple(
        (one.among or "all", str(one.num_settings), one.setting, mean_words(one.chosen), mean_words(one.reported))
        for one in summary.choices
    )
    return TextTable(
        ("among", "settings", "chosen", first.chosen_by, first.reported_by), rows, 3, ("settings", first.chosen_by)
    )


def states_table(record: SweepRecord) -> TextTable:
    """Make the table of what is done: a row for each setting, with its seeds by their state.

    Args:
        record: Of a sweep.

    Returns:
        The table.
    """
    states = tuple(dict.fromkeys(run.state for run in record.runs))
    rows: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for run in record.runs:
        row = rows.setdefault(
            tuple(_options(run.cell.options, run.cell.setting, record.options)), {state: [] for state in states}
        )
        row[run.state].append(str(run.cell.seed))
    cells = tuple((*words, *(", ".join(seeds) or _NOTHING for seeds in row.values())) for words, row in rows.items())
    names = _headings(record.options)
    return TextTable((*names, *(f"{state}: seeds" for state in states)), cells, len(names))


def rich_table(table: TextTable, *, width: int) -> Table:
    """Make a table of it for the terminal; the best number has a star, and its row is bold.

    Args:
        table: Any.
        width: Columns of the terminal. Where it is narrow, words are broken, and optional columns left out.

    Returns:
        A rich table.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    starred = table.num_words + 1 if table.best else None
    least = [_least_width(table, place) + 2 * (place == starred) for place in range(len(table.headings))]
    shown = _shown_columns(table, least, width)
    for place in shown:
        is_words = place < table.num_words
        justify: Literal["left", "right"] = "left" if is_words else "right"
        made.add_column(table.headings[place], justify=justify, no_wrap=not is_words, overflow="fold", min_width=least[place])
    for number, row in enumerate(table.rows):
        is_best = number in table.best
        cells = [row[place] + (" *" if is_best else "  ") * (place == starred) for place in shown]
        made.add_row(*map(Text, cells), style="bold" if is_best else None)  # texts: brackets are no markup
    return made


def _least_width(table: TextTable, place: int) -> int:
    longest = max(len(row[place]) for row in (table.headings, *table.rows))
    return min(longest, _NARROWEST) if place < table.num_words else longest


def _shown_columns(table: TextTable, least: Sequence[int], width: int) -> list[int]:
    """Leave out optional columns until the others fit."""
    shown = list(range(len(table.headings)))
    for heading in table.optional:
        if sum(least[place] + _GAP for place in shown) <= width + _GAP:
            break
        shown = [place for place in shown if table.headings[place] != heading]
    return shown


def mean_words(mean: Mean) -> str:
    """Return a mean with its standard error: ``0.9123 ± 0.0045``."""
    error = "" if mean.std_error is None else f" ± {_number(mean.std_error)}"
    return f"{_number(mean.mean)}{error}"


def _shown(summary: SweepSummary) -> Iterator[str]:
    if summary.metric is None:
        return
    use, _, name = summary.metric.partition("_")
    yield summary.metric
    like = f"{'test' if use == 'eval' else 'eval'}_{name}"
    if any(like in one.means for one in summary.settings):
        yield like


def _headings(options: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(short_option, options)) or ("setting",)


def _options(values: Mapping[str, Any], setting: str, options: Sequence[str]) -> Iterator[str]:
    if not options:
        yield setting
    yield from (value_words(values[option]) if option in values else _NOTHING for option in options)


def _count(one: SettingSummary) -> str:
    return str(one.num_runs) if one.num_finished == one.num_runs else f"{one.num_finished} of {one.num_runs}"


def _mean(one: SettingSummary, metric: str) -> str:
    return mean_words(one.means[metric]) if metric in one.means else _NOTHING


def _comparison(one: SweepComparison) -> tuple[str, ...]:
    found = one.difference
    interval = _NOTHING if found.low is None or found.high is None else f"{_signed(found.low)} to {_signed(found.high)}"
    seeds = str(found.num_pairs)
    return one.setting, seeds, _signed(found.mean), interval, _p(found.p_value), _p(one.p_holm)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10.0 else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 10.0 else f"{value:+.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"
