"""An adapter with its head on disk, in peft's own form: ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from spectra.errors import ResultsError
from spectra.results.writing import made, unwritable
from spectra.training.libraries import imported, quiet


def save_adapter(model: Any, task: str, folder: Path) -> None:
    """Write the adapter of one task.

    Args:
        model: Of peft.
        task: Its adapter's name.
        folder: Where it goes; an older one there is replaced when the new one is complete.

    Raises:
        ResultsError: It cannot be written.
    """
    made(folder.parent)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary, quiet():
            # Embeddings are the base's, and peft would ask the hub about them.
            model.save_pretrained(temporary, selected_adapters=[task], save_embedding_layers=False)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(temporary) / task).replace(folder)
    except (OSError, imported("safetensors").SafetensorError) as error:
        reason = error if isinstance(error, OSError) else OSError(None, " ".join(str(error).split()))
        raise ResultsError(unwritable(folder, reason)) from error


def read_adapter(model: Any, task: str, folder: Path) -> dict[str, Any]:
    """Read the adapter of one task, without putting it into the model.

    Args:
        model: Of peft, with such an adapter.
        task: Its name.
        folder: That :func:`save_adapter` wrote.

    Returns:
        Tensors, for peft's ``set_peft_model_state_dict``.

    Raises:
        ResultsError: A missing or damaged file, or one of another adapter.
    """
    peft = imported("peft")
    file = folder / "adapter_model.safetensors"
    try:
        stored: dict[str, Any] = imported("safetensors.torch").load_file(file)
    except FileNotFoundError as error:
        raise ResultsError(f"there is no adapter of task '{task}' at '{file}'. Give a folder with all of them.") from error
    except Exception as error:
        raise ResultsError(f"'{file}' is damaged ({' '.join(str(error).split())}). Use another checkpoint.") from error
    live = peft.get_peft_model_state_dict(model, adapter_name=task, save_embedding_layers=False)
    shapes = [{key: tuple(tensor.shape) for key, tensor in tensors.items()} for tensors in (stored, live)]
    if shapes[0] != shapes[1]:
        key = sorted(dict(set(shapes[0].items()) ^ set(shapes[1].items())))[0]
        raise ResultsError(f"'{file}' is of another adapter or model ('{key}' differs). Use the options it was made with.")
    return stored
