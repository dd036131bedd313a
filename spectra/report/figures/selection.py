"""What became of the responses of a data set that a model rewrote: decisions with their reasons, and how lengths changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.distill_records import DistillRecord
from spectra.results.selection_report import SelectionReport
from spectra.results.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACCEPTED, _IDENTICAL, _REJECTED = COLORS[0], COLORS[6], COLORS[1]
_REASON = "#EAAF80"  # a tint of the colour of rejection
_BAR, _AROUND_BARS, _LENGTHS = 0.17, 0.45, 1.5  # inches
_PER_DOUBLING = 4  # bars of the histogram for each doubling of the length
_LEGEND = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1, "handlelength": 1.4, "columnspacing": 1.0}


def selection(records: Sequence[DistillRecord], *, wide: bool = False) -> Figure:
    """Draw what was decided of the candidates of a run.

    Two panels. A bar for each decision, and below them one for each reason of rejection, as shares of all samples. A histogram
    of the characters of accepted responses over those of the originals, on a logarithmic axis; left out if there are none.

    Args:
        records: One for each sample, such as ``load_records`` returns.
        wide: Text width, with the panels side by side, instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No records.
    """
    from matplotlib.figure import Figure

    report = SelectionReport.of(records)
    accepted = [record.length_ratio for record in records if record.decision == "accepted"]
    ratios = [ratio for ratio in accepted if ratio > 0.0]  # a logarithmic axis has no place for empty responses
    height = _AROUND_BARS + _BAR * (3 + len(report.rejected))
    with style():
        if report.length_ratio is None or not ratios:
            figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, height), layout="constrained")
            _draw_decisions(figure.add_subplot(), report)
            return figure
        size = (TEXT_WIDTH, max(height, _LENGTHS)) if wide else (COLUMN_WIDTH, height + _LENGTHS)
        figure = Figure(figsize=size, layout="constrained")
        parts: Any = figure.subfigures(1, 2) if wide else figure.subfigures(2, 1, height_ratios=(height, _LENGTHS))
        _draw_decisions(parts[0].add_subplot(), report)
        median, num_hidden = report.length_ratio.median, accepted.count(0.0)
        _draw_lengths(parts[1].add_subplot(), ratios, median=median, num_hidden=num_hidden)
    return figure


def _draw_decisions(axes: Any, report: SelectionReport) -> None:
    """Draw bars downwards with their numbers beside them; reasons are thinner and paler, as they are parts of the rejected."""
    decisions = {"accepted": report.accepted, "identical": report.identical, "rejected": report.num_rejected}
    counts = [*decisions.values(), *report.rejected.values()]
    shares = [count / report.num_samples for count in counts]
    rows, num_reasons = range(len(counts)), len(report.rejected)
    heights, colors = [0.72] * 3 + [0.5] * num_reasons, [_ACCEPTED, _IDENTICAL, _REJECTED] + [_REASON] * num_reasons
    axes.barh(rows, shares, height=heights, color=colors)
    axes.set_yticks(rows, [*decisions, *map(_words, report.rejected)])
    for label in axes.get_yticklabels()[3:]:
        label.set_color("0.35")
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axes.set_xlabel(f"% of {counted(report.num_samples, 'sample')}")
    for row, count, share in zip(rows, counts, shares, strict=True):
        axes.annotate(f"{count} ({share:.1%})", (share, row), (3, 0), textcoords="offset points", va="center", fontsize=6.5)


def _words(reason: str) -> str:
    return reason.replace("rouge_l", "ROUGE-L").replace("_", " ")


def _draw_lengths(axes: Any, ratios: Sequence[float], *, median: float, num_hidden: int) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    edges = _edges(ratios)
    axes.hist(ratios, edges, color=_ACCEPTED, edgecolor="white", linewidth=0.3)
    axes.axvline(1.0, color="0.6", linewidth=0.8, label="same length")
    axes.axvline(median, color="black", linewidth=1.0, linestyle=(0, (4, 1)), label=f"median {median:.3g}")
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(edges[0], 0.5), max(edges[-1], 2.0))
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
    axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}" if ratio >= 1.0 else f"1/{1.0 / ratio:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    hidden = f"\n(not shown: {counted(num_hidden, 'empty response')})" if num_hidden else ""
    axes.set_xlabel(f"characters, accepted over original{hidden}")
    axes.set_ylabel("samples")
    axes.legend(**_LEGEND, ncols=2)


def _edges(ratios: Sequence[float]) -> list[float]:
    """Return edges of bars of equal width on a logarithmic axis, of which one is at the same length."""
    places = [_PER_DOUBLING * math.log2(ratio) for ratio in (min(ratios), max(ratios))]
    first, last = math.floor(places[0]), math.floor(places[1]) + 1
    return [2.0 ** (place / _PER_DOUBLING) for place in range(first, last + 1)]
