"""The checkpoints of a training run, in the order in which they were written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from spectra.errors import SourceError

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")  # as transformers' Trainer names them
_INSIDE = "checkpoints"  # where 'spectra finetune' keeps them


def checkpoints_in_order(models: Sequence[str]) -> list[str]:
    """Put checkpoints in order of their steps; folders of runs stand for all of theirs.

    Args:
        models: Paths of checkpoints, or of folders that hold some as ``checkpoint-200`` or ``checkpoints/checkpoint-200``.
            Anything else that is a model counts as one, such as the model that training started from.

    Returns:
        One location for each checkpoint, oldest first. Where one of them has no step in its name the order is the given one.

    Raises:
        SourceError: A single folder that is neither a checkpoint nor one with checkpoints in it.
    """
    found = [checkpoint for model in models for checkpoint in _inside(model) or [model]]
    if len(models) == len(found) == 1 and Path(models[0]).is_dir() and step_of(models[0]) is None:
        raise SourceError(
            f"folder '{models[0]}' holds no checkpoints of a training run: looked for checkpoint-NUMBER and "
            f"{_INSIDE}/checkpoint-NUMBER. Give the folder of a run that keeps some, or two checkpoints."
        )
    steps = [step_of(location) for location in found]
    if None in steps:
        return found
    return [location for _, location in sorted(zip(steps, found, strict=True), key=lambda pair: pair[0] or 0)]


def step_of(location: str) -> int | None:
    """Return the step at which a checkpoint was written, by its name.

    Args:
        location: Of the checkpoint.

    Returns:
        The optimizer steps that were done, or ``None`` if its name is not ``checkpoint-`` and a number.
    """
    match = _CHECKPOINT.fullmatch(Path(location).name)
    return int(match[1]) if match else None


def _inside(location: str) -> list[str]:
    folder = Path(location).expanduser()
    for place in (folder, folder / _INSIDE):
        own = [str(path) for path in place.glob("checkpoint-*") if path.is_dir() and step_of(str(path)) is not None]
        if own:
            return sorted(own, key=lambda path: step_of(path) or 0)
    return []
