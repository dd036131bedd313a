"""A model minus its base, weight by weight: what training changed.

Weights are matched by their full names. Where the names differ by one prefix (``bert.`` of a model with a head and the plain
encoder), that prefix is taken off, if it explains most of the names on one side and no other prefix explains as many.
A weight without a counterpart has no difference, and says why: the raw weight never stands in its place.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from spectra.errors import SourceError
from spectra.sources.tensors import EMBEDDING, FLOAT_DTYPES, Source, StoredTensor

ReadRows = Callable[[int, int], NDArray[Any]]

# Layers with one row per entry of the vocabulary (or per position), which may be added to: by their last component.
_VOCABULARY = re.compile(
    r"(.*_)?(embed|embeddings?|embed_(tokens|positions|in|out)|tokens)|wte|wpe|shared|lm_head|predictions\.decoder"
)
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|shared)\.weight$")

# Prefixes of names are looked for up to this many components ('base_model.model.' has two, 'model.language_model.' too).
_LONGEST_PREFIX = 3


def difference(source: Source, base: Source) -> Source:
    """Subtract a base model.

    Numbers are subtracted in float64: differences are small beside the weights, and float32 would round those of numbers
    that are not within a factor of two of each other.

    Args:
        source: The model.
        base: What it was trained from; its containers and dtypes may be others.

    Returns:
        A source of every tensor of two or more dimensions: the differences under the model's names, those that have none
        with ``no_base`` set, and those that hold no weights as they were. Its notes name what only the base has.

    Raises:
        SourceError: No weight of the model has a counterpart: the base is of another architecture.
    """
    ours = [tensor for tensor in source.tensors if len(tensor.shape) >= 2]
    weights = [tensor for tensor in ours if _holds_numbers(tensor)]
    theirs = {tensor.name: tensor for tensor in base.tensors if len(tensor.shape) >= 2 and _is_weight(tensor)}
    pairs = matched_names({t.name: t.shape for t in weights}, {t.name: t.shape for t in theirs.values()})
    pairs |= _tied_heads(weights, pairs, theirs, base)
    rows = {t.name: subtracted(t, theirs[pairs[t.name]]) if t.name in pairs else _without(t, base) for t in weights}
    if weights and not any(row.no_base is None for row in rows.values()):
        raise SourceError(_another_architecture(source, base, weights, theirs, len(pairs)))
    tensors = [rows.get(tensor.name, tensor) for tensor in ours]
    tensors = [_tied(t, pairs, theirs) for t in tensors]
    used = set(pairs.values()) | {theirs[name].tied_to for name in pairs.values()}
    unused = [name for name, tensor in theirs.items() if name not in used and not tensor.tied_to]
    notes = source.notes + base.notes
    if unused:
        notes += (f"{counted(unused)} of the base without a counterpart: {some(unused)}",)
    # Of a base in memory no file tells whether it changed: then all numbers are compared.
    files = source.files + base.files if source.files and base.files else ()
    return dataclasses.replace(source, tensors=tuple(tensors), files=files, base=base.location, notes=notes)


def subtracted(tensor: StoredTensor, base: StoredTensor) -> StoredTensor:
    """Subtract one weight from another, row by row and in float64.

    Args:
        tensor: The weight.
        base: Its counterpart: of equal or transposed shape, or a vocabulary of another size.

    Returns:
        The difference under the name of the weight, over the rows that both have; with ``no_base`` set where the shapes or
        the base do not allow one.
    """
    shape, notes = tensor.shape, []
    if base.unreadable:
        return without_base(tensor, f"'{base.name}' of the base cannot be read: {base.unreadable}")
    if base.no_base:
        return without_base(tensor, base.no_base)
    if _is_transposed(tensor, base):
        base_rows = _columns(base)
        notes.append("compared with the transposed weight of the base")
    elif tensor.shape == base.shape:
        base_rows = base.read
    elif _is_resized(tensor, base):
        base_rows = base.read
        shape = (min(tensor.shape[0], base.shape[0]), *tensor.shape[1:])
        notes.append(f"compared on the first {shape[0]} rows of {tensor.shape[0]}, the base has {base.shape[0]}")
    else:
        return without_base(tensor, f"shape {tensor.shape} here, {base.shape} in the base")
    if tensor.quantized != base.quantized:
        notes.append(f"stored as {tensor.quantized or tensor.dtype} here and as {base.quantized or base.dtype} in the base")

    def read(start: int, stop: int) -> NDArray[Any]:
        # By ufunc, which casts in small pieces: operands in float64 would be held beside the difference.
        rows: NDArray[Any] = np.subtract(tensor.read(start, stop), base_rows(start, stop), dtype=np.float64)
        return rows

    return dataclasses.replace(
        tensor,
        shape=shape,
        read=read,
        factors=None,
        is_difference=True,
        is_merged=tensor.is_merged or base.is_merged,
        rank=max(tensor.rank, base.rank),  # one is read after the other
        note="; ".join(filter(None, [tensor.note, *notes])),
    )


def without_base(tensor: StoredTensor, reason: str) -> StoredTensor:
    """Say of a weight that it has no difference; its own numbers cannot be read any more.

    Args:
        tensor: The weight.
        reason: Why.

    Returns:
        The tensor with ``no_base`` set.
    """

    def read(start: int, stop: int) -> NoReturn:
        raise SourceError(f"'{tensor.name}' has no base to compare with: {reason}.")

    return dataclasses.replace(tensor, read=read, factors=None, is_difference=True, no_base=reason)


def matched_names(ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Match the names of weights of two models: equal names first, then those that differ by one prefix.

    Args:
        ours: Names and shapes.
        theirs: Names and shapes of the base.

    Returns:
        Our names → their names, one to one.
    """
    pairs = {name: name for name in ours if name in theirs}
    left = [name for name in ours if name not in pairs]
    right = [name for name in theirs if name not in pairs]
    longer, shorter = _by_prefix(left, right, ours, theirs), _inverted(_by_prefix(right, left, theirs, ours))
    if len(longer) == len(shorter):  # both directions explain as much: neither is to be believed
        return pairs
    return pairs | (longer if len(longer) > len(shorter) else shorter)


