"""What DCS did over a training run: how unequal the sample weights became, and the samples that got the largest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.units import scale_multipliers
from spectra.results.hard_samples import HardSample, class_word
from spectra.results.sample_history import SampleHistory, WeightRound
from spectra.results.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_NUM_ROWS = 20  # of samples
_PANEL, _ROW, _AROUND_ROWS = 1.35, 0.135, 1.0  # inches
_UNDER_ROWS = 0.25  # inches, of a column: its bar of colours is narrower, and what it means takes a second line
_OUTER, _INNER = (0.01, 0.99), (0.1, 0.9)  # quantiles
_LINEAR_TO = 0.1  # weights under it, as boosting without bounds makes them, share one stretch of the axis with 0
_CELLS = "Blues"  # ordered, with any colour vision and in grey
_UNKNOWN = "0.85"
_SKIPPED = ("0.94", "0.86", "0.78")  # by reason; should there be more reasons, they share the last
_MOST_SEPARATED = 40  # rounds whose cells and markers can be told apart
_LONGEST_NAME = 14  # characters of a class
_OUTER_BAND, _INNER_BAND = "#BFDBEC", "#66AAD4"  # tints of the first colour
# Flush right above the axes: what is wider than they are reaches over the labels on the left, where nothing else is.
_LEGEND = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1, "handlelength": 1.4, "columnspacing": 1.0}


@dataclass(frozen=True)
class _Panels:
    shares: Any
    weights: Any
    samples: Any


def sample_weights(history: SampleHistory, *, wide: bool = False) -> Figure:
    """Draw the sample weights of a run, round by round.

    Three panels. The effective share of samples and the weighted discordance of each round, with the rounds that changed
    nothing in grey. Quantiles of the weights over the samples, and the largest weight. The 20 hardest samples, a row each:
    their discordance in each round, their weight, and what label and teacher say. A wide figure has the samples on the right,
    one of column width below.

    Args:
        history: As ``load_sample_history`` returns it.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No round is recorded yet.
    """
    if not history.rounds:
        raise InputError(
            "this sample history holds no round yet, so that there is nothing to draw. Try again after a pass over the data."
        )
    hardest = history.hardest(_NUM_ROWS)
    with style():
        figure, panels = _beside(len(hardest)) if wide else _below(len(hardest))
        edges = _edges(history.rounds)
        _draw_shares(panels.shares, history.rounds, edges)
        _draw_weights(panels.weights, history, edges)
        _draw_samples(panels.samples, history, hardest, edges)
        for axes in (panels.shares, panels.weights, panels.samples):
            axes.set_xlim(edges[0], edges[-1])
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        panels.shares.tick_params(labelbottom=False)
        panels.weights.set_xlabel("round")
        panels.samples.set_xlabel("round")
    return figure


def _beside(num_rows: int) -> tuple[Figure, _Panels]:
    from matplotlib.figure import Figure

    height = max(2.4 * _PANEL, _ROW * num_rows + _AROUND_ROWS)
    figure = Figure(figsize=(TEXT_WIDTH, height), layout="constrained")
    return figure, _panels(figure.subfigures(1, 2, width_ratios=(1.0, 1.15)))


def _below(num_rows: int) -> tuple[Figure, _Panels]:
    from matplotlib.figure import Figure

    heights = (2.4 * _PANEL, _ROW * num_rows + _AROUND_ROWS + _UNDER_ROWS)
    figure = Figure(figsize=(COLUMN_WIDTH, sum(heights)), layout="constrained")
    return figure, _panels(figure.subfigures(2, 1, height_ratios=heights))


def _panels(parts: Any) -> _Panels:
    """Fill two figures within the figure: each has margins of its own, as only samples have words beside them."""
    rounds, samples = parts
    shares, weights = rounds.subplots(2)
    return _Panels(shares, weights, samples.add_subplot())


def _edges(rounds: Sequence[WeightRound]) -> FloatArray:
    """Return where rounds begin and end on the axis, each around its number; one that stands for several begins earlier."""
    numbers = [each.number for each in rounds]
    before = 2 * numbers[0] - numbers[1] if len(numbers) > 1 else numbers[0] - 1
    return np.array([before, *numbers]) + 0.5


def _draw_shares(axes: Any, rounds: Sequence[WeightRound], edges: FloatArray) -> None:
    marker = "o" if len(rounds) <= _MOST_SEPARATED else ""
    numbers = [each.number for each in rounds]
    look = {"marker": marker, "markersize": 2.5}
    axes.plot(numbers, [each.ess for each in rounds], color=COLORS[0], label="effective sample share", **look)
    discordance = [each.eps for each in rounds]
    axes.plot(numbers, discordance, color=COLORS[1], linestyle=(0, (4, 1)), label=r"discordance $\epsilon$", **look)
    _shade_skipped(axes, rounds, edges)
    axes.set_ylim(0.0, 1.05)
    axes.set_ylabel("share")
    for text in axes.legend(**_LEGEND, ncols=2).get_texts()[2:]:
        text.set_parse_math(False)  # reasons are no formulas


def _shade_skipped(axes: Any, rounds: Sequence[WeightRound], edges: FloatArray) -> None:
    """Put rounds that changed nothing on grey, with a shade for each reason."""
    reasons = list(dict.fromkeys(each.skipped for each in rounds if each.skipped is not None))
    named: set[str] = set()
    for each, start, end in zip(rounds, edges, edges[1:], strict=False):
        if each.skipped is not None:
            shade = _SKIPPED[min(reasons.index(each.skipped), len(_SKIPPED) - 1)]
            label = None if each.skipped in named else f"skipped: {each.skipped}"
            axes.axvspan(start, end, color=shade, linewidth=0, zorder=0, label=label)
            named.add(each.skipped)


def _draw_weights(axes: Any, history: SampleHistory, edges: FloatArray) -> None:
    weights = history.weights_by_round
    lowest, low, median, high, highest = np.quantile(weights, (_OUTER[0], _INNER[0], 0.5, _INNER[1], _OUTER[1]), axis=1)
    largest = weights.max(axis=1)
    axes.stairs(highest, edges, baseline=lowest, fill=True, color=_OUTER_BAND, linewidth=0, label="1–99 %")
    axes.stairs(high, edges, baseline=low, fill=True, color=_INNER_BAND, linewidth=0, label="10–90 %")
    axes.stairs(median, edges, baseline=None, color="black", linewidth=1.2, label="median")
    axes.stairs(largest, edges, baseline=None, color="black", linewidth=0.8, linestyle=(0, (2, 1)), label="largest")
    _scale_weights(axes, float(lowest.min()), float(largest.max()))
    axes.set_ylabel("sample weight")
    axes.legend(**_LEGEND, ncols=4)


def _scale_weights(axes: Any, lowest: float, largest: float) -> None:
    if lowest >= _LINEAR_TO:
        scale_multipliers(axes, [lowest, largest])
        axes.set_ylim(min(0.5, 0.9 * lowest), max(2.0, 1.1 * largest))  # equal weights are a line in the middle
        return
    axes.set_yscale("symlog", linthresh=_LINEAR_TO, linscale=0.5)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0.0, max(2.0, 1.5 * largest))


def _draw_samples(axes: Any, history: SampleHistory, hardest: Sequence[HardSample], edges: FloatArray) -> None:
    """Draw discordances as cells, with the samples' words beside them and the meaning of the colours below."""
    table = np.ma.masked_invalid([sample.discordance for sample in hardest])
    rows = np.arange(len(hardest) + 1) - 0.5
    separated = {"edgecolors": "white", "linewidth": 0.5} if len(history.rounds) <= _MOST_SEPARATED else {}
    axes.set_facecolor(_UNKNOWN)
    cells = axes.pcolormesh(edges, rows, table, cmap=_CELLS, vmin=0.0, vmax=1.0, **separated)
    axes.set_ylim(rows[-1], rows[0])  # the hardest above
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(hardest)), [str(sample.index) for sample in hardest])
    axes.set_title(f"hardest of {counted(history.num_samples, 'sample')}", loc="left", pad=12)
    _write_beside(axes, history, hardest)
    unknown = "\n(grey: not known)" if np.ma.is_masked(table) else ""
    bar = axes.figure.colorbar(cells, ax=axes, location="bottom", ticks=(0.0, 0.5, 1.0), aspect=30, shrink=0.8, pad=0.03)
    bar.set_label(f"discordance{unknown}")
    bar.outline.set_linewidth(0.4)


