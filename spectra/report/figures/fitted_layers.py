"""The fitted layers of a report, each with its role within its block and its place along the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from spectra.report.figures.depth import places
from spectra.report.figures.matrix_places import PlacedMatrix, role_of
from spectra.results.records import LayerDiagnostics, LayerStatus

FittedLayer: TypeAlias = PlacedMatrix[LayerDiagnostics]


def fitted_layers(layers: Sequence[LayerDiagnostics]) -> tuple[list[FittedLayer], str]:
    """Place the fitted layers of a report along the depth of its model.

    The parts of a fused weight have a role each; all experts, and all heads, of a weight share one.

    Args:
        layers: Rows of a report.

    Returns:
        Those with a fit, in the order of the model, and what the axis of depth is called.
    """
    fitted = [(number, layer) for number, layer in enumerate(layers, 1) if layer.status == LayerStatus.OK]
    placed, label = places(
        [_weight_name(layer) for _, layer in fitted],
        is_input=[layer.kind == "embedding" for _, layer in fitted],
        numbers=[number for number, _ in fitted],
    )
    return [FittedLayer(role_of(layer, place), place, layer) for (_, layer), place in zip(fitted, placed, strict=True)], label


def _weight_name(layer: LayerDiagnostics) -> str:
    """Name a series: the parts of a fused weight are several, all experts and all heads of a weight are one."""
    if layer.stack:
        return layer.stack
    part = layer.part.split(" ")[0]  # 'q', or 'q head 3'
    return f"{layer.layer_name}.{part}" if part.isidentifier() and part != "head" else layer.layer_name
