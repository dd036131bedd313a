"""Alpha along the depth of a model, one series per kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report.figures.depth import Place, name_the_depths, places
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, look
from spectra.report.figures.style import new_figure, style
from spectra.results.records import LayerDiagnostics, LayerStatus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report


@dataclass(frozen=True)
class _Point:
    role: str
    place: Place
    layer: LayerDiagnostics


def alpha_by_depth(report: Report, *, wide: bool = False) -> Figure:
    """Draw the fitted exponent of every layer against its depth, by kind of layer.

    Where most layers stand in one numbered stack of blocks (a transformer), depth is the block's number, embeddings stand
    before and heads after the stack; elsewhere depth is the layer's place in the model. Doubtful fits are hollow. The band
    between 2 and 6 is where well-trained layers are found.

    Args:
        report: Any report.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No layer was fitted.
    """
    points, depth_label = _points(report.layers)
    if not points:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no alpha to draw.")
    roles = list(dict.fromkeys(point.role for point in points))
    with style():
        figure, axes = new_figure(wide=wide, aspect=aspect(roles, wide=wide))
        if not report.settings.inverse:  # where well-trained layers are: known of eigenvalues, not of their inverses
            axes.axhspan(2.0, 6.0, color="0.93", zorder=0, linewidth=0)
        for number, role in enumerate(roles):
            series = [point for point in points if point.role == role]
            draw_along_depth(
                axes,
                *look(number),
                role,
                [point.place for point in series],
                [point.layer.alpha for point in series],
                bars=[(point.layer.alpha_std_error,) * 2 for point in series],
                hollow=[point.layer.fit_quality == "poor" for point in series],
            )
        axes.set_xlabel(depth_label)
        axes.set_ylabel(r"power-law exponent $\alpha$" + (r" of $1/\lambda$" if report.settings.inverse else ""))
        axes.set_ylim(bottom=min(1.0, min(point.layer.alpha for point in points)))
        name_the_depths(axes, [point.place for point in points])
        axes.set_title(report.model.name, loc="left", parse_math=False)
        add_legend(figure, axes, wide=wide)
    return figure


def _points(layers: Sequence[LayerDiagnostics]) -> tuple[list[_Point], str]:
    fitted = [(number, layer) for number, layer in enumerate(layers, 1) if layer.status == LayerStatus.OK]
    placed, label = places(
        [_weight_name(layer) for _, layer in fitted],
        is_input=[layer.kind == "embedding" for _, layer in fitted],
        numbers=[number for number, _ in fitted],
    )
    return [_Point(_role(layer, place), place, layer) for (_, layer), place in zip(fitted, placed, strict=True)], label


def _weight_name(layer: LayerDiagnostics) -> str:
    """Name a series: the parts of a fused weight are several, all experts and all heads of a weight are one."""
    if layer.stack:
        return layer.stack
    part = layer.part.split(" ")[0]  # 'q', or 'q head 3'
    return f"{layer.layer_name}.{part}" if part.isidentifier() and part != "head" else layer.layer_name


def _role(layer: LayerDiagnostics, place: Place) -> str:
    if place.role:
        return place.role
    return layer.layer_name if place.is_end and layer.kind != "embedding" else layer.kind
