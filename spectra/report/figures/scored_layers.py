"""The layers of a Fisher as figures show them: score, standard error, place and role; and the words on their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spectra.errors import InputError
from spectra.report.figures.depth import Place, places
from spectra.report.figures.series import look
from spectra.results.fisher import Aggregate, Fisher, FisherTensor

# Roles that many modules share, and their markers. They are black, so that the colours are left for the roles in the blocks.
SHARED_ROLES = {"norms": "X", "embeddings": "D", "heads": "^"}
_BLACK = "0.2"
_SCORES = {
    Aggregate.PARAM_MEAN: "per parameter",
    Aggregate.MEAN_OF_MEANS: "(mean of means)",
    Aggregate.TRACE: "(sum)",
    Aggregate.MATRICES_MEAN: "(matrix mean)",
    Aggregate.RELATIVE: r"$\sum F\,\theta^2$",
}


@dataclass(frozen=True)
class ScoredLayer:
    """A layer of a Fisher: a module, its weight and bias together.

    Attributes:
        name: As in ``named_modules()``.
        role: What it is within its block, without numbers; ``norms``, ``embeddings``, ``heads``, or the kind of module.
        place: Along the depth of the model.
        score: Under the aggregate; NaN where it has none.
        std_error: Of the score over samples; NaN where it is not known.
    """

    name: str
    role: str
    place: Place
    score: float
    std_error: float

    @property
    def is_drawable(self) -> bool:
        """Whether a logarithmic axis has a place for the score."""
        return math.isfinite(self.score) and self.score > 0.0


def scored_layers(fisher: Fisher, aggregate: Aggregate | str | None = None) -> tuple[list[ScoredLayer], str]:
    """Place the layers of a Fisher along the depth of its model, with their scores.

    All norms have one role, and so have what stands before the blocks and what stands after them, so that a legend stays
    short. Numbers, and what all roles begin with, are left out: ``layer.0.SelfAttention.q`` is ``SelfAttention.q``.

    Args:
        fisher: Any Fisher.
        aggregate: How the parameters of a layer become one score. Default: that of the Fisher.

    Returns:
        Every layer, in the order of the model, and what the axis of depth is called.
    """
    how = aggregate or fisher.info.aggregate
    members: dict[str, list[FisherTensor]] = {}
    for tensor in fisher.tensors:
        members.setdefault(tensor.layer_name, []).append(tensor)
    placed, depth_label = places(list(members))
    roles = _roles([tensors[0].kind for tensors in members.values()], placed)
    layers = [
        ScoredLayer(name, role, place, score, _std_error(members[name], score, how))
        for (name, score), role, place in zip(fisher.scores("layer", how).items(), roles, placed, strict=True)
    ]
    return layers, depth_label


def drawable(fisher: Fisher, layers: Sequence[ScoredLayer]) -> list[ScoredLayer]:
    """Keep the layers that a logarithmic axis has a place for.

    Args:
        fisher: Of the layers, for the message.
        layers: Some of its layers.

    Returns:
        Those with a positive score.

    Raises:
        InputError: There is none.
    """
    drawn = [layer for layer in layers if layer.is_drawable]
    if not drawn:
        raise InputError(
            f"no layer to draw of the Fisher of '{fisher.info.model}' has a positive score, as a logarithmic axis needs. "
            "Choose another aggregate, or measure on other samples."
        )
    return drawn


def looks_by_role(layers: Sequence[ScoredLayer]) -> dict[str, tuple[str, str]]:
    """Choose how each role looks.

    Args:
        layers: Any, in the order of the model.

    Returns:
        Colour and marker by role: the roles within a block first, then norms, embeddings and heads.
    """
    roles = list(dict.fromkeys(layer.role for layer in layers))
    within = [role for role in roles if role not in SHARED_ROLES]
    shared = {role: (_BLACK, marker) for role, marker in SHARED_ROLES.items() if role in roles}
    return {role: look(number) for number, role in enumerate(within)} | shared


def score_label(fisher: Fisher, aggregate: Aggregate | str | None = None) -> str:
    """Name the axis of scores.

    Args:
        fisher: Any Fisher.
        aggregate: As it is drawn. Default: that of the Fisher.

    Returns:
        Such as ``"empirical Fisher per parameter"``.
    """
    return f"{fisher.info.kind} Fisher {_SCORES[Aggregate(aggregate or fisher.info.aggregate)]}"


def left_out(layers: Sequence[ScoredLayer], others: Sequence[str] = ()) -> str:
    """Count the layers that a logarithmic axis has no place for.

    Args:
        layers: All that were to be drawn.
        others: What else is left out, in words.

    Returns:
        A line for the label of an axis, after a line end; empty if nothing is left out.
    """
    num_zero = sum(layer.score == 0.0 for layer in layers)
    num_without = sum(not layer.is_drawable for layer in layers) - num_zero
    counts = [f"{num_zero} of score 0"] * (num_zero > 0) + [f"{num_without} without score"] * (num_without > 0)
    parts = [*counts, *others]
    return f"\n(left out: {', '.join(parts)})" if parts else ""


def _roles(kinds: Sequence[str], placed: Sequence[Place]) -> list[str]:
    """Name the role of every layer: one that many modules share, the name within its block, or the kind of module."""
    shared = [_shared_role(kind, place) for kind, place in zip(kinds, placed, strict=True)]
    within = [[part for part in place.role.split(".") if not part.isdigit()] for place in placed]
    own = [parts for parts, role in zip(within, shared, strict=True) if not role]
    while len({tuple(parts) for parts in own}) > 1 and min(map(len, own)) > 1 and len({parts[0] for parts in own}) == 1:
        for parts in own:
            del parts[0]
    return [role or ".".join(parts) or kind for role, parts, kind in zip(shared, within, kinds, strict=True)]


def _shared_role(kind: str, place: Place) -> str:
    if kind == "norm":
        return "norms"
    if place.tick == "out":
        return "heads"
    return "embeddings" if place.tick == "in" or kind == "embedding" else ""


def _std_error(members: Sequence[FisherTensor], score: float, how: str) -> float:
    """Scale the standard error of a trace like the trace itself; sums over several parameters would need covariances."""
    [tensor, *others] = members
    if others or how == Aggregate.RELATIVE or not tensor.trace > 0.0:
        return math.nan
    return tensor.trace_std_error * (score / tensor.trace)
