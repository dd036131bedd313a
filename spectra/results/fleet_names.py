"""The folder of each model of a fleet: short, safe as a file name, and no other model's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SUFFIX = re.compile(r"\.(safetensors|bin|pt|pth|ckpt|index\.json)$", re.IGNORECASE)
_NAMES_NOTHING = {"model", "pytorch_model"}  # of a weights file: its folder has the name
_LONGEST = 100  # our choice: with the folders above and the files in it below any system's limit


def folder_names(locations: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Name the folders of models.

    A model is named by the end of its path, with as many folders before it as tell it from the others:
    ``runs/a/checkpoint-9`` and ``runs/b/checkpoint-9`` become ``a-checkpoint-9`` and ``b-checkpoint-9``.

    Args:
        locations: Absolute paths, hub ids or ``"demo"``; no two equal.
        known: Names that were given before, by location; they stay.

    Returns:
        Names by location, in order; unequal, capitals aside.
    """
    locations = list(locations)
    parts = {location: _parts(location) for location in locations}
    names = {location: known[location] for location in locations if location in known}
    taken = {name.lower() for name in known.values()}
    for location in locations:
        if location not in names:
            names[location] = _name(parts[location], [parts[other] for other in locations if other != location], taken)
            taken.add(names[location].lower())
    return {location: names[location] for location in locations}


def _parts(location: str) -> list[str]:
    parts = [part for part in re.split(r"[\\/]", location) if part not in ("", ".")]
    parts[-1:] = [_SUFFIX.sub("", part) for part in parts[-1:]]
    if len(parts) > 1 and parts[-1] in _NAMES_NOTHING:
        parts.pop()
    return [safe for part in parts if (safe := _UNSAFE.sub("-", part).strip("-."))] or ["model"]


def _name(parts: Sequence[str], others: Sequence[Sequence[str]], taken: set[str]) -> str:
    for length in range(1, len(parts) + 1):
        name, tail = _joined(parts[-length:]), _lower(parts[-length:])
        if name.lower() not in taken and all(_lower(other[-length:]) != tail for other in others):
            return name
    numbered = (f"{_joined(parts[-1:])}-{number}" for number in count(2))
    return next(name for name in numbered if name.lower() not in taken)


def _joined(parts: Sequence[str]) -> str:
    return "-".join(parts)[-_LONGEST:].strip("-.")


def _lower(parts: Sequence[str]) -> list[str]:
    return [part.lower() for part in parts]