def some(names: Iterable[str], most: int = 4) -> str:
    """Quote the first few of a list of names.

    Args:
        names: All of them.
        most: How many to quote.

    Returns:
        For example ``"'a', 'b', …"``.
    """
    names = list(names)
    return ", ".join(f"'{name}'" for name in names[:most]) + (", …" if len(names) > most else "")


def counted(names: Sequence[str]) -> str:
    """Say how many weights there are.

    Args:
        names: Their names.

    Returns:
        ``"1 weight"``, ``"2 weights"``.
    """
    return f"{len(names)} weight{'' if len(names) == 1 else 's'}"


def _holds_numbers(tensor: StoredTensor) -> bool:
    """Tell weights from what is skipped anyway, with a reason of its own."""
    return _is_weight(tensor) and not tensor.unreadable


def _is_weight(tensor: StoredTensor) -> bool:
    return tensor.part_of is None and (tensor.dtype in FLOAT_DTYPES or bool(tensor.quantized))


def _by_prefix(
    long: Sequence[str],
    short: Sequence[str],
    long_shapes: Mapping[str, Sequence[int]],
    short_shapes: Mapping[str, Sequence[int]],
) -> dict[str, str]:
    """Match names that are those of another model behind one prefix; empty where no prefix, or more than one, does it."""
    known = set(short)
    before, explained = Counter[str](), Counter[str]()
    for name in long:
        for prefix in _prefixes(name):
            before[prefix] += 1
            rest = name.removeprefix(prefix)
            explained[prefix] += rest in known and _alike(long_shapes[name], short_shapes[rest])
    # Most of the names on one side: of an adapter, whose few names stand for a part of the model only, all are explained.
    good = [prefix for prefix in before if 2 * explained[prefix] > min(before[prefix], len(short))]
    ranked = sorted(good, key=lambda prefix: -explained[prefix])
    if not ranked or (len(ranked) > 1 and explained[ranked[0]] == explained[ranked[1]]):
        return {}
    best = ranked[0]
    return {name: name.removeprefix(best) for name in long if name.startswith(best) and name.removeprefix(best) in known}


