"""Which layers can be pruned, and which are asked for.

A layer is a weight that an analysis makes matrices of, as a whole: a fused projection is one layer, a stack of experts too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectra.diagnose.distances import chosen_layers, layer_name
from spectra.errors import InputError, did_you_mean
from spectra.matrices import ModelContext, matrices_of
from spectra.policies.units import WEIGHT_KINDS, block_of
from spectra.results.records import SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources.open import open_source
from spectra.sources.small_floats import FLOAT8_DTYPES
from spectra.sources.tensors import LINEAR, Source, StoredTensor

if TYPE_CHECKING:
    from spectra.policies.plan import Plan
    from spectra.sources.open import Model

_EXPERT = "expert"


@dataclass(frozen=True)
class PrunableLayer:
    """A weight that can be pruned.

    Attributes:
        name: Of the layer.
        tensor: Its weight.
        kind: As in a report.
        is_transposed: A dense weight stored as ``(in, out)``.
        copies: Names of other tensors that are the same weight.
    """

    name: str
    tensor: StoredTensor
    kind: str
    is_transposed: bool
    copies: tuple[str, ...]

    @property
    def is_dense(self) -> bool:
        """One matrix from inputs to outputs."""
        return self.kind in (LINEAR, _EXPERT) and len(self.tensor.shape) == 2


def prunable_layers(source: Source) -> dict[str, PrunableLayer]:
    """Find the layers of a model.

    Args:
        source: The opened model.

    Returns:
        Layers by name, in model order. A tied weight is one layer under all its names.
    """
    context, settings = ModelContext.of(source), AnalysisSettings(split_fused="none")
    layers: dict[str, PrunableLayer] = {}
    for tensor in source.tensors:
        if tensor.tied_to:
            first = layers.get(layer_name(tensor.tied_to))
            if first:
                layers[layer_name(tensor.name)] = first
            continue
        found = matrices_of(tensor, context, settings)
        if found and not isinstance(found, SkippedTensor) and tensor.size:
            copies = tuple(other.name for other in source.tensors if other.tied_to == tensor.name)
            name = layer_name(tensor.name)
            layers[name] = PrunableLayer(name, tensor, found[0].kind, found[0].is_transposed, copies)
    return layers


def uniform_sparsities(
    model: Model, sparsity: float, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> dict[str, float]:
    """Give the same sparsity to all layers in the blocks of a model.

    Args:
        model: A path, ``"demo"`` or a live module; its weights are not read.
        sparsity: In [0, 1].
        include: Globs on layer names. Default: the layers in blocks, which embeddings and output layers are not.
        exclude: Globs on layer names that are left out.

    Returns:
        The sparsity by layer.

    Raises:
        InputError: A sparsity out of range, a pattern that matches nothing, or no layer in a block.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise InputError(f"sparsity: expected a share from 0 to 1, got {sparsity}.")
    source = open_source(model)
    layers = {layer.name: layer for layer in prunable_layers(source).values()}
    names = [name for name in layers if include or _is_in_a_block(layers[name])]
    if not names:
        raise InputError(
            f"'{source.location}': none of its {len(layers)} layers stands in a numbered block. Name those to prune "
            "(include, --include), or give a plan."
        )
    chosen = chosen_layers(names, include, exclude)
    return {name: sparsity for name in names if name in chosen}


def _is_in_a_block(layer: PrunableLayer) -> bool:
    return block_of(layer.name) is not None and layer.kind in WEIGHT_KINDS


def sparsity_by_layer(sparsities: Plan | Mapping[str, float]) -> dict[str, float]:
    """Read a plan or a mapping.

    Args:
        sparsities: Either.

    Returns:
        The sparsity by layer.

    Raises:
        InputError: A plan of something else.
    """
    if not isinstance(sparsities, Mapping):
        if sparsities.target != "sparsity":
            raise InputError(
                f"the plan sets the {sparsities.target} of layers, not their sparsity. Make one for pruning: spectra plan "
                "MODEL --policy alphapruning --sparsity S -o plan.yaml"
            )
        return sparsities.by_layer()
    return dict(sparsities)


def asked_layers(source: Source, sparsities: Mapping[str, float], *, planned: str = "") -> list[tuple[PrunableLayer, float]]:
    """Find the layers that are to be pruned.

    Args:
        source: The model.
        sparsities: By layer.
        planned: Name of the model that they were planned for, for messages.

    Returns:
        Each layer once, in model order, with its sparsity; none whose sparsity is 0.

    Raises:
        InputError: A name that no layer has, a sparsity out of range, two for one weight, a weight that holds no plain
            numbers, or no layer to prune.
    """
    layers = prunable_layers(source)
    unknown = [name for name in sparsities if name not in layers]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        origin = f" The plan is of '{planned}': make one of this model, or correct the names." if planned else ""
        raise InputError(f"'{source.location}' has no layer '{unknown[0]}'{more}.{did_you_mean(unknown[0], layers)}{origin}")
    asked: dict[str, float] = {}
    for name, sparsity in sparsities.items():
        if not 0.0 <= sparsity <= 1.0:
            raise InputError(f"layer '{name}': expected a sparsity from 0 to 1, got {sparsity}.")
        if asked.setdefault(layers[name].name, sparsity) != sparsity:
            raise InputError(f"layers '{name}' and '{layers[name].name}' are one weight. Give them one sparsity.")
    found = [(layer, asked[name]) for name, layer in layers.items() if name == layer.name and asked.get(name)]
    if not found:
        raise InputError(f"nothing to prune: none of {len(sparsities)} layers has a sparsity above 0. Give one to a layer.")
    for layer, _ in found:
        _check_numbers(layer)
    return found


def _check_numbers(layer: PrunableLayer) -> None:
    tensor = layer.tensor
    if tensor.quantized or tensor.dtype in FLOAT8_DTYPES:
        raise InputError(
            f"layer '{layer.name}' is stored as {tensor.quantized or tensor.dtype}: quantized weights are codes, and the "
            "code 0 need not mean the weight 0. Prune the model before it is quantized."
        )
    if tensor.unreadable or tensor.part_of or tensor.factors is not None or tensor.is_difference:
        reason = tensor.unreadable or "computed from other tensors"
        raise InputError(f"layer '{layer.name}' has no weight to write to: {reason}. Give the model with all its weights.")
