"""What a teacher answered about every token, where a row of logits would be a whole vocabulary: its k most probable tokens.

Samples are written as they come, tokens of one sample together, so that a file is never whole in memory; two small tables say
where each sample begins and how many tokens it has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectra.errors import InputError, ResultsError
from spectra.results.writing import made, unwritable
from spectra.training.dcs.logits_file import map_arrays, write_arrays
from spectra.training.dcs.teacher_logits import refuse_non_finite

_KIND = "top-k"
_STARTS, _COUNTS, _LOG_PROBS, _IDS = "starts", "counts", "log_probs", "ids"


def top_k(logits: Tensor, tau: float, k: int) -> tuple[Tensor, Tensor]:
    """Keep the most probable outcomes of each row.

    Args:
        logits: Shape ``(M, V)``.
        tau: Temperature of the probabilities.
        k: How many; all of V where that is fewer.

    Returns:
        Log-probabilities among all V, float32, and the outcomes, int32; both of shape ``(M, min(k, V))``, the most probable
        first, and of several that are so the one with the lowest number. In float32, since float16 would lose the mass of the
        rest: at a log-probability of -10 it is off by 0.4 %, and the probabilities may sum to more than 1.
    """
    kept, ids = logits.topk(min(k, logits.shape[-1]), dim=-1)
    # topk may choose any among equals; what is compared with a student's answer has to be the first.
    first = logits.argmax(dim=-1, keepdim=True)
    ids = torch.cat([first, torch.where(ids == first, ids[:, :1], ids)[:, 1:]], dim=1)
    total = (logits.float() / tau).logsumexp(dim=-1, keepdim=True)
    return kept.float() / tau - total, ids.int()


class TopKLogits:
    """Probabilities in a file, of which only those of the samples that are asked for are read.

    Args:
        arrays: Tensors by name; see :meth:`open`.
    """

    def __init__(self, arrays: Mapping[str, Tensor]) -> None:
        self._arrays = arrays

    @classmethod
    def open(cls, path: str | os.PathLike[str], fingerprint: Mapping[str, str]) -> TopKLogits | None:
        """Open what a :class:`TopKWriter` has written.

        Args:
            path: The file.
            fingerprint: What the writer was given.

        Returns:
            The probabilities; ``None`` if the teacher has to be asked (again), as for
            :meth:`~spectra.training.dcs.teacher_logits.TeacherLogits.open`.

        Raises:
            ResultsError: The file cannot be read, or is something else.
        """
        arrays = map_arrays(path, _KIND, fingerprint)
        return None if arrays is None else cls(arrays)

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self._arrays[_COUNTS])

    @property
    def num_tokens(self) -> int:
        """Tokens of all samples."""
        return int(self._arrays[_COUNTS].sum())

    @property
    def num_outputs(self) -> int:
        """k: outcomes kept of each token."""
        return self._arrays[_IDS].shape[1]

    @property
    def num_bytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in self._arrays.values())

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Look samples up.

        Args:
            index: Places of samples, int64, shape ``(B,)``.

        Returns:
            Log-probabilities, float32, and outcomes, int64 as torch gathers by; both of shape ``(M, k)`` for the M tokens of
            these samples, one sample after the other, on the index's device.
        """
        places = index.cpu()
        starts, counts = (self._arrays[name].index_select(0, places) for name in (_STARTS, _COUNTS))
        # A token's row: its number among these M, moved by how far its sample lies in the file from where it lies here.
        shift = (starts - (counts.cumsum(0) - counts)).repeat_interleave(counts)
        tokens = shift + torch.arange(len(shift))
        log_probs, ids = (self._arrays[name].index_select(0, tokens) for name in (_LOG_PROBS, _IDS))
        return log_probs.to(index.device), ids.to(index.device).long()


