r"""How far two models are apart, layer by layer: Euclidean distance of the weights, or their similarity by CKA.

============  =============================================================  =====================================
method        value                                                          equal weights
============  =============================================================  =====================================
euclidean     :math:`\|W_1 - W_2\|_F`                                        0
cka           :math:`\|W_1^T W_2\|_F / \sqrt{\|W_1^T W_1\|_F                 1, also for multiples of each other
              \|W_2^T W_2\|_F}`
============  =============================================================  =====================================

``cka`` is the square root of linear CKA (arXiv 1905.00414) without centring, WeightWatcher's definition; 0 means orthogonal
columns. A weight of more than two dimensions is one matrix of shape ``(first axis, all others)``: a convolution's rows are
its filters. WeightWatcher instead averages over kernel positions; its ``raw`` is our ``euclidean`` for every kind of layer.

Weights are matched by their full names, those that differ by one prefix (``bert.`` of a model with a head) without it, and
go by their names in the first model. They are compared as stored: the orientation counts for ``cka``. One- and
zero-dimensional tensors are not compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra.errors import InputError, NonFiniteWeightsError, did_you_mean
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.gram import ReadRows, block_rows, pieces_of, safe_gram, transposed_reader
from spectra.sources import StoredTensor, open_source
from spectra.sources.difference import matched_names
from spectra.sources.tensors import FLOAT_DTYPES

if TYPE_CHECKING:
    from spectra.sources.open import Model

FIRST, SECOND = "the first model", "the second model"


class DistanceMethod(StrEnum):
    """What is measured between two weights."""

    EUCLIDEAN = "euclidean"
    """Frobenius norm of the difference, a distance."""
    CKA = "cka"
    """Square root of uncentred linear CKA, a similarity in [0, 1]."""


@dataclass(frozen=True)
class LayerDistance:
    """One pair of weights.

    Attributes:
        layer_name: Path of the module.
        shape: Of the weight, as stored.
        distance: By the method of the report; NaN where there is none.
        note: Why the distance is NaN; else empty.
    """

    layer_name: str
    shape: tuple[int, ...]
    distance: float
    note: str = ""


@dataclass(frozen=True)
class UnmatchedLayer:
    """A weight of two or more dimensions that was not compared.

    Attributes:
        layer_name: Path of the module.
        reason: Why not.
    """

    layer_name: str
    reason: str


@dataclass(frozen=True)
class DistanceReport:
    """The distances of two models.

    Attributes:
        method: What was measured.
        layers: In the order of the first model.
        unmatched: Every other weight that was asked for, with its reason: those of the first model, then those that
            only the second one has.
    """

    method: DistanceMethod
    layers: tuple[LayerDistance, ...]
    unmatched: tuple[UnmatchedLayer, ...]

    @property
    def mean(self) -> float:
        """Mean over the layers that have a distance, each counted once whatever its size; NaN if none has."""
        values = [layer.distance for layer in self.layers if not math.isnan(layer.distance)]
        return math.fsum(values) / len(values) if values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the mean as plain Python values."""
        return {**dataclasses.asdict(self), "method": self.method.value, "mean": self.mean}

    def __str__(self) -> str:
        left_out = f", {len(self.unmatched)} weights not compared" if self.unmatched else ""
        return f"mean {self.method.value} {self.mean:.4g} over {len(self.layers)} layers{left_out}"


