"""The files of a comparison: what they are called, and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.results.writing import write_result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARISON_FILES = COMPARISON, TABLE, CHANGES = "comparison.json", "comparison.csv", "changes.safetensors"


def write_comparison(folder: Path, content: Mapping[str, Any], table: str, changes: Mapping[str, NDArray[np.float64]]) -> None:
    """Write the three files of a comparison.

    Args:
        folder: Existing.
        content: Of ``comparison.json``.
        table: The text of ``comparison.csv``.
        changes: Eigenvalues and directions by their keys.

    Raises:
        ResultsError: The folder cannot be written.
    """
    write_result(folder, content, table, changes, names=COMPARISON_FILES)
