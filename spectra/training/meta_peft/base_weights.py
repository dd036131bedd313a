"""The weights of a base on disk, as ``from_pretrained`` reads them, and its output layer drawn anew."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError, ResultsError
from spectra.results.writing import made, unwritable
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.libraries import imported, quiet
from spectra.training.meta_peft.outlines import outline

WEIGHTS = "model.safetensors"


def save_base(
    model: nn.Module, state_dict: Mapping[str, Tensor], folder: str | os.PathLike[str], *, is_exact: bool = False
) -> None:
    """Write a model of transformers as ``save_pretrained`` does, and of any other its weights alone.

    Args:
        model: Gives its class and configuration; it is not changed, and may be an outline.
        state_dict: Its weights, under its own names.
        folder: New or existing; files of these names are replaced, each when the new one is complete.
        is_exact: Write one file under these very names, for :func:`read_tensors`. Of itself, transformers divides files that
            are large, and gives weights of some architectures the names that older versions know.

    Raises:
        ResultsError: It cannot be written.
    """
    folder = Path(folder)
    if not isinstance(model, imported("transformers").PreTrainedModel):
        write_tensors(folder / WEIGHTS, state_dict)
        return
    options = {"save_original_format": False, "max_shard_size": sys.maxsize} if is_exact else {}
    with _moved_into(folder) as temporary, quiet():
        outline(model).save_pretrained(temporary, state_dict=dict(state_dict), **options)  # it writes into the configuration


def write_tensors(file: Path, state_dict: Mapping[str, Tensor]) -> None:
    """Write tensors into one file of safetensors.

    Args:
        file: It is replaced when the new one is complete.
        state_dict: Tensors that share memory are written each.

    Raises:
        ResultsError: It cannot be written.
    """
    seen: set[int] = set()
    tensors = {}
    for key, tensor in state_dict.items():
        place = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.detach().clone() if place in seen else tensor.detach().contiguous()
        seen.add(place)
    with _moved_into(file.parent) as temporary:
        imported("safetensors.torch").save_file(tensors, temporary / file.name, metadata={"format": "pt"})


def read_tensors(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read tensors from one file of safetensors.

    Args:
        file: The file.
        expected: Tensors of the same names, shapes and dtypes. Of those that share memory, the file may have one.

    Returns:
        The tensors, on the CPU.

    Raises:
        ResultsError: A missing or damaged file, or one of another model.
    """
    try:
        stored: dict[str, Tensor] = imported("safetensors.torch").load_file(file)
    except FileNotFoundError as error:
        raise ResultsError(f"there are no weights at '{file}'. Give a folder that was written whole.") from error
    except Exception as error:
        raise ResultsError(f"'{file}' is damaged ({' '.join(str(error).split())}). Use another copy.") from error
    twins = {tensor.data_ptr(): stored[key] for key, tensor in expected.items() if key in stored}
    stored |= {
        key: twins[tensor.data_ptr()] for key, tensor in expected.items() if key not in stored and tensor.data_ptr() in twins
    }
    for key in sorted(stored.keys() | expected.keys()):
        found, wanted = (_kind(tensors.get(key)) for tensors in (stored, expected))
        if found != wanted:
            raise ResultsError(f"'{file}' is of another model: '{key}' is {found} there, and {wanted} here. Give that model.")
    return stored


def from_folder(folder: Path, kind: type | None = None) -> nn.Module:
    """Load a model of transformers from a folder alone, never from the hub.

    Args:
        folder: That ``save_pretrained`` wrote.
        kind: Its class. Default: the one that its configuration names.

    Returns:
        The model.

    Raises:
        InputError: There is no folder, or no model of transformers in it.
        ResultsError: It is damaged, or of another class.
        MemoryError: As it is.
    """
    transformers = imported("transformers")
    if not folder.is_dir():
        raise InputError(f"base: there is no folder '{folder}'. Give one that holds a model; from a hub, load it first.")
    if not (folder / "config.json").is_file():
        raise InputError(f"'{folder}' holds no model of transformers (no config.json). Give the module itself, as model=.")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            names = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).architectures or [""]
            found: Any = kind or getattr(transformers, names[0], None)
            if found is None:
                raise InputError(f"'{folder}' is of the class '{names[0]}', which transformers does not have. Give model=.")
            model, notes = found.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise ResultsError(f"cannot load '{folder}' ({' '.join(str(error).split())}). Use another copy.") from error
    if notes["missing_keys"]:
        raise ResultsError(
            f"'{folder}' lacks '{min(notes['missing_keys'])}', which a {found.__name__} has. Give the whole model."
        )
    loaded: nn.Module = model
    return loaded


def fresh_head(model: nn.Module, head_modules: Sequence[str], seed: int) -> None:
    """Draw an output layer anew, in place.

    Args:
        model: Of transformers, whose own recipe is followed; or any, whose layers have ``reset_parameters``.
        head_modules: Names of the modules of the head.
        seed: Of the new values; the global generators stay as they were.

    Raises:
        InputError: A layer that does not say how it starts.
    """
    device = next(model.parameters()).device
    with kept_randomness(device):
        torch.manual_seed(seed)
        for name in head_modules:
            for path, module in model.get_submodule(name).named_modules(prefix=name):
                _restart(model, module, path)


def with_labels(model: nn.Module, head_modules: Sequence[str], num_labels: int) -> None:
    """Give a model of transformers an output layer for another number of labels, in place.

    Args:
        model: Of transformers.
        head_modules: Names of the modules of the head.
        num_labels: How many.

    Raises:
        InputError: Another kind of model.
    """
    if not isinstance(model, imported("transformers").PreTrainedModel):
        raise InputError(
            f"num_labels {num_labels}: a {type(model).__name__} is not of transformers. Give it such a head yourself."
        )
    whole: Any = model
    whole.config.num_labels = whole.num_labels = num_labels
    whole.config.problem_type = None  # which transformers writes down at the first labels it sees
    first = next(whole.parameters())
    with kept_randomness(first.device), quiet(), torch.device("meta"):
        other = type(whole)(copy.deepcopy(whole.config))
    for name in head_modules:
        whole.set_submodule(name, other.get_submodule(name).to_empty(device=first.device).to(first.dtype))


@torch.no_grad()
def _restart(model: Any, module: nn.Module, path: str) -> None:
    own = list(module.parameters(recurse=False))
    if not own:
        return
    if isinstance(model, imported("transformers").PreTrainedModel):
        for parameter in own:
            vars(parameter).pop("_is_hf_initialized", None)  # by which transformers leaves alone what it loaded
            parameter.fill_(torch.nan)
        model._init_weights(module)
        if not any(parameter.isnan().any() for parameter in own):
            return
    restart: Any = getattr(module, "reset_parameters", None)
    if not callable(restart):
        raise InputError(
            f"'{path}' is a {type(module).__name__}, which has no reset_parameters to draw it anew. Choose head='keep', or "
            "give a model with a fresh head."
        )
    restart()


@contextmanager
def _moved_into(folder: Path) -> Iterator[Path]:
    """Give a folder for new files, and move them into place at the end."""
    made(folder)
    try:
        with TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
            yield Path(temporary)
            for file in Path(temporary).iterdir():
                file.replace(folder / file.name)
    except (OSError, imported("safetensors").SafetensorError) as error:
        reason = error if isinstance(error, OSError) else OSError(None, " ".join(str(error).split()))
        raise ResultsError(unwritable(folder, reason)) from error


def _kind(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
