"""What the figures of units share: where units stand, the words on the axes, and the axis of multipliers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

from spectra.report.figures.depth import Place, places

_LOG_FROM = 4.0  # largest over smallest multiplier; below, a logarithmic axis would have one or two numbers on it
_METRICS = {"alpha": r"power-law exponent $\alpha$", "alpha_hill": r"Hill exponent $\alpha$", "fisher_trace": "Fisher trace"}


def placed_units(members: Mapping[str, Sequence[str]]) -> tuple[list[tuple[str, Place]], str]:
    """Place units along the depth of a model: each where its first layer stands.

    Args:
        members: Names of the layers of every unit, in the order of the model.

    Returns:
        The role and the place of each unit, and what the axis is called. The role is what its layers have in common within
        their block, nothing for a whole block.
    """
    layers = [layer for inside in members.values() for layer in inside]
    placed, label = places(layers)
    place_of = dict(zip(layers, placed, strict=True))
    inside_of = {unit: [place_of[layer] for layer in inside] for unit, inside in members.items()}
    return [(_role(unit, inside), inside[0]) for unit, inside in inside_of.items()], label


def score_label(settings: Mapping[str, Any]) -> str:
    """Name an axis of scores.

    Args:
        settings: Of the policy.

    Returns:
        Its metric, in the words of all figures.
    """
    metric = str(settings.get("metric", "score"))
    return _METRICS.get(metric, metric.replace("_", " "))


def scale_multipliers(axes: Any, values: Collection[float]) -> None:
    """Take a logarithmic axis where multipliers differ by factors.

    Args:
        axes: With the multipliers vertical.
        values: The multipliers; those that are not finite do not count.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    if finite and 0.0 < _LOG_FROM * min(finite) <= max(finite):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _role(unit: str, members: Sequence[Place]) -> str:
    if members[0].is_end:
        return unit
    parts = [place.role.split(".") for place in members]
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))]
    return ".".join(part for part in shared if not part.isdigit())
