"""Rows of a report as an analysis would give them, with invented numbers; shared by tests of policies."""

from __future__ import annotations

import math
from typing import Any

from spectra.results.records import LayerDiagnostics, LayerStatus


def row(layer_name: str, alpha: float = math.nan, **columns: Any) -> LayerDiagnostics:
    """A square dense layer; without alpha, one of too few eigenvalues."""
    status = LayerStatus.TOO_FEW_EVALS if math.isnan(alpha) else LayerStatus.OK
    known: dict[str, Any] = {
        "layer_name": layer_name, "matrix_name": layer_name, "kind": "linear", "dtype": "float32", "is_transposed": False,
        "num_rows": 10, "num_cols": 10, "num_matrices": 1, "num_params": 100, "aspect_ratio": 1.0, "num_eigenvalues": 10,
        "status": status, "alpha": alpha,
    }  # fmt: skip
    return LayerDiagnostics(**(known | columns))
