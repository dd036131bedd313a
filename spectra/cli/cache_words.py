"""What ``spectra analyze --cache`` says of the cache, on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def from_cache(environments: Iterable[Mapping[str, Any]], cache: Path) -> str:
    """Say how many layers were found.

    Args:
        environments: Of the reports.
        cache: The folder.

    Returns:
        A line; nothing if no report was made with a cache, as those of a finished result folder may not have been.
    """
    counts = [(e["layers_from_cache"], e["layers_computed"]) for e in environments if "layers_from_cache" in e]
    if not counts:
        return ""
    found = sum(number for number, _ in counts)
    return f"{found} of {found + sum(computed for _, computed in counts)} layers from the cache '{cache}'.\n"
