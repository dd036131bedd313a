"""What a teacher answered about every sample, computed once: one row of logits each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.weights_fingerprint import weights_fingerprint
from spectra.training.dcs.logits_file import map_arrays, write_arrays
from spectra.training.sharded_layers import shards_of

_KIND, _LOGITS = "logits", "logits"
_MOST_ON_DEVICE = 64 * 2**20  # bytes: our choice, little beside any model; 130,000 samples of 128 classes


class TeacherLogits:
    """A table of logits in a file, of which only the rows that are asked for are read.

    Args:
        logits: Float32, shape ``(N, C)``; see :meth:`open`.
    """

    def __init__(self, logits: Tensor) -> None:
        self._tables = {torch.device("cpu"): logits}

    @classmethod
    def open(cls, path: str | os.PathLike[str], fingerprint: Mapping[str, str]) -> TeacherLogits | None:
        """Open what :func:`write_logits` has written.

        Args:
            path: The file.
            fingerprint: From :func:`teacher_fingerprint`.

        Returns:
            The logits; ``None`` if the teacher has to be asked (again): no file, a damaged one (with a warning), or answers of
            another teacher or about other data.

        Raises:
            ResultsError: The file cannot be read, or is something else.
        """
        arrays = map_arrays(path, _KIND, fingerprint)
        return None if arrays is None else cls(arrays[_LOGITS])

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self._on_host)

    @property
    def num_outputs(self) -> int:
        """C: classes, or numbers that a regression predicts."""
        return self._on_host.shape[1]

    @property
    def num_bytes(self) -> int:
        """Size of the table."""
        return self._on_host.nbytes

    def rows(self, index: Tensor) -> Tensor:
        """Look samples up.

        A table of up to 64 MiB is copied to another device once, and looked up there without waiting for the device; of a
        larger one the rows are sent.

        Args:
            index: Places of samples, int64, shape ``(B,)``.

        Returns:
            Float32, shape ``(B, C)``, on the index's device.
        """
        if index.device not in self._tables and self.num_bytes <= _MOST_ON_DEVICE:
            self._tables[index.device] = self._on_host.to(index.device)
        table = self._tables.get(index.device)
        if table is not None:
            return table.index_select(0, index)
        return self._on_host.index_select(0, index.cpu()).to(index.device)

    @property
    def _on_host(self) -> Tensor:
        return self._tables[torch.device("cpu")]


def write_logits(path: str | os.PathLike[str], logits: NDArray[Any], fingerprint: Mapping[str, str]) -> None:
    """Write the logits of all samples, in float32, whole or not at all.

    Args:
        path: A ``.safetensors`` file; replaced if it exists.
        logits: Shape ``(N, C)``, in the order of the data set.
        fingerprint: From :func:`teacher_fingerprint`.

    Raises:
        InputError: Another shape, or numbers that are not finite.
        ResultsError: The file cannot be written.
    """
    if logits.ndim != 2:
        raise InputError(f"logits: expected shape (samples, outputs), got {logits.shape}. Reshape them, one row per sample.")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        table = logits.astype(np.float32, copy=False)
    refuse_non_finite(table, np.arange(len(table)))
    write_arrays(path, {_LOGITS: table}, _KIND, fingerprint)


def refuse_non_finite(rows: NDArray[Any], samples: NDArray[Any]) -> None:
    """Refuse answers that nobody can learn from.

    Args:
        rows: One for each answer.
        samples: The place of the sample that each is about.

    Raises:
        InputError: A row is not finite; the message names a sample.
    """
    which = np.unique(samples[~np.isfinite(rows).all(axis=1)])
    if len(which):
        raise InputError(
            f"the teacher's answers about {len(which)} samples are not finite, the first is sample {which[0]}. Look at these "
            "samples; if the teacher runs in float16, take bfloat16 or float32."
        )


def teacher_fingerprint(model: nn.Module, dataset_fingerprint: str, max_length: int | None) -> dict[str, str]:
    """Say whose answers a file holds, and about what.

    Args:
        model: The teacher. Of adapters (peft) only the active ones count: activate the teacher's.
        dataset_fingerprint: From :func:`~spectra.training.dcs.data_fingerprint.dataset_fingerprint`.
        max_length: What texts are cut to, if they are.

    Returns:
        Texts by name.

    Raises:
        InputError: Each process holds only a part of the weights.
    """
    if shards_of(model):
        raise InputError("the teacher is sharded over processes (FSDP, ZeRO-3). Take its fingerprint before it is wrapped.")
    return {"weights": weights_fingerprint(_used_tensors(model)), "data": dataset_fingerprint, "max_length": str(max_length)}


def _used_tensors(model: nn.Module) -> Iterator[Tensor]:
    idle = tuple(_idle_adapters(model))
    named = (*model.named_parameters(), *model.named_buffers())
    return (tensor for name, tensor in named if not f"{name}.".startswith(idle))


def _idle_adapters(model: nn.Module) -> Iterator[str]:
    """Yield where adapters are that the model does not compute with; peft's modules keep them by name in dictionaries."""
    for path, module in model.named_modules():
        active = getattr(module, "active_adapters", None)
        if not isinstance(active, list | tuple):  # transformers' models have a method of that name
            continue
        used = () if getattr(module, "disable_adapters", False) is True else active
        for name, kept in module.named_children():
            for adapter in getattr(kept, "keys", tuple)():
                if adapter not in used:
                    yield f"{path}.{name}.{adapter}.".removeprefix(".")
