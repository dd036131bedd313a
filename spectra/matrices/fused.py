"""Which architecture stores which projections in one weight, and how: the table of rules, each with its source.

A rule applies to weights whose path ends in ``name``, in models one of whose configurations has one of the ``model_types``
(all models, for rules without). It divides the weight's outputs: the rows of a ``Linear``, the columns of GPT-2's ``Conv1D``.

Sources are files of transformers 5 (``models/*/modeling_*.py``: what the forward pass does with the outputs; or
``conversion_mapping.py``: how the hub's file is taken apart on loading) unless another one is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spectra.errors import InputError
from spectra.matrices.context import ModelContext
from spectra.matrices.heads import Heads
from spectra.matrices.stripes import Stripes, interleaved

Parts = dict[str, Stripes]

WHOLE = "split_fused 'none' analyses it whole"
UNKNOWN_LAYOUT = "looks like several projections in one weight, stored in an unknown way: analysed whole"
UNKNOWN_HEADS = "several projections in one weight, and the configuration does not say how many heads: analysed whole"


@dataclass(frozen=True)
class Outputs:
    """The weight that a rule divides.

    Attributes:
        length: Number of outputs.
        width: Number of inputs.
        is_transposed: Stored as ``(in, out)``.
        config: The configuration that the rule was chosen for.
    """

    length: int
    width: int
    is_transposed: bool
    config: Mapping[str, Any]

    def heads(self) -> Heads:
        """Return the heads that the configuration declares, or stop the rule."""
        heads = Heads.of(self.config)
        if heads is None:
            raise _UnknownHeadsError
        return heads


class _UnknownHeadsError(Exception):
    """The configuration does not say what the rule needs."""


Split = Callable[[Outputs], Parts | None]


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        model_types: Architectures; empty for all.
        name: End of the module's path, whole components.
        split: Gives the parts; ``None`` where name and shape together do not say them.
        source: Where the layout can be read.
    """

    model_types: tuple[str, ...]
    name: str
    split: Split
    source: str


