"""Analysing a model again and again in training: weights that are bit for bit as they were are not decomposed again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from spectra.diagnose.analyze import analyze
from spectra.diagnose.plan import AnalysisPlan, model_info, plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.summary import summarize, summarize_experts
from spectra.results.report import Report
from spectra.sources import Source, open_source
from spectra.sources.adapter import MERGED
from spectra.sources.adapter_module import has_adapters
from spectra.sources.tensors import StoredTensor

_READ_AT_ONCE = 2**22  # numbers


@dataclass(frozen=True)
class Analysis:
    """An analysis, and what tells whether a weight has changed since.

    Attributes:
        report: Of the analysis.
        digests: Of weights by the name of the matrix; of none where all weights are trained.
    """

    report: Report
    digests: Mapping[str, bytes]


def analyzed(model: nn.Module, *, earlier: Analysis | None = None) -> Analysis:
    """Analyse a model that is trained, with default settings.

    Numbers are those of :func:`spectra.analyze`. Where some weights are frozen, as under an adapter, all are read and those
    that are as they were have the rows of the earlier analysis. Reading costs in proportion to the number of weights, a
    spectrum to that times the smaller side.

    Args:
        model: Live; it is not changed. With adapters its effective weights are analysed: base and change.
        earlier: Of the same model.

    Returns:
        The analysis.

    Raises:
        SourceError: As :func:`spectra.analyze`.
    """
    mode: dict[str, Any] = {"lora": MERGED} if has_adapters(model) else {}
    if all(parameter.requires_grad for parameter in model.parameters()):
        return Analysis(analyze(model, **mode), {})
    source = open_source(model, **mode)
    plan = plan_analysis(source, resolve_settings("default", **mode))
    digests = _digests(plan)
    same = set() if earlier is None else digests.items() & earlier.digests.items()
    unchanged = {name for name, _ in same}
    changed = [job.matrix_name for job in plan.jobs if job.matrix_name not in unchanged]
    if earlier is None or not unchanged:
        return Analysis(analyze(model, **mode), digests)
    if not changed:
        return Analysis(earlier.report, digests)
    return Analysis(_joined(source, plan, earlier.report, analyze(model, include=changed, **mode)), digests)


def _digests(plan: AnalysisPlan) -> dict[str, bytes]:
    """Identify every number of the weights that can be read."""
    tensors = {job.tensor.name: job.tensor for job in plan.jobs}
    of_tensors = {name: _digest(one) for name, one in tensors.items() if one.size and not (one.unreadable or one.no_base)}
    return {job.matrix_name: of_tensors[job.tensor.name] for job in plan.jobs if job.tensor.name in of_tensors}


def _digest(tensor: StoredTensor) -> bytes:
    digest = hashlib.sha256()
    step = max(1, _READ_AT_ONCE // (tensor.size // tensor.shape[0]))
    for start in range(0, tensor.shape[0], step):
        digest.update(tensor.read(start, min(start + step, tensor.shape[0])).tobytes())
    return digest.digest()


def _joined(source: Source, plan: AnalysisPlan, earlier: Report, now: Report) -> Report:
    """Put rows of changed weights in the place of earlier ones."""
    rows = {row.matrix_name: row for row in (*earlier.layers, *now.layers)}
    layers = tuple(rows[job.matrix_name] for job in plan.jobs)
    spectra = {**earlier.spectra, **now.spectra}
    return dataclasses.replace(
        now,
        model=model_info(source, plan, revision=False),
        layers=layers,
        skipped=plan.skipped,
        summary=summarize(layers, plan.skipped),
        settings=plan.settings,
        experts=summarize_experts(layers),
        spectra={row.matrix_name: spectra[row.matrix_name] for row in layers if row.matrix_name in spectra},
    )
