"""Rows and results of model shifts with plausible numbers; shared by tests."""

from __future__ import annotations

from typing import Any

from spectra.results.model_shift import MatrixShift, ModelShift

_ROW = {
    "kind": "linear",
    "num_params": 2400,
    "norm_before": 8.0,
    "norm_change": 0.5,
    "alpha_before": 3.0,
    "alpha_after": 2.75,
    "alpha_std_error_before": 0.2,
    "alpha_std_error_after": 0.25,
    "ks_distance_before": 0.04,
    "ks_distance_after": 0.05,
    "fit_quality_before": "good",
    "fit_quality_after": "good",
    "stable_rank_before": 12.5,
    "stable_rank_after": 11.25,
    "spectral_norm_before": 2.0,
    "spectral_norm_after": 2.5,
}


def matrix_of(name: str = "layers.0.fc", **changes: Any) -> MatrixShift:
    """A row; keyword arguments replace fields."""
    return MatrixShift(**{**_ROW, "layer_name": name, "matrix_name": name, **changes})


def shift_of(*matrices: MatrixShift, **changes: Any) -> ModelShift:
    """A result with these rows."""
    usual = {"norm_before": 100.0, "norm_change": 1.25, "num_params": 9000, "num_unchanged": 5, "settings": {"xmin": "ks"}}
    return ModelShift(seed="models/seed", tuned="runs/tuned", matrices=matrices, **{**usual, **changes})
