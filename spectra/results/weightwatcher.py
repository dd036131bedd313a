"""A report in WeightWatcher's words: the column names and units of the table of WeightWatcher 0.7.7.

Run the analysis with ``profile="weightwatcher"`` to get its numbers as well. What stays different: a layer without a fit
has NaN where WeightWatcher writes -1, and ``layer_id`` numbers the rows of the table (its own numbering counts modules that
have no weights, and differs between a model and its state dict).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from spectra.results.records import LayerDiagnostics, LayerStatus

_COLUMNS = {f.metadata["weightwatcher"]: f.name for f in dataclasses.fields(LayerDiagnostics) if f.metadata["weightwatcher"]}
_LAYER_TYPES = {"linear": "dense"}  # where the words differ


def weightwatcher_rows(layers: Sequence[LayerDiagnostics]) -> list[dict[str, Any]]:
    """Rename and convert the rows of a report.

    Args:
        layers: Of a report.

    Returns:
        One dictionary per layer, in WeightWatcher's column order.
    """
    return [_row(number, layer) for number, layer in enumerate(layers)]


def _row(number: int, layer: LayerDiagnostics) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer_id": number,
        "name": layer.layer_name.rsplit(".", 1)[-1],
        "layer_type": "conv1d" if layer.is_transposed else _LAYER_TYPES.get(layer.kind, layer.kind),
        "N": max(layer.num_rows, layer.num_cols),
        "M": min(layer.num_rows, layer.num_cols),
        "has_esd": True,
        "lambda_max": layer.lambda_max,
    }
    row |= {theirs: getattr(layer, ours) for theirs, ours in _COLUMNS.items()}
    row["status"] = "success" if layer.status == LayerStatus.OK else "failed"
    leading = ["layer_id", "name"]
    return {key: row[key] for key in leading + sorted(set(row) - set(leading))}
