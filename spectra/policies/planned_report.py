"""The rows a plan is made of: those of a report that exists, or those of an analysis under the policy's own settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spectra.policies.units import ENDS
from spectra.results.records import FAILURES
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings
from spectra.results.store import is_result_folder, load
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.sources.open import Model

Progress = Callable[[Any], None]

_NAMED = 3  # layers in a note

# Settings that change the metrics of a row. What is left: which rows there are (a policy chooses among them itself), further
# columns, and the arithmetic, whose float32 changes alpha by 1e-6.
_CHANGE_METRICS = (
    "split_fused", "split_heads", "moe", "conv_mode", "lora", "conv_norm", "normalize", "subsample", "window_rows",
    "window_aspect", "windows_per_side", "xmin", "xmin_pos", "num_tail", "max_fingers", "finger_threshold", "min_evals",
    "inverse", "min_tail", "evals_threshold", "small_sample_rule",
)  # fmt: skip


def planned_report(
    model: Report | Model, analysis: Mapping[str, Any], progress: Progress | None = None
) -> tuple[Report, tuple[str, ...]]:
    """Find the rows for a plan.

    Args:
        model: A report, or its result folder: its rows are used as they are. Anything else that ``spectra.analyze`` takes is
            analysed.
        analysis: Settings that the policy asks for: a profile and changes to it.
        progress: As in ``spectra.analyze``.

    Returns:
        The report, and a note that names the settings in which a given one differs from those asked for.
    """
    from spectra.diagnose.profiles import resolve_settings

    found = _given_report(model)
    if found is not None:
        asked = resolve_settings(**{"profile": "default", **analysis})
        return found, _differences(found.settings, asked)
    from spectra.diagnose.analyze import analyze

    return analyze(model, progress=progress, **analysis), ()  # type: ignore[arg-type] # no report, as it is none


def layer_notes(report: Report, left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Say of the layers that a plan leaves out what may surprise.

    Args:
        report: Its rows.
        left_out: Why a layer enters no score.

    Returns:
        Sentences: which layers could not be analysed, and that "first" and "last" in a file are not those of the modules.
    """
    failed = [f"'{layer}' ({reason})" for layer, reason in left_out.items() if reason in FAILURES]
    ends = [f"'{layer}' ({reason})" for layer, reason in left_out.items() if reason in ENDS]
    notes = []
    if failed:
        verb = "has" if len(failed) == 1 else "have"
        named = ", ".join(failed[:_NAMED]) + (", ..." if len(failed) > _NAMED else "")
        notes.append(f"{counted(len(failed), 'layer')} {verb} no spectrum: {named}")
    if ends and report.model.format == "safetensors":
        notes.append(
            f"'first' and 'last' are those of the file, in which names stand in alphabetical order within a block: "
            f"{', '.join(ends)}. For the order of the modules plan the live model"
        )
    return tuple(notes)


def _given_report(model: Report | Model) -> Report | None:
    if isinstance(model, Report):
        return model
    if isinstance(model, str | os.PathLike) and is_result_folder(model):
        return load(model)  # an unfinished run is refused there
    return None


def _differences(settings: AnalysisSettings, asked: AnalysisSettings) -> tuple[str, ...]:
    """Say in one sentence which settings differ; a window that the policy leaves open differs from none."""
    pairs = {name: (getattr(settings, name), getattr(asked, name)) for name in _CHANGE_METRICS}
    different = {
        name: pair for name, pair in pairs.items() if pair[0] != pair[1] and not (name == "window_rows" and pair[1] is None)
    }
    if not different:
        return ()
    words = ", ".join(f"{name} {has!r} instead of {wants!r}" for name, (has, wants) in different.items())
    return (f"the report was made with other settings than the policy asks for: {words}",)
