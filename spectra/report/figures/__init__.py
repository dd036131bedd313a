"""Figures for papers: one file per figure, each a function from a report to a matplotlib ``Figure``."""

from spectra.report.figures.alpha_by_depth import alpha_by_depth
from spectra.report.figures.esd import default_layer, esd
from spectra.report.figures.style import write

__all__ = ["alpha_by_depth", "default_layer", "esd", "write"]
