"""Reports built without an analysis: random spectra for any number of layers, and names that would be markup; shared."""

from __future__ import annotations

from typing import Any

import numpy as np

from spectra.diagnose.summary import summarize
from spectra.results.records import LayerDiagnostics, LayerStatus, ModelInfo
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings
from tests.layer_rows import row

# Each would end an element, open one, or be a formula of plotly's labels, if it were not kept text.
HOSTILE = (
    "layers.0.<script>window.hacked=1</script>",
    'layers.1."><img src=x onerror="window.hacked=1">',
    "layers.2.</script><!--<script>",
    "layers.3.%{x}<b>$\\alpha$</b>&amp;{{ 7*7 }}",
    "layers.4.javascript:alert(1)/..#layer=?%zz'`",
)


def report_of(names: list[str], *, size: int = 64, seed: int = 0, with_bulk: bool = False, **settings: Any) -> Report:
    """A report in which every layer has a fit of invented quality; the alphas run from 1.5 to 7."""
    rng = np.random.default_rng(seed)
    spectra = {name: np.sort(rng.pareto(1.5, size) + 0.01) for name in names}
    alphas = np.linspace(1.5, 7.0, len(names)).tolist() if len(names) > 1 else [3.0]
    layers = tuple(_layer(name, alpha, spectra[name], with_bulk=with_bulk) for name, alpha in zip(names, alphas, strict=True))
    return Report(
        model=ModelInfo("toy", "toy", "mapping", "ab" * 32),
        layers=layers,
        skipped=(),
        summary=summarize(layers, ()),
        settings=AnalysisSettings(mp_fit=with_bulk, randomize=with_bulk, **settings),
        environment={"spectra": "0.1.0", "started_at": "2026-01-02T03:04:05+00:00"},
        spectra=spectra,
    )


def _layer(name: str, alpha: float, values: np.ndarray, *, with_bulk: bool) -> LayerDiagnostics:
    size, num_tail = len(values), len(values) // 4
    label = "over-trained" if alpha < 2.0 else "under-trained" if alpha > 6.0 else ""
    is_poor = 4.0 <= alpha < 4.5
    bulk = {"lambda_minus": 0.02, "lambda_plus": 3.0, "num_spikes": 4, "mp_quality": "poor", "mp_bulk_ks_distance": 0.1}
    random = {"rand_lambda_minus": 0.01, "rand_lambda_plus": 4.0, "rand_lambda_max": 4.1, "rand_distance": 0.2}
    return row(
        name, alpha, status=LayerStatus.OK, num_rows=size, num_cols=size, num_eigenvalues=size, num_params=size * size,
        alpha_std_error=(alpha - 1.0) / num_tail**0.5, xmin=float(values[-num_tail]), xmax=float(values[-1]), num_tail=num_tail,
        ks_distance=0.08, fit_quality="poor" if is_poor else "good", label="" if is_poor else label, num_null=0,
        notes="random-like tail, z 0.4 < 2" if is_poor else "", lambda_max=float(values[-1]),
        stable_rank=float(values.sum() / values[-1]), **(bulk | random if with_bulk else {}),
    )  # fmt: skip
