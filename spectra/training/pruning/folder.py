"""A checkpoint's folder that appears whole or not at all, with the files that are not its weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spectra.errors import InputError, ResultsError
from spectra.results.writing import made, unwritable

#: What tells a folder that was written here from others: only such a one may be replaced.
RECORD = "pruning.json"

# Weights and training states in any format: they are those of the model before it was pruned.
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".npz"}


def check_room(output: Path, source: Path, *, force: bool) -> None:
    """Refuse a folder that must not be written to.

    Args:
        output: The new folder.
        source: Of the model that is read.
        force: Replace what was written here before.

    Raises:
        ResultsError: It exists.
        InputError: It is the source, holds it or stands in it.
    """
    new, old = output.resolve(), source.resolve()
    if new == old or old in new.parents or new in old.parents:
        raise InputError(
            f"'{output}' overlaps with the model's folder '{source}', which is not changed. Choose another folder."
        )
    if not os.path.lexists(output):
        return
    if not force:
        raise ResultsError(f"'{output}' exists. Choose another folder, or replace it with --force (force=True).")
    if output.is_symlink() or not (output / RECORD).is_file():
        raise ResultsError(
            f"'{output}' was not written by pruning: it holds no {RECORD}. Remove it yourself, or choose another."
        )


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Write a folder under a temporary name beside the right one, and move it there when it is complete.

    Args:
        output: The folder. An existing one is replaced: see :func:`check_room` first.

    Yields:
        The folder to write to. It is removed after an exception.

    Raises:
        ResultsError: The disk is full or must not be written to.
    """
    made(output.parent)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        if output.exists():
            replaced = output.with_name(f".{output.name}.{os.getpid()}.old")
            output.rename(replaced)
            temporary.rename(output)
            shutil.rmtree(replaced)
        else:
            temporary.rename(output)
    except OSError as error:
        raise ResultsError(unwritable(output, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_companions(source: Path, target: Path, weights: Sequence[Path]) -> list[str]:
    """Copy what belongs to a checkpoint beside its weights: configuration, tokenizer, index, folders of these.

    Args:
        source: The folder to copy from; hidden files stay behind.
        target: The folder to copy to.
        weights: Files that are written otherwise.

    Returns:
        Names of other weights, which stay behind, too.
    """
    written = {file.name for file in weights}
    left_out = []
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        name = file.relative_to(source)
        if any(part.startswith(".") for part in name.parts) or name.as_posix() in (*written, RECORD):
            continue
        if file.suffix in _WEIGHTS:
            left_out.append(name.as_posix())
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)
    return left_out
