"""The state of an unfinished estimate, in one file: what is summed, how far it is, and which estimate it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectra.errors import ResultsError

_STATE_VERSION = 1
_GENERATOR = "generator"


@dataclass
class Counts:
    """How far an estimate is.

    Attributes:
        num_samples: Samples with a target.
        num_tokens: Their targets.
        num_skipped: Samples without a target.
        num_batches: Batches added.
        data: Running fingerprint of these batches.
        traces: Sum over samples of the trace, by parameter.
        squared_traces: Sum over samples of its square.
        unfollowed: Parameters measured one sample at a time, with the reason.
        reached: Parameters that were used.
        is_weighted: Whether samples had weights.
    """

    num_samples: int = 0
    num_tokens: int = 0
    num_skipped: int = 0
    num_batches: int = 0
    data: str = ""
    traces: dict[str, float] = field(default_factory=dict)
    squared_traces: dict[str, float] = field(default_factory=dict)
    unfollowed: dict[str, str] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)
    is_weighted: bool = False


def save_state(path: Path, settings: Mapping[str, Any], counts: Counts, sums: Mapping[str, Tensor], generator: Tensor) -> None:
    """Write the state; a reader sees the one before or this one, whole.

    Args:
        path: The file.
        settings: Which estimate this is.
        counts: How far it is.
        sums: The tensors summed up.
        generator: State of the random generator.

    Raises:
        ResultsError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = {"spectra_fisher_state": json.dumps({"version": _STATE_VERSION, "settings": settings, "counts": asdict(counts)})}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({**{name: tensor.contiguous() for name, tensor in sums.items()}, _GENERATOR: generator}, temporary, header)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # the folder may be the trouble
            temporary.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise ResultsError(f"cannot write '{path}': {why}. Free space or choose another place.") from error


def load_state(path: Path, settings: Mapping[str, Any], sums: Mapping[str, Tensor]) -> tuple[Counts, Tensor]:
    """Read a state into the sums.

    Args:
        path: The file.
        settings: Of the estimate to be continued.
        sums: Tensors that take the values.

    Returns:
        How far it is, and the state of the random generator.

    Raises:
        ResultsError: It cannot be read, or belongs to another estimate.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "Remove it to start again, or choose another output."
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["spectra_fisher_state"])
            differing = [key for key in settings if header["settings"].get(key) != settings[key]]
            if header["version"] != _STATE_VERSION:
                raise ResultsError(f"'{path}' is an unfinished estimate of another version of Spectra. {remedy}")
            if differing:
                raise ResultsError(f"'{path}' is an unfinished estimate with another setting of {differing[0]}. {remedy}")
            for name, tensor in sums.items():
                with torch.no_grad():
                    tensor.copy_(file.get_tensor(name))
            return Counts(**header["counts"]), file.get_tensor(_GENERATOR)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ResultsError(f"'{path}' is no state of an unfinished estimate, or damaged ({error}). {remedy}") from error
