"""Comparison of saved analyses: metrics before and after, where there are no weights to subtract."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from spectra.diagnose.analyze import analyze
from spectra.diagnose.compared_models import unique_names
from spectra.diagnose.verdicts import judged
from spectra.errors import InputError
from spectra.results.comparison import METRICS_ONLY, NO_COUNTERPART, ComparedModel, Comparison, MatrixComparison
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings, SettingsChanges
from spectra.results.store import load
from spectra.results.writing import REPORT
from spectra.sources.difference import matched_names
from spectra.sources.pairs import is_adapter
from spectra.sources.training_checkpoints import step_of

if TYPE_CHECKING:
    from spectra.sources.open import Model

_NOTE = "saved analyses hold no weights: metrics are compared, and nothing is known of the changes"
# What may differ between analyses whose numbers are compared: which layers there are, where randomness starts, and which part
# of an adapter was analysed, which is then a model like any other.
_MAY_DIFFER = ("include", "exclude", "kinds", "seed", "lora")


def is_report(model: Model | Report) -> TypeGuard[Report | str | os.PathLike[str]]:
    """Tell saved analyses from models.

    Args:
        model: What a user calls a model.

    Returns:
        Whether it is a report, or the folder of one.
    """
    if isinstance(model, str | os.PathLike):
        return (Path(model).expanduser() / REPORT).is_file()
    return isinstance(model, Report)


def compare_reports(base: Model | Report, others: Sequence[Model | Report], *, over_time: bool) -> Comparison:
    """Compare the metrics of analyses; what is no saved one yet is analysed with the same settings.

    Args:
        base: An analysis, its folder, or a model.
        others: Likewise. At least one of all is an analysis.
        over_time: They are of checkpoints of one run, in order.

    Returns:
        The comparison, without norms, spectra and directions of changes.

    Raises:
        InputError: Analyses of different settings, or without a layer in common.
        ResultsError: A folder that cannot be read.
    """
    models = (base, *others)
    saved = [_loaded(model) if is_report(model) else None for model in models]
    settings = next(report.settings for report in saved if report is not None)
    reports = [report or _analyzed(model, settings) for model, report in zip(models, saved, strict=True)]
    first, rest = reports[0], reports[1:]
    locations = [_location(model, report) for model, report in zip(models, reports, strict=True)]
    names = unique_names(first.model.name, [(r.model.name, place) for r, place in zip(rest, locations[1:], strict=True)])
    rows = []
    for report, name in zip(rest, names, strict=True):
        _check_settings(first, report)
        rows += _rows(first.layers, report.layers, name, locations[0])
    return Comparison(
        base=first.model,
        models=tuple(
            ComparedModel(name=name, location=place, step=step_of(place), fingerprint=report.model.fingerprint)
            for name, place, report in zip(names, locations[1:], rest, strict=True)
        ),
        rows=tuple(rows),
        settings=first.settings,
        over_time=over_time,
        base_step=step_of(locations[0]),
        skipped=first.skipped,
        notes=(*first.model.notes, _NOTE),
    )


def _loaded(model: Report | str | os.PathLike[str]) -> Report:
    return model if isinstance(model, Report) else load(model)


def _analyzed(model: Model | Report, settings: AnalysisSettings) -> Report:
    assert not isinstance(model, Report)
    wanted = {name: getattr(settings, name) for name in SettingsChanges.__annotations__}
    wanted["lora"] = "merged" if is_adapter(model) else None
    return analyze(model, profile=settings.profile, **wanted)


def _location(model: Model | Report, report: Report) -> str:
    return os.fspath(model) if isinstance(model, str | os.PathLike) else report.model.location


def _check_settings(first: Report, second: Report) -> None:
    ours, theirs = first.settings.to_dict(), second.settings.to_dict()
    changed = [name for name in ours if ours[name] != theirs[name] and name not in _MAY_DIFFER]
    if changed:
        words = "; ".join(f"{name} {ours[name]!r} and {theirs[name]!r}" for name in changed)
        raise InputError(
            f"the analyses of '{first.model.name}' and '{second.model.name}' have different settings ({words}), so that their "
            "numbers cannot be compared. Run 'spectra analyze' again with equal ones, or compare the models."
        )


def _rows(
    ours: Sequence[LayerDiagnostics], theirs: Sequence[LayerDiagnostics], model: str, base: str
) -> list[MatrixComparison]:
    known = {layer.matrix_name: layer for layer in theirs}
    pairs = matched_names(_shapes(theirs), _shapes(ours))
    of_base = {name: known[other] for other, name in pairs.items()}
    if not of_base:
        raise InputError(f"the analyses of '{base}' and '{model}' have no matrix in common. Give two of models that are alike.")
    return [_row(layer, of_base.get(layer.matrix_name), model) for layer in ours]


def _row(before: LayerDiagnostics, after: LayerDiagnostics | None, model: str) -> MatrixComparison:
    shared = ("layer_name", "matrix_name", "kind", "num_rows", "num_cols", "num_eigenvalues", "num_params")
    reason = "" if after else f"'{model}' has no such matrix"
    row = MatrixComparison(
        model=model,
        status=METRICS_ONLY if after else NO_COUNTERPART,
        notes=reason,
        before=before,
        after=after,
        **{name: getattr(before, name) for name in shared},
    )
    return judged(row)


def _shapes(layers: Sequence[LayerDiagnostics]) -> Mapping[str, tuple[int, int]]:
    return {layer.matrix_name: (layer.num_rows, layer.num_cols) for layer in layers}