def _prefixes(name: str) -> list[str]:
    """List what may stand before a name: its first components, but no numbers, which tell layers apart."""
    parts = name.split(".")[:-1][:_LONGEST_PREFIX]
    words = parts[: next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))]
    return [".".join(words[: count + 1]) + "." for count in range(len(words))]


def _alike(shape: Sequence[int], other: Sequence[int]) -> bool:
    return tuple(shape) in (tuple(other), tuple(other)[::-1]) or tuple(shape[1:]) == tuple(other[1:])


def _inverted(pairs: Mapping[str, str]) -> dict[str, str]:
    return {second: first for first, second in pairs.items()}


def tied_head(name: str, theirs: Mapping[str, StoredTensor], base: Source) -> StoredTensor | None:
    """Find the embedding that a base uses as its output layer, where its file therefore holds no output layer.

    Args:
        name: Of a weight that the base does not list.
        theirs: The base's weights by name.
        base: The base.

    Returns:
        The embedding, or ``None`` where the weight is no output layer or the base does not tie it.
    """
    if not name.endswith("lm_head.weight") or base.config.get("tie_word_embeddings") is not True:
        return None
    return next((tensor for found, tensor in theirs.items() if _EMBEDDING.search(found)), None)


def _tied_heads(
    weights: Sequence[StoredTensor], pairs: Mapping[str, str], theirs: Mapping[str, StoredTensor], base: Source
) -> dict[str, str]:
    heads = {t.name: tied_head(t.name, theirs, base) for t in weights if t.name not in pairs}
    matched = set(pairs.values())  # the embedding of another architecture is no counterpart of anything
    return {name: embedding.name for name, embedding in heads.items() if embedding is not None and embedding.name in matched}


def _tied(tensor: StoredTensor, pairs: Mapping[str, str], theirs: Mapping[str, StoredTensor]) -> StoredTensor:
    """Untie weights that share numbers here and not in the base: their differences differ."""
    if not tensor.tied_to:
        return tensor
    partners = [pairs.get(name) for name in (tensor.name, tensor.tied_to)]
    roots = {theirs[name].tied_to or name if name else None for name in partners}
    return tensor if len(roots) == 1 else dataclasses.replace(tensor, tied_to=None)


def _is_transposed(tensor: StoredTensor, base: StoredTensor) -> bool:
    if len(tensor.shape) != 2 or tensor.shape != base.shape[::-1]:
        return False
    if tensor.shape != base.shape:
        return True
    # A square tells nothing by its shape: only where both layouts are known and differ.
    return bool(tensor.layout and base.layout and tensor.layout.is_transposed != base.layout.is_transposed)


def _is_resized(tensor: StoredTensor, base: StoredTensor) -> bool:
    """Tell a vocabulary that was added to from a layer that is another: only the rows of the former mean the same."""
    if len(tensor.shape) != 2 or tensor.shape[1:] != base.shape[1:]:
        return False
    layer = tensor.name.removesuffix(".weight")
    known = bool(tensor.layout and tensor.layout.kind == EMBEDDING)
    return known or any(_VOCABULARY.fullmatch(end) for end in (layer.rsplit(".", 1)[-1], ".".join(layer.split(".")[-2:])))


def _columns(base: StoredTensor) -> ReadRows:
    # A file cannot be read by columns: the whole tensor, once per block. Such pairs are rare and their blocks few.
    return lambda start, stop: base.read(0, base.shape[0])[:, start:stop].T


def _without(tensor: StoredTensor, base: Source) -> StoredTensor:
    return without_base(tensor, f"'{base.location}' has no weight of this name")


def _another_architecture(
    source: Source, base: Source, weights: Sequence[StoredTensor], theirs: Mapping[str, StoredTensor], num_matched: int
) -> str:
    matched = f"{num_matched} of {len(weights)} weights have one of their name" + (" but another shape" if num_matched else "")
    return (
        f"'{base.location}' is no base of '{source.location}': {matched}. Here: {some((t.name for t in weights), 2)}; there: "
        f"{some(theirs, 2) or 'no weights'}. Give the checkpoint that training started from."
    )
