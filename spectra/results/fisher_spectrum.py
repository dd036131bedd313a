"""The spectrum of a Fisher: the eigenvalues of each layer's Fisher information matrix, in one safetensors file.

The arrays in the file are called ``layer:`` and the layer's name, and ``whole``; its header has the rest. Columns of the table:

| column | meaning |
|---|---|
| ``layer_name`` | as in ``named_modules()`` |
| ``num_params`` | entries of the layer's parameters |
| ``trace`` | sum of the eigenvalues, and of the layer's diagonal Fisher |
| ``lambda_max`` | the largest |
| ``stable_rank`` | trace / lambda_max: how many directions the sensitivity spreads over |
| ``eigenvalue_1``, ``eigenvalue_2``, ... | the largest, in descending order |
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError, MissingPackageError, ResultsError, did_you_mean
from spectra.results.csv_text import csv_text
from spectra.results.fisher_tables import plain
from spectra.results.words import counted
from spectra.results.writing import made, write_whole

if TYPE_CHECKING:
    import os

    import pandas as pd

SPECTRUM_SCHEMA_VERSION = 1
_HEADER = "spectra_fisher_spectrum"  # one key for all of it: safetensors writes several in random order
_LAYER, _WHOLE = "layer:", "whole"
_AGAIN = "Make it again: spectra fisher MODEL --data FILE -o FISHER --spectrum N"


@dataclass(frozen=True)
class SpectrumInfo:
    """Everything that says which Fisher the eigenvalues are of.

    Attributes:
        kind: A word of :class:`~spectra.results.fisher_records.FisherKind`.
        reduction: A word of :class:`~spectra.results.fisher_records.Reduction`.
        task: What the model predicts.
        num_samples: Samples averaged over: those that have a target.
        num_rows: Gradients that make up the Fisher: its rank is at most that. One per sample, with or without a target, times
            the draws, classes or tokens.
        num_draws: Labels drawn per target, for a sampled Fisher.
        seed: Of the draws.
        model: Which model.
        data: SHA-256 over the batches, in hex.
        version: Of Spectra.
        notes: What to know before trusting it.
    """

    kind: str
    reduction: str
    task: str
    num_samples: int
    num_rows: int
    num_draws: int
    seed: int
    model: str
    data: str
    version: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class LayerSpectrum:
    """The eigenvalues of one layer's Fisher information matrix.

    Attributes:
        layer_name: The module that holds its parameters.
        num_params: Their entries: rows of the matrix.
        eigenvalues: Float64, ascending, as many as the matrix has and at most one per gradient: all others are zero.
    """

    layer_name: str
    num_params: int
    eigenvalues: NDArray[np.float64]

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return math.fsum(self.eigenvalues)

    @property
    def lambda_max(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0

    @property
    def stable_rank(self) -> float:
        """``trace / lambda_max``; NaN for a layer that no gradient reaches."""
        return self.trace / self.lambda_max if self.lambda_max else math.nan


@dataclass(frozen=True, eq=False)
class FisherSpectrum:
    """The result of :func:`spectra.fisher.spectrum.fisher_spectrum`.

    Its eigenvalues are input for ``spectra.fit_power_law(spectrum.eigenvalues(name))``, which leaves out the zeros, beyond the
    rank.

    Attributes:
        info: Which Fisher.
        layers: In the model's order.
        whole: Eigenvalues of the whole model's Fisher, with the blocks between layers; float64, ascending.

    Example:
        >>> import numpy as np, spectra
        >>> info = SpectrumInfo("empirical", "token_mean", "causal-lm", 600, 600, 1, 0, "tiny", "", "0")
        >>> tail = (1 - (np.arange(500) + 0.5) / 500) ** (-1 / 1.5)  # quantiles of a Pareto law, alpha = 2.5
        >>> eigenvalues = np.concatenate([np.zeros(100), tail])
        >>> spectrum = FisherSpectrum(info, (LayerSpectrum("fc", 5000, eigenvalues),), eigenvalues)
        >>> fit = spectra.fit_power_law(spectrum.eigenvalues("fc"))
        >>> round(fit.alpha, 2), fit.num_tail
        (2.5, 500)
    """

    info: SpectrumInfo
    layers: tuple[LayerSpectrum, ...]
    whole: NDArray[np.float64]

    def eigenvalues(self, layer_name: str) -> NDArray[np.float64]:
        """Return the eigenvalues of one layer.

        Args:
            layer_name: As in ``layers``.

        Returns:
            Float64, ascending.

        Raises:
            InputError: No such layer.
        """
        layers = {layer.layer_name: layer.eigenvalues for layer in self.layers}
        if layer_name not in layers:
            raise InputError(
                f"no layer '{layer_name}' in this spectrum.{did_you_mean(layer_name, layers)} See spectrum.layers."
            )
        return layers[layer_name]

    def table(self, top: int = 5) -> list[dict[str, Any]]:
        """Return a row per layer, of plain values.

        Args:
            top: How many of the largest eigenvalues.

        Returns:
            Rows by column name, in the model's order; ``None`` for missing numbers.

        Raises:
            InputError: A negative number of eigenvalues.
        """
        columns = _columns(top)
        return [plain(dict(zip(columns, _cells(layer, top), strict=True))) for layer in self.layers]

    def to_pandas(self, top: int = 5) -> pd.DataFrame:
        """Return the table as a DataFrame.

        Args:
            top: As in :meth:`table`.

        Returns:
            Its rows; NaN for missing numbers.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        columns = _columns(top)
        frame = pandas.DataFrame(self.table(top), columns=columns)
        return frame.astype(dict.fromkeys(columns[2:], "float64"))

    def to_csv(self, top: int = 5) -> str:
        r"""Return the table as text.

        Args:
            top: As in :meth:`table`.

        Returns:
            CSV with ``\n`` line ends, empty for missing numbers; numbers read back to the same float64.
        """
        return csv_text(_columns(top), self.table(top))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write everything into one safetensors file, which appears whole or not at all.

        Args:
            path: Must end in ``.safetensors``.
            force: Replace a file of that name.

        Raises:
            ResultsError: Another ending, a file is there already, or it cannot be written.
        """
        from safetensors.numpy import save

        file = spectrum_file(path, force=force)
        header = {
            "schema_version": SPECTRUM_SCHEMA_VERSION,
            "info": dataclasses.asdict(self.info),
            "layers": [{"layer_name": layer.layer_name, "num_params": layer.num_params} for layer in self.layers],
        }
        arrays = {_WHOLE: self.whole, **{_LAYER + layer.layer_name: layer.eigenvalues for layer in self.layers}}
        # safetensors takes memory as it lies, whatever the strides
        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, {_HEADER: json.dumps(header)})
        made(file.parent)
        write_whole(file, content)

    def __str__(self) -> str:
        info, whole = self.info, LayerSpectrum("", 0, self.whole)
        measured = f"{counted(info.num_samples, 'sample')}, {counted(info.num_rows, 'gradient')}"
        first = f"Spectrum of the {info.kind} Fisher of '{info.model}' ({info.task}, {info.reduction}): {measured}"
        return f"{first}\nlargest eigenvalue {whole.lambda_max:.2e}, stable rank {whole.stable_rank:.1f}"


def spectrum_file(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Return the file that a spectrum would be written to; ask before measuring, not after.

    Args:
        path: Must end in ``.safetensors``.
        force: Accept a file that exists.

    Returns:
        The file.

    Raises:
        ResultsError: Another ending, or the file is there already.
    """
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise ResultsError(f"'{file}' must end in .safetensors. Choose such a name.")
    if file.exists() and not force:
        raise ResultsError(f"'{file}' exists. Choose another name, or replace it with force=True (--force).")
    return file


