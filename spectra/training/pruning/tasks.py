"""From sparsities to what has to be done: for each layer a method and a number of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from torch import Tensor

from spectra.errors import InputError, NonFiniteWeightsError, did_you_mean
from spectra.sources.tensors import Source
from spectra.training.pruning.counts import whole_counts
from spectra.training.pruning.layers import PrunableLayer, asked_layers, sparsity_by_layer
from spectra.training.pruning.magnitude import magnitude_mask
from spectra.training.pruning.outcome import PrunedLayer
from spectra.training.pruning.wanda import wanda_mask

if TYPE_CHECKING:
    from spectra.policies.plan import Plan


class PruneMethod(StrEnum):
    """Which weights of a layer go."""

    MAGNITUDE = "magnitude"
    """The smallest of the layer."""
    WANDA = "wanda"
    """The smallest, times the norm of their input, of each output."""


@dataclass(frozen=True)
class PruneTask:
    """What has to be done to one layer.

    Attributes:
        layer: Which.
        asked: Share of its weights that shall be zero.
        num_asked: Their number.
        input_norms: For Wanda.
    """

    layer: PrunableLayer
    asked: float
    num_asked: int
    input_norms: Tensor | None = None

    def keep_mask(self, weight: Tensor) -> Tensor:
        """Choose the weights to keep.

        Args:
            weight: Of the layer, as stored.

        Returns:
            Booleans of its shape.

        Raises:
            NonFiniteWeightsError: NaN or infinite weights.
            InputError: Input norms that do not fit.
        """
        share = self.num_asked / max(weight.numel(), 1)
        try:
            if self.input_norms is None:
                return magnitude_mask(weight, share)
            if self.layer.is_transposed:
                return wanda_mask(weight.T, self.input_norms, share).T
            return wanda_mask(weight, self.input_norms, share)
        except NonFiniteWeightsError as error:
            raise NonFiniteWeightsError(f"layer '{self.layer.name}': {error} Repair it, or leave it out.") from None
        except InputError as error:
            raise InputError(f"layer '{self.layer.name}': {error}") from None

    def outcome(self, num_zeros: int) -> PrunedLayer:
        """Say what was done.

        Args:
            num_zeros: Weights that are zero now.

        Returns:
            The row of the report.
        """
        return PrunedLayer(self.layer.name, self.layer.tensor.size, self.asked, self.num_asked, num_zeros)


def checked_method(method: str, input_norms: Mapping[str, Tensor] | None) -> PruneMethod:
    """Refuse a method that is not known, or lacks what it needs.

    Args:
        method: A word.
        input_norms: For Wanda, and only for it.

    Returns:
        The method.

    Raises:
        InputError: As said.
    """
    if method not in list(PruneMethod):
        raise InputError(f"unknown method '{method}'.{did_you_mean(method, PruneMethod)} Known: {', '.join(PruneMethod)}.")
    if (method == PruneMethod.WANDA) != (input_norms is not None):
        raise InputError(
            "method 'wanda' needs the norms of the layers' inputs: input_norms(model, batches, layers)."
            if input_norms is None
            else f"method '{method}' reads no inputs. Leave input_norms out, or choose method='wanda'."
        )
    return PruneMethod(method)


def pruning_tasks(
    source: Source,
    sparsities: Plan | Mapping[str, float],
    method: PruneMethod,
    input_norms: Mapping[str, Tensor] | None = None,
) -> list[PruneTask]:
    """Lay out the work.

    Args:
        source: The model.
        sparsities: A plan, or a sparsity by layer.
        method: Checked.
        input_norms: By layer.

    Returns:
        A task for each layer, in model order.

    Raises:
        InputError: A layer that is not there or cannot be pruned so.
    """
    asked = asked_layers(source, sparsity_by_layer(sparsities), planned=getattr(sparsities, "model", ""))
    if method == PruneMethod.WANDA:
        for layer, _ in asked:
            _check_for_wanda(layer, input_norms)
    counts = whole_counts(
        {layer.name: layer.tensor.size for layer, _ in asked}, {layer.name: sparsity for layer, sparsity in asked}
    )
    return [
        PruneTask(layer, sparsity, counts[layer.name], input_norms[layer.name] if input_norms else None)
        for layer, sparsity in asked
    ]


def _check_for_wanda(layer: PrunableLayer, input_norms: Mapping[str, Tensor] | None) -> None:
    if not layer.is_dense:
        shape = "×".join(map(str, layer.tensor.shape))
        raise InputError(
            f"layer '{layer.name}' ({layer.kind}, {shape}): Wanda compares weights that see one input each, as in a linear "
            "layer. Leave it out, or use method 'magnitude'."
        )
    if input_norms is not None and layer.name not in input_norms:
        raise InputError(f"layer '{layer.name}' has no input norms. Name it in input_norms(model, batches, layers).")
