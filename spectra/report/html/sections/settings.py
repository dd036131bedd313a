"""How the numbers came about: settings, environment, the model, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.report.html.content import PageContent
from spectra.report.html.section import Section
from spectra.report.table import skipped_lines
from spectra.results.settings import AnalysisSettings, setting_meanings

MOST_REASONS = 50  # lines, each for all tensors of one reason


def section(content: PageContent) -> Section:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        It is never missing.
    """
    report = content.report
    model = report.model
    about = {
        "Name": model.name,
        "Location": model.location,
        "Format": model.format,
        "Base": model.base,
        "Fingerprint": model.fingerprint,
        "Revision": model.revision,
    }
    values = {
        "model": {name: value for name, value in about.items() if value},
        **of_settings(report.settings, report.environment),
        "skipped": skipped_lines(report.skipped, max_lines=MOST_REASONS),
    }
    return Section(name="settings", title="Settings", values=values)


def of_settings(settings: AnalysisSettings, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the partial shows of settings and environment.

    Args:
        settings: Of an analysis.
        environment: Versions and machine.

    Returns:
        Values for the partial.
    """
    plain, usual, meanings = settings.to_dict(), AnalysisSettings().to_dict(), setting_meanings()
    rows = [(name, _word(value), meanings[name], value != usual[name]) for name, value in plain.items()]
    return {
        "environment": {name.replace("_", " "): _word(value) for name, value in environment.items()},
        "changed": [row for row in rows if row[3]],
        "unchanged": [row for row in rows if not row[3]],
    }


def _word(value: Any) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