class TopKWriter:
    """Writes probabilities batch by batch; the file is there once :meth:`finish` is done.

    Until then they are in two files without a name beside it, which vanish with the process. Finishing copies them, so that the
    disk needs room for both. Use it in a ``with`` block.

    Args:
        path: A ``.safetensors`` file; replaced if it exists, its folder is made if missing.
        num_samples: N.
        fingerprint: From :func:`~spectra.training.dcs.teacher_logits.teacher_fingerprint`, with whatever else the numbers
            depend on: temperature and k.

    Raises:
        ResultsError: Nothing can be written there.
    """

    def __init__(self, path: str | os.PathLike[str], num_samples: int, fingerprint: Mapping[str, str]) -> None:
        self._path = Path(path)
        self._fingerprint = fingerprint
        self._starts = np.full(num_samples, -1, dtype=np.int64)  # -1: not seen yet
        self._counts = np.zeros(num_samples, dtype=np.int64)
        self._num_tokens = 0
        self._k: int | None = None
        made(self._path.parent)
        try:
            self._files = {name: tempfile.TemporaryFile(dir=self._path.parent) for name in (_LOG_PROBS, _IDS)}  # noqa: SIM115
        except OSError as error:
            raise ResultsError(unwritable(self._path, error)) from error

    def __enter__(self) -> TopKWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, index: NDArray[Any], log_probs: NDArray[Any], ids: NDArray[Any], counts: NDArray[Any]) -> None:
        """Write some samples, in any order.

        A sample that comes again, as a sampler of several processes repeats some, replaces the one before; the room of that one
        is lost.

        Args:
            index: Places of the samples, shape ``(B,)``.
            log_probs: From :func:`top_k`, shape ``(M, k)``: the tokens of one sample after the other.
            ids: Likewise.
            counts: Tokens of each sample, shape ``(B,)``; M in all.

        Raises:
            InputError: Shapes that do not fit each other or what came before, or numbers that are not finite.
            ResultsError: The disk is full.
        """
        num_tokens = int(counts.sum())
        k = log_probs.shape[-1] if self._k is None else self._k
        if log_probs.shape != (num_tokens, k) or ids.shape != (num_tokens, k):
            raise InputError(
                f"expected {k} log-probabilities and ids for each of {num_tokens} tokens, got shapes {log_probs.shape} and "
                f"{ids.shape}. Pass what top_k gives, and how many of these tokens each sample has."
            )
        refuse_non_finite(log_probs, index.repeat(counts))
        try:
            self._files[_LOG_PROBS].write(log_probs.astype(np.float32, order="C").data)
            self._files[_IDS].write(ids.astype(np.int32, order="C").data)
        except OSError as error:
            raise ResultsError(unwritable(self._path, error)) from error
        self._k = k
        self._starts[index] = self._num_tokens + counts.cumsum() - counts
        self._counts[index] = counts
        self._num_tokens += num_tokens

    def finish(self) -> None:
        """Put the file into place.

        Raises:
            InputError: A sample is missing, or no sample has a token.
            ResultsError: The disk is full.
        """
        missing = np.flatnonzero(self._starts < 0)
        if len(missing):
            raise InputError(
                f"{len(missing)} of {len(self._starts)} samples were not added, the first is sample {missing[0]}. Go through "
                "the whole data set, with drop_last=False."
            )
        if not self._num_tokens:
            raise InputError("no sample has a token to learn from: every label is -100. Pass labels, or mask fewer tokens.")
        try:
            arrays = {name: self._mapped(name, dtype) for name, dtype in ((_LOG_PROBS, np.float32), (_IDS, np.int32))}
        except OSError as error:
            raise ResultsError(unwritable(self._path, error)) from error
        arrays |= {_STARTS: self._starts, _COUNTS: self._counts}
        write_arrays(self._path, arrays, _KIND, self._fingerprint)
        self._close()

    def _mapped(self, name: str, dtype: Any) -> NDArray[Any]:
        file = self._files[name]
        file.flush()
        return np.memmap(file, dtype=dtype, mode="r", shape=(self._num_tokens, self._k or 0))

    def _close(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what did not fit on the disk is tried once more
                file.close()
