"""Where the layers of a model stand along its depth, read from their names; shared by the figures that show depth.

| names | depth | role |
|---|---|---|
| most of them in a numbered stack (a transformer) | number of the block | the name within the block |
| beside the stack | before the first block (``in``) or after the last (``out``) | none |
| further stacks (a decoder beside an encoder) | after the blocks of the stack before | the name within the block |
| anything else (a convolutional net) | place in the model | last part of a numbered name, or none |
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

_NUMBERED = re.compile(r"^(?P<stack>(?:[^.]+\.)*?)(?P<block>\d+)\.(?P<role>.+)$")
_MOST_BLOCK_TICKS = 10
_BLOCKS_PER_GAP = 16  # with more blocks than this, ends one block away would write their names into the neighbour's


@dataclass(frozen=True)
class Place:
    """Where a layer stands.

    Attributes:
        depth: On the axis.
        role: What it is within its block; empty where the name does not tell.
        tick: What the axis calls this depth; empty where it goes by place in the model.
        stack: Which stack of blocks, where there are several.
        is_end: Whether it stands before or after the blocks.
    """

    depth: float
    role: str = ""
    tick: str = ""
    stack: int = 0
    is_end: bool = False


def places(
    names: Sequence[str], *, is_input: Sequence[bool] | None = None, numbers: Sequence[int] | None = None
) -> tuple[list[Place], str]:
    """Place layers along the depth of a model.

    Args:
        names: Of the layers, in the order of the model.
        is_input: For each, whether it stands before the blocks if it is in none of them. ``None``: if it precedes them in the
            order; an order by alphabet, as in many a checkpoint, would not tell.
        numbers: Its place in the model, for models that are no stack of blocks. ``None``: from 1.

    Returns:
        A place for each layer, and what the axis is called.
    """
    matches = [_NUMBERED.match(name) for name in names]
    stacks = _stacks(matches)
    if not stacks:
        roles = [match["role"].split(".")[-1] if match else "" for match in matches]
        return [Place(n, role) for n, role in zip(numbers or range(1, len(names) + 1), roles, strict=True)], "layer"
    in_block = [match if match and match["stack"] in stacks else None for match in matches]
    enters = is_input or [not any(in_block[: i + 1]) for i in range(len(names))]
    shifts, first, last = _shifts(stacks)
    gap = math.ceil((last - first + 1) / _BLOCKS_PER_GAP)
    ends = {True: Place(first - gap, tick="in", is_end=True), False: Place(last + gap, tick="out", is_end=True)}
    placed = [
        Place(int(m["block"]) + shifts[m["stack"]], m["role"], m["block"], list(stacks).index(m["stack"])) if m else ends[enter]
        for m, enter in zip(in_block, enters, strict=True)
    ]
    return placed, _axis_label(list(stacks))


def name_the_depths(axes: Any, placed: Sequence[Place]) -> None:
    """Label a horizontal axis of depths: whole numbers, and the ends by name.

    Args:
        axes: Drawn, with the depth horizontal.
        placed: The layers on it.
    """
    axes.xaxis.get_major_locator().set_params(integer=True)
    ticks = depth_ticks(placed)
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))


def depth_ticks(placed: Sequence[Place]) -> dict[float, str]:
    """Choose what an axis of depths says where.

    Args:
        placed: The layers on it.

    Returns:
        Labels by depth; empty where whole numbers, as any axis has them, say it.
    """
    ticks = {place.depth: place.tick for place in placed}
    ends = sorted({place.depth for place in placed if place.is_end})
    stacks: dict[int, set[float]] = {}
    for place in placed:
        if not place.is_end:
            stacks.setdefault(place.stack, set()).add(place.depth)
    if ends or len(stacks) > 1:
        step = max(1, math.ceil(sum(map(len, stacks.values())) / _MOST_BLOCK_TICKS))
        chosen = sorted([*(depth for depths in stacks.values() for depth in sorted(depths)[::step]), *ends])
        return {depth: ticks[depth] for depth in chosen}
    return {depth: f"{depth:g}" for depth in ticks} if len(ticks) == 1 else {}


def _stacks(matches: Sequence[re.Match[str] | None]) -> dict[str, list[int]]:
    """Return the block numbers of each stack, in the order of the model; nothing if no stack holds most of the layers."""
    blocks: dict[str, list[int]] = {}
    for match in matches:
        if match:
            blocks.setdefault(match["stack"], []).append(int(match["block"]))
    sizes = Counter({stack: len(numbers) for stack, numbers in blocks.items()})
    main, size = sizes.most_common(1)[0] if sizes else ("", 0)
    if 2 * size <= len(matches):
        return {}
    # A numbered list of single layers, such as several heads, is no stack.
    return {stack: n for stack, n in blocks.items() if stack == main or len(n) >= 2 * len(set(n)) >= 4}


def _shifts(stacks: dict[str, list[int]]) -> tuple[dict[str, int], int, int]:
    """Lay stacks one after another with a gap of one, the first where it is; return their shifts and the outermost depths."""
    shifts: dict[str, int] = {}
    first = last = 0
    for stack, numbers in stacks.items():
        shifts[stack] = last + 2 - min(numbers) if shifts else 0
        first = first if len(shifts) > 1 else min(numbers)
        last = max(numbers) + shifts[stack]
    return shifts, first, last


def _axis_label(stacks: Sequence[str]) -> str:
    if len(stacks) == 1:
        return "block"
    parts = [stack.split(".") for stack in stacks]
    num_shared = len(list(takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))))
    return f"block ({' | '.join(names[num_shared] or 'top' for names in parts)})"