def load_fisher_spectrum(path: str | os.PathLike[str]) -> FisherSpectrum:
    """Read a spectrum.

    Args:
        path: The file that ``save`` or ``spectra fisher --spectrum`` wrote.

    Returns:
        The spectrum.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path).expanduser()
    if not file.exists():
        raise ResultsError(f"there is no Fisher spectrum at '{file}'. {_AGAIN}")
    try:
        with safe_open(file, framework="np") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a mapping
        version = header["schema_version"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"'{file}' is no Fisher spectrum, or a damaged one ({error}). {_AGAIN}") from error
    if version != SPECTRUM_SCHEMA_VERSION:
        raise ResultsError(f"'{file}' has schema version {version}, this Spectra reads {SPECTRUM_SCHEMA_VERSION}. {_AGAIN}")
    try:
        return _spectrum(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"'{file}' is damaged ({error}). {_AGAIN}") from error


def _spectrum(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FisherSpectrum:
    """Put a spectrum together, and refuse arrays that are no eigenvalues."""
    for key, array in arrays.items():
        if array.dtype != np.float64 or array.ndim != 1 or not (np.diff(array) >= 0).all():
            raise ValueError(f"'{key}' holds no ascending float64 numbers")
    info = SpectrumInfo(**{**header["info"], "notes": tuple(header["info"]["notes"])})
    layers = (LayerSpectrum(**row, eigenvalues=arrays[_LAYER + row["layer_name"]]) for row in header["layers"])
    return FisherSpectrum(info, tuple(layers), arrays[_WHOLE])


def _columns(top: int) -> list[str]:
    if top < 0:
        raise InputError(f"top is {top}: pass how many of the largest eigenvalues to show, 0 or more.")
    return ["layer_name", "num_params", "trace", "lambda_max", "stable_rank", *(f"eigenvalue_{i + 1}" for i in range(top))]


def _cells(layer: LayerSpectrum, top: int) -> list[Any]:
    largest = layer.eigenvalues[::-1][:top].tolist()
    missing = [math.nan] * (top - len(largest))
    return [layer.layer_name, layer.num_params, layer.trace, layer.lambda_max, layer.stable_rank, *largest, *missing]
