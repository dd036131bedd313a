r"""Low-rank adapters (LoRA) over a base model: :math:`W' = W + s B A`, and with DoRA :math:`m (W + s B A) / ||W + s B A||`.

=============  ==============================================================================================
mode           tensors
=============  ==============================================================================================
``delta``      ``s B A`` of each adapted weight, kept as factors; weights saved whole as difference to the base
``merged``     every weight of the base, the adapted ones as the merged model has them, but not rounded
``factors``    A and B as they are stored, without the scale
``base``       the weights of the base that the adapter changes
=============  ==============================================================================================

What an adapter consists of is found out elsewhere: from a folder (``adapter_folder.py``) or a live model
(``adapter_module.py``). Shapes and the axis of DoRA's norm are those of the peft library, 0.21.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from spectra.errors import SourceError
from spectra.sources.difference import counted, matched_names, some, subtracted, tied_head, without_base
from spectra.sources.tensors import CONVOLUTION, EMBEDDING, FLOAT_DTYPES, LINEAR, Layout, Source, StoredTensor

DELTA, MERGED, FACTORS, BASE = MODES = ("delta", "merged", "factors", "base")

FloatArray = NDArray[np.float64]

_PART = re.compile(
    r"(?P<layer>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?(?:\.(?P<leaf>weight|bias))?"
)

_DORA = "DoRA rescales the merged weight, so that its change is of no low rank; lora='merged' analyses the result"

Parts = dict[str, dict[str, dict[str, StoredTensor]]]


@dataclass(frozen=True)
class LowRankUpdate:
    """What one adapter adds to one weight.

    Attributes:
        first: A, shape ``(rank, in, *kernel)``; of an embedding ``(rank, entries)``.
        second: B, shape ``(out, rank)`` and ones; of an embedding ``(dim, rank)``.
        scale: Factor on the product.
        kind: ``linear``, ``embedding`` or ``convolution``.
        is_transposed: The weight is stored as ``(in, out)``: embeddings, and dense layers of GPT-2.
        magnitude: DoRA's m, one number per output; ``None`` without DoRA.
        adapter: Name of the adapter, empty if there is one only.
    """

    first: StoredTensor
    second: StoredTensor
    scale: float
    kind: str
    is_transposed: bool = False
    magnitude: StoredTensor | None = None
    adapter: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that is changed."""
        if self.is_transposed:
            return (self.first.shape[1], self.second.shape[0])
        return (self.second.shape[0], *self.first.shape[1:])


@dataclass(frozen=True)
class Adapter:
    """All that an adapter changes, by the names of the base's weights.

    Attributes:
        location: For messages.
        updates: Low-rank changes; several of one weight where several adapters are active.
        saved: Weights that were trained and saved whole.
        refused: Paths of layers that are changed in a way that is not read, with the reason.
        parts: The tensors of the refused layers.
        base_name: The base model that it says it was trained on; empty where it says none.
    """

    location: str
    updates: Mapping[str, tuple[LowRankUpdate, ...]]
    saved: Mapping[str, StoredTensor] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[StoredTensor, ...] = ()
    base_name: str = ""


@dataclass(frozen=True)
class _Fit:
    """The base's weight that a change belongs to.

    Attributes:
        base: The weight.
        reason: Why the change cannot be applied to it, or an empty string.
        is_tied: It is an embedding that the base uses in the place of an output layer that it does not hold.
    """

    base: StoredTensor
    reason: str = ""
    is_tied: bool = False


def sort_parts(tensors: Iterable[StoredTensor]) -> tuple[Parts, list[StoredTensor]]:
    """Tell the parts of adapters from other tensors.

    Args:
        tensors: Under their names in an adapter file or an adapted model.

    Returns:
        Layer → adapter → part (``A``, ``B``, ``magnitude_vector``, ``embedding_A``, ``embedding_B``), the adapter's name
        empty where the file has none; and the rest, under plain names.
    """
    parts: Parts = {}
    rest: list[StoredTensor] = []
    for tensor in tensors:
        match = _PART.fullmatch(tensor.name)
        if match is None:
            tied_to, part_of = (plain_name(name) if name else None for name in (tensor.tied_to, tensor.part_of))
            rest.append(dataclasses.replace(tensor, name=plain_name(tensor.name), tied_to=tied_to, part_of=part_of))
        elif match["leaf"] != "bias":  # of B, from lora_bias: part of the layer's bias
            of_layer = parts.setdefault(plain_name(match["layer"]), {})
            of_layer.setdefault(match["adapter"] or "", {})[match["part"]] = tensor
    return parts, rest


