"""Mixtures of experts: which tensors are stacks of matrices, and where an expert's gate and up projections are in them.

================  =============================================  ==================================================
layout            shape of ``gate_up_proj``, of ``down_proj``    models
================  =============================================  ==================================================
rows              ``(E, 2 ff, d)``, ``(E, d, ff)``               most: Mixtral, Qwen, DeepSeek, OLMoE, Granite, ...
columns           ``(E, d, 2 ff)``, ``(E, ff, d)``               Llama 4, Aria, files of Qwen3-VL
columns in turn   the same                                       gpt-oss: gate in the even, up in the odd columns
packed            ``w1``, ``v1``, ``w2``: ``(E ff, d)``          DBRX: ``view(-1, ff, d)``
one by one        ``experts.3.w1``: two axes                     files from before transformers 5: nothing to take apart
================  =============================================  ==================================================

Rows and columns are told apart by the shapes of both tensors together; only one of the two can fit. Source: the experts of
transformers 5 (``models/*/modeling_*.py``) and the decorator ``use_experts_implementation`` with ``is_transposed`` and
``is_concatenated``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spectra.errors import InputError
from spectra.matrices.context import ModelContext
from spectra.matrices.fused import Parts
from spectra.matrices.stripes import interleaved

# The parameter of all experts together: 'mlp.experts.down_proj', 'block_sparse_moe.input_linear' (Granite's files, JetMoE).
_STACK = re.compile(r"(?:^|\.)(?:\w*experts\.(?:experts\.)?[a-z]\w*|(?:input|output)_linear)$")
# The parameters of experts that are never anything but stacks.
_NAMED = re.compile(r"(?:^|\.)\w*experts\.(?:gate_up_proj|gate_proj|up_proj|down_proj|w13_weight|w2_weight)$")
_PACKED = re.compile(r"(?:^|\.)experts\.mlp\.(?:w1|v1|w2)$")
# One expert among separately stored ones: 'experts.3.w1', 'experts.expert_3.wi'.
_ONE = re.compile(r"(?P<head>(?:^|.*\.)\w*experts\.(?:expert_)?)(?P<number>\d+)(?P<tail>\..+)$")

# Names of the first and second projection.
_PAIRS = (("gate_up_proj", "down_proj"), ("w13_weight", "w2_weight"), ("input_linear", "output_linear"))

# gpt_oss: gate_up[..., ::2], gate_up[..., 1::2]. inkling: Interleave(dim=1) on loading w13_weight.
_IN_TURN = ("gpt_oss",)
_IN_TURN_NAMES = ("w13_weight",)

UNKNOWN_GATE = "holds gate and up projections, stored in an unknown way: every expert is analysed whole"


@dataclass(frozen=True)
class Stack:
    """The experts of one parameter.

    Attributes:
        is_transposed: Each expert is stored as ``(in, out)``.
        parts: Where an expert's projections are along its outputs; empty for one projection.
        packed: Rows per expert of a packed tensor; 0 for a stack.
        note: What is not known of it.
    """

    is_transposed: bool = False
    parts: Parts | None = None
    packed: int = 0
    note: str = ""


def expert_of(layer_name: str) -> tuple[int, str] | None:
    """Tell a weight of one expert among separately stored ones.

    Args:
        layer_name: Path of its module.

    Returns:
        Number of the expert, and the name that all experts share, with ``*`` for the number.
    """
    match = _ONE.match(layer_name)
    return (int(match["number"]), f"{match['head']}*{match['tail']}") if match else None


def stack_of(layer_name: str, name: str, shape: tuple[int, ...], context: ModelContext, *, split: bool) -> Stack | None:
    """Tell whether a parameter holds all experts, and how.

    Args:
        layer_name: Path of the parameter, without ``.weight``.
        name: Its full name.
        shape: Its shape.
        context: The model.
        split: Look for gate and up projections.

    Returns:
        The stack; ``None`` for other tensors.

    Raises:
        InputError: A parameter of experts whose shape fits no layout.
    """
    if _PACKED.search(layer_name) and context.configs_of(("dbrx",)):
        return _packed(shape, context)
    if len(shape) != 3:
        if _NAMED.search(name):
            raise InputError(f"{len(shape)}-dimensional parameter of experts: expected (experts, rows, columns)")
        return None
    if not _STACK.search(layer_name):
        return None
    for first, second in _PAIRS:
        if layer_name.endswith("." + first):
            return _first_projection(layer_name, name, shape, context.beside(name, first, second), context, split=split)
        if layer_name.endswith("." + second):
            other = context.beside(name, second, first)
            return Stack(is_transposed=other is not None and _outputs_axis(other, shape) == 2)
    return Stack()


def _first_projection(
    layer_name: str,
    name: str,
    shape: tuple[int, ...],
    second: tuple[int, ...] | None,
    context: ModelContext,
    *,
    split: bool,
) -> Stack:
    if second is not None and len(second) == 3 and (shape[1], shape[2]) == (second[2], second[1]):
        return Stack()  # no gate: JetMoE's attention, whose experts project the queries and back
    axis = _outputs_axis(shape, second) if second is not None else None
    if axis is None:
        if second is not None:
            raise InputError(f"experts of shape {shape} beside second projections of shape {second} fit no known layout")
        return Stack(note=UNKNOWN_GATE if split else "")
    is_transposed = axis == 2
    if not split:
        return Stack(is_transposed)
    half = shape[axis] // 2
    if name.endswith(_IN_TURN_NAMES) or context.configs_of(_IN_TURN):
        return Stack(is_transposed, interleaved(half, [("gate", 1), ("up", 1)]))
    if is_transposed and not context.config:
        return Stack(is_transposed, note=UNKNOWN_GATE)  # Llama 4's halves or gpt-oss's turns: only the configuration says
    return Stack(is_transposed, interleaved(1, [("gate", half), ("up", half)]))


def _outputs_axis(first: tuple[int, ...], second: tuple[int, ...]) -> int | None:
    """The axis of the outputs of gate and up projections: the one twice as long as the inputs of the second projection."""
    if len(first) != 3 or len(second) != 3 or first[0] != second[0]:
        return None
    if (first[1], first[2]) == (2 * second[2], second[1]):
        return 1
    return 2 if (first[2], first[1]) == (2 * second[1], second[2]) else None


def _packed(shape: tuple[int, ...], context: ModelContext) -> Stack:
    config = context.configs_of(("dbrx",))[0]
    inner = config.get("ffn_config")
    experts = inner.get("moe_num_experts") if isinstance(inner, Mapping) else None
    if len(shape) != 2 or not isinstance(experts, int) or experts < 1 or shape[0] % experts:
        raise InputError(f"packed experts of shape {shape} are not {experts} experts of (rows, columns)")
    return Stack(packed=shape[0] // experts)
