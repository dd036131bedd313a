"""The weights of a model, moved along two directions and put back bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectra.errors import InputError, did_you_mean
from spectra.fisher.directions import filter_normalized, gaussian
from spectra.fisher.regions import Region
from spectra.results.fisher import Fisher, FisherTensor


@dataclass(frozen=True)
class Neighborhood:
    """Weights as they were, and two directions from there.

    Memory: a copy of the weights in their own dtype and two in float32, on their devices.

    Attributes:
        parameters: Of the model, by name, tied ones once; these move.
        weights: Their values at the center.
        directions: Two for each parameter, of its shape.
    """

    parameters: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    directions: Mapping[str, tuple[Tensor, Tensor]]

    def weight_norm(self) -> float:
        """Return the norm of all weights together."""
        return math.hypot(*(_norm(weight) for weight in self.weights.values()))

    def placed(self, region: Region) -> Region:
        """Move the masks of a region to where its parameters are.

        Args:
            region: As :func:`spectra.fisher.regions.regions_of` finds it.

        Returns:
            The same region.
        """
        return {name: None if mask is None else mask.to(self.weights[name].device) for name, mask in region.items()}

    def extent(self, region: Region) -> tuple[float, float]:
        """Measure both directions within a region.

        Args:
            region: What moves.

        Returns:
            Their norms.
        """
        first, second = (
            math.hypot(*(_norm(_within(mask, self.directions[name][number])) for name, mask in region.items()))
            for number in (0, 1)
        )
        return first, second

    def num_moving(self, region: Region) -> tuple[int, int]:
        """Count what really moves within a region: rows of zeros do not, nor vectors whose direction is zero.

        Args:
            region: What may move.

        Returns:
            Tensors of which at least one entry moves, and entries.
        """
        counts = []
        for name, mask in region.items():
            first, second = self.directions[name]
            counts.append(int(_within(mask, (first != 0) | (second != 0)).sum()))
        return sum(count > 0 for count in counts), sum(counts)

    @torch.no_grad()
    def move(self, region: Region, first: float, second: float) -> None:
        """Go from the center to a point; parameters outside of the region stay where they are.

        Args:
            region: What moves.
            first: Step along the first direction.
            second: Step along the second direction.
        """
        for name, mask in region.items():
            weight, (along, across) = self.weights[name], self.directions[name]
            moved = torch.add(weight, along, alpha=first).add_(across, alpha=second)
            if mask is not None:
                moved = torch.where(mask, moved, weight)
            self.parameters[name].copy_(moved)

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to the center."""
        for name, weight in self.weights.items():
            self.parameters[name].copy_(weight)


@torch.no_grad()
def neighborhood(model: nn.Module, fisher: Fisher, *, seed: int, include_vectors: bool) -> Neighborhood:
    """Draw two filter-normalized directions for the parameters that a Fisher information knows.

    Args:
        model: Whose weights are the center; not changed.
        fisher: Of this model.
        seed: Of the directions. That of a parameter depends on its place in the model too, on nothing else.
        include_vectors: Whether tensors of fewer than two dimensions move.

    Returns:
        The weights and directions.

    Raises:
        InputError: The model lacks a parameter, or has it in another shape.
    """
    parameters = _parameters(model, fisher)
    place = {name: index for index, (name, _) in enumerate(model.named_parameters())}
    directions = {}
    for tensor in fisher.tensors:
        weight = parameters[tensor.name].detach()
        first, second = (
            filter_normalized(
                gaussian(tensor.shape, seed, number, place[tensor.name]),
                weight,
                kind=tensor.kind,
                transposed=_is_transposed(model, tensor),
                include_vectors=include_vectors,
            )
            for number in (0, 1)
        )
        directions[tensor.name] = first, second
    return Neighborhood(parameters, {name: tensor.detach().clone() for name, tensor in parameters.items()}, directions)


def _parameters(model: nn.Module, fisher: Fisher) -> dict[str, Tensor]:
    known = dict(model.named_parameters())
    for tensor in fisher.tensors:
        if tensor.name not in known:
            raise InputError(
                f"the Fisher information knows '{tensor.name}', the model has no such parameter."
                f"{did_you_mean(tensor.name, known)} Pass the model it was measured on."
            )
        shape = tuple(known[tensor.name].shape)
        if shape != tuple(tensor.shape):
            raise InputError(
                f"'{tensor.name}' has shape {tuple(tensor.shape)} in the Fisher information and {shape} in the model. "
                "Pass the model it was measured on."
            )
    return {tensor.name: known[tensor.name] for tensor in fisher.tensors}


def _is_transposed(model: nn.Module, tensor: FisherTensor) -> bool:
    """A Fisher tells of linear weights only; transposed convolutions have their outputs second, too."""
    return tensor.transposed or (
        tensor.kind == "convolution" and bool(getattr(model.get_submodule(tensor.layer_name), "transposed", False))
    )


def _within(mask: Tensor | None, tensor: Tensor) -> Tensor:
    return tensor if mask is None else tensor * mask


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
