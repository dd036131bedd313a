"""Extractors: what two responses to one prompt have to agree in before one may replace the other."""

from spectra.training.sdft.extractors.extractor import Extractor, agree
from spectra.training.sdft.extractors.registry import TASKS, extractor

__all__ = ["TASKS", "Extractor", "agree", "extractor"]
