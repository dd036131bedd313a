"""How the metrics of a training run went on the data it is evaluated on, and where they ended on the test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.losses import LOSS, draw_series, finish_steps
from spectra.report.figures.series import look
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.run_metrics import EVAL, TEST, LogLine, metric_names, series
from spectra.results.run_record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAR: dict[str, Any] = {"marker": "*", "markersize": 8, "linestyle": "none", "clip_on": False, "zorder": 4}
_MOST_LINES = 6  # of a panel: more cannot be told apart
_FEW = 4  # entries of a legend that lines leave room for
_MORE_PANELS = 0.45  # height over column width, of each panel beyond the first


@dataclass(frozen=True)
class MetricSeries:
    """Values of a metric by step: those of evaluations, and the one on the test data."""

    evaluated: Mapping[int, float]
    tested: Mapping[int, float]


def metrics(lines: Sequence[LogLine], record: RunRecord | None = None, *, wide: bool = False) -> Figure:
    """Draw metrics of evaluations against the optimizer steps, and the values on the test data as stars.

    Stars stand at the step whose weights were kept. Metrics of shares and correlations, none above 1, stand in one panel; any
    other has one of its own. Losses are in the figure of losses.

    Args:
        lines: Of a run's log, which may be under way.
        record: Of the run, where it is finished.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No metric is logged yet.
    """
    from matplotlib.figure import Figure

    series_of = metric_series(lines, record)
    if not series_of:
        raise InputError(
            "this log holds no metric of an evaluation yet, so that there is nothing to draw. Try again after one; a run "
            "without data.eval and data.test has none."
        )
    groups = metric_panels(series_of)
    with style():
        height = 0.72 + _MORE_PANELS * (len(groups) - 1)
        figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * height), layout="constrained")
        panels = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
        for axes, group in zip(panels, groups, strict=True):
            for name in group:
                number = group.index(name) if len(series_of) > _MOST_LINES else list(series_of).index(name)
                _draw(axes, name, series_of[name], *look(number))
            words = {name.rpartition("_")[2] for name in group}
            axes.set_ylabel(group[0] if len(group) == 1 else words.pop() if len(words) == 1 else "metric")
            _add_legend(axes)
        finish_steps(panels[-1], [step for one in series_of.values() for step in (*one.evaluated, *one.tested)])
    return figure


def metric_series(lines: Sequence[LogLine], record: RunRecord | None) -> dict[str, MetricSeries]:
    """Gather the numbers of each metric that is no loss.

    Args:
        lines: Of a run's log.
        record: Of the run, where it is finished.

    Returns:
        By the metric's name, without the prefix of its data set.
    """
    tested = {} if record is None else record.test_metrics
    kept = 0 if record is None else record.best_step or record.num_steps
    names = metric_names([name for line in lines for name in line.numbers], EVAL) + metric_names(tested, TEST)
    return {
        name: MetricSeries(series(lines, EVAL + name), {kept: tested[TEST + name]} if TEST + name in tested else {})
        for name in dict.fromkeys(names)
        if name != LOSS and not name.endswith(f"_{LOSS}")
    }


def metric_panels(series_of: Mapping[str, MetricSeries]) -> list[list[str]]:
    """Put what is at most 1 together, by the last word of its name if there are many, and everything else by itself.

    Args:
        series_of: Metrics by name.

    Returns:
        Names of each panel.
    """
    alike = [
        name for name, one in series_of.items() if all(abs(v) <= 1.0 for v in (*one.evaluated.values(), *one.tested.values()))
    ]
    together = [alike] if len(alike) <= _MOST_LINES else _by_last_word(alike)
    return [group for group in (*together, *([name] for name in series_of if name not in alike)) if group]


def _by_last_word(names: Sequence[str]) -> list[list[str]]:
    """Group ``accuracy``, ``books_accuracy``, ..., ``f1``, ``books_f1``, ...: tasks by their metrics."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("_")[2], []).append(name)
    return list(groups.values())


def _draw(axes: Any, name: str, one: MetricSeries, color: str, marker: str) -> None:
    label = name
    for step, value in one.tested.items():
        label = f"{name} (test {value:.3g})"
        axes.plot([step], [value], color=color, label="_test", **_STAR)
    draw_series(axes, one.evaluated, label=label, color=color, marker=marker)
    if not one.evaluated:
        axes.plot([], [], color=color, label=label)


def _add_legend(axes: Any) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if any(line.get_label() == "_test" for line in axes.get_lines()):
        handles, labels = [*handles, Line2D([], [], color="0.4", **_STAR)], [*labels, "test"]
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(handles) > _FEW else {}
    for text in axes.legend(handles, labels, **beside).get_texts():  # names of tasks are no formulas
        text.set_parse_math(False)
