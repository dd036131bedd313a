"""What pruning did, layer by layer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from spectra.results.words import counted


@dataclass(frozen=True)
class PrunedLayer:
    """One layer.

    Attributes:
        layer_name: As in a report.
        num_params: Of its weight.
        asked: Share of the weights that should be zero.
        num_asked: The same as a number.
        num_zeros: How many are zero: more than asked for if more were before.
    """

    layer_name: str
    num_params: int
    asked: float
    num_asked: int
    num_zeros: int

    @property
    def reached(self) -> float:
        """Share of the weights that are zero."""
        return self.num_zeros / self.num_params


@dataclass(frozen=True)
class PruneReport:
    """All layers that were pruned.

    Attributes:
        model: Its name.
        method: ``magnitude`` or ``wanda``.
        layers: In model order.
        notes: What to know about the result.
    """

    model: str
    method: str
    layers: tuple[PrunedLayer, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_params(self) -> int:
        """Weights of all these layers."""
        return sum(layer.num_params for layer in self.layers)

    @property
    def num_zeros(self) -> int:
        """Those of them that are zero."""
        return sum(layer.num_zeros for layer in self.layers)

    @property
    def reached(self) -> float:
        """Share of the weights of these layers that are zero."""
        return self.num_zeros / self.num_params

    @property
    def asked(self) -> float:
        """Share of the weights of these layers that should be zero."""
        return sum(layer.num_asked for layer in self.layers) / self.num_params

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in ``pruning.json``."""
        return {
            "model": self.model,
            "method": self.method,
            "num_params": self.num_params,
            "num_zeros": self.num_zeros,
            "asked": self.asked,
            "reached": self.reached,
            "layers": [{**dataclasses.asdict(layer), "reached": layer.reached} for layer in self.layers],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return (
            f"Pruned {counted(len(self.layers), 'layer')} of '{self.model}' ({self.method}): {self.num_zeros:,} of "
            f"{self.num_params:,} weights are zero, a share of {self.reached:.6f}"
        )
