"""A model before and after training: its weights side by side under common names, and what was added to each.

==========================================  ===============================================================================
after                                       its changes
==========================================  ===============================================================================
a model                                     weight by weight: names are matched as :mod:`spectra.sources.difference` does
a saved adapter, over ``before`` or over    products of its factors; differences where it changed a weight in another way
the base that it names                      (DoRA, weights and vectors saved whole)
a live model with adapters, no ``before``   likewise; before is the same model without them
==========================================  ===============================================================================

Nothing is loaded: weights are read by rows, one at a time, so that neither model has to fit into memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectra.errors import InputError, SourceError
from spectra.sources.adapter import BASE, MERGED, plain_name, sort_parts
from spectra.sources.difference import counted, matched_names, some, subtracted, without_base
from spectra.sources.open import open_source
from spectra.sources.tensors import FLOAT_DTYPES, Source, StoredTensor

if TYPE_CHECKING:
    import torch

    from spectra.sources.open import Model

_COPY = re.compile(r"\.(original_module|modules_to_save\.[^.]+)(?=\.)")  # what peft keeps twice


@dataclass(frozen=True)
class ModelPair:
    """Two states of a model. Weights go by their names in the first.

    Attributes:
        before: All tensors of the first.
        after: The weights and vectors of the second that training may have changed.
        changes: For each of them after minus before, in float64; ``no_base`` says where there is none.
        location: Of the second.
        notes: What could not be compared.
        name: Short name of the second.
        files: That hold the numbers of the second; empty for a model in memory.
        is_adapter: The second is an adapter over the first: what is not among the changes is as it was.
    """

    before: Source
    after: Mapping[str, StoredTensor]
    changes: Mapping[str, StoredTensor]
    location: str
    notes: tuple[str, ...] = ()
    name: str = ""
    files: tuple[Path, ...] = ()
    is_adapter: bool = False

    @property
    def parameters(self) -> tuple[StoredTensor, ...]:
        """What the norm of the first model is over: its weights and vectors, tied ones once."""
        return tuple(tensor for tensor in self.before.tensors if is_parameter(tensor) and not tensor.tied_to)


def pair_models(before: Model | None, after: Model) -> ModelPair:
    """Open two states of one model.

    Args:
        before: A path, a hub id, a live module or a mapping of tensors; an adapter counts merged into its base. ``None``: the
            base of the adapter that ``after`` is.
        after: Any of these.

    Returns:
        The pair.

    Raises:
        InputError: No ``before``, and ``after`` is no adapter; or not one of the above types.
        SourceError: Nothing there, damaged, not a kind that is read, or two models of which no weight fits.
    """
    merged = _merged(after, before)
    if merged is not None:
        return _adapted(before, after, merged)
    if before is None:
        open_source(after)  # says so if it is nothing at all
        raise InputError("a model that is no adapter names none that training started from. Give that one as well.")
    return _paired(whole_source(before), whole_source(after))


def pair_whole_models(before: Model, after: Model) -> ModelPair:
    """Open two models, each with all that it computes with: two adapters merged into their bases, not one over the other.

    Args:
        before: Any model.
        after: Any model.

    Returns:
        The pair.

    Raises:
        InputError: Not a model.
        SourceError: Nothing there, damaged, not a kind that is read, or two models of which no weight fits.
    """
    return _paired(whole_source(before), whole_source(after))


def whole_source(model: Model) -> Source:
    """Open a model with all that it computes with.

    Args:
        model: Of any kind; an adapter is merged into the base it names or lives in.

    Returns:
        Its tensors, of any number of dimensions.
    """
    merged = _merged(model, None)
    if merged is None:
        return open_source(model)
    weights = [tensor for tensor in merged.tensors if len(tensor.shape) >= 2]
    if merged.format == "module":
        vectors = _live_vectors(model, trained=True)
    else:
        own = {tensor.name: tensor for tensor in whole_source(merged.base).tensors if len(tensor.shape) < 2}
        vectors = list((own | _saved_vectors(merged)).values())
    return dataclasses.replace(merged, tensors=(*weights, *vectors))


def is_adapter(model: Model) -> bool:
    """Tell adapters, saved or in a live model, from models.

    Args:
        model: Of any kind.

    Returns:
        Whether it is one.
    """
    return _merged(model, None) is not None


def is_parameter(tensor: StoredTensor) -> bool:
    """Tell parameters from codes, positions, masks and what belongs to another weight.

    Args:
        tensor: Any.

    Returns:
        Whether it holds numbers of its own.
    """
    return tensor.part_of is None and (tensor.dtype in FLOAT_DTYPES or bool(tensor.quantized))


def _merged(model: Model, base: Model | None) -> Source | None:
    """Open an adapter merged into its base; nothing for what is none, or is one in a live model that has its base."""
    try:
        return open_source(model, base=base, lora=MERGED)
    except InputError:
        return None


def _adapted(before: Model | None, after: Model, merged: Source) -> ModelPair:
    changed = {tensor.name: tensor for tensor in open_source(after, base=before, lora=BASE).tensors}
    if merged.format == "module":
        weights = [changed.get(tensor.name, tensor) for tensor in merged.tensors if len(tensor.shape) >= 2]
        location = f"{merged.location} without its adapter"
        base = dataclasses.replace(merged, location=location, tensors=(*weights, *_live_vectors(after, trained=False)))
        vectors: dict[str, StoredTensor] = {}
        notes = _trained_in_place(after)
    else:
        base = whole_source(merged.base if before is None else before)
        vectors, notes = _saved_vectors(merged), ()
    theirs = {tensor.name: tensor for tensor in base.tensors}
    notes += _lonely("after", [*merged.tensors, *vectors.values()], set(theirs))
    ours = {t.name: t for t in merged.tensors if t.name in theirs and (t.name in changed or t.unreadable)} | {
        name: tensor for name, tensor in vectors.items() if name in theirs
    }
    products = _products(before, after)
    changes = {
        name: products[name]
        if name in products and products[name].shape == theirs[name].shape
        else _difference(tensor, theirs[name])
        for name, tensor in ours.items()
    }
    return ModelPair(
        base, ours, changes, merged.location, base.notes + notes, name=merged.name, files=merged.files, is_adapter=True
    )


def _products(before: Model | None, after: Model) -> dict[str, StoredTensor]:
    """Find the changes that are kept as factors."""
    try:
        tensors = open_source(after, base=before, lora="delta").tensors
    except SourceError:  # no change is of low rank, which it refuses: merged, such weights can be subtracted
        return {}
    return {tensor.name: tensor for tensor in tensors if tensor.factors and not (tensor.unreadable or tensor.no_base)}


def _paired(before: Source, after: Source) -> ModelPair:
    theirs = {tensor.name: tensor for tensor in before.tensors if is_parameter(tensor)}
    found = {tensor.name: tensor for tensor in after.tensors if is_parameter(tensor)}
    names = matched_names({n: t.shape for n, t in found.items()}, {n: t.shape for n, t in theirs.items()})
    pairs = {old: found[new] for new, old in names.items() if not (found[new].tied_to and theirs[old].tied_to)}
    ours = {old: dataclasses.replace(tensor, name=old, tied_to=None) for old, tensor in pairs.items()}
    changes = {name: _difference(tensor, theirs[name]) for name, tensor in ours.items()}
    if all(change.no_base for change in changes.values()):
        raise SourceError(
            f"'{after.location}' and '{before.location}' have no weight in common: there is {some(found, 2) or 'none'} here, "
            f"{some(theirs, 2) or 'none'} there. Give two states of one model."
        )
    notes = before.notes + after.notes
    notes += _lonely("before", theirs.values(), set(names.values())) + _lonely("after", found.values(), set(names))
    return ModelPair(before, ours, changes, after.location, notes, name=after.name, files=after.files)


def _difference(after: StoredTensor, before: StoredTensor) -> StoredTensor:
    if after.unreadable:
        return without_base(after, f"it cannot be read after training: {after.unreadable}")
    return dataclasses.replace(subtracted(after, before), tied_to=None)


def _lonely(when: str, tensors: Iterable[StoredTensor], matched: set[str]) -> tuple[str, ...]:
    names = [tensor.name for tensor in tensors if tensor.name not in matched and not tensor.tied_to]
    return (f"{counted(names)} only {when} training, not compared: {some(names)}",) if names else ()


def _live_vectors(model: Model, *, trained: bool) -> list[StoredTensor]:
    """List the biases and gains of a live model with adapters; of those kept twice the copy that was trained, or the other."""
    from spectra.sources.module import open_module

    unused = ".original_module." if trained else ".modules_to_save."
    _, rest = sort_parts(open_module(_module(model)).tensors)
    vectors = [tensor for tensor in rest if len(tensor.shape) < 2 and unused not in tensor.name]
    return [dataclasses.replace(tensor, name=_COPY.sub("", tensor.name)) for tensor in vectors]


def _trained_in_place(model: Model) -> tuple[str, ...]:
    parameters = _module(model).named_parameters()
    names = [plain_name(name) for name, p in parameters if p.requires_grad and p.dim() < 2 and ".lora_" not in name]
    if not names:
        return ()
    return (f"{counted(names)} trained beside the adapter, not compared: {some(names)}; give the model before training too",)


def _saved_vectors(merged: Source) -> dict[str, StoredTensor]:
    """Find the biases and gains in the file of an adapter, which its modes leave out."""
    from spectra.sources import checkpoint, hub

    path = Path(merged.location).expanduser()
    folder = path if path.exists() else hub.local_folder(merged.location)
    files = folder.glob("adapter_model.*") if folder.is_dir() else [folder]
    file = next(file for file in sorted(files, reverse=True) if file.suffix in (".safetensors", ".bin"))
    _, rest = sort_parts(checkpoint.read_file(file)[0])
    return {tensor.name: tensor for tensor in rest if len(tensor.shape) < 2}


def _module(model: Model) -> torch.nn.Module:
    return model  # type: ignore[return-value]  # a source of the format 'module' was opened from one
