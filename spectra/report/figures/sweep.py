"""The settings of a sweep: each run as a dot, their mean, and Student's interval of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.paired_difference import LEVEL
from spectra.results.sweep_record import SweepRecord
from spectra.results.sweep_summary import Mean, SweepSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _AROUND_ROWS = 0.24, 0.6  # inches
_RUN, _MEAN = "0.6", COLORS[0]


def sweep(record: SweepRecord, summary: SweepSummary, *, wide: bool = False) -> Figure:
    """Draw the metric of each setting, in the order in which they ran.

    Intervals are of each mean for itself: of differences, which are taken seed by seed, the tables tell more.

    Args:
        record: A sweep.
        summary: Of it.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No run is finished.
    """
    from matplotlib.figure import Figure

    metric = summary.metric
    if metric is None:
        raise InputError("no run of the sweep is finished, so that there is nothing to draw. The same command goes on with it.")
    names = [one.setting for one in summary.settings]
    size = (TEXT_WIDTH if wide else COLUMN_WIDTH, _AROUND_ROWS + _ROW * len(names))
    with style():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        runs = [run for run in record.runs if math.isfinite(run.metrics.get(metric, math.nan))]
        rows = [names.index(run.cell.setting) for run in runs]
        axes.plot([run.metrics[metric] for run in runs], rows, "o", color=_RUN, markersize=2.5, label="run")
        for row, one in enumerate(summary.settings):
            if metric in one.means:
                mean = one.means[metric]
                label = "mean, 95 % interval" if row == 0 else None
                axes.errorbar(mean.mean, row, xerr=_reach(mean), fmt="|", color=_MEAN, markersize=8, linewidth=1.0, label=label)
        axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{metric.replace('_', ' ')} ({'higher' if summary.higher_is_better else 'lower'} is better)")
        figure.legend(loc="outside upper right", ncols=2, borderaxespad=0.1, handlelength=1.2)
    return figure


def _reach(mean: Mean) -> float | None:
    """Return half of Student's interval."""
    if mean.std_error is None:
        return None
    from scipy.stats import t

    return float(t.ppf((1.0 + LEVEL) / 2.0, mean.num - 1)) * mean.std_error
