"""The rows of a plan's weights, computed wherever and in whatever order → the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.diagnose.plan import AnalysisPlan
from spectra.diagnose.summary import summarize, summarize_experts
from spectra.esd.eigenvalues import FloatArray
from spectra.results.records import FAILURES, LayerDiagnostics, ModelInfo
from spectra.results.report import Report

Diagnosed = tuple[LayerDiagnostics, FloatArray | None]


def report_of(plan: AnalysisPlan, model: ModelInfo, done: Mapping[str, Diagnosed], environment: Mapping[str, Any]) -> Report:
    """Put the rows of an analysis together.

    Args:
        plan: What was to be analysed.
        model: Which model.
        done: By matrix name, for every job of the plan: its row, and its spectrum or ``None``.
        environment: How the result was made.

    Returns:
        The report, in model order, whatever the order of ``done``.
    """
    layers = tuple(done[job.matrix_name][0] for job in plan.jobs)
    return Report(
        model=model,
        layers=tuple(layer for layer in layers if plan.settings.moe != "summary" or _stays(layer)),
        experts=summarize_experts(layers),
        skipped=plan.skipped,
        summary=summarize(layers, plan.skipped),
        settings=plan.settings,
        environment=dict(environment),
        spectra={job.matrix_name: values for job in plan.jobs if (values := done[job.matrix_name][1]) is not None},
    )


def _stays(layer: LayerDiagnostics) -> bool:
    """Keep what is no expert, and experts that failed: a summary does not name them."""
    return layer.expert is None or layer.status in FAILURES
