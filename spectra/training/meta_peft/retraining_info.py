"""How a base was retrained: what stands beside it on disk, and what adapting it needs to know."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from spectra._version import __version__
from spectra.results.versioned_json import read_versioned
from spectra.results.weight_rounds import plain_json
from spectra.results.writing import write_whole

INFO = "meta_peft.json"
SCHEMA_VERSION = 1

_AGAIN = "Make it again: MetaPeftTrainer(...).retrained().save(FOLDER)"


@dataclass(frozen=True, kw_only=True)
class RetrainingInfo:
    """How a base was retrained.

    Attributes:
        method: ``"peft_ml"``, ``"standard"``, ``"reptile"`` or ``"last_layer_ml"``.
        tasks: Names of the tasks.
        ranks: Rank of each task's adapter; ``None`` where it has none.
        peft_type: peft's word for the method; ``None`` without adapters.
        head: Whose the output layer was: ``"per_task"``, ``"shared"`` or ``"none"``.
        head_modules: Names of its modules.
        num_steps: Optimizer steps behind the base.
        selected_by: ``"last"``, or the metric that chose among checkpoints.
        metrics: Of the base that was chosen.
        version: Of Spectra.
    """

    method: str
    tasks: tuple[str, ...]
    ranks: Mapping[str, int | None]
    peft_type: str | None
    head: str
    head_modules: tuple[str, ...]
    num_steps: int
    selected_by: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__

    @property
    def largest_rank(self) -> int | None:
        """The largest rank of a task's adapter; ``None`` where none has one."""
        return max((rank for rank in self.ranks.values() if rank is not None), default=None)


class Retrained(Protocol):
    """A model, and how it was retrained."""

    model: nn.Module
    info: RetrainingInfo


def write_info(folder: Path, info: RetrainingInfo) -> None:
    """Write how a base was retrained.

    Args:
        folder: Of the base.
        info: How.

    Raises:
        ResultsError: It cannot be written.
    """
    content = {"schema_version": SCHEMA_VERSION, **plain_json(dataclasses.asdict(info))}
    write_whole(folder / INFO, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_info(folder: Path) -> RetrainingInfo:
    """Read what :func:`write_info` wrote.

    Args:
        folder: Of the base.

    Returns:
        How it was retrained.

    Raises:
        ResultsError: The file is missing or damaged.
    """
    return read_versioned(folder / INFO, "record of a retrained base", SCHEMA_VERSION, _info, again=_AGAIN)


def _info(content: Mapping[str, Any]) -> RetrainingInfo:
    fields = {one.name: content[one.name] for one in dataclasses.fields(RetrainingInfo)}
    fields["tasks"], fields["head_modules"] = tuple(fields["tasks"]), tuple(fields["head_modules"])
    fields["ranks"] = dict(fields["ranks"])
    fields["metrics"] = {name: math.nan if value is None else float(value) for name, value in fields["metrics"].items()}
    return RetrainingInfo(**fields)
