"""The page: one self-contained HTML file about a result folder, opened from disk.

To add a section:

1. ``sections/NAME.py`` with ``def section(content: PageContent) -> Section | None`` (of a run ``RunState``, of models
   ``Comparison``): it turns records into a ``Section`` (plain values for the partial, and charts) and returns ``None`` where
   there is nothing to show.
2. ``templates/sections/NAME.html.j2``, the partial, which sees ``section`` and the section's values under their names;
   ``{% from "parts.html.j2" import chart %}`` and ``{{ chart(section.charts[0]) }}`` put a chart there.
3. The function in a list of ``kinds.py``, one for each kind of folder, where the page is to have it. What it needs from the
   folder: ``content.read_content``, ``run_state.read_run_state``, ``load_comparison``.

A chart is a figure of plotly's as plain values (``chart.py``); no script is needed for it. Lines
over time, named and bold under the pointer: ``lines.py``. Colours are written as
``var(--color-1)``: the page puts in those of its theme. What is computed belongs elsewhere: here records are shown.
"""

from spectra.report.html.page import write_page

__all__ = ["write_page"]
