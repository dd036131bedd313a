"""Mistakes in a command of ``spectra distill``, found before torch is imported and a model is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, ResultsError, SpectraWarning, did_you_mean

if TYPE_CHECKING:
    from spectra.training.sdft.samples import TrainingData

# Those of spectra.training.pretrained, which imports torch.
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def check_rows(data: Path, output: Path | None, columns: Mapping[str, Any]) -> None:
    """Refuse data that cannot be read, and an output that cannot hold them; the run will look again.

    Args:
        data: A file of rows.
        output: Where rows go; ``None``: nowhere.
        columns: How they are read, as ``read_training_data`` takes it.
    """
    from spectra.training.sdft.record_runs import refuse_input
    from spectra.training.sdft.row_files import encoded_rows

    if output is not None:
        encoded_rows(output, [])  # its kind of file
        refuse_input(output.expanduser(), data)
    found = _read(data, columns)
    if output is not None:
        encoded_rows(output, found.with_responses({}))


def check_scores(data: Path, output: Path | None, columns: Mapping[str, Any]) -> None:
    """Refuse a test set that cannot be read, and a file that is none of scores.

    Args:
        data: A file of rows.
        output: Where scores go; ``None``: nowhere.
        columns: How rows are read, as ``read_training_data`` takes it.

    Raises:
        InputError: No file of scores, or one of the library's.
    """
    if output is not None and output.suffix != ".json":
        raise InputError(f"output: '{output.name}' is to hold the scores as JSON. Choose a name that ends in .json.")
    _read(data, columns)


def check_place(output: Path, *, resume: bool = False, force: bool = False) -> None:
    """Refuse a place that cannot be written, or that has no run to continue where one is asked for; make its folder.

    Args:
        output: Of a run.
        resume: Continue a run.
        force: Start over.

    Raises:
        InputError: Nothing to continue, or both are asked for.
        ResultsError: A folder in its place, or one that cannot be written.
    """
    from spectra.results.writing import made, unwritable
    from spectra.training.sdft.run_files import RunFiles

    output = output.expanduser()
    if resume and force:
        raise InputError("--resume continues a run, and --force starts over. Give one of them.")
    if output.is_dir():
        raise ResultsError(f"'{output}' is a folder. Name a file in it as the output.")
    manifest = RunFiles(output).manifest
    if resume and not manifest.exists():
        raise InputError(f"--resume: there is no '{manifest}', and so no run to continue. Leave --resume out to begin one.")
    try:
        with TemporaryFile(dir=made(output.parent)):
            pass
    except OSError as error:
        raise ResultsError(unwritable(output.parent, error)) from error


def check_computing(device: str | None, dtype: str | None) -> None:
    """Refuse a dtype that is none, and a device that is not there; torch is imported only where it has to be asked.

    Args:
        device: ``None`` and ``"auto"`` take what is there.
        dtype: ``None``: as stored.

    Raises:
        InputError: An unknown dtype, or no such device.
    """
    if dtype not in (None, *DTYPES):
        raise InputError(f"unknown dtype '{dtype}'.{did_you_mean(str(dtype), DTYPES)} Known: {', '.join(DTYPES)}.")
    if device not in (None, "auto"):
        from spectra.esd.accelerator import check_device

        check_device(str(device))


def _read(data: Path, columns: Mapping[str, Any]) -> TrainingData:
    from spectra.training.sdft.samples import read_training_data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectraWarning)  # said when the run reads them
        return read_training_data(data, **columns)
