"""What a rule may look at besides the tensor itself: the model's configuration and the shapes of its other tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spectra.sources.tensors import Source


@dataclass(frozen=True)
class ModelContext:
    """The surroundings of a tensor.

    Attributes:
        config: The model's ``config.json``; empty where there is none.
        shapes: The shape of every tensor of the model, by name.
    """

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, source: Source) -> ModelContext:
        """Collect the surroundings of a source's tensors."""
        return cls(source.config, {tensor.name: tensor.shape for tensor in source.tensors})

    @cached_property
    def configs(self) -> tuple[Mapping[str, Any], ...]:
        """The configuration and those nested in it (``text_config``, ``vision_config``, ``decoder``), outermost first."""
        return tuple(_nested(self.config))

    def configs_of(self, model_types: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """Return the configurations whose ``model_type`` is one of these."""
        return [config for config in self.configs if config.get("model_type") in model_types]

    def beside(self, name: str, old: str, new: str) -> tuple[int, ...] | None:
        """Return the shape of a tensor's neighbour.

        Args:
            name: Of the tensor.
            old: What its name has, the last time it occurs.
            new: What the neighbour's name has in its place.

        Returns:
            The shape; ``None`` where there is no such tensor.
        """
        head, found, tail = name.rpartition(old)
        return self.shapes.get(head + new + tail) if found else None


def _nested(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield config
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _nested(value)
