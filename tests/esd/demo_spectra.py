"""The spectra of the demo model's matrices, by the names of its file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np


@cache
def demo_spectra(folder: Path) -> dict[str, np.ndarray]:
    """Eigenvalues of every matrix with at least 8 of them, above the threshold of WeightWatcher."""
    from safetensors.numpy import load_file

    spectra = {}
    for name, matrix in sorted(load_file(folder / "model.safetensors").items()):
        if matrix.ndim == 2 and min(matrix.shape) >= 8:
            tall = matrix.astype(np.float64) if matrix.shape[0] >= matrix.shape[1] else matrix.astype(np.float64).T
            values = np.linalg.eigvalsh(tall.T @ tall)
            spectra[name] = values[values > 1e-5]
    return spectra
