"""A report in WeightWatcher's words: the column names and units of the table of WeightWatcher 0.7.7.

Run the analysis with ``profile="weightwatcher"`` to get its numbers as well. What stays different: a layer without a fit
has NaN where WeightWatcher writes -1, and ``layer_id`` numbers the rows of the table (its own numbering counts modules that
have no weights, and differs between a model and its state dict).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from spectra.results.records import LayerDiagnostics, LayerStatus, columns
from spectra.results.settings import AnalysisSettings, requested_groups

_NAMES = {f.name: f.metadata["weightwatcher"] for f in dataclasses.fields(LayerDiagnostics) if f.metadata["weightwatcher"]}
_LAYER_TYPES = {"linear": "dense"}  # where the words differ


def weightwatcher_rows(layers: Sequence[LayerDiagnostics], settings: AnalysisSettings) -> list[dict[str, Any]]:
    """Rename and convert the rows of a report.

    Args:
        layers: Of a report.
        settings: Of the report.

    Returns:
        One dictionary per layer, in WeightWatcher's column order.
    """
    ours = [name for name in columns(requested_groups(settings)) if name in _NAMES]
    return [_row(number, layer, ours, truncated=settings.truncated) for number, layer in enumerate(layers)]


def _row(number: int, layer: LayerDiagnostics, ours: Sequence[str], *, truncated: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer_id": number,
        "name": layer.layer_name.rsplit(".", 1)[-1],
        "layer_type": "conv1d" if layer.is_transposed else _LAYER_TYPES.get(layer.kind, layer.kind),
        "N": max(layer.num_rows, layer.num_cols),
        "M": min(layer.num_rows, layer.num_cols),
        "has_esd": True,
        "lambda_max": layer.lambda_max,
    }
    row |= {_NAMES[name]: getattr(layer, name) for name in ours}
    row["num_ERG_spikes"] = layer.num_erg  # one number, two names
    if "rand_num_spikes" in row:
        row["num_traps"] = layer.num_traps
    if truncated:  # there the truncated law takes the place of the power law
        row |= {"alpha": layer.tpl_alpha, "xmin": layer.tpl_xmin, "D": layer.tpl_ks_distance}
        row["alpha_weighted"] = layer.tpl_alpha * layer.log10_lambda_max
        row |= dict.fromkeys(("sigma", "num_pl_spikes", "log_alpha_norm", "ERG_gap"), math.nan)
        row["warning"] = ""
    row["status"] = "success" if layer.status == LayerStatus.OK else "failed"
    leading = ["layer_id", "name"]
    return {key: row[key] for key in leading + sorted(set(row) - set(leading))}