def plain_name(name: str) -> str:
    """Take off what the peft library puts around the names of a model.

    Args:
        name: Of a parameter or module.

    Returns:
        The name in the base model.
    """
    return ".".join(part for part in name.removeprefix("base_model.model.").split(".") if part != "base_layer")


def low_rank_update(
    layer: str, parts: Mapping[str, StoredTensor], *, scale: float, fan_in_fan_out: bool, adapter: str = ""
) -> LowRankUpdate:
    """Put the parts of one layer's adapter together.

    Args:
        layer: Path of the layer, for messages.
        parts: From :func:`sort_parts`.
        scale: Factor on the product.
        fan_in_fan_out: The layer's weight is stored as ``(in, out)``.
        adapter: Name of the adapter.

    Returns:
        The update.

    Raises:
        SourceError: A factor is missing, of a wrong shape, or holds no floating-point numbers.
    """
    is_embedding = "embedding_A" in parts or "embedding_B" in parts
    names = ("embedding_A", "embedding_B") if is_embedding else ("A", "B")
    missing = [f"lora_{name}" for name in names if name not in parts]
    if missing:
        raise SourceError(f"'{layer}' has no {' and no '.join(missing)}: half of an adapter. Save or download it again.")
    first, second = (parts[name] for name in names)
    fits = len(first.shape) == len(second.shape) >= 2 and first.shape[0] == second.shape[1] and set(second.shape[2:]) <= {1}
    if not fits or (is_embedding and len(first.shape) != 2):
        raise SourceError(
            f"'{layer}': factors of shapes {first.shape} and {second.shape} do not fit each other. Expected (rank, in) and "
            "(out, rank), or kernels of them. Save the adapter again, with all its shards gathered."
        )
    odd = next((factor for factor in (first, second) if factor.dtype not in FLOAT_DTYPES), None)
    if odd:
        raise SourceError(f"'{odd.name}' holds {odd.dtype} numbers, which are not read. Save the adapter in floating point.")
    kind = EMBEDDING if is_embedding else LINEAR if len(first.shape) == 2 else CONVOLUTION
    is_transposed = is_embedding or (fan_in_fan_out and kind == LINEAR)
    return LowRankUpdate(first, second, scale, kind, is_transposed, parts.get("magnitude_vector"), adapter)


def arranged(adapter: Adapter, base: Source | None, mode: str) -> tuple[StoredTensor, ...]:
    """List the tensors that a mode asks for.

    Args:
        adapter: What is changed.
        base: The model it is changed in; may be missing for ``delta`` and ``factors``.
        mode: One of ``MODES``.

    Returns:
        The tensors.

    Raises:
        SourceError: The base is of another architecture, or nothing is left to show.
    """
    if mode == FACTORS:
        tensors = _factor_tensors(adapter)
    elif mode == DELTA:
        tensors = _differences(adapter, base)
    else:
        assert base is not None
        tensors = _over_base(adapter, base, mode)
    tensors = [tensor for tensor in tensors if len(tensor.shape) >= 2]
    if not tensors:
        raise SourceError(f"'{adapter.location}' changes no weight: no adapter is there, or none is active.")
    return tuple(tensors)


def merged(base: StoredTensor, updates: Sequence[LowRankUpdate]) -> StoredTensor:
    """Add low-rank changes to a weight, in float64 and by rows.

    Args:
        base: The weight.
        updates: The changes; with DoRA one alone.

    Returns:
        The merged weight, under the name of the base's; not rounded to its dtype, as the peft library's merging does.
    """
    if len(updates) > 1 and any(update.magnitude for update in updates):
        reason = "several active adapters, DoRA among them, whose order matters: activate one"
        return dataclasses.replace(base, unreadable=reason, tied_to=None)

    def added(start: int, stop: int) -> FloatArray:
        rows: FloatArray = base.read(start, stop).astype(np.float64)
        rows += _product_rows(updates, start, stop).reshape(rows.shape)
        return rows

    magnitude = updates[0].magnitude
    read = _with_magnitude(added, base.shape, magnitude, updates[0].is_transposed) if magnitude else added
    unreadable = base.unreadable or _without_numbers(updates)
    # A weight may be a merged one already.
    rank = base.rank + _rank(updates)
    return dataclasses.replace(base, read=read, unreadable=unreadable, tied_to=None, factors=None, is_merged=True, rank=rank)


