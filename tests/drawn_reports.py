"""Reports whose every number is given by a formula, so that figures of them are the same on all machines; shared by tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spectra.diagnose.summary import summarize
from spectra.results.records import LayerDiagnostics, ModelInfo
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings
from tests.layer_rows import row

SIZE, TAIL = 60, 20  # eigenvalues of a layer, and those from xmin on


def spectrum(alpha: float, scale: float = 1.0) -> np.ndarray:
    """Quantiles of a Pareto law over a bulk of equal steps, ascending."""
    bulk = np.arange(1, SIZE - TAIL + 1) / (SIZE - TAIL + 1)
    tail = [(1.0 - (i + 0.5) / TAIL) ** (-1.0 / (alpha - 1.0)) for i in range(TAIL)]
    return scale * np.concatenate([bulk, tail])


def fitted_row(name: str, alpha: float, *, is_poor: bool = False, **columns: Any) -> LayerDiagnostics:
    """A row whose fit is the law of its spectrum; without alpha it has none."""
    values = spectrum(alpha if math.isfinite(alpha) else 2.0)
    fit = {"xmin": 1.0, "xmax": float(values[-1]), "num_tail": TAIL, "ks_distance": 0.3 if is_poor else 0.05}
    fit |= {"alpha_std_error": (alpha - 1.0) / math.sqrt(TAIL), "fit_quality": "poor" if is_poor else "good"}
    known = {"num_rows": 90, "num_cols": SIZE, "num_eigenvalues": SIZE, "num_null": 0, "lambda_max": float(values[-1])}
    known |= {"alpha_weighted": alpha * math.log10(values[-1])}
    return row(name, alpha, **(known | (fit if math.isfinite(alpha) else {}) | columns))


def report_of(rows: Sequence[LayerDiagnostics], *, name: str = "toy", **settings: Any) -> Report:
    """A report of these rows."""
    return Report(
        model=ModelInfo(name=name, location=name, format="mapping", fingerprint="ab" * 32),
        layers=tuple(rows),
        skipped=(),
        summary=summarize(rows, []),
        settings=AnalysisSettings(**settings),
        environment={},
        spectra={layer.matrix_name: spectrum(layer.alpha if math.isfinite(layer.alpha) else 2.0) for layer in rows},
    )


def transformer_report(num_blocks: int = 3, **settings: Any) -> Report:
    """Blocks of three kinds of layer between an embedding and a head; the values grow doubtful with the depth."""
    rows = [fitted_row("embed", 1.75, kind="embedding")]
    for block in range(num_blocks):
        rows += [
            fitted_row(f"layers.{block}.attn.query", 2.5 + 0.5 * block),
            fitted_row(f"layers.{block}.attn.value", 4.0 + block, is_poor=block > 1),
            fitted_row(f"layers.{block}.mlp.up", 3.25 - 0.25 * block),
        ]
    return report_of([*rows, fitted_row("head", 7.0), fitted_row("scale", math.nan)], **settings)
