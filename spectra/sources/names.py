"""Names of tensors: wrappers' prefixes taken off, and model order where the container lost it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spectra.printable import named

_LONGEST = 1024  # our choice; the longest names of the hub have a few hundred characters

_COMPILED = "_orig_mod"  # torch.compile, at any depth
_PARALLEL = "module."  # DataParallel and DistributedDataParallel
_LIGHTNING = "model."  # a LightningModule's usual attribute

# First components that hold a model's output layer; they come last although their names sort anywhere.
_HEADS = {"lm_head", "embed_out", "classifier", "score", "qa_outputs", "cls", "head", "heads", "fc", "output"}
_EMBEDDINGS = re.compile(r"(^|[._])(embed|wte|wpe|shared|stem|patch)", re.IGNORECASE)


def unwrapped_names(names: Sequence[str], *, nested: bool = False) -> list[str]:
    """Take wrappers' prefixes off parameter names.

    Args:
        names: Parameter names as stored.
        nested: The names stood under a key such as ``state_dict`` of a training checkpoint. A prefix ``model.``
            shared by all is then the trainer's, and goes as well; elsewhere it belongs to the model.

    Returns:
        The names, in the same order; unchanged where taking prefixes off would make two of them equal.
    """
    result = [".".join(part for part in name.split(".") if part != _COMPILED) for name in names]
    prefixes = [_PARALLEL, _LIGHTNING] if nested else [_PARALLEL]
    changed = True
    while changed and result:
        changed = False
        for prefix in prefixes:
            if all(name.startswith(prefix) for name in result):
                result = [name.removeprefix(prefix) for name in result]
                changed = True
    return result if len(set(result)) == len(result) else list(names)


def name_fault(name: str) -> str:
    """Say what is wrong with a name from a file.

    Args:
        name: Of a tensor.

    Returns:
        Why no result can be written under it; an empty string for a name that may be used, whatever it reads like.
    """
    if len(name) > _LONGEST:
        return f"the name '{named(name)}' has {len(name)} characters, and at most {_LONGEST} are read"
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        return f"the name '{named(name)}' is no Unicode text"
    return ""


def model_order(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """Sort key that puts names into the order of a model: embeddings, numbered layers by number, output layer.

    Args:
        name: Parameter name.

    Returns:
        The key.
    """
    first = name.split(".")[0]
    place = 2 if first in _HEADS else 0 if _EMBEDDINGS.search(name) else 1
    # Numbers at every second place, by length and digits: int() refuses thousands of digits.
    parts = re.split(r"(\d+)", name)
    numbers = [part.lstrip("0") for part in parts[1::2]]
    keys = [(0, 0, part) for part in parts]
    keys[1::2] = [(1, len(number), number) for number in numbers]
    return place, keys
