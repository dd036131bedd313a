"""The rows of a plan's weights, computed wherever and in whatever order → the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.diagnose.plan import AnalysisPlan
from spectra.diagnose.summary import summarize, summarize_experts
from spectra.esd.eigenvalues import FloatArray
from spectra.results.records import FAILURES, LayerDiagnostics, ModelInfo, SkippedTensor
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings

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
    ordered = {job.matrix_name: done[job.matrix_name] for job in plan.jobs}
    return assembled(ordered, plan.skipped, plan.settings, model, environment, is_part=plan.is_part)


def assembled(
    ordered: Mapping[str, Diagnosed],
    skipped: tuple[SkippedTensor, ...],
    settings: AnalysisSettings,
    model: ModelInfo,
    environment: Mapping[str, Any],
    *,
    is_part: bool = False,
) -> Report:
    """Put rows together, whether or not the model is at hand.

    Args:
        ordered: By matrix name, in model order: each row, and its spectrum or ``None``.
        skipped: What was not analysed.
        settings: Of the analysis.
        model: Which model.
        environment: How the result was made.
        is_part: A shard keeps the rows of all of its experts: their summary is made of those of all shards.

    Returns:
        The report.
    """
    layers = tuple(row for row, _ in ordered.values())
    return Report(
        model=model,
        layers=tuple(layer for layer in layers if settings.moe != "summary" or is_part or _stays(layer)),
        experts=summarize_experts(layers),
        skipped=skipped,
        summary=summarize(layers, skipped),
        settings=settings,
        environment=dict(environment),
        spectra={name: values for name, (_, values) in ordered.items() if values is not None},
    )


def _stays(layer: LayerDiagnostics) -> bool:
    """Keep what is no expert, and experts that failed: a summary does not name them."""
    return layer.expert is None or layer.status in FAILURES