def _equal(*names: str) -> Split:
    """Contiguous parts of equal size."""

    def split(outputs: Outputs) -> Parts:
        if outputs.length % len(names):
            raise InputError(f"{outputs.length} outputs are not {len(names)} equal parts ({', '.join(names)})")
        return interleaved(1, [(name, outputs.length // len(names)) for name in names])

    return split


def _square(*names: str) -> Split:
    """Contiguous square parts; nothing where the shape is another: then the name alone would decide."""

    def split(outputs: Outputs) -> Parts | None:
        return _equal(*names)(outputs) if outputs.length == len(names) * outputs.width else None

    return split


def _columns(outputs: Outputs) -> Parts | None:
    # Only transformers' Conv1D stores (in, out); a Linear 'c_attn' is nanoGPT's thirds or, head by head, GPT-BigCode's.
    return _square("q", "k", "v")(outputs) if outputs.is_transposed else None


def _blocks(outputs: Outputs, *, key_value: int | None = None) -> Parts:
    """All queries, then all keys, then all values; fewer of these for grouped queries."""
    heads = outputs.heads()
    key_value = heads.key_value if key_value is None else key_value
    parts = [("q", heads.query * heads.dim), ("k", key_value * heads.dim), ("v", key_value * heads.dim)]
    return _checked(outputs, 1, parts, f"{heads.query} + 2 x {key_value} heads of {heads.dim}")


def _by_head(outputs: Outputs) -> Parts:
    """Head after head, each with its query, key and value."""
    heads = outputs.heads()
    return _checked(outputs, heads.query, [(n, heads.dim) for n in "qkv"], f"3 x {heads.query} heads of {heads.dim}")


def _by_group(outputs: Outputs) -> Parts:
    """Group after group, each with its queries, its key and its value."""
    heads = outputs.heads()
    words = f"{heads.key_value} groups of {heads.query}/{heads.key_value} + 2 heads of {heads.dim}"
    if heads.query % heads.key_value:
        raise InputError(f"{outputs.length} outputs are not {words}")
    shared = heads.query // heads.key_value
    return _checked(outputs, heads.key_value, [("q", shared * heads.dim), ("k", heads.dim), ("v", heads.dim)], words)


def _multi_query(outputs: Outputs) -> Parts:
    """One key and one value for all queries, after them; or head by head, where the configuration says so."""
    return _blocks(outputs, key_value=1) if outputs.config.get("multi_query", True) else _by_head(outputs)


def _falcon(outputs: Outputs) -> Parts:
    # 'n_head_kv' is how the first release of the 40B model says it (RefinedWeb).
    is_grouped = outputs.config.get("new_decoder_architecture") or "n_head_kv" in outputs.config
    return _by_group(outputs) if is_grouped else _multi_query(outputs)


def _chatglm(outputs: Outputs) -> Parts:
    return _blocks(outputs) if outputs.config.get("multi_query_attention") else _by_head(outputs)


def _codegen(outputs: Outputs) -> Parts:
    # mp_num = 4 in the forward pass: the number of cores that the first models were trained on; and value before key.
    size = outputs.length // 12
    return _checked(outputs, 4, [("q", size), ("v", size), ("k", size)], "4 x (query, value, key)")


def _checked(outputs: Outputs, count: int, widths: list[tuple[str, int]], words: str) -> Parts:
    if count * sum(width for _, width in widths) != outputs.length:
        raise InputError(f"{outputs.length} outputs are not {words}")
    return interleaved(count, widths)


_QKV = _equal("q", "k", "v")
_GPT2 = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
_PHI4_AUDIO = ("phi4_multimodal", "phi4_multimodal_audio")

RULES: tuple[Rule, ...] = (
    # Query, key and value
    Rule((), "in_proj_weight", _QKV, "torch.nn.MultiheadAttention: F._in_projection_packed; open_clip keeps its files so"),
    Rule(_GPT2, "crossattention.c_attn", _equal("k", "v"), "gpt2: split(split_size); the query is q_attn"),
    Rule(_GPT2, "c_attn", _QKV, "gpt2, openai, imagegpt, decision_transformer: split(split_size, dim=2)"),
    Rule((), "c_attn", _columns, "the same, where there is no configuration"),
    Rule(("gpt_bigcode",), "attn.c_attn", _multi_query, "gpt_bigcode: split((embed_dim, kv_dim, kv_dim)), or by head"),
    Rule(("qwen",), "c_attn", _QKV, "Qwen/Qwen-7B modeling_qwen.py: split(split_size, dim=2)"),
    Rule(("mpt",), "Wqkv", _blocks, "mpt: chunk(3); kv_n_heads as in mosaicml/llm-foundry, attention.py"),
    Rule(("dbrx",), "Wqkv", _blocks, "dbrx: split([hidden, kv_heads * head_dim, kv_heads * head_dim])"),
    Rule(("modernbert",), "Wqkv", _QKV, "modernbert: view(3, -1, head_dim)"),
    Rule(("nomic_bert", "jina_embeddings_v3"), "Wqkv", _QKV, "conversion_mapping: Chunk(dim=0)"),
    Rule(("gte", "new"), "qkv_proj", _QKV, "conversion_mapping, gte: Chunk(dim=0); 'new' on the hub"),
    Rule(("phi3", "phi4_multimodal"), "qkv_proj", _blocks, "phi3, phi4_multimodal: slices at heads * head_dim"),
    Rule(("codegen",), "qkv_proj", _codegen, "codegen: reshape(mp_num, -1), then split into query, value, key"),
    Rule(("minimax",), "qkv_proj", _by_head, "minimax (lightning attention): reshape(heads, 3 * head_dim)"),
    Rule(("gpt_neox", "gpt_neox_japanese"), "query_key_value", _by_head, "gpt_neox: view(-1, 3 * head_size).chunk(3)"),
    Rule(("bloom", "persimmon"), "query_key_value", _by_head, "bloom, persimmon: view(num_heads, 3, head_dim)"),
    Rule(("falcon", "RefinedWeb", "RefinedWebModel"), "query_key_value", _falcon, "falcon: _split_heads, its three cases"),
    Rule(("chatglm",), "query_key_value", _chatglm, "THUDM/chatglm2-6b modeling_chatglm.py: split, or view by head"),
    Rule(("baichuan",), "W_pack", _QKV, "baichuan-inc/Baichuan-7B modeling_baichuan.py: unflatten(-1, (3, hidden_size))"),
    Rule(("internlm2",), "wqkv", _by_group, "internlm/internlm2-7b modeling_internlm2.py: 'b q (h gs d)', gs = 2 + groups"),
    Rule(("deberta",), "in_proj", _by_head, "deberta: transpose_for_scores(...).chunk(3, dim=-1)"),
    Rule(("layoutlmv2",), "qkv_linear", _QKV, "layoutlmv2: chunk(3, dim=-1)"),
    Rule(("exaone4_5_vision",), "qkv", _blocks, "exaone4_5: split([q_dim, kv_dim, kv_dim])"),
    Rule(("hiera", "sam2_hiera_det_model"), "qkv", _QKV, "hiera, sam2: 3 x the next stage's width"),
    Rule((), "qkv", _square("q", "k", "v"), "timm, and every 'qkv' of transformers: reshape(..., 3, num_heads, -1)"),
    Rule(("granite_speech", "granite_speech_plus", "evolla"), "to_kv", _equal("k", "v"), "granite_speech, evolla: chunk(2)"),
    # Gated units
    Rule(_PHI4_AUDIO, "feed_forward_in.gate_up_proj", _equal("up", "gate"), "phi4_multimodal, audio: up, gate = chunk(2)"),
    Rule(_PHI4_AUDIO, "feed_forward_out.gate_up_proj", _equal("up", "gate"), "phi4_multimodal, audio: the same class"),
    Rule((), "gate_up_proj", _equal("gate", "up"), "every two-dimensional 'gate_up_proj' of transformers: chunk(2, dim=-1)"),
    Rule(("gte", "new"), "up_gate_proj", _equal("up", "gate"), "conversion_mapping, gte: Chunk(dim=0)"),
    Rule(("modernbert", "modernbert-decoder"), "Wi", _equal("input", "gate"), "modernbert: input, gate = chunk(2)"),
    Rule(("dinov2", "dinov2_with_registers"), "weights_in", _equal("gate", "up"), "conversion_mapping, Dinov2Model"),
    Rule(("mamba", "falcon_mamba", "jamba"), "in_proj", _equal("hidden", "gate"), "mamba, jamba: chunk(2, dim=1)"),
)  # fmt: skip

# Last components under which other architectures may keep several projections.
_LOOKS_FUSED = re.compile(r"\w*(?:qkv|QKV)\w*|query_key_value|c_attn|W_pack|to_kv|up_gate_proj|w13|w12")


def split_fused(layer_name: str, length: int, width: int, context: ModelContext, *, is_transposed: bool = False) -> Parts | str:
    """Divide the outputs of a weight into the projections it holds.

    Args:
        layer_name: Path of its module.
        length: Number of outputs.
        width: Number of inputs.
        context: The model.
        is_transposed: Stored as ``(in, out)``.

    Returns:
        The outputs of each part, in stored order, by name. An empty mapping for a weight that is one projection; a note for
        one that looks like several in a layout that is not known.

    Raises:
        InputError: The layout is known and the shape is another one.
    """
    refusal: InputError | None = None
    note = UNKNOWN_LAYOUT if _LOOKS_FUSED.fullmatch(layer_name.rpartition(".")[2]) else ""
    path = "." + layer_name
    for rule in RULES:
        if not path.endswith("." + rule.name):
            continue
        for config in context.configs_of(rule.model_types) if rule.model_types else [context.config]:
            try:
                parts = rule.split(Outputs(length, width, is_transposed, config))
            except _UnknownHeadsError:
                note = UNKNOWN_HEADS
            except InputError as error:  # another configuration of the model may be this weight's
                refusal = refusal or error
            else:
                if parts is not None:
                    return parts
    if refusal:
        raise refusal
    return note or {}
