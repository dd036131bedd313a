"""How a tensor becomes matrices.

=============================  ========================================  ===================================
tensor                         shape as stored                           matrices
=============================  ========================================  ===================================
linear weight                  ``(out, in)``                             itself
GPT-2 ``Conv1D`` weight        ``(in, out)``                             itself; ``is_transposed``
embedding                      ``(entries, dim)``                        itself
convolution, 1-D to 3-D        ``(out, in / groups, *kernel)``           per kernel position and group, pooled
transposed convolution         ``(in, out / groups, *kernel)``           likewise
one channel per group          ``(out, 1, *kernel)``, in or out          vectors: norms only, no tail to fit
=============================  ========================================  ===================================

A live module tells its kind and groups. A file does not: there a tensor of three to five dimensions named ``*.weight`` is
a convolution with one group (unless it has one input channel per group), and names tell embeddings and GPT-2's layout.
One- and zero-dimensional tensors are never matrices. Whatever else is left out is returned with its reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from spectra.results.records import SkippedTensor
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

# Two-dimensional parameters that are several matrices in one, or none: last name component → reason.
_NOT_ONE_MATRIX = (
    (re.compile(r"in_proj_weight"), "fused query, key and value projection, which is not split yet"),
    (re.compile(r"weight_(ih|hh)(_l\d+(_reverse)?)?"), "recurrent gates, which are not split yet"),
    (re.compile(r"original\d*|weight_[gv]|weight_orig|weight_mask"), "part of a parametrised weight; analyse the live module"),
    (re.compile(r"(.*_)?(scales?|absmax|quant_map|SCB|qzeros|g_idx|weight_scale(_inv)?)"), "scales of a quantized weight"),
)

# Architectures whose dense layers are stored as (in, out), and the names of those layers.
_TRANSPOSED_MODEL_TYPES = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}
_TRANSPOSED_LAYERS = {"c_attn", "c_proj", "c_fc", "q_attn"}

_EMBEDDING_NAME = re.compile(r"embed|^(wte|wpe|shared)$", re.IGNORECASE)  # in the last component of the layer's name

# A 3-D weight of a file is a kernel if its last axis is short: at most 16 long and, beyond a few input channels, no longer
# than their number. Longer ones are stacks of matrices or bilinear forms: better left out, and said, than misread.
_LONGEST_KERNEL, _FEW_CHANNELS = 16, 4


@dataclass(frozen=True)
class WeightMatrices:
    """The matrices of one weight: one row of a report.

    Attributes:
        tensor: Where the numbers come from.
        layer_name: The module's path.
        matrix_name: Unique in the report; here the same.
        kind: ``linear``, ``embedding``, ``conv1d``, ``conv2d``, ``conv3d``.
        num_rows: Of one matrix.
        num_cols: Of one matrix.
        num_matrices: Kernel positions times groups; 1 for a dense weight.
        groups: Of a convolution.
        is_transposed: A dense weight stored as ``(in, out)``.
        is_depthwise: One input or output channel per group: vectors instead of matrices.
        tied_names: Other parameters that are the same storage.
    """

    tensor: StoredTensor
    layer_name: str
    matrix_name: str
    kind: str
    num_rows: int
    num_cols: int
    num_matrices: int = 1
    groups: int = 1
    is_transposed: bool = False
    is_depthwise: bool = False
    tied_names: tuple[str, ...] = ()

    @property
    def num_eigenvalues(self) -> int:
        """Number of eigenvalues of all matrices together."""
        return min(self.num_rows, self.num_cols) * self.num_matrices

    @property
    def flops(self) -> float:
        """Work of the Gram route: ``m n²`` for the product and ``4/3 n³`` for the tridiagonal form, per matrix."""
        large, small = max(self.num_rows, self.num_cols), min(self.num_rows, self.num_cols)
        return self.num_matrices * (float(large) * small**2 + 4.0 / 3.0 * float(small) ** 3)


def matrices_of(tensor: StoredTensor, config: Mapping[str, Any]) -> WeightMatrices | SkippedTensor | None:
    """Decide what to do with a tensor, from its name, shape and dtype alone.

    Args:
        tensor: Any stored tensor.
        config: The model's configuration, for architectures that store weights their own way.

    Returns:
        Its matrices; or why it is skipped; or ``None`` for tensors of fewer than two dimensions.
    """
    if len(tensor.shape) < 2:
        return None
    reason = _reason_to_skip(tensor)
    if reason:
        return SkippedTensor(tensor.name, tensor.shape, tensor.dtype, reason)
    layer_name = tensor.name.removesuffix(".weight")
    if len(tensor.shape) == 2:
        layout = tensor.layout or Layout(OTHER)
        is_embedding = layout.kind == EMBEDDING or (
            layout.kind == OTHER and bool(_EMBEDDING_NAME.search(layer_name.rsplit(".", 1)[-1]))
        )
        return WeightMatrices(
            tensor,
            layer_name,
            layer_name,
            EMBEDDING if is_embedding else LINEAR,
            num_rows=tensor.shape[0],
            num_cols=tensor.shape[1],
            is_transposed=layout.is_transposed or (tensor.layout is None and _is_transposed_by_name(layer_name, config)),
        )
    return _convolution(tensor, layer_name)


def read_matrices(matrices: WeightMatrices) -> Iterator[NDArray[Any]]:
    """Read a convolution's tensor and yield its matrices, one kernel position and group after the other.

    Args:
        matrices: With more than one matrix, or with one matrix of a tensor of more than two dimensions.

    Yields:
        Arrays of shape ``(num_rows, num_cols)``, views of the tensor.
    """
    tensor = matrices.tensor
    whole = tensor.read(0, tensor.shape[0])
    # (first, second, positions) → (positions, groups, first / groups, second)
    stacked = whole.reshape(matrices.groups, -1, tensor.shape[1], math.prod(tensor.shape[2:]))
    for position in range(stacked.shape[3]):
        for group in range(matrices.groups):
            yield stacked[group, :, :, position]


def _reason_to_skip(tensor: StoredTensor) -> str | None:
    last = tensor.name.rsplit(".", 1)[-1]
    if tensor.unreadable and tensor.unreadable != "meta":
        return tensor.unreadable
    if tensor.dtype.startswith("float8") or tensor.dtype.startswith(("f4", "f6", "f8")):
        return f"{tensor.dtype} storage, whose scales are not applied yet: codes are not weights"
    if tensor.dtype not in FLOAT_DTYPES:
        return f"{tensor.dtype} numbers, not floating point: codes, positions or masks are not weights"
    for pattern, reason in _NOT_ONE_MATRIX:
        if pattern.fullmatch(last):
            return reason
    if len(tensor.shape) == 2:
        return None
    kind = tensor.layout.kind if tensor.layout else None
    if kind in (CONVOLUTION, TRANSPOSED_CONVOLUTION):
        return None
    if kind is not None:
        class_name = tensor.layout.class_name if tensor.layout else ""
        return f"{len(tensor.shape)}-dimensional parameter of {class_name}, which is no convolution"
    if last != "weight":
        return f"{len(tensor.shape)}-dimensional and not named '*.weight': no convolution"
    if len(tensor.shape) > 5:
        return f"{len(tensor.shape)} dimensions: convolutions have three to five"
    if len(tensor.shape) == 3:
        _, channels, length = tensor.shape
        if length > _LONGEST_KERNEL or (length > channels > _FEW_CHANNELS):
            return "three-dimensional with a long last axis: stacked matrices or a long kernel; analyse the live module"
    return None


def _convolution(tensor: StoredTensor, layer_name: str) -> WeightMatrices:
    layout = tensor.layout or Layout(CONVOLUTION)
    first, second, *kernel = tensor.shape
    groups = layout.groups
    is_depthwise = second == 1 or first == groups
    return WeightMatrices(
        tensor,
        layer_name,
        layer_name,
        f"conv{len(kernel)}d",
        # One column per kernel position and group says the same as one per position: the norms add up.
        num_rows=first if second == 1 else first // groups,
        num_cols=second,
        num_matrices=math.prod(kernel) * (1 if second == 1 else groups),
        groups=1 if second == 1 else groups,
        is_depthwise=is_depthwise,
    )


def _is_transposed_by_name(layer_name: str, config: Mapping[str, Any]) -> bool:
    return config.get("model_type") in _TRANSPOSED_MODEL_TYPES and layer_name.rsplit(".", 1)[-1] in _TRANSPOSED_LAYERS
