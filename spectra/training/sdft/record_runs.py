"""Work that leaves a record per sample, run to its end: in memory, or in files that let it stop anywhere and go on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spectra.errors import InputError
from spectra.training.sdft.run_files import RunFiles, merge, open_run, process_rank
from spectra.training.sdft.samples import Sample

Progress = Callable[[int, int], None]  # samples that are done, and all


class SampleRecord(Protocol):
    """What is kept of a sample."""

    @property
    def row_id(self) -> str:
        """Of its sample."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""


Record = TypeVar("Record", bound=SampleRecord)


class Work(Protocol[Record]):
    """Samples, and what is to be done with each."""

    @property
    def samples(self) -> Sequence[Sample]:
        """All of them."""

    def manifest(self) -> dict[str, Any]:
        """Return what a run must share with one that it continues; what cannot be done at all is refused here."""

    def records(self, finished: set[str], rank: int, world: int) -> Iterator[list[Record]]:
        """Yield records of samples that have none, this process's share of them, some at a time."""


def all_records(
    work: Work[Record],
    output: Path | None,
    read: Callable[[Mapping[str, Any]], Record],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Record, ...] | None:
    """Do the work, or what is left of it.

    Args:
        work: What is to be done.
        output: The file that it is for; records lie beside it. ``None``: they are kept in memory only.
        read: Makes a record of what JSON gives back.
        force: Start afresh, over the files of another run.
        progress: Called with the number of samples that are done, and of all.

    Returns:
        A record of every sample, in their order; ``None`` while other processes are still at work.

    Raises:
        InputError: Several processes without a file, or work that cannot be done at all.
        ResultsError: Files of another run, or another process that writes to the same.
        BackendError: The model or server gave up. What it wrote is kept.
    """
    rank, world = process_rank()
    ids = [sample.row_id for sample in work.samples]
    if output is None:
        if world > 1:
            raise InputError("output: several processes meet in its files. Name a file.")
        work.manifest()
        made = {record.row_id: record for record in _shown(work, set(), rank, world, progress)}
        return tuple(made[row_id] for row_id in ids)
    files = RunFiles(output)
    with open_run(files, work.manifest(), rank=rank, world=world, force=force) as (finished, append):
        for record in _shown(work, {one["row_id"] for one in finished}, rank, world, progress):
            append(record.to_dict())
    merged = merge(files, ids)
    return None if merged is None else tuple(map(read, merged))


def samples_digest(samples: Sequence[Sample]) -> dict[str, Any]:
    """Tell data sets apart, for a manifest.

    Args:
        samples: In their order.

    Returns:
        Their number, and a digest of what they say.
    """
    ids = hashlib.sha256("".join(sample.row_id for sample in samples).encode()).hexdigest()
    return {"num_samples": len(samples), "digest": ids[:32]}


def refuse_input(output: Path, data: Any) -> None:
    """Refuse to write over what is read.

    Args:
        output: Of a run.
        data: What the run reads: a file, or rows.

    Raises:
        InputError: Both are one file.
    """
    if isinstance(data, str | os.PathLike) and output.exists() and output.samefile(Path(data).expanduser()):
        raise InputError(f"output: '{output}' is the data itself. Choose another name: what it holds is still needed.")


def _shown(work: Work[Record], finished: set[str], rank: int, world: int, progress: Progress | None) -> Iterator[Record]:
    """Yield new records, and say how many are done."""
    done, total = len(finished), len(work.samples)
    for part in work.records(finished, rank, world):
        yield from part
        done += len(part)
        if progress is not None:
            progress(done, total)
