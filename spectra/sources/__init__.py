"""Where weights come from: files, folders, hub ids, live modules, mappings. Read lazily, never executing code."""

from spectra.sources.open import open_source
from spectra.sources.tensors import Layout, Source, StoredTensor

__all__ = ["Layout", "Source", "StoredTensor", "open_source"]
