"""Shares of layers as whole numbers of weights that add up."""

from __future__ import annotations

import math
from collections.abc import Mapping


def whole_counts(sizes: Mapping[str, int], sparsities: Mapping[str, float]) -> dict[str, int]:
    """Round the number of weights to prune in each layer so that the total is the nearest whole number.

    Every layer gets the whole part of its share; what is missing goes to those with the largest rest, one each, and among
    equal rests to the first.

    Args:
        sizes: Number of weights by layer.
        sparsities: Share of them to prune, in [0, 1], of the same layers.

    Returns:
        Number of weights to prune by layer, within one of the share.

    Example:
        >>> whole_counts({"a": 5, "b": 5, "c": 5}, {"a": 0.5, "b": 0.5, "c": 0.5})
        {'a': 3, 'b': 3, 'c': 2}
    """
    exact = {name: sparsities[name] * size for name, size in sizes.items()}
    counts = {name: math.floor(share) for name, share in exact.items()}
    missing = round(math.fsum(exact.values())) - sum(counts.values())
    for name in sorted(counts, key=lambda name: counts[name] - exact[name])[:missing]:
        counts[name] += 1
    return counts
