"""The first thing that is read of a run: what came out, what ran, and whether it is over."""

from __future__ import annotations

from pathlib import Path

from spectra.report.html.run_state import RunState
from spectra.report.html.section import Figure, Section
from spectra.report.run_content import RunContent
from spectra.report.run_diagnostics import compared
from spectra.report.run_words import METHODS, first_metric, interval, recipe_part, results_table, what_came_out, what_ran
from spectra.results.run_metrics import EVAL, TEST
from spectra.results.run_spectra import AFTER, BEFORE
from spectra.results.words import counted


def section(run: RunState) -> Section:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        It is never missing.
    """
    content = run.content
    first, *rest = _finished(content) if content else _unfinished(run)
    headings, results = results_table(content.record) if content else ([], [])
    spectra = {one.name: one.report for one in run.files.spectra}
    values = {
        "lead": first,
        "second": rest,
        "is_finished": content is not None,
        "figures": _figures(content) if content else [],
        "headings": headings,
        "results": results,
        "compared": list(compared(spectra[BEFORE], spectra[AFTER])) if {BEFORE, AFTER} <= set(spectra) else [],
        "notes": [*_resumed(run), *(content.record.notes if content else ())],
    }
    return Section(name="run_summary", title="Summary", values=values)


def _finished(content: RunContent) -> list[str]:
    came_out = what_came_out(content) or ["The model was not evaluated: the recipe has neither data.eval nor data.test."]
    return [*came_out, what_ran(content.record, _file_name)]


def _file_name(path: str) -> str:
    """Leave out the folders of a path of this machine; a model's id stays whole."""
    return Path(path).name if Path(path).is_absolute() else path


def _unfinished(run: RunState) -> list[str]:
    recipe = run.files.recipe
    model = recipe_part(recipe, "model").get("name") or recipe.get("model") or "a model"
    method = str(recipe_part(recipe, "method").get("name") or recipe.get("method") or "plain")
    steps = f"{counted(run.last_step, 'step')} are logged" if run.last_step else "no step is logged yet"
    return [
        f"This run is not finished: {steps}.",
        f"It fine-tunes {model}{METHODS.get(method, f' by {method}')}. The same 'spectra finetune' command goes on with it; "
        "this page shows what there is so far.",
    ]


def _resumed(run: RunState) -> list[str]:
    times = [time.replace("T", " ").removesuffix("+00:00") for time in run.resumed_at]
    return [f"The run was stopped and taken up again: {', '.join(times)} (UTC)."] if times else []


def _figures(content: RunContent) -> list[Figure]:
    record = content.record
    figures = []
    for prefix, metrics, number, data in (
        (TEST, record.test_metrics, record.num_test, "test"),
        (EVAL, record.eval_metrics, record.num_eval, "evaluation"),
    ):
        name = first_metric(content, prefix)
        if name is not None:
            value = metrics[prefix + name]
            ends = interval(name, value, number)
            chance = f"95 % interval {ends[0]:.3f}–{ends[1]:.3f}" if ends else f"n = {number}"
            figures.append(Figure(f"{name[:1].upper()}{name[1:]}, {data}", f"{value:.4g}", chance))
    figures.append(Figure("Steps", f"{record.num_steps:,}", f"{record.num_epochs:.3g} epochs, {record.num_train:,} examples"))
    training = record.seconds.get("training", 0.0)
    figures.append(Figure("Training", _time(training), f"{record.diagnostics_share:.1%} of it for diagnostics"))
    return figures


def _time(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
