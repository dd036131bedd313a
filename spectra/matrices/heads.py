"""How many attention heads a configuration declares, under the names that architectures give them.

The names are those of transformers' ``configuration_*.py`` and, for ``n_head_kv`` (the first Falcons) and for
``multi_query_group_num`` and ``kv_channels`` (ChatGLM), of the ``config.json`` on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_QUERY_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads", "multi_query_group_num")
_HEAD_DIM = ("head_dim", "kv_channels", "d_kv")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "embed_dim", "dim")

# The last component of the names of separately stored projections, and which heads they have.
_PROJECTION = re.compile(
    r"(?:^|[._])(?:(?P<query>q|query|q_proj|q_lin|to_q|wq)|(?:k|v|key|value|[kv]_proj|[kv]_lin|to_[kv]|w[kv]))$"
)


@dataclass(frozen=True)
class Heads:
    """Attention heads of a model.

    Attributes:
        query: Number of heads of queries.
        key_value: Number of heads of keys, and of values.
        dim: Outputs of one head.
    """

    query: int
    key_value: int
    dim: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Heads | None:
        """Read the numbers from a configuration.

        Args:
            config: One configuration, not those nested in it, but for ``attn_config`` (MPT and DBRX keep numbers there).

        Returns:
            The heads; ``None`` where it does not say them, or says a list of them.
        """
        inner = config.get("attn_config")
        merged = {**config, **inner} if isinstance(inner, Mapping) else config
        query, hidden = _first(merged, _QUERY_HEADS), _first(merged, _HIDDEN)
        dim = _first(merged, _HEAD_DIM) or (hidden // query if query and hidden else None)
        if not query or not dim:
            return None
        return cls(query, _first(merged, _KEY_VALUE_HEADS) or query, dim)


def projection_of(layer_name: str) -> str | None:
    """Tell a separately stored query, key or value projection by its name.

    Args:
        layer_name: Path of the module.

    Returns:
        ``"q"``, ``"kv"`` or ``None``.
    """
    match = _PROJECTION.search(layer_name.rsplit(".", 1)[-1])
    return None if match is None else "q" if match["query"] else "kv"


def head_dim(projection: str, length: int, known: Iterable[Heads]) -> int | None:
    """Find the outputs per head of a projection.

    Args:
        projection: ``"q"``, or anything else for keys and values.
        length: Outputs of the projection.
        known: Candidates, from all configurations.

    Returns:
        Outputs per head of the first candidate whose heads make up this length; ``None`` if none does.
    """
    for heads in known:
        count = heads.query if projection == "q" else heads.key_value
        # Multi-query attention has one head whatever a configuration says for the grouped kind.
        if length == count * heads.dim or (projection != "q" and length == heads.dim):
            return heads.dim
    return None


def _first(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
