"""How likely the responses of a data set are to a model, as they came and as they were selected, and how much each changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.data_shift import DataShift
from spectra.results.shift_summary import SampleShift, ShiftSummary
from spectra.results.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ORIGINAL, _SELECTED = COLORS[1], COLORS[0]
_HEIGHT = 1.75  # inches, of a panel
_LEGEND = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1, "handlelength": 1.4, "columnspacing": 1.0}
_FEWEST_BARS, _MOST_BARS = 8, 60


def data_shift(shift: DataShift, *, wide: bool = False) -> Figure:
    """Draw how much likelier the selected responses are to the model than the originals.

    Two panels. Histograms of the negative log-likelihood per token of original and selected responses, a sample counting once
    in each. A histogram of the difference of the two over the accepted samples, with its mean and the 95 % interval of that;
    left out if none were accepted.

    Args:
        shift: Any.
        wide: Text width, with the panels side by side, instead of column width.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    num_panels = 1 if shift.accepted is None else 2
    rows, columns = (1, num_panels) if wide else (num_panels, 1)
    with style():
        size = (TEXT_WIDTH if wide else COLUMN_WIDTH, rows * _HEIGHT)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        _draw_likelihoods(axes[0], shift.samples, is_changed=shift.accepted is not None)
        if shift.accepted is not None:
            changed = [one.difference for one in shift.samples if one.decision == "accepted"]
            _draw_differences(axes[1], changed, shift.accepted)
    return figure


def _draw_likelihoods(axes: Any, samples: Sequence[SampleShift], *, is_changed: bool) -> None:
    originals, selected = [one.mean_nll_original for one in samples], [one.mean_nll_response for one in samples]
    drawn = [("original", originals, _ORIGINAL)] + [("selected", selected, _SELECTED)] * is_changed
    edges = _edges(originals + selected)
    for name, values, color in drawn:
        median = statistics.median(values)
        axes.hist(values, edges, color=color, alpha=0.3)
        axes.hist(values, edges, color=color, histtype="step", linewidth=1.0, label=f"{name}, median {median:.3g}")
        axes.axvline(median, color=color, linewidth=1.0, linestyle=(0, (4, 1)))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"nats per token of a response ({counted(len(samples), 'sample')})")
    _finish(axes)


def _draw_differences(axes: Any, differences: Sequence[float], summary: ShiftSummary) -> None:
    edges = _edges([0.0, *differences])
    axes.hist(differences, edges, color=_SELECTED, edgecolor="white", linewidth=0.3)
    axes.axvline(0.0, color="0.6", linewidth=0.8)
    low, high = summary.difference_low, summary.difference_high
    axes.axvline(summary.difference, color="black", linewidth=1.0, linestyle=(0, (4, 1)), label=_mean_words(summary))
    if not math.isnan(low):
        axes.axvspan(low, high, color="black", alpha=0.15, linewidth=0.0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"selected − original, nats per token ({summary.num_samples} accepted)")
    _finish(axes)


def _mean_words(summary: ShiftSummary) -> str:
    low, high = summary.difference_low, summary.difference_high
    interval = "" if math.isnan(low) else f" (95 %: {_signed(low)} to {_signed(high)})"
    return f"mean {_signed(summary.difference)}{interval}"


def _signed(number: float) -> str:
    return f"{number:+.3g}".replace("-", "−")


def _finish(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("samples")
    axes.legend(**_LEGEND, ncols=2)


def _edges(values: Sequence[float]) -> list[float]:
    """Return edges of bars as wide as Freedman and Diaconis (1981) advise, of which one is at 0, like the axis."""
    import numpy as np

    low, high = min(values), max(values)
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)  # values that differ by rounding are one bar
    advised = float(np.diff(np.histogram_bin_edges(values, "fd")[:2])[0])
    width = min(max(advised, span / _MOST_BARS), span / _FEWEST_BARS)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return [place * width for place in range(first, last + 1)]