def _write_beside(axes: Any, history: SampleHistory, hardest: Sequence[HardSample]) -> None:
    """Write weights and words in columns on the right, and what they are on top."""
    what = [name for name, known in (("label", history.labels), ("teacher", history.teacher_predictions)) if known is not None]
    across, on_top = axes.get_yaxis_transform(), (axes.transAxes, 2)
    _write(axes, 0.0, 1.0, -3, "sample", "right", *on_top)
    _write(axes, 1.0, 1.0, 28, "weight", "right", *on_top)
    _write(axes, 1.0, 1.0, 34, " → ".join(what), "left", *on_top)
    for row, sample in enumerate(hardest):
        words = " → ".join(_word(getattr(sample, name), history.class_names) for name in what)
        _write(axes, 1.0, row, 28, f"{sample.weight:.2f}", "right", across)
        _write(axes, 1.0, row, 34, words, "left", across)


def _write(axes: Any, x: float, y: float, offset: float, text: str, side: str, transform: Any, rise: float = 0.0) -> None:
    align = {"ha": side, "va": "bottom" if rise else "center", "fontsize": 6.5, "annotation_clip": False}
    axes.annotate(text, (x, y), (offset, rise), xycoords=transform, textcoords="offset points", parse_math=False, **align)


def _word(value: int | float | None, class_names: Sequence[str]) -> str:
    word = class_word(value, class_names)
    if isinstance(word, str):
        return word if len(word) <= _LONGEST_NAME else f"{word[: _LONGEST_NAME - 1]}…"
    return f"{word:.3g}" if isinstance(word, float) else str(word)
