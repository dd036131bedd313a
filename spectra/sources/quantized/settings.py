"""What a model's configuration says of its quantization."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# compressed-tensors had a name of its own before transformers knew it.
_KEYS = ("quantization_config", "compression_config")
_NESTED = ("text_config", "llm_config", "language_config")


def quantization_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the quantization settings of a model, in a multimodal one those of its language model.

    Args:
        config: The model's configuration.

    Returns:
        The settings, empty where there are none.
    """
    for place in (config, *(config.get(name) for name in _NESTED)):
        for key in _KEYS:
            settings = place.get(key) if isinstance(place, Mapping) else None
            if isinstance(settings, Mapping):
                return settings
    return {}


def weight_arguments(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield how weights are quantized, one mapping per group of layers.

    Args:
        settings: Of compressed-tensors, whose ``config_groups`` these are.

    Yields:
        ``num_bits``, ``group_size``, ``block_structure``, ``symmetric`` and others.
    """
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights
