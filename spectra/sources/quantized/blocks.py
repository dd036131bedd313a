"""Which entries of a weight share a scale, from the shapes of both and what the configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.sources.quantized.recipe import RefusedError, whole_number
from spectra.sources.quantized.settings import weight_arguments


def aligned(shape: Sequence[int], scale_shape: Sequence[int]) -> tuple[int, ...]:
    """Give scales the weight's rank: one number for the tensor, or a vector with one per output.

    Args:
        shape: Of the weight.
        scale_shape: Of its scales, as stored.

    Returns:
        A shape of the same number of scales; the stored one where it is neither.
    """
    if math.prod(scale_shape) == 1:
        return (1,) * len(shape)
    if len(scale_shape) == 1 and len(shape) == 2 and scale_shape[0] == shape[0]:
        return (shape[0], 1)
    return tuple(scale_shape)


def blocks_of(shape: Sequence[int], scale_shape: Sequence[int], known: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Find the length of a block along each axis from the shapes of the weight and its scales.

    Args:
        shape: Of the weight.
        scale_shape: Of its scales, of the same rank.
        known: Block lengths of the last axes that the format or the configuration names; the last block may be ragged.

    Returns:
        One length per axis: 1 for a scale per entry, the whole side for one scale.

    Raises:
        RefusedError: No known block leads from one shape to the other, or two different ones do.
    """
    simple = [1 if count == side else side if count == 1 else 0 for side, count in zip(shape, scale_shape, strict=False)]
    if len(simple) == len(shape) == len(scale_shape) and all(simple):
        return tuple(simple)
    fitting = set()
    for block in known:
        lengths = [*([1] * (len(shape) - len(block))), *block]
        if len(scale_shape) == len(shape) == len(lengths):
            counts = [math.ceil(side / length) for side, length in zip(shape, lengths, strict=True)]
            if list(scale_shape) == counts:
                fitting.add(tuple(lengths))
    if len(fitting) != 1:
        said = f"of {' or '.join('x'.join(map(str, block)) for block in known)}" if known else "that the configuration names"
        raise RefusedError(
            f"whose scales {tuple(scale_shape)} do not divide the weight {tuple(shape)} into blocks {said}; check the files "
            "and their config.json"
        )
    return fitting.pop()


def block_lengths(settings: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """List the block lengths that the settings name, for the last axes of a weight.

    Args:
        settings: As ``quantization_settings`` gives them.

    Returns:
        Without repetition, each of positive lengths; empty where every scale is of a tensor or an output.
    """
    named = [settings.get("weight_block_size")]
    for weights in weight_arguments(settings):
        group_size = whole_number(weights.get("group_size") or 0, "group_size")
        named += [weights.get("block_structure"), [1, group_size] if group_size > 0 else None]
    found = [
        tuple(whole_number(length, "block length") for length in block) for block in named if isinstance(block, list | tuple)
    ]
    return list(dict.fromkeys(block for block in found if all(length > 0 for length in block)))
