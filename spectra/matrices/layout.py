"""How a tensor becomes matrices.

=============================  =====================================  ============  ==========================================
tensor                         shape as stored                        kind          matrices
=============================  =====================================  ============  ==========================================
linear weight                  ``(out, in)``                          linear        itself
GPT-2 ``Conv1D`` weight        ``(in, out)``                          linear        itself; ``is_transposed``
fused projections              ``(outputs of all, in)``               linear        one row each: ``fused.py``, the table
attention projections          ``(heads head_dim, in)``               linear        itself; a row per head on request
embedding                      ``(entries, dim)``                     embedding     itself
recurrent gates                ``(gates hidden, in)``                 recurrent     one row per gate: ``recurrent.py``
bilinear form                  ``(out, in1, in2)``                    bilinear      one per output, pooled
experts                        ``(experts, rows, columns)``           expert        one row each: ``experts.py``
one expert of many             ``(out, in)``                          expert        itself
convolution, 1-D to 3-D        ``(out, in / groups, *kernel)``        conv1d to 3d  per kernel position and group, pooled
transposed convolution         ``(in, out / groups, *kernel)``        conv1d to 3d  likewise
one channel per group          ``(out, 1, *kernel)``, in or out       conv1d to 3d  vectors: norms only, no tail to fit
=============================  =====================================  ============  ==========================================

A live module tells its kind and groups. A file does not: there a tensor of three to five dimensions named ``*.weight`` is
a convolution with one group (unless it has one input channel per group), and names tell embeddings and GPT-2's layout.
One- and zero-dimensional tensors are never matrices. Whatever else is left out is returned with its reason.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from spectra.errors import InputError
from spectra.matrices.context import ModelContext
from spectra.matrices.convolution import convolution
from spectra.matrices.cuts import Dense, Entries
from spectra.matrices.experts import Stack, expert_of, stack_of
from spectra.matrices.fused import WHOLE, Parts, split_fused
from spectra.matrices.heads import Heads, head_dim, projection_of
from spectra.matrices.recurrent import gates_of, is_recurrent
from spectra.matrices.stripes import Stripes
from spectra.matrices.weights import WeightMatrices
from spectra.results.records import SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources.tensors import (
    CONVOLUTION,
    EMBEDDING,
    FLOAT_DTYPES,
    LINEAR,
    OTHER,
    TRANSPOSED_CONVOLUTION,
    Layout,
    StoredTensor,
)

RECURRENT, BILINEAR, EXPERT = "recurrent", "bilinear", "expert"

#: Every kind of row. A projection has the same kind whether it is stored by itself or with others.
KINDS = (LINEAR, EMBEDDING, "conv1d", "conv2d", "conv3d", RECURRENT, BILINEAR, EXPERT)

# Parameters of two and more dimensions that are no weight: last name component → reason.
_NO_WEIGHT = (
    (re.compile(r"original\d*|weight_[gv]|weight_orig|weight_mask"), "part of a parametrised weight; analyse the live module"),
    (re.compile(r"(.*_)?(scales?|absmax|quant_map|SCB|qzeros|g_idx|weight_scale(_inv)?)"), "scales of a quantized weight"),
    (re.compile(r"bias|\w*(proj|linear|weight|fc\d?)_bias"), "biases, one vector per expert or position: no weight matrix"),
)

# Architectures whose dense layers are stored as (in, out), and the names of those layers.
_TRANSPOSED_MODEL_TYPES = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
_TRANSPOSED_LAYERS = {"c_attn", "c_proj", "c_fc", "q_attn"}

_EMBEDDING_NAME = re.compile(r"embed|^(wte|wpe|shared)$", re.IGNORECASE)  # in the last component of the layer's name

# A 3-D weight of a file is a kernel if its last axis is short: at most 16 long and, beyond a few input channels, no longer
# than their number. Longer ones are stacks of matrices or bilinear forms: better left out, and said, than misread.
_LONGEST_KERNEL, _FEW_CHANNELS = 16, 4

# A shape with a zero in it costs a file nothing, and may claim any number of experts, heads or kernel positions.
_LONGEST_EMPTY = 2**20

_UNKNOWN_HEADS = "heads asked for, and no configuration says how many this projection has: analysed whole"


def matrices_of(
    tensor: StoredTensor, context: ModelContext, settings: AnalysisSettings
) -> tuple[WeightMatrices, ...] | SkippedTensor | None:
    """Decide what to do with a tensor, from its name, shape and dtype, those of its neighbours and the configuration.

    Args:
        tensor: Any stored tensor.
        context: The model it belongs to.
        settings: ``split_fused``, ``split_heads``, ``moe`` and ``conv_mode`` are looked at.

    Returns:
        Its matrices, one entry per row of the report; or why it is skipped; or ``None`` for tensors of fewer than two
        dimensions.
    """
    if len(tensor.shape) < 2:
        return None
    reason = _reason_to_skip(tensor)
    layer_name = tensor.name.removesuffix(".weight")
    try:
        if reason is None and tensor.no_base is not None:
            return (_whole(tensor, layer_name),)
        if reason is None:
            found = _found(tensor, layer_name, context, settings)
            if found is not None:
                return found
            reason = _reason_no_convolution(tensor)
        if reason is None:
            return convolution(tensor, layer_name, settings.conv_mode)
    except InputError as error:
        reason = str(error)
    return SkippedTensor(tensor.name, tensor.shape, tensor.dtype, reason)


def _found(
    tensor: StoredTensor, layer_name: str, context: ModelContext, settings: AnalysisSettings
) -> tuple[WeightMatrices, ...] | None:
    """The matrices of everything that is no convolution."""
    kind = tensor.layout.kind if tensor.layout else OTHER
    if kind in (CONVOLUTION, TRANSPOSED_CONVOLUTION):
        return None
    if tensor.layout and tensor.layout.class_name == "Bilinear" and len(tensor.shape) == 3:
        return (_bilinear(tensor, layer_name),)
    split = settings.split_fused != "none"
    stack = stack_of(layer_name, tensor.name, tensor.shape, context, split=split)
    if stack is not None:
        return _experts(tensor, layer_name, stack, pooled=settings.moe == "pool")
    if len(tensor.shape) != 2:
        return None
    if is_recurrent(tensor.name):
        whole = _dense(tensor, layer_name, RECURRENT)
        parts = gates_of(tensor.name, tensor.shape, context) if split else {}
        return tuple(_part(whole, gate, rows, axis=0) for gate, rows in parts.items()) or (whole,)
    return _projections(tensor, layer_name, context, settings)


def _projections(
    tensor: StoredTensor, layer_name: str, context: ModelContext, settings: AnalysisSettings
) -> tuple[WeightMatrices, ...]:
    layout = tensor.layout or Layout(OTHER)
    if _is_embedding(tensor, layer_name):
        return (_dense(tensor, layer_name, EMBEDDING),)
    is_transposed = layout.is_transposed if tensor.layout else _is_transposed_by_name(layer_name, tensor.shape, context)
    expert, stack = expert_of(layer_name) or (None, "")
    kind = LINEAR if expert is None else EXPERT
    whole = _dense(tensor, layer_name, kind, is_transposed=is_transposed, expert=expert, stack=stack)
    axis = 1 if is_transposed else 0  # of the outputs
    parts: Parts | str = {}
    if settings.split_fused != "none":
        try:
            parts = split_fused(layer_name, tensor.shape[axis], tensor.shape[1 - axis], context, is_transposed=is_transposed)
        except InputError as error:
            raise InputError(f"{error}: the shape does not fit the architecture's layout; {WHOLE}") from None
    if isinstance(parts, str):
        whole = dataclasses.replace(whole, note=parts)
        parts = {}
    rows = tuple(_part(whole, name, stripes, axis=axis) for name, stripes in parts.items()) or (whole,)
    if not settings.split_heads:
        return rows
    known = [heads for config in context.configs if (heads := Heads.of(config))]
    return tuple(head for row in rows for head in _heads(row, axis, known, layout.num_heads))


def _heads(row: WeightMatrices, axis: int, known: list[Heads], num_heads: int) -> tuple[WeightMatrices, ...]:
    """The heads of a query, key or value projection; any other row as it is."""
    projection = {"q": "q", "k": "kv", "v": "kv"}.get(row.part) or (None if row.part else projection_of(row.layer_name))
    assert isinstance(row.cut, Dense)
    if projection is None or row.kind != LINEAR:
        return (row,)
    length = row.num_cols if axis else row.num_rows
    if num_heads and length % num_heads == 0:  # nn.MultiheadAttention knows
        known = [Heads(num_heads, num_heads, length // num_heads)]
    size = head_dim(projection, length, known)
    stripes = (row.cut.cols if axis else row.cut.rows) or Stripes(0, length, length)
    if size is None or stripes.width % size:
        return (dataclasses.replace(row, note="; ".join(filter(None, [row.note, _UNKNOWN_HEADS]))),)
    return tuple(
        dataclasses.replace(
            _part(row, f"head{number}", stripes.block(number, size), axis=axis), part=f"{row.part} head {number}".strip()
        )
        for number in range(length // size)
    )


def _experts(tensor: StoredTensor, layer_name: str, stack: Stack, *, pooled: bool) -> tuple[WeightMatrices, ...]:
    count = tensor.shape[0] // stack.packed if stack.packed else 0 if len(tensor.shape) == 2 else tensor.shape[0]
    whole = WeightMatrices(
        tensor,
        layer_name,
        layer_name,
        EXPERT,
        num_rows=stack.packed or tensor.shape[-2],
        num_cols=tensor.shape[-1],
        num_matrices=count,
        is_transposed=stack.is_transposed,
        stack=layer_name,
        note=stack.note,
        cut=Entries(range(count), stack.packed),
    )
    axis = 1 if stack.is_transposed else 0
    rows = [whole] if pooled or not count else [_expert(whole, number) for number in range(count)]
    if not stack.parts:
        return tuple(rows)
    return tuple(_part(row, name, stripes, axis=axis) for row in rows for name, stripes in stack.parts.items())


def _expert(whole: WeightMatrices, number: int) -> WeightMatrices:
    assert isinstance(whole.cut, Entries)
    cut = dataclasses.replace(whole.cut, numbers=range(number, number + 1))
    return dataclasses.replace(whole, matrix_name=f"{whole.layer_name}[{number}]", num_matrices=1, expert=number, cut=cut)


def _part(whole: WeightMatrices, name: str, stripes: Stripes, *, axis: int) -> WeightMatrices:
    """Some of the rows (axis 0) or columns (axis 1) of a row's matrices."""
    assert isinstance(whole.cut, Dense | Entries)
    return dataclasses.replace(
        whole,
        matrix_name=f"{whole.matrix_name}.{name}",
        part=name,
        stack=f"{whole.stack}.{name}" if whole.stack else "",
        num_rows=whole.num_rows if axis else stripes.length,
        num_cols=stripes.length if axis else whole.num_cols,
        cut=dataclasses.replace(whole.cut, cols=stripes) if axis else dataclasses.replace(whole.cut, rows=stripes),
    )


