"""Rows that an earlier analysis computed of equal weights: of the same model, of one that shares layers with it, or of a copy.

A row is found by what it was computed from, and by nothing else:

* the numbers of its matrices as they are read, by their BLAKE3 digest. A difference to a base is known by the difference, a
  quantized weight by the dequantized numbers, a low-rank product by its factors;
* how the matrices lie in their tensor, its shape and its dtype;
* the settings that change a row, and the kind of device;
* the versions of Spectra, NumPy and SciPy, and of torch on a device of its own.

Names, the container and the place of a file are not part of it: the names in a row are those of the weight at hand. Only where
random numbers are drawn, which depend on the seed and the name of the matrix, both are.

Everything is read, and no list of known files and their times is trusted: a digest cannot be out of date. Finding all rows took
10 and 5 % of the time of an analysis of layers that are 384 and 768 wide (docs/how-to/cache.md), and takes less of wider ones,
as the work per number grows with the width. BLAKE3, because even weights that are made for it must not share a digest, and
SHA-256 takes twice the time (90 MB: 32 ms against 62, by the processor's instructions; a checksum such as XXH3 takes 8).
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed
from spectra.diagnose.further import is_complete
from spectra.diagnose.layer import names_of
from spectra.diagnose.spectra_of import scale_of
from spectra.errors import ResultsError
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray
from spectra.matrices import WeightMatrices
from spectra.results.kept_rows import read_row, write_row
from spectra.results.records import SCHEMA_VERSION, LayerDiagnostics
from spectra.results.settings import AnalysisSettings, is_random, settings_of_rows
from spectra.sources.tensors import StoredTensor

# Raised when a key or an entry comes to mean something else.
_CACHE_VERSION = 3

# Columns that tell of the weight at hand; in the cache they are empty, so that it names no layers of anybody's model.
_NAMES: dict[str, Any] = {
    "layer_name": "", "matrix_name": "", "kind": "", "part": "", "expert": None, "stack": "", "tied_to": "",
}  # fmt: skip

# Fields that no number of a row depends on; any other enters the key, those of later versions too. ``layout`` has done its
# work when the matrices are cut, and files do not know it; ``factors`` are digested in place of what they multiply to; the
# kind, which files guess, decides on the scale of the eigenvalues only, and that is in the key.
_NOT_IN_KEY = {
    "layer_name", "matrix_name", "kind", "part", "expert", "stack", "tied_names", "tensor",
    "name", "read", "layout", "tied_to", "unreadable", "part_of", "factors", "no_base", "is_merged", "rank",
}  # fmt: skip

_IN_KEY = {
    part.__name__: [field.name for field in dataclasses.fields(part) if field.name not in _NOT_IN_KEY]
    for part in (WeightMatrices, StoredTensor)
}

# Numbers: 4 MiB of float32, little beside what the analysis holds. Up to four times as many take as long.
_READ_AT_ONCE = 2**20

_version = lru_cache(version)  # looked up in files


class RowCache:
    """``diagnose_layers`` for weights that are not in a folder yet; worker threads may share it.

    Args:
        folder: What :func:`spectra.results.kept_rows.open_rows` gave.
        settings: Resolved settings.
        compute: Gives the rows of weights on a device, as :func:`spectra.diagnose.layer.diagnose_layers` under these settings.

    Attributes:
        num_found: Rows that were in the folder.
        num_computed: Rows that were not.
        trouble: Why no more rows are kept; empty while they are.
    """

    def __init__(
        self,
        folder: Path,
        settings: AnalysisSettings,
        compute: Callable[[Sequence[WeightMatrices], str], list[Diagnosed]],
    ) -> None:
        self.num_found, self.num_computed, self.trouble = 0, 0, ""
        self._folder = folder
        self._compute = compute
        self._settings = settings
        self._lock = threading.Lock()
        self._conditions = lru_cache(partial(_conditions, settings))

    def __call__(self, batch: Sequence[WeightMatrices], device: str) -> list[Diagnosed]:
        """Return the rows of weights, and their eigenvalues where they have any.

        Args:
            batch: As ``compute`` takes them.
            device: Likewise.

        Returns:
            What ``compute`` returns, or returned once.
        """
        keys = [self._key(job, device) for job in batch]
        rows = [self._found(job, key) for job, key in zip(batch, keys, strict=True)]
        missing = [place for place, row in enumerate(rows) if row is None]
        computed = self._compute([batch[place] for place in missing], device) if missing else []
        for place, row in zip(missing, computed, strict=True):
            rows[place] = row
            self._keep(batch[place], device, keys[place], *row)
        with self._lock:
            self.num_found += len(batch) - len(missing)
            self.num_computed += len(missing)
        return [row for row in rows if row is not None]

    @property
    def counts(self) -> dict[str, Any]:
        """What ``report.environment`` says of the cache."""
        counts: dict[str, Any] = {"layers_from_cache": self.num_found, "layers_computed": self.num_computed}
        return counts | ({"cache_trouble": self.trouble} if self.trouble else {})

    def _key(self, job: WeightMatrices, device: str) -> str:
        """Return the key of a weight; empty for one that cannot be read, which goes past the cache."""
        if job.tensor.unreadable or job.tensor.no_base or not job.num_eigenvalues:
            return ""
        try:
            numbers = _digest(job)
        except MATRIX_ERRORS:  # the analysis will say so in words
            return ""
        named = {"name": job.matrix_name} if is_random(self._settings) else {}
        scale = scale_of(job, self._settings)
        about = {"conditions": self._conditions(device), **_form(job), **named, "scale": scale, "numbers": numbers}
        return _digest_of(about)

    def _found(self, job: WeightMatrices, key: str) -> Diagnosed | None:
        return read_row(self._folder, key, names_of(job)) if key else None

    def _keep(self, job: WeightMatrices, device: str, key: str, row: LayerDiagnostics, values: FloatArray | None) -> None:
        """Keep a row, unless it says what went wrong, or its weight was written to while it was analysed."""
        if not key or values is None or self.trouble or not is_complete(row) or self._key(job, device) != key:
            return
        try:
            write_row(self._folder, key, dataclasses.replace(row, **_NAMES), values)
        except ResultsError as error:
            self.trouble = str(error)


def _digest_of(about: Mapping[str, Any]) -> str:
    return blake3(json.dumps(about, sort_keys=True, default=repr).encode()).hexdigest()


def _conditions(settings: AnalysisSettings, device: str) -> str:
    """Digest what the rows of all weights depend on: of a device the kind, and whether NumPy or torch computes there."""
    is_torch = device != CPU
    packages = ["scipy", "torch"] if is_torch else ["scipy"]
    about = {
        "cache": _CACHE_VERSION,
        "schema": SCHEMA_VERSION,
        "versions": {"spectra": __version__, "numpy": np.__version__} | {name: _version(name) for name in packages},
        "device": f"torch {device.partition(':')[0]}" if is_torch else CPU,
        "settings": settings_of_rows(settings),
    }
    return _digest_of(about)


def _form(job: WeightMatrices) -> dict[str, str]:
    """Return how a weight's matrices lie in its tensor, and what is known of their numbers."""
    return {
        f"{type(part).__name__}.{name}": repr(getattr(part, name))
        for part in (job, job.tensor)
        for name in _IN_KEY[type(part).__name__]
    }


def _digest(job: WeightMatrices) -> str:
    digest = blake3()
    for array in _arrays(job):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        del array  # its memory serves for the next block; without that this takes a tenth longer
    return digest.hexdigest()


def _arrays(job: WeightMatrices) -> Iterator[NDArray[Any]]:
    if job.tensor.factors is not None:
        for factors in job.factors():
            yield from factors
        return
    step = max(1, _READ_AT_ONCE // job.num_cols)
    for read in job.readers():
        for start in range(0, job.num_rows, step):
            yield read(start, min(start + step, job.num_rows))
