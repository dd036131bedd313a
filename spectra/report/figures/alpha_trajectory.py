"""How alpha moved in training: every layer over the epochs, coloured by its depth, and by how much it has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.depth import Place, places
from spectra.report.figures.lines_by_depth import add_depth_bar, depth_colors, draw_lines
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.run_spectra import RunSpectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_ASPECT = 1.2  # height over column width


def alpha_trajectory(spectra: Sequence[RunSpectra], *, wide: bool = False) -> Figure:
    """Draw alpha of every layer against the epochs, and below its change since before training.

    Layers are those whose fit is reliable in all analyses: a doubtful one jumps from one tail to another, and would hide what
    the others do. Where there is none, as in tiny models, all fits are drawn. Each mark of the mean, in black, is an analysis.

    Args:
        spectra: Of a run, by time.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: Fewer than two analyses, or no layer that was fitted in all of them.
    """
    from matplotlib.figure import Figure

    names, is_reliable = followed_layers(spectra)
    if len(spectra) < 2 or not names:
        raise InputError(
            "a trajectory needs two analyses of a run, and a layer that was fitted in both: training with diagnostics.spectra "
            "'epoch' or 'ends' records them."
        )
    rows = [{layer.matrix_name: layer for layer in one.report.layers} for one in spectra]
    alphas = np.array([[row[name].alpha for name in names] for row in rows])
    placed, label = places([rows[0][name].layer_name for name in names])
    epochs = [one.epoch for one in spectra]
    with style():
        size = (TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * _ASPECT)
        figure = Figure(figsize=size, layout="constrained")
        levels, changes = figure.subplots(2, sharex=True)
        colors = depth_colors(placed)
        _draw(levels, epochs, alphas, placed, colors)
        _draw(changes, epochs, alphas - alphas[0], placed, colors)
        levels.set_ylabel(r"power-law exponent $\alpha$")
        changes.set_ylabel("change since before")
        changes.set_xlabel("epoch")
        changes.xaxis.get_major_locator().set_params(integer=max(epochs) >= 1.0)
        kind = "reliable" if is_reliable else "doubtful"
        levels.set_title(f"{kind} fits of {len(names)} of {len(rows[0])} layers", loc="left")
        _add_legend(levels)
        add_depth_bar(figure, [levels, changes], placed, colors, label)
    return figure


def followed_layers(spectra: Sequence[RunSpectra]) -> tuple[list[str], bool]:
    """Choose the layers whose alpha is followed.

    Args:
        spectra: Of a run, by time.

    Returns:
        Those whose fit is reliable in all analyses; where there is none, those that were fitted in all; and whether they are
        reliable.
    """
    reliable = _names(spectra, {"good"})
    return reliable or _names(spectra, {"good", "poor"}), bool(reliable)


def _names(spectra: Sequence[RunSpectra], qualities: set[str]) -> list[str]:
    """Return the layers whose fit has one of these qualities in all analyses."""
    found = [{layer.matrix_name for layer in one.report.layers if layer.fit_quality in qualities} for one in spectra]
    common = set.intersection(*found) if found else set()
    return [layer.matrix_name for layer in spectra[0].report.layers if layer.matrix_name in common] if common else []


def _add_legend(axes: Any) -> None:
    """Name the mean beside the title, where it hides no line; three dashes long, so that none is cut."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderpad=0.0, borderaxespad=0.2, handlelength=2.2)


def _draw(axes: Any, epochs: Sequence[float], values: FloatArray, placed: Sequence[Place], colors: Mapping[float, Any]) -> None:
    draw_lines(axes, epochs, values, placed, colors)
    axes.plot(epochs, values.mean(axis=1), color="black", linewidth=1.2, linestyle="--", marker=".", label="mean")
