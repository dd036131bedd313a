"""The layers of a run's model after training, with what they were before: the table, and both spectra of the chosen one."""

from __future__ import annotations

from spectra.report.html.content import PageContent
from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.report.html.sections import layers
from spectra.results.run_spectra import BEFORE


def section(run: RunState) -> Section | None:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        ``None`` without an analysis.
    """
    spectra = run.files.spectra
    if not spectra:
        return None
    last = spectra[-1]
    first = next((one for one in spectra if one.name == BEFORE and one is not last), None)
    return layers.section(PageContent(report=last.report, before=first.report if first else None))