def _dense(tensor: StoredTensor, layer_name: str, kind: str, **more: Any) -> WeightMatrices:
    return WeightMatrices(tensor, layer_name, layer_name, kind, num_rows=tensor.shape[0], num_cols=tensor.shape[1], **more)


def _bilinear(tensor: StoredTensor, layer_name: str) -> WeightMatrices:
    count, rows, cols = tensor.shape
    return WeightMatrices(
        tensor, layer_name, layer_name, BILINEAR, num_rows=rows, num_cols=cols, num_matrices=count, cut=Entries(range(count))
    )


def _is_embedding(tensor: StoredTensor, layer_name: str) -> bool:
    kind = tensor.layout.kind if tensor.layout else OTHER
    return kind == EMBEDDING or (kind == OTHER and _EMBEDDING_NAME.search(layer_name.rsplit(".", 1)[-1]) is not None)


def _is_transposed_by_name(layer_name: str, shape: tuple[int, ...], context: ModelContext) -> bool:
    last = layer_name.rsplit(".", 1)[-1]
    if last not in _TRANSPOSED_LAYERS:
        return False
    # Without a configuration three times as many columns as rows give GPT-2's fused projection away, and no other layer.
    no_config = not context.config and last == "c_attn" and shape[1] == 3 * shape[0]
    return no_config or bool(context.configs_of(_TRANSPOSED_MODEL_TYPES))


