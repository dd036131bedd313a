"""Data sets of the hub, as a recipe names them: ``owner/name``, ``owner/name:config`` or ``owner/name:config:split``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.training.data_files import Record
from spectra.training.libraries import imported, in_one_line

# What a recipe's data are there for: the usual name of such a split.
SPLITS = {"train": "train", "eval": "validation", "test": "test"}

_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*(/[\w-][\w.-]*)?)(:(?P<config>[\w.-]*))?(:(?P<split>[\w.-]+))?")
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")


@dataclass(frozen=True)
class HubData:
    """A data set of the hub.

    Attributes:
        id: Of the data set.
        config: Its configuration, or ``None`` for the only one.
        split: Its part, or ``None`` for the usual one.
    """

    id: str
    config: str | None = None
    split: str | None = None


def hub_data(text: str) -> HubData | None:
    """Tell whether data are those of the hub.

    Args:
        text: As a recipe has it.

    Returns:
        The data set, or ``None`` if it is a path: what exists here, ends as a data file does, or cannot be a hub id.
    """
    found = _ID.fullmatch(text)
    if found is None or text.lower().endswith(_SUFFIXES) or Path(text).expanduser().exists():
        return None
    return HubData(found["id"], found["config"] or None, found["split"])


def read_hub_data(data: HubData, use: str) -> tuple[list[Record], dict[str, list[str]]]:
    """Download data, or take them from the cache.

    Args:
        data: Which.
        use: ``train``, ``eval`` or ``test``.

    Returns:
        The records, and the names of classes by column, where the data set has them.

    Raises:
        SourceError: They cannot be had, or hold no examples.
        MissingPackageError: ``datasets`` is not installed.
    """
    datasets: Any = imported("datasets", what="reading data of the hub")
    split = data.split or SPLITS[use]
    what = f"cannot read the split '{split}' of the data set '{data.id}'"
    with in_one_line(what, "Check its name (owner/name:config:split), go online, or give a file."):
        loaded = datasets.load_dataset(data.id, data.config, split=split)
    names = {column: list(feature.names) for column, feature in loaded.features.items() if hasattr(feature, "names")}
    return loaded.to_list(), names
