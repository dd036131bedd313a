"""Where the matrices of a model stand, and which of them are one series; shared by the figures of what training changed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spectra.report.figures.depth import Place, places

_ONE_OF_MANY = re.compile(r"\[[\d, ]+\]|\.head\d+$")  # all experts and all heads of a weight are one series


class Matrix(Protocol):
    """A row of a result about matrices."""

    @property
    def layer_name(self) -> str:
        """Path of the module."""

    @property
    def matrix_name(self) -> str:
        """Of the matrix."""

    @property
    def kind(self) -> str:
        """As in a report."""


M = TypeVar("M", bound=Matrix)


@dataclass(frozen=True)
class PlacedMatrix(Generic[M]):
    """A matrix on the axis of depth.

    Attributes:
        role: Of which series it is.
        place: Where it stands.
        matrix: Its row.
    """

    role: str
    place: Place
    matrix: M


def place_matrices(matrices: Sequence[M]) -> tuple[list[PlacedMatrix[M]], str]:
    """Place matrices along the depth of their model.

    Args:
        matrices: In the order of the model.

    Returns:
        Them with their places, and what the axis is called.
    """
    names = [_ONE_OF_MANY.sub("", matrix.matrix_name) for matrix in matrices]
    placed, label = places(names, is_input=[matrix.kind == "embedding" for matrix in matrices])
    return [PlacedMatrix(role_of(m, place), place, m) for m, place in zip(matrices, placed, strict=True)], label


def apart(place: Place, aside: float) -> Place:
    """Move a place aside; no line joins the ends of a model with its blocks, whose matrices are others.

    Args:
        place: Any.
        aside: How far, in blocks.

    Returns:
        The place beside it.
    """
    stack = {"in": -1, "out": -2}[place.tick] if place.is_end else place.stack
    return dataclasses.replace(place, depth=place.depth + aside, stack=stack)


def asides(number: int, spread: float) -> list[float]:
    """Return how far series stand aside, so that they do not hide each other.

    Args:
        number: Of series.
        spread: Distance of the first from the last, in blocks.

    Returns:
        For each, in blocks; 0 for a single one.
    """
    return [spread * (i / (number - 1) - 0.5) for i in range(number)] if number > 1 else [0.0] * number


def role_of(matrix: Matrix, place: Place) -> str:
    """Name the series of a matrix.

    Args:
        matrix: Any.
        place: Where it stands.

    Returns:
        What it is within its block, such as ``attention.self.query``; outside of blocks its name or kind.
    """
    if place.role:
        return place.role
    return matrix.layer_name if place.is_end and matrix.kind != "embedding" else matrix.kind
