"""Rows and results of base shifts with plausible numbers; shared by tests."""

from __future__ import annotations

from typing import Any

from spectra.results.base_shift import BaseShift, MatrixChange

_ROW = {
    "kind": "linear",
    "num_rows": 48,
    "num_cols": 32,
    "num_eigenvalues": 32,
    "norm_before": 8.0,
    "norm_change": 0.5,
    "rounding": 1e-6,
    "stable_rank": 2.5,
    "effective_rank": 3.5,
    "matrix_rank": 30.0,
    "energy": {1: 0.4, 2: 0.6, 4: 0.8, 6: 0.85, 8: 0.9, 16: 0.95, 32: 1.0},
}


def change_of(name: str = "layers.0.fc", **changes: Any) -> MatrixChange:
    """A row; keyword arguments replace fields."""
    return MatrixChange(**{**_ROW, "layer_name": name, "matrix_name": name, **changes})


def base_shift_of(*matrices: MatrixChange, **changes: Any) -> BaseShift:
    """A result with these rows, of three tasks and adapters of rank 2."""
    usual = {"num_tasks": 3, "rank": 2, "top": (2, 6, 8)}
    return BaseShift(pretrained="models/base", retrained="runs/base", matrices=matrices, **{**usual, **changes})