def _whole(tensor: StoredTensor, layer_name: str) -> WeightMatrices:
    """A row for a tensor of which there is nothing to read: a difference that could not be formed."""
    is_kernel = tensor.layout is not None and tensor.layout.kind in (CONVOLUTION, TRANSPOSED_CONVOLUTION)
    kind = f"conv{len(tensor.shape) - 2}d" if is_kernel else EMBEDDING if _is_embedding(tensor, layer_name) else LINEAR
    return WeightMatrices(tensor, layer_name, layer_name, kind, tensor.shape[0], math.prod(tensor.shape[1:]))


def _reason_to_skip(tensor: StoredTensor) -> str | None:
    """Why a tensor is no weight, whatever its shape."""
    if tensor.part_of is not None:
        return f"stored with '{tensor.part_of}'"
    if tensor.unreadable and tensor.unreadable != "meta":
        return tensor.unreadable
    if not tensor.size and max(tensor.shape) > _LONGEST_EMPTY:
        return "no numbers in a shape of absurd length"
    if tensor.quantized:  # its shape and numbers are those of the weight; the dtype is that of the codes
        return None
    if tensor.dtype not in FLOAT_DTYPES:
        return f"{tensor.dtype} numbers, not floating point: codes, positions or masks are not weights"
    last = tensor.name.rsplit(".", 1)[-1]
    return next((reason for pattern, reason in _NO_WEIGHT if pattern.fullmatch(last)), None)


def _reason_no_convolution(tensor: StoredTensor) -> str | None:
    """Why a tensor of three and more dimensions is no convolution, either."""
    kind = tensor.layout.kind if tensor.layout else None
    if kind in (CONVOLUTION, TRANSPOSED_CONVOLUTION):
        return None
    if kind is not None:
        class_name = tensor.layout.class_name if tensor.layout else ""
        return f"{len(tensor.shape)}-dimensional parameter of {class_name}, which is no convolution"
    if not tensor.name.endswith(".weight") and tensor.name != "weight":
        return f"{len(tensor.shape)}-dimensional and not named '*.weight': no convolution"
    if len(tensor.shape) > 5:
        return f"{len(tensor.shape)} dimensions: convolutions have three to five"
    if len(tensor.shape) == 3:
        _, channels, length = tensor.shape
        if length > _LONGEST_KERNEL or (length > channels > _FEW_CHANNELS):
            return "three-dimensional with a long last axis: stacked matrices or a long kernel; analyse the live module"
    return None