def distances(
    a: Model,
    b: Model,
    *,
    method: str = "euclidean",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> DistanceReport:
    """Compare the weights of two models of the same architecture.

    Args:
        a: The first model: a path, a hub id, a live module or a mapping of tensors.
        b: The second one, of any of these kinds.
        method: ``"euclidean"`` or ``"cka"``, see the module's description. Default as WeightWatcher.
        include: Globs on layer names; only these are compared. Default: all.
        exclude: Globs on layer names that are left out.

    Returns:
        The distances, computed in float64, and every weight that was not compared. Weights that are tied to another one
        in both models are compared once and not listed.

    Raises:
        InputError: An unknown method, a pattern that matches nothing, or no layer to compare.

    Example:
        >>> import numpy as np
        >>> report = distances({"fc.weight": np.eye(3)}, {"fc.weight": 2 * np.eye(3)})
        >>> round(report.mean, 3), str(report)
        (1.732, 'mean euclidean 1.732 over 1 layers')
    """
    known = [member.value for member in DistanceMethod]
    if method not in known:
        raise InputError(f"unknown method {method!r}.{did_you_mean(str(method), known)} Known: {', '.join(known)}.")
    firsts, theirs = _weights(a), _weights(b)
    names_in_first = matched_names(_shapes(theirs), _shapes(firsts))
    seconds = {names_in_first.get(name, name): tensor for name, tensor in theirs.items()}
    both_tied = {name for name in firsts.keys() & seconds.keys() if firsts[name].tied_to and seconds[name].tied_to}
    names = [name for name in {**firsts, **seconds} if name not in both_tied]
    chosen = chosen_layers([layer_name(name) for name in names], include, exclude)

    layers: list[LayerDistance] = []
    unmatched: list[UnmatchedLayer] = []
    for name in names:
        if layer_name(name) not in chosen:
            continue
        first, second = firsts.get(name), seconds.get(name)
        if reason := _reason(first, second):
            unmatched.append(UnmatchedLayer(layer_name(name), reason))
        elif first and second:
            distance, note = _compared(first, second, DistanceMethod(method))
            layers.append(LayerDistance(layer_name(name), first.shape, distance, note))
    if not layers:
        example = f": '{unmatched[0].layer_name}' is {unmatched[0].reason}" if unmatched else ""
        raise InputError(f"no layer to compare among {len(unmatched)} weights{example}. Give two models of one architecture.")
    return DistanceReport(DistanceMethod(method), tuple(layers), tuple(unmatched))


def layer_name(tensor_name: str) -> str:
    """Return the module's path for a tensor's name.

    Args:
        tensor_name: For example ``"layers.0.fc.weight"``.

    Returns:
        The name without a final ``.weight``.
    """
    return tensor_name.removesuffix(".weight")


def chosen_layers(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    """Apply globs to layer names.

    Args:
        names: Of all layers.
        include: Globs on the whole name, of which one must match. Empty: all.
        exclude: Globs of which none may match.

    Returns:
        The names that are left.

    Raises:
        InputError: A pattern that matches no name, or one string in place of a sequence of them.
    """
    for option, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise InputError(f"{option}: expected a sequence of patterns, got the text {patterns!r}. Put it into a list.")
        idle = next((p for p in patterns if not any(fnmatchcase(name, p) for name in names)), None)
        if idle is not None:
            raise InputError(f"{option} pattern '{idle}' matches none of {len(names)} layers.{did_you_mean(idle, names)}")
    included = {name for name in names if not include or any(fnmatchcase(name, p) for p in include)}
    return {name for name in included if not any(fnmatchcase(name, p) for p in exclude)}


def euclidean_distance(first: ReadRows, second: ReadRows, shape: tuple[int, int]) -> float:
    r"""Compute :math:`\|W_1 - W_2\|_F` over blocks of rows.

    Args:
        first: ``read(start, stop)`` returns those rows.
        second: Likewise.
        shape: ``(rows, cols)`` of both.

    Returns:
        The distance; NaN or infinite if an entry is.
    """
    both = zip(pieces_of(first, shape), pieces_of(second, shape), strict=True)
    return _norm(np.subtract(one, other, dtype=np.float64) for one, other in both)


def matrix_norm(read: ReadRows, shape: tuple[int, int]) -> float:
    """Compute the Frobenius norm over blocks of rows, in float64.

    Args:
        read: ``read(start, stop)`` returns those rows.
        shape: ``(rows, cols)``.

    Returns:
        The norm; NaN if an entry is not finite.
    """
    norm = _norm(piece.astype(np.float64) for piece in pieces_of(read, shape))
    return norm if math.isfinite(norm) else math.nan


def _norm(pieces: Iterable[FloatArray]) -> float:
    """Compute the norm of all pieces together; NaN or infinite if an entry is."""
    total = 0.0
    for piece in pieces:
        largest = float(np.abs(piece).max(initial=0.0))
        if not math.isfinite(largest):
            return largest
        # Divided by the largest entry, so that no square over- or underflows.
        total = math.hypot(total, largest * float(np.linalg.norm(piece / largest)) if largest else 0.0)
    return total


def cka_similarity(first: ReadRows, second: ReadRows, shape: tuple[int, int]) -> float:
    r"""Compute :math:`\|W_1^T W_2\|_F / \sqrt{\|W_1^T W_1\|_F \|W_2^T W_2\|_F}` by blocks.

    No product is larger than the smaller side squared. Where there are more columns than rows,
    :math:`\|W_1^T W_2\|_F^2 = \langle W_1 W_1^T, W_2 W_2^T \rangle_F`.

    Args:
        first: ``read(start, stop)`` returns those rows.
        second: Likewise.
        shape: ``(rows, cols)`` of both.

    Returns:
        The similarity in [0, 1]; NaN if a matrix is zero. A wide matrix' similarities under 1e-8 are round-off of 0.
    """
    rows, cols = shape
    if min(shape) == 0:
        return math.nan
    is_wide = rows < cols
    if is_wide:
        first, second = transposed_reader(first(0, rows)), transposed_reader(second(0, rows))
    large, small = max(shape), min(shape)
    gram_1, scale_1 = safe_gram(first, large, small, "float64")
    gram_2, scale_2 = safe_gram(second, large, small, "float64")
    trace_1, trace_2 = float(np.trace(gram_1)), float(np.trace(gram_2))
    if trace_1 == 0.0 or trace_2 == 0.0:
        return math.nan
    # Both of unit trace: no square of their elements leaves the range.
    gram_1, gram_2 = gram_1 / trace_1, gram_2 / trace_2
    norm = math.sqrt(float(np.linalg.norm(gram_1)) * float(np.linalg.norm(gram_2)))
    if is_wide:
        return min(1.0, math.sqrt(max(0.0, float(np.vdot(gram_1, gram_2)))) / norm)
    scale_1, scale_2 = scale_1 / math.sqrt(trace_1), scale_2 / math.sqrt(trace_2)
    cross = np.zeros((small, small))
    step = block_rows(small)
    for start in range(0, large, step):
        stop = min(start + step, large)
        cross += (first(start, stop).astype(np.float64) * scale_1).T @ (second(start, stop).astype(np.float64) * scale_2)
    return min(1.0, float(np.linalg.norm(cross)) / norm)


def _weights(model: Model) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in open_source(model).tensors if len(tensor.shape) >= 2}


def _shapes(weights: Mapping[str, StoredTensor]) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _reason(first: StoredTensor | None, second: StoredTensor | None) -> str:
    """Say why two weights are not compared; empty if they are."""
    if first is None or second is None:
        return f"not in {FIRST if first is None else SECOND}"
    for tensor, where in ((first, FIRST), (second, SECOND)):
        if tensor.unreadable:
            return f"not readable in {where}: {tensor.unreadable}"
        if tensor.part_of:
            return f"part of '{tensor.part_of}' in {where}"
        if tensor.dtype not in FLOAT_DTYPES and not tensor.quantized:
            return f"of dtype {tensor.dtype} in {where}, not floating point"
    if first.shape != second.shape:
        return f"of shape {first.shape} in {FIRST} and {second.shape} in {SECOND}"
    return ""


def _compared(first: StoredTensor, second: StoredTensor, method: DistanceMethod) -> tuple[float, str]:
    shape = (first.shape[0], math.prod(first.shape[1:]))
    if method is DistanceMethod.EUCLIDEAN:
        distance = euclidean_distance(_flat(first), _flat(second), shape)
        return (distance, "") if math.isfinite(distance) else (math.nan, "NaN or infinite weights")
    try:
        similarity = cka_similarity(_flat(first), _flat(second), shape)
    except NonFiniteWeightsError:
        return math.nan, "NaN or infinite weights"
    return similarity, "a weight is zero" if math.isnan(similarity) else ""


def _flat(tensor: StoredTensor) -> ReadRows:
    return lambda start, stop: tensor.read(start, stop).reshape(stop - start, -1)
