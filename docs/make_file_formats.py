"""Make the tables of docs/reference/file-formats.md: ``python docs/make_file_formats.py``, from a checkout.

They stand between markers, ``<!-- table NAME -->`` and ``<!-- end -->``, and come from the records that the files are written
from; a test keeps them up to date, and holds the keys of real files to them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.readme_tables import remade, table
from analysis.record_tables import in_markdown, meanings

PAGE = Path(__file__).parent / "reference" / "file-formats.md"


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, TABLES)


def keys(record: type[Any]) -> str:
    """Return the table of the keys that a record is written under."""
    said = meanings(record)
    return table(("key", "holds"), [(f"`{f.name}`", in_markdown(said[f.name])) for f in dataclasses.fields(record)]) + "\n"


def settings() -> str:
    """Return the table of the settings of an analysis, whose meanings are those of the flags."""
    from spectra.results.settings import AnalysisSettings

    rows = [(f"`{f.name}`", f"`{_default(f)}`", f.metadata["meaning"]) for f in dataclasses.fields(AnalysisSettings)]
    return table(("key", "default", "holds"), rows) + "\n"


def versions() -> str:
    """Return the table of the files that have a schema version."""
    from spectra.policies.dropout_plan import PLAN_SCHEMA_VERSION as DROPOUT_PLAN
    from spectra.policies.plan_record import PLAN_SCHEMA_VERSION as PLAN
    from spectra.results import (
        base_shift,
        comparison,
        data_shift,
        evaluation,
        fisher_records,
        fisher_spectrum,
        fleet,
        model_shift,
        records,
        run_record,
        sample_history,
        scale_log,
        selection_report,
        shards,
        surface,
        sweep_record,
        sweep_summary,
    )

    rows = [
        ("[a result folder](#a-result-folder)", records.SCHEMA_VERSION, "1, 2"),
        ("[a shard](#shards), `shard.json`", shards.SHARD_SCHEMA_VERSION, ""),
        ("[a fleet](#a-fleet), `fleet.json`", fleet.FLEET_SCHEMA_VERSION, ""),
        ("[a comparison](#a-comparison)", comparison.COMPARISON_SCHEMA_VERSION, ""),
        ("[a Fisher](#a-fisher-and-what-is-measured-with-it)", fisher_records.FISHER_SCHEMA_VERSION, ""),
        ("its spectrum", fisher_spectrum.SPECTRUM_SCHEMA_VERSION, ""),
        ("a loss surface", surface.SURFACE_SCHEMA_VERSION, ""),
        ("[a plan](#a-plan)", PLAN, ""),
        ("a dropout plan", DROPOUT_PLAN, ""),
        ("[a run](#the-folder-of-a-run), `results.json`", run_record.RUN_SCHEMA_VERSION, ""),
        ("a log of multipliers", scale_log.SCALE_LOG_SCHEMA_VERSION, ""),
        ("[a sample history](#a-sample-history)", sample_history.SAMPLE_HISTORY_SCHEMA_VERSION, ""),
        ("[a sweep](#the-folder-of-a-sweep), `sweep.json`", sweep_record.SWEEP_SCHEMA_VERSION, ""),
        ("its `summary.json`", sweep_summary.SWEEP_SUMMARY_SCHEMA_VERSION, ""),
        ("[a report on rewriting](#rewritten-responses)", selection_report.SELECTION_REPORT_SCHEMA_VERSION, ""),
        ("an evaluation", evaluation.EVALUATION_SCHEMA_VERSION, ""),
        ("a shift of data", data_shift.DATA_SHIFT_SCHEMA_VERSION, ""),
        ("a shift of a model", model_shift.MODEL_SHIFT_SCHEMA_VERSION, ""),
        ("[a base shift](#a-retrained-base)", base_shift.BASE_SHIFT_SCHEMA_VERSION, ""),
    ]
    return table(("file", "written", "read"), [(name, now, read or now) for name, now, read in rows]) + "\n"


def _record(path: str) -> Callable[[], str]:
    """Return what makes the table of a record; importing it waits until then."""

    def make() -> str:
        from importlib import import_module

        module, name = path.rsplit(".", 1)
        return keys(getattr(import_module(f"spectra.{module}"), name))

    return make


RECORDS = {
    "model": "results.records.ModelInfo",
    "summary": "results.records.Summary",
    "metric": "results.records.MetricSummary",
    "expert": "results.records.ExpertSummary",
    "skipped": "results.records.SkippedTensor",
    "shard": "results.shards.ShardRecord",
    "fleet": "results.fleet.FleetModel",
    "collected": "results.collection.CollectedRun",
    "comparison": "results.comparison.Comparison",
    "compared": "results.matrix_comparison.MatrixComparison",
    "plan": "policies.plan_record.Plan",
    "run": "results.run_record.RunRecord",
    "log_header": "results.scale_log.ScaleLogHeader",
    "log_record": "results.scale_log.ScaleRecord",
    "history": "results.sample_history.SampleHistory",
    "round": "results.weight_rounds.WeightRound",
    "cell": "results.sweep_record.SweepCell",
    "sweep": "results.sweep_summary.SweepSummary",
    "setting": "results.sweep_summary.SettingSummary",
    "difference": "results.paired_difference.PairedDifference",
    "rewritten": "results.distill_records.DistillRecord",
    "selection": "results.selection_report.SelectionReport",
    "evaluation": "results.evaluation.Evaluation",
    "answer": "results.answer_records.AnswerRecord",
    "data_shift": "results.data_shift.DataShift",
    "sample_shift": "results.shift_summary.SampleShift",
    "shift_summary": "results.shift_summary.ShiftSummary",
    "model_shift": "results.model_shift.ModelShift",
    "matrix_shift": "results.model_shift.MatrixShift",
    "divergence": "results.model_shift.Divergence",
    "base_shift": "results.base_shift.BaseShift",
    "change": "results.base_shift.MatrixChange",
    "retraining": "training.meta_peft.retraining_info.RetrainingInfo",
    "pruned": "training.pruning.outcome.PrunedLayer",
    "pruning": "training.pruning.outcome.PruneReport",
}
TABLES: dict[str, Callable[[], str]] = {
    "versions": versions,
    "settings": settings,
    **{name: _record(path) for name, path in RECORDS.items()},
}


def _default(field: dataclasses.Field[Any]) -> Any:
    return list(field.default) if isinstance(field.default, tuple) else field.default


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
