"""What the teacher says to the samples of a batch: read from a file that was written once, or asked each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from spectra.errors import InputError
from spectra.training.dcs.losses import supervised_tokens
from spectra.training.dcs.objective import TopK
from spectra.training.dcs.teacher import Teacher
from spectra.training.dcs.teacher_logits import TeacherLogits, refuse_non_finite, write_logits
from spectra.training.dcs.top_k_logits import TopKLogits, TopKWriter, top_k

CACHE_FILE = "teacher_logits.safetensors"

# What a pass over the data yields: index, inputs of the model, labels.
Asked = tuple[Tensor, Mapping[str, Any], Tensor]


class Answers(Protocol):
    """A teacher's answers."""

    def __call__(self, index: Tensor, inputs: Mapping[str, Any], labels: Tensor) -> Tensor | TopK:
        """Answer a batch: logits, or the most likely words of each supervised token."""


class Live:
    """Asks the teacher itself.

    Args:
        teacher: In memory.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, index: Tensor, inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
        """Return logits for the batch."""
        return self.teacher(inputs)


class CachedLogits:
    """Reads logits by sample.

    Args:
        table: The file.
    """

    def __init__(self, table: TeacherLogits) -> None:
        self.table = table

    def __call__(self, index: Tensor, inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
        """Return logits, shape ``(B, C)``."""
        return self.table.rows(index)


class CachedTopK:
    """Reads the most likely words by sample.

    Args:
        table: The file.
    """

    def __init__(self, table: TopKLogits) -> None:
        self.table = table

    def __call__(self, index: Tensor, inputs: Mapping[str, Any], labels: Tensor) -> TopK:
        """Return what is kept of all supervised tokens, in the order of the batch."""
        return TopK(*self.table.rows(index))


def write_all_logits(
    path: Path,
    teacher: Teacher,
    batches: Iterable[Asked],
    gather: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]],
    num_samples: int,
    fingerprint: Mapping[str, str],
    *,
    writes: bool,
) -> None:
    """Ask the teacher about every sample, and keep its logits.

    Args:
        path: The file.
        teacher: Who is asked.
        batches: All samples, each process its part.
        gather: Collects tensors of all processes.
        num_samples: N.
        fingerprint: Of teacher and data.
        writes: Whether this process writes.

    Raises:
        InputError: Logits that are not finite, or not of one vector for each sample.
    """
    table = None
    for index, inputs, _ in batches:
        logits = teacher(inputs).float()
        if logits.ndim != 2:
            shape = tuple(logits.shape)
            raise InputError(f"cache: logits of shape {shape} are not one vector for each sample. Use cache='off'.")
        where, what = (one.cpu().numpy() for one in gather((index, logits)))
        refuse_non_finite(what, where)
        if table is None:
            table = np.full((num_samples, what.shape[1]), np.nan, dtype=np.float32)
        table[where] = what
    assert table is not None
    if writes:
        write_logits(path, table, fingerprint)


def write_all_top_k(
    path: Path,
    teacher: Teacher,
    batches: Iterable[Asked],
    num_samples: int,
    fingerprint: Mapping[str, str],
    *,
    shift: bool,
    tau: float,
    number: int,
) -> None:
    """Ask the teacher about every sample, and keep the most likely words of each supervised token.

    Args:
        path: The file.
        teacher: Who is asked.
        batches: All samples.
        num_samples: N.
        fingerprint: Of teacher and data.
        shift: A token's label is the next one.
        tau: Temperature.
        number: Words kept of each token.

    Raises:
        InputError: Logits that are not finite.
    """
    with TopKWriter(path, num_samples, fingerprint) as writer:
        for index, inputs, labels in batches:
            logits, _, samples = supervised_tokens(teacher(inputs), labels, shift=shift)
            log_probs, ids = top_k(logits, tau, number)
            counts = torch.bincount(samples, minlength=len(index))
            writer.add(*(one.cpu().numpy() for one in (index, log_probs, ids, counts)))
        writer.finish()