def _with_magnitude(
    added: Callable[[int, int], FloatArray], shape: tuple[int, ...], magnitude: StoredTensor, is_transposed: bool
) -> Callable[[int, int], FloatArray]:
    """Give each output the norm m: rows of a weight ``(out, in)``, columns of one stored as ``(in, out)``."""

    @cache
    def column_factors() -> FloatArray:
        # One number per column, kept: every block of rows needs the norms over all rows.
        squares = np.zeros(shape[1])
        step = max(1, 2**20 // max(shape[1], 1))
        for start in range(0, shape[0], step):
            squares += np.square(added(start, min(start + step, shape[0]))).sum(axis=0)
        return _divided(_whole(magnitude).reshape(-1), np.sqrt(squares))

    def read(start: int, stop: int) -> FloatArray:
        rows = added(start, stop)
        if is_transposed:
            return rows * column_factors()
        norms = np.sqrt(np.square(rows.reshape(stop - start, -1)).sum(axis=1))
        factors = _divided(_whole(magnitude).reshape(-1)[start:stop], norms)
        return rows * factors.reshape(-1, *[1] * (len(shape) - 1))

    return read


def _divided(magnitude: FloatArray, norms: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):  # an output of norm 0 has no direction: NaN, which is reported
        return magnitude / norms


def _whole(tensor: StoredTensor) -> FloatArray:
    return np.asarray(tensor.read(0, tensor.shape[0]), dtype=np.float64)


def _rank(updates: Sequence[LowRankUpdate]) -> int:
    return sum(update.first.shape[0] for update in updates)


def _factors(updates: Sequence[LowRankUpdate]) -> tuple[FloatArray, FloatArray]:
    """Return ``left`` with the scale and ``right`` of all changes side by side: their product is the sum of the changes."""
    lefts, rights = [], []
    for update in updates:
        rank = update.first.shape[0]
        inner, outer = _whole(update.first).reshape(rank, -1), _whole(update.second).reshape(-1, rank)
        left, right = (inner.T, outer.T) if update.is_transposed else (outer, inner)
        lefts.append(left * update.scale)
        rights.append(right)
    return np.concatenate(lefts, axis=1), np.concatenate(rights, axis=0)


def _product_rows(updates: Sequence[LowRankUpdate], start: int, stop: int) -> FloatArray:
    left, right = _factors(updates)
    product: FloatArray = left[start:stop] @ right
    return product.reshape(stop - start, *updates[0].shape[1:])


def _differences(adapter: Adapter, base: Source | None) -> list[StoredTensor]:
    if adapter.updates and all(_not_low_rank(updates) for updates in adapter.updates.values()):
        raise SourceError(f"adapter '{adapter.location}': {_DORA}.")
    fits = _fitted(adapter, base) if base else {}
    named = f" '{adapter.base_name}'" if adapter.base_name else ""
    tensors = [_delta(name, updates, fits.get(name)) for name, updates in adapter.updates.items()]
    for name, tensor in adapter.saved.items():
        if name in adapter.updates:
            continue  # the base's own rows, saved with the factors of an embedding
        if fit := fits.get(name):
            tensors.append(subtracted(dataclasses.replace(tensor, layout=fit.base.layout), fit.base))
        else:
            missing = f"saved whole, and the base{named} is not there: give its folder or id as base (--base)"
            tensors.append(without_base(tensor, f"'{base.location}' has no weight of this name" if base else missing))
    return tensors + _refused_parts(adapter)


def _delta(name: str, updates: tuple[LowRankUpdate, ...], fit: _Fit | None) -> StoredTensor:
    base = fit.base if fit and not fit.reason else None
    updates = _turned(updates, base) if base else updates
    update = updates[0]
    return StoredTensor(
        name=name,
        shape=update.shape,
        dtype=update.first.dtype,
        read=partial(_product_rows, updates),
        layout=(base.layout if base else None) or Layout(update.kind, is_transposed=_is_dense_transposed(update)),
        unreadable=_without_numbers(updates) or _not_low_rank(updates),
        factors=partial(_factors, updates),
        is_difference=True,
        rank=_rank(updates),
    )


def _is_dense_transposed(update: LowRankUpdate) -> bool:
    return update.is_transposed and update.kind == LINEAR


def _without_numbers(updates: Sequence[LowRankUpdate]) -> str | None:
    parts = [part for update in updates for part in (update.first, update.second, update.magnitude) if part]
    return next((part.unreadable for part in parts if part.unreadable), None)


def _not_low_rank(updates: Sequence[LowRankUpdate]) -> str | None:
    if any(update.magnitude for update in updates):
        return _DORA
    return None


def _factor_tensors(adapter: Adapter) -> list[StoredTensor]:
    tensors = []
    for name, updates in adapter.updates.items():
        layer = name.removesuffix(".weight")
        for update in updates:
            ending = f".{update.adapter}" if len(updates) > 1 else ""
            layout = Layout(CONVOLUTION if update.kind == CONVOLUTION else LINEAR)
            for letter, factor in (("A", update.first), ("B", update.second)):
                tensors.append(dataclasses.replace(factor, name=f"{layer}.lora_{letter}{ending}", layout=layout, tied_to=None))
    reason = "saved whole, without factors; lora='merged' analyses it"
    whole = [tensor for name, tensor in adapter.saved.items() if name not in adapter.updates]
    return tensors + [dataclasses.replace(tensor, unreadable=reason) for tensor in whole] + _refused_parts(adapter)


def _fitted(adapter: Adapter, base: Source) -> dict[str, _Fit]:
    """Find the base's weight of each change."""
    theirs = {tensor.name: tensor for tensor in base.tensors}
    shapes = {name: tensor.shape for name, tensor in adapter.saved.items()}
    shapes |= {name: updates[0].shape for name, updates in adapter.updates.items()}
    pairs = matched_names(shapes, {name: tensor.shape for name, tensor in theirs.items()})
    used: dict[str, StoredTensor] = {}
    heads: set[str] = set()
    for name in shapes:
        # The fused projection of torch's attention is a parameter of the layer itself, not a layer's weight.
        tensor = theirs.get(pairs.get(name, name.removesuffix("weight") + "in_proj_weight"))
        if tensor is None and (tensor := tied_head(name, theirs, base)):
            heads.add(name)
        if tensor is not None:
            # A change of one of several tied weights is one of all: what peft's merging does to their common storage.
            used[name] = theirs.get(tensor.tied_to or "", tensor) if name in adapter.updates else tensor
    fits = {name: _Fit(tensor, _misfit(name, tensor, adapter, used), name in heads) for name, tensor in used.items()}
    if adapter.updates and not any(name in adapter.updates and not fit.reason for name, fit in fits.items()):
        examples = [f"'{name}' {shapes[name]}" for name in adapter.updates][:2]
        raise SourceError(
            f"'{base.location}' is no base of the adapter '{adapter.location}': it has none of the "
            f"{counted(list(adapter.updates))} that the adapter changes, such as {', '.join(examples)}; it has "
            f"{some(theirs, 2)}. Give the model that the adapter was trained on as base."
        )
    return fits


def _misfit(name: str, tensor: StoredTensor, adapter: Adapter, found: Mapping[str, StoredTensor]) -> str:
    if name not in adapter.updates:
        return ""
    # With an embedding's rows saved beside its factors these are the base's, of the adapter's vocabulary.
    shape, update = adapter.saved.get(name, tensor).shape, adapter.updates[name][0]
    if shape != update.shape and not (update.kind == LINEAR and shape == update.shape[::-1]):
        return f"the adapter's change has shape {update.shape}, the weight of the base {shape}"
    if update.kind == LINEAR and shape[0] == shape[1] and tensor.layout is None and _is_contradicted(adapter, found):
        return "square, and adapter_config.json is wrong on how other weights are stored: open the live model instead"
    return ""


def _is_contradicted(adapter: Adapter, found: Mapping[str, StoredTensor]) -> bool:
    """Tell whether a weight is stored the other way round than ``fan_in_fan_out``, which peft writes once for all, says."""
    dense = [(name, updates[0].shape) for name, updates in adapter.updates.items() if updates[0].kind == LINEAR]
    return any(shape != found[name].shape == shape[::-1] for name, shape in dense if name in found)


def _turned(updates: tuple[LowRankUpdate, ...], base: StoredTensor) -> tuple[LowRankUpdate, ...]:
    """Turn changes of a dense weight to the orientation of its base, which peft finds out layer by layer as well."""
    if not updates or updates[0].kind != LINEAR:
        return updates
    if base.shape[0] != base.shape[1]:
        is_transposed = base.shape != (updates[0].second.shape[0], updates[0].first.shape[1])
    else:
        is_transposed = base.layout.is_transposed if base.layout else updates[0].is_transposed
    return tuple(dataclasses.replace(update, is_transposed=is_transposed) for update in updates)


def _over_base(adapter: Adapter, base: Source, mode: str) -> list[StoredTensor]:
    fits = _fitted(adapter, base)
    changes: dict[str, list[str]] = {}
    for name, fit in fits.items():
        if name in adapter.updates or not fit.is_tied:
            changes.setdefault(fit.base.name, []).append(name)
    lost = [name for name in adapter.updates if name not in fits]
    if mode == BASE:
        found = [dataclasses.replace(tensor, tied_to=None) for tensor in base.tensors if tensor.name in changes]
        missing = f"'{base.location}' has no weight of this name"
        return found + [without_base(_delta(name, adapter.updates[name], None), missing) for name in lost]
    known = {plain_name(tensor.name) for tensor in base.tensors}
    lost += [layer for layer in adapter.refused if not any(name.startswith(layer + ".") for name in known)]
    if lost:
        # Under another name they would be listed as they were before training: transformers renames when it saves.
        raise SourceError(
            f"'{base.location}' lacks {counted(lost)} that the adapter '{adapter.location}' changes: {some(lost)}. Open the "
            "live model that peft makes of the two, or use lora='delta'."
        )
    tensors: dict[str, StoredTensor] = {}
    for tensor in base.tensors:
        tied_to = tensor.tied_to or ""
        if reason := _refusal(adapter, tensor.name):
            tensor = dataclasses.replace(tensor, unreadable=reason)
        elif tensor.name in changes:
            tensor = _changed(tensor, changes[tensor.name], fits, adapter)
        elif any(name in adapter.saved for name in changes.get(tied_to, ())):
            tensor = dataclasses.replace(tensor, tied_to=None)  # a weight trained as a copy leaves the other as it was
        elif tied_to in changes:
            tensor = dataclasses.replace(tensors[tied_to], name=tensor.name, layout=tensor.layout, tied_to=tied_to)
        tensors[tensor.name] = tensor
    added = [tensor for name, tensor in adapter.saved.items() if name not in fits or fits[name].is_tied]
    return [*tensors.values(), *added]


def _changed(tensor: StoredTensor, names: Sequence[str], fits: Mapping[str, _Fit], adapter: Adapter) -> StoredTensor:
    if reason := next((fits[name].reason for name in names if fits[name].reason), ""):
        return without_base(tensor, reason)
    for name in names:
        if name in adapter.saved:
            tensor = dataclasses.replace(adapter.saved[name], name=tensor.name, layout=tensor.layout)
    updates = [update for name in names for update in _turned(adapter.updates.get(name, ()), tensor)]
    return merged(tensor, updates) if updates else tensor


def _refused_parts(adapter: Adapter) -> list[StoredTensor]:
    # Not as factors, either: those of a stack of matrices are the factors of many, one below the other.
    return [
        dataclasses.replace(part, name=plain_name(part.name), unreadable=_refusal(adapter, part.name)) for part in adapter.parts
    ]


def _refusal(adapter: Adapter, name: str) -> str | None:
    return next((reason for layer, reason in adapter.refused.items() if plain_name(name).startswith(layer + ".")), None)
