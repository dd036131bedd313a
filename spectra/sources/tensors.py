"""What every source yields: named tensors that are read by rows, when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from spectra.sources.small_floats import FLOAT8_DTYPES

# What is read as it is. A float8 tensor that belongs with scales arrives dequantized, or with a reason not to read it.
FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16", *FLOAT8_DTYPES)

# How a weight is laid out, where a live module tells; files leave it to names and shapes.
LINEAR, EMBEDDING, CONVOLUTION, TRANSPOSED_CONVOLUTION, OTHER = (
    "linear",
    "embedding",
    "convolution",
    "transposed_convolution",
    "other",
)


@dataclass(frozen=True)
class Layout:
    """What a live module knows of its weight and a file does not.

    Attributes:
        kind: ``linear``, ``embedding``, ``convolution``, ``transposed_convolution`` or ``other``.
        groups: Of a convolution.
        is_transposed: ``True`` for a dense weight stored as ``(in, out)`` (GPT-2's ``Conv1D``).
        class_name: The module's class, for messages.
        num_heads: Of attention in one module (``nn.MultiheadAttention``); 0 where the module does not know.
    """

    kind: str
    groups: int = 1
    is_transposed: bool = False
    class_name: str = ""
    num_heads: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """One named tensor of a checkpoint or model; nothing is loaded until ``read`` is called.

    Attributes:
        name: Full parameter name, without the prefixes of wrappers (``module.``, ``_orig_mod.``).
        shape: As stored.
        dtype: As stored, in torch's words (``"bfloat16"``).
        read: ``read(start, stop)`` returns those rows of the first axis as a float32 array (float64 if stored so):
            float16 and bfloat16 are subsets of float32, nothing is rounded. A
            :class:`~spectra.sources.stored_rows.StoredRows` where a device can have them in the stored dtype, too.
        layout: Set by sources that know modules.
        tied_to: Name of an earlier tensor that this one is the same storage as.
        unreadable: Why there is no data to read (a meta tensor, a parametrised weight in a file), or ``None``.
        quantized: Name of the storage format that ``read`` undoes (``"gptq"``); empty for plain numbers.
        part_of: Name of the weight that this tensor's numbers went into (scales of a quantized weight, factors of an
            adapter): nothing to analyse by itself.
        factors: For a weight ``left @ right`` of low rank: returns ``left``, shape ``(shape[0], rank)``, and ``right``, shape
            ``(rank, rest)`` with the other axes flattened, without forming the product. ``read`` forms it.
        is_difference: The numbers are those of a weight minus its base, in float64.
        is_merged: The numbers are computed in float64 from a weight and adapters, which are added or taken out.
        rank: Of the factors that it is computed from, all adapters together; 0 without any.
        no_base: Why a difference could not be formed, or ``None``; there is nothing to read then.
        note: What to know about the numbers ("compared on the first 32000 rows").
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[int, int], NDArray[Any]]
    layout: Layout | None = None
    tied_to: str | None = None
    unreadable: str | None = None
    quantized: str = ""
    part_of: str | None = None
    factors: Callable[[], tuple[NDArray[Any], NDArray[Any]]] | None = None
    is_difference: bool = False
    is_merged: bool = False
    rank: int = 0
    no_base: str | None = None
    note: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        product = 1
        for side in self.shape:
            product *= side
        return product


@dataclass(frozen=True)
class Source:
    """A model as a list of stored tensors, in model order as far as the container keeps it.

    Attributes:
        name: Short name for tables and titles.
        location: The path, hub id or class it came from, as the user gave it.
        format: ``safetensors``, ``torch``, ``module`` or ``mapping``.
        tensors: Every tensor, of any rank and dtype.
        config: The model's ``config.json``, if there is one.
        files: The files that hold the numbers; empty for a model in memory, and for one over a base in memory.
        base: Location of the base model that was subtracted or adapted, if any.
        notes: What to know about the model as a whole.
    """

    name: str
    location: str
    format: str
    tensors: tuple[StoredTensor, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    base: str = ""
    notes: tuple[str, ...] = ()
