"""How a comparison came about: the models, settings, environment, and what was left out."""

from __future__ import annotations

from spectra.report.html.section import Section
from spectra.report.html.sections.settings import MOST_REASONS, of_settings
from spectra.report.table import skipped_lines
from spectra.results.comparison import Comparison


def section(comparison: Comparison) -> Section:
    """Make the section.

    Args:
        comparison: Of the page.

    Returns:
        It is never missing.
    """
    models = {f"Base, {comparison.base.name}": comparison.base.location}
    models |= {model.name: model.location for model in comparison.models}
    values = {
        "model": models
        | {"Directions": str(comparison.num_directions), "Intruder below": f"{comparison.intruder_threshold:g}"},
        **of_settings(comparison.settings, comparison.environment),
        "skipped": skipped_lines(comparison.skipped, max_lines=MOST_REASONS),
    }
    return Section(name="settings", title="Settings", values=values)
