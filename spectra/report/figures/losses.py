"""How the losses of a training run went: on what it is trained on, and on what it is evaluated on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, new_figure, style
from spectra.results.run_metrics import EVAL, LogLine, series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSS = "loss"

_FEW = 12  # points that are worth a mark each


def losses(lines: Sequence[LogLine], *, wide: bool = False) -> Figure:
    """Draw the loss in training and in evaluation against the optimizer steps.

    The loss of training is the mean over the steps since the line of the log before, with dropout at work; that of an
    evaluation is of the model at that step, without.

    Args:
        lines: Of a run's log, which may be under way.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No loss is logged yet.
    """
    trained, evaluated = series(lines, LOSS), series(lines, EVAL + LOSS)
    if not trained and not evaluated:
        raise InputError("this log holds no loss yet, so that there is nothing to draw. Try again after logging_steps.")
    with style():
        figure, axes = new_figure(wide=wide)
        draw_series(axes, trained, label="training", color=COLORS[0], marker="" if len(trained) > _FEW else ".")
        draw_series(axes, evaluated, label="evaluation", color=COLORS[1], marker="o")
        axes.set_ylabel("loss")
        finish_steps(axes, [*trained, *evaluated])
        axes.legend()
    return figure


def draw_series(axes: Any, values: Mapping[int, float], *, label: str, color: str, marker: str) -> None:
    """Draw numbers of a log; none are no line.

    Args:
        axes: Where.
        values: By step.
        label: For the legend.
        color: Of line and marks.
        marker: As matplotlib names it; a line of one point has one in any case.
    """
    if values:
        marker = marker or ("." if len(values) == 1 else "")
        axes.plot(list(values), list(values.values()), color=color, marker=marker, markersize=3, label=label)


def finish_steps(axes: Any, steps: Iterable[int]) -> None:
    """Label a horizontal axis of optimizer steps.

    Args:
        axes: Drawn.
        steps: On it, at least one.
    """
    axes.set_xlabel("optimizer step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(first_and_last := {min(steps := list(steps)), max(steps)}) == 1:  # matplotlib would count in hundredths of a step
        axes.set_xlim(min(first_and_last) - 1, max(first_and_last) + 1)
