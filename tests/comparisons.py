"""Rows and results of comparisons with plausible numbers; shared by tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from spectra.results.comparison import ComparedModel, Comparison, Finding, Intruder, MatrixComparison
from spectra.results.matrix_comparison import change_key
from spectra.results.records import LayerDiagnostics, LayerStatus, ModelInfo, SkippedTensor
from spectra.results.settings import AnalysisSettings

_LAYER = {
    "kind": "linear",
    "dtype": "float32",
    "is_transposed": False,
    "num_rows": 48,
    "num_cols": 32,
    "num_matrices": 1,
    "num_params": 1536,
    "aspect_ratio": 1.5,
    "num_eigenvalues": 32,
    "status": LayerStatus.OK,
    "alpha": 3.1,
    "alpha_std_error": 0.1,
    "ks_distance": 0.05,
    "fit_quality": "good",
    "num_tail": 20,
    "stable_rank": 9.0,
    "frobenius_norm": 8.0,
}
_ROW = {
    "model": "tuned",
    "kind": "linear",
    "num_rows": 48,
    "num_cols": 32,
    "num_eigenvalues": 32,
    "num_params": 1536,
    "norm_before": 8.0,
    "norm_change": 0.5,
    "rounding": 1e-6,
    "scale": 1.0,
    "scale_share": 0.01,
    "change_spectral_norm": 0.4,
    "change_stable_rank": 1.5,
    "change_effective_rank": 1.8,
    "change_rank": 2,
    "energy": {1: 0.64, 2: 1.0},
    "num_directions": 3,
    "principal_angles_left": (0.0, 0.01, 0.5),
    "principal_angles_right": (0.0, 0.02, 0.25),
    "intruders": (Intruder(position=2, singular_value=1.25, similarity=0.3),),
    "findings": (Finding.LOW_RANK, Finding.INTRUDERS),
    "verdict": "rank 2, 1 intruder",
}
_EQUAL = {
    "norm_change": 0.0,
    "rounding": 0.0,
    "change_spectral_norm": 0.0,
    "change_rank": 0,
    "num_directions": 0,
    "scale_share": float("nan"),
    "change_stable_rank": float("nan"),
    "change_effective_rank": float("nan"),
    "energy": {},
    "principal_angles_left": (),
    "principal_angles_right": (),
    "intruders": (),
    "findings": (Finding.UNCHANGED,),
    "verdict": "unchanged",
    "status": "unchanged",
}


def layer_of(name: str = "layers.0.fc", **changes: Any) -> LayerDiagnostics:
    """A row of an analysis; keyword arguments replace columns."""
    return LayerDiagnostics(**{**_LAYER, "layer_name": name, "matrix_name": name, **changes})


def row_of(name: str = "layers.0.fc", **changes: Any) -> MatrixComparison:
    """A matrix that changed by rank 2; keyword arguments replace fields."""
    layers = {"before": layer_of(name), "after": layer_of(name, alpha=2.6, stable_rank=8.0)}
    return MatrixComparison(**{**_ROW, **layers, "layer_name": name, "matrix_name": name, **changes})


def equal_row_of(name: str = "layers.1.fc", **changes: Any) -> MatrixComparison:
    """A matrix that did not change."""
    return row_of(name, **{**_EQUAL, "after": layer_of(name), **changes})


def comparison_of(*rows: MatrixComparison, **changes: Any) -> Comparison:
    """A comparison of the models that the rows name, with spectra and directions of those that changed."""
    names = list(dict.fromkeys(row.model for row in rows))
    usual = {
        "base": ModelInfo("base", "models/base", "safetensors", "f" * 64),
        "models": tuple(ComparedModel(name=name, location=f"runs/{name}") for name in names),
        "settings": AnalysisSettings(),
        "skipped": (SkippedTensor("head.bias_table", (3, 3, 3), "int64", "no floating point"),),
        "environment": {"spectra": "0", "seconds": 1.0},
        "changes": {key: array for row in rows if row.is_changed for key, array in _arrays(row).items()},
    }
    return Comparison(rows=rows, **{**usual, **changes})


def _arrays(row: MatrixComparison) -> dict[str, Any]:
    arrays = {
        "eigenvalues": np.array([0.09, 0.16]),
        "left": np.eye(row.num_rows)[:, :2],
        "singular_values": np.array([0.4, 0.3]),
        "right": np.eye(row.num_cols)[:, :2],
    }
    return {change_key(row.model, row.matrix_name, part): array for part, array in arrays.items()}
