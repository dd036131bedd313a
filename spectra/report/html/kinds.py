"""The kinds of folders that a page is made of, and which sections each kind has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from spectra.errors import InputError
from spectra.report.html.content import PageContent, read_content
from spectra.report.html.run_state import RunState, is_run, read_run_state
from spectra.report.html.section import Page, Section
from spectra.report.html.sections import (
    alphas,
    comparison_settings,
    depth,
    fisher,
    layers,
    matrices,
    plan,
    run_layers,
    run_plans,
    run_recipe,
    run_scales,
    run_summary,
    run_training,
    settings,
    summary,
)
from spectra.report.html.sections import comparison as comparison_section
from spectra.results.comparison import Comparison
from spectra.results.comparison_store import load_comparison
from spectra.results.comparison_writing import COMPARISON
from spectra.results.writing import REPORT

OF_ANALYSIS: tuple[Callable[[PageContent], Section | None], ...] = (
    summary.section,
    depth.section,
    layers.section,
    fisher.section,
    plan.section,
    settings.section,
)
OF_RUN: tuple[Callable[[RunState], Section | None], ...] = (
    run_summary.section,
    run_training.section,
    run_scales.section,
    alphas.section,
    run_layers.section,
    run_plans.section,
    run_recipe.section,
)

Named = str | os.PathLike[str] | None


def page_of(folder: str | os.PathLike[str], *, fisher: Named = None, plan: Named = None) -> Page:
    """Make the page about a folder, of whatever kind it is.

    Args:
        folder: Of an analysis, a comparison, or a run of a fine-tuning.
        fisher: A Fisher, for an analysis.
        plan: A plan, for an analysis.

    Returns:
        The page.

    Raises:
        InputError: A Fisher or a plan for another kind of folder.
        ResultsError: A folder of no known kind, or a damaged file.
    """
    path = Path(folder).expanduser()
    if (path / COMPARISON).is_file() and not (path / REPORT).is_file():
        return _of_comparison(load_comparison(path))
    if not is_run(path):
        return _of_analysis(read_content(path, fisher=fisher, plan=plan))
    given = [name for name, value in (("fisher", fisher), ("plan", plan)) if value is not None]
    if given:
        raise InputError(
            f"{given[0]}: '{path}' is the folder of a run, which shows its own plans. Give it with an analysis: the folder "
            f"'{path / 'diagnostics' / 'after'}'."
        )
    return _of_run(read_run_state(path))


def _of_analysis(content: PageContent) -> Page:
    report = content.report
    version = str(report.environment.get("spectra", ""))
    parts = [
        f"Difference to {report.model.base}" if report.model.base else "",
        f"profile {report.settings.profile}" if report.settings.profile != "default" else "",
        f"analysed {report.environment['started_at'][:10]}" if report.environment.get("started_at") else "",
    ]
    made = [section(content) for section in OF_ANALYSIS]
    if content.comparison is not None:  # before the settings
        made[-1:-1] = [comparison_section.section(content.comparison), matrices.section(content.comparison)]
    return _page(report.model.name, parts, made, ("layers.csv", "report.json"), version)


def _of_comparison(comparison: Comparison) -> Page:
    names = ", ".join(model.name for model in comparison.models[:3])
    more = f" and {len(comparison.models) - 3} more" if len(comparison.models) > 3 else ""
    version = str(comparison.environment.get("spectra", ""))
    started = str(comparison.environment.get("started_at", ""))[:10]
    what = f"{len(comparison.models)} checkpoints of a run" if comparison.over_time else "Comparison"
    parts = [what, f"base {comparison.base.name}", f"compared {started}" if started else ""]
    made = (comparison_section.section(comparison), matrices.section(comparison), comparison_settings.section(comparison))
    files = ("comparison.csv", "comparison.json", "changes.safetensors")
    return _page(f"{names}{more} against {comparison.base.name}", parts, made, files, version)


def _of_run(run: RunState) -> Page:
    version = str(run.environment.get("packages", {}).get("spectra", ""))
    began = str(run.environment.get("began_at", ""))[:10]
    parts = ["Fine-tuning run", "" if run.content else "not finished", f"began {began}" if began else ""]
    made = (section(run) for section in OF_RUN)
    files = ("results.json", "metrics.jsonl", "diagnostics/")
    return _page(run.name, parts, made, files, version)


def _page(title: str, parts: Iterable[str], made: Iterable[Section | None], files: tuple[str, ...], version: str) -> Page:
    byline = (*(part for part in parts if part), f"Spectra {version}".strip())
    return Page(title=title, byline=byline, sections=tuple(one for one in made if one), files=files, version=version)
