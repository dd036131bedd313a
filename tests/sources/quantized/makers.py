"""Weights quantized by plain loops, format by format, with what they stand for and how far that may be from the original."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.models import heavy_tailed


@dataclass(frozen=True)
class Quantized:
    """A layer in quantized storage.

    Attributes:
        tensors: By their last names.
        dequantized: What they stand for, in float64, from the same numbers by other arithmetic.
        bound: Largest difference to the original, entry by entry.
        quantized: Name of the format.
        dtype: Of one number.
        config: Its quantization_config.
    """

    tensors: dict[str, torch.Tensor]
    dequantized: np.ndarray
    bound: np.ndarray
    quantized: str
    dtype: str
    config: dict[str, Any] = field(default_factory=dict)


def packed_words(numbers: Any, bits: int) -> list[int]:
    """One column of numbers as 32-bit words: one large integer, cut into words, the lowest first."""
    stream = sum(int(number) << (bits * place) for place, number in enumerate(numbers))
    words = [(stream >> (32 * place)) & 0xFFFFFFFF for place in range(math.ceil(len(numbers) * bits / 32))]
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


def packed_columns(numbers: np.ndarray, bits: int) -> torch.Tensor:
    return torch.tensor([packed_words(column, bits) for column in numbers.T], dtype=torch.int32).T.contiguous()


def grouped(weight: np.ndarray, bits: int, group_size: int, *, lowest: int = 0) -> tuple[np.ndarray, ...]:
    """Scales, zero points, codes and dequantized weight, for a zero point and float16 scale per row and group."""
    rows, cols = weight.shape
    groups = math.ceil(cols / group_size)
    scales, zeros = np.zeros((rows, groups)), np.zeros((rows, groups), dtype=int)
    codes, back = np.zeros((rows, cols), dtype=int), np.zeros((rows, cols))
    for i in range(rows):
        for j in range(cols):
            group = j // group_size
            part = weight[i, group * group_size : (group + 1) * group_size].astype(np.float64)
            low, high = min(part.min(), 0.0), max(part.max(), 0.0)
            scales[i, group] = np.float16((high - low) / (2**bits - 1))
            zeros[i, group] = np.clip(round(-low / scales[i, group]), 1 + max(lowest, 0), 2**bits - 1) + min(lowest, 0)
            code = round(float(weight[i, j]) / scales[i, group]) + zeros[i, group]
            codes[i, j] = np.clip(code, min(lowest, 0), 2**bits - 1 + min(lowest, 0))
            back[i, j] = (codes[i, j] - zeros[i, group]) * scales[i, group]
    return scales, zeros, codes, back


def group_bound(scales: np.ndarray, group_size: int, cols: int, bits: int) -> np.ndarray:
    """Half a step for the code, half for the zero point, a step where it may not be 0, and the scale's rounding to float16."""
    return np.repeat(scales, group_size, axis=1)[:, :cols] * (2 + 2**bits * 2.0**-11)


def gptq(weight: np.ndarray, bits: int = 4, group_size: int = 32, version: str = "gptq", order: Any = None) -> Quantized:
    order = np.arange(weight.shape[1]) if order is None else np.asarray(order)
    scales, zeros, codes, back = grouped(weight[:, order], bits, group_size)
    place = np.argsort(order)  # of each input in the order of its group
    tensors = {
        "qweight": packed_columns(codes[:, place].T, bits),
        "qzeros": packed_columns(zeros - (version == "gptq"), bits).T.contiguous(),
        "scales": torch.tensor(scales.T, dtype=torch.float16),
        "g_idx": torch.tensor(place // group_size, dtype=torch.int32),
    }
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group_size,
        "checkpoint_format": version,
        "desc_act": bool((np.diff(order) != 1).any()),
    }
    bound = group_bound(scales, group_size, weight.shape[1], bits)[:, place]
    return Quantized(tensors, back[:, place], bound, "gptq", f"int{bits}", config)


def awq(weight: np.ndarray, group_size: int = 32, version: str = "gemm") -> Quantized:
    scales, zeros, codes, back = grouped(weight, 4, group_size)
    config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "version": version, "zero_point": True}
    if version == "gemv":
        width = math.ceil(math.ceil(scales.shape[1] / 8) / (128 // group_size)) * (128 // group_size)
        padded = np.zeros((len(weight), width * 8))
        padded_zeros = padded.astype(int)
        padded[:, : scales.shape[1]], padded_zeros[:, : scales.shape[1]] = scales, zeros
        tensors = {"qweight": packed_columns(codes.T, 4).T, "qzeros": packed_columns(padded_zeros.T, 4).T}
        tensors["scales"] = torch.tensor(padded, dtype=torch.float16)
    else:
        order = [8 * (j // 8) + (0, 2, 4, 6, 1, 3, 5, 7)[j % 8] for j in range(len(weight))]
        tensors = {"qweight": packed_columns(codes[order], 4).T, "qzeros": packed_columns(zeros[order], 4).T}
        tensors["scales"] = torch.tensor(scales.T, dtype=torch.float16)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Quantized(tensors, back, group_bound(scales, group_size, weight.shape[1], 4), "awq", "int4", config)


def bitsandbytes_int8(weight: np.ndarray) -> Quantized:
    largest = np.abs(weight).max(axis=1)
    codes = np.array([[round(float(x) * 127 / float(top)) for x in row] for row, top in zip(weight, largest, strict=True)])
    tensors = {
        "weight": torch.tensor(codes, dtype=torch.int8),
        "SCB": torch.tensor(largest),
        "weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    steps = largest[:, None].astype(np.float64) / 127
    bound = np.broadcast_to(steps * 0.5001, weight.shape)
    return Quantized(tensors, codes * steps, bound, "bitsandbytes_int8", "int8", {"quant_method": "bitsandbytes"})


# Quantiles of the normal distribution: arXiv 2305.14314, appendix E.
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334]
NF4 += [-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224]
NF4 += [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def bitsandbytes_nf4(weight: np.ndarray, blocksize: int = 64, *, is_nested: bool = False) -> Quantized:
    flat = weight.reshape(-1).astype(np.float64)
    table = np.array(NF4, dtype=np.float32).astype(np.float64)
    largest = np.array([np.abs(flat[i : i + blocksize]).max() for i in range(0, len(flat), blocksize)])
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": blocksize, "dtype": "bfloat16", "shape": list(weight.shape)}
    parts, scales = {"absmax": torch.tensor(largest, dtype=torch.float32)}, largest.astype(np.float32).astype(np.float64)
    if is_nested:
        offset, nested_block = float(np.float32(largest.mean())), 8
        outer_table = np.linspace(-1, 1, 256).astype(np.float32).astype(np.float64)
        outer = [np.abs(largest[i : i + nested_block] - offset).max() for i in range(0, len(largest), nested_block)]
        outer = np.array(outer, dtype=np.float32).astype(np.float64)
        codes = [np.abs(outer_table * outer[i // nested_block] + offset - x).argmin() for i, x in enumerate(largest)]
        scales = np.array([outer_table[code] * outer[i // nested_block] + offset for i, code in enumerate(codes)])
        state |= {"nested_blocksize": nested_block, "nested_dtype": "float32", "nested_offset": offset}
        parts = {"absmax": torch.tensor(np.array(codes), dtype=torch.uint8)}
        parts |= {"nested_absmax": torch.tensor(outer, dtype=torch.float32)}
        parts |= {"nested_quant_map": torch.tensor(outer_table, dtype=torch.float32)}
    numbers = [int(np.abs(table - x / largest[i // blocksize]).argmin()) for i, x in enumerate(flat)]
    back = np.array([table[number] * scales[i // blocksize] for i, number in enumerate(numbers)]).reshape(weight.shape)
    halves = [*numbers, 0][: 2 * math.ceil(len(numbers) / 2)]
    codes_as_bytes = [[16 * first + second] for first, second in zip(halves[::2], halves[1::2], strict=True)]
    packed = json.dumps(state).encode()
    tensors = {"weight": torch.tensor(codes_as_bytes, dtype=torch.uint8)}
    tensors |= {f"weight.{name}": tensor for name, tensor in parts.items()}
    tensors["weight.quant_map"] = torch.tensor(NF4, dtype=torch.float32)
    tensors["weight.quant_state.bitsandbytes__nf4"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    # Half the widest gap of the table, and the change of the scale by its own quantization.
    bound = 0.1520 * largest + np.abs(scales - largest)
    bound = np.repeat(bound, blocksize)[: flat.size].reshape(weight.shape)
    return Quantized(tensors, back, bound, "bitsandbytes_nf4", "nf4", {"quant_method": "bitsandbytes"})


def float8(weight: np.ndarray, block: tuple[int, int] = (128, 128), name: str = "weight_scale_inv") -> Quantized:
    counts = [math.ceil(side / length) for side, length in zip(weight.shape, block, strict=True)]
    scales, codes = np.zeros(counts, dtype=np.float32), torch.zeros(weight.shape, dtype=torch.float8_e4m3fn)
    back, bound = np.zeros(weight.shape), np.zeros(weight.shape)
    for i in range(counts[0]):
        for j in range(counts[1]):
            part = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scales[i, j] = np.abs(weight[part]).max() / 448
            codes[part] = torch.tensor(weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
            back[part] = codes[part].double().numpy() * np.float64(scales[i, j])
            # Half the distance of two neighbours: 2^-4 of the number, 2^-10 under the smallest normal one.
            bound[part] = np.abs(weight[part]) * 2.0**-4 + scales[i, j] * 2.0**-10
    config = {"quant_method": "fp8", "weight_block_size": list(block)}
    return Quantized({"weight": codes, name: torch.tensor(scales)}, back, bound, "float8", "float8_e4m3fn", config)


E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def _fp4(weight: np.ndarray, scales: np.ndarray, length: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    steps = np.repeat(scales, length, axis=1)
    codes = np.array([[np.abs(E2M1 - x).argmin() for x in row] for row in weight / steps])
    packed = torch.tensor(codes[:, ::2] + 16 * codes[:, 1::2], dtype=torch.uint8)
    return packed, E2M1[codes] * steps, steps * 1.0001  # half the widest gap, from 4 to 6


def mxfp4(weight: np.ndarray) -> Quantized:
    exponents = np.ceil(np.log2(np.abs(weight.reshape(len(weight), -1, 32)).max(axis=2) / 6)).astype(int)
    packed, back, bound = _fp4(weight, 2.0**exponents, 32)
    tensors = {"weight_packed": packed, "weight_scale": torch.tensor(exponents + 127, dtype=torch.uint8)}
    return Quantized(tensors, back, bound, "mxfp4", "float4_e2m1fn", {"quant_method": "compressed-tensors"})


def nvfp4(weight: np.ndarray, *, is_modelopt: bool = False) -> Quantized:
    divisor = np.float32(448 * 6 / np.abs(weight).max())
    wanted = np.abs(weight.reshape(len(weight), -1, 16)).max(axis=2) / 6 * divisor
    scales = torch.tensor(wanted).to(torch.float8_e4m3fn)
    outer = np.float32(1 / divisor) if is_modelopt else divisor
    steps = scales.double().numpy() * np.float64(outer) if is_modelopt else scales.double().numpy() / np.float64(outer)
    packed, back, bound = _fp4(weight, steps, 16)
    names = ("weight", "weight_scale_2") if is_modelopt else ("weight_packed", "weight_global_scale")
    tensors = {names[0]: packed, "weight_scale": scales, names[1]: torch.tensor([outer])}
    method = "modelopt" if is_modelopt else "compressed-tensors"
    return Quantized(tensors, back, bound, "nvfp4", "float4_e2m1fn", {"quant_method": method})


def compressed(weight: np.ndarray, bits: int = 4, group_size: int = 32) -> Quantized:
    half = 2 ** (bits - 1)
    scales, zeros, codes, back = grouped(weight, bits, group_size, lowest=-half)
    tensors = {
        "weight_packed": packed_columns((codes + half).T, bits).T.contiguous(),
        "weight_scale": torch.tensor(scales, dtype=torch.float16),
        "weight_zero_point": packed_columns(zeros + half, bits),
        "weight_shape": torch.tensor(weight.shape),
    }
    arguments = {"num_bits": bits, "group_size": group_size, "symmetric": False, "strategy": "group"}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": arguments}}}
    bound = group_bound(scales, group_size, weight.shape[1], bits)
    return Quantized(tensors, back, bound, "compressed-tensors", f"int{bits}", config)


def compressed_int8(weight: np.ndarray) -> Quantized:
    scales = (np.abs(weight).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.array([[round(float(x / scale)) for x in row] for row, (scale,) in zip(weight, scales, strict=True)])
    arguments = {"num_bits": 8, "group_size": None, "symmetric": True, "strategy": "channel"}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": arguments}}}
    tensors = {"weight": torch.tensor(codes, dtype=torch.int8), "weight_scale": torch.tensor(scales)}
    steps = scales.astype(np.float64)
    bound = np.broadcast_to(steps * 0.5001, weight.shape)
    return Quantized(tensors, codes * steps, bound, "compressed-tensors", "int8", config)


def weight_of(rows: int = 48, cols: int = 64, seed: int = 0) -> np.ndarray:
    """The known matrix: heavy-tailed, so that its spectrum has a tail to compare."""
    return heavy_tailed(rows, cols, seed)


FORMATS: dict[str, Callable[[], Quantized]] = {
    "gptq": lambda: gptq(weight_of()),
    "gptq int2": lambda: gptq(weight_of(), bits=2),
    "gptq int3": lambda: gptq(weight_of(32, 64), bits=3),
    "gptq int8": lambda: gptq(weight_of(), bits=8),
    "gptq_v2": lambda: gptq(weight_of(), version="gptq_v2"),
    "gptq by activation": lambda: gptq(weight_of(), order=np.random.default_rng(1).permutation(64)),
    "gptq last group shorter": lambda: gptq(weight_of(48, 80), group_size=32),
    "awq": lambda: awq(weight_of()),
    "awq gemv": lambda: awq(weight_of(), version="gemv"),
    "bitsandbytes int8": lambda: bitsandbytes_int8(weight_of()),
    "bitsandbytes nf4": lambda: bitsandbytes_nf4(weight_of()),
    "bitsandbytes nf4 nested": lambda: bitsandbytes_nf4(weight_of(), is_nested=True),
    "bitsandbytes nf4 odd": lambda: bitsandbytes_nf4(weight_of(47, 51)),
    "float8": lambda: float8(weight_of(150, 140)),
    "float8 block": lambda: float8(weight_of(), block=(16, 24)),
    "float8 row": lambda: float8(weight_of(), block=(1, 64), name="weight_scale"),
    "float8 tensor": lambda: float8(weight_of(), block=(48, 64), name="weight_scale"),
    "mxfp4": lambda: mxfp4(weight_of()),
    "nvfp4": lambda: nvfp4(weight_of()),
    "nvfp4 modelopt": lambda: nvfp4(weight_of(), is_modelopt=True),
    "compressed int4": lambda: compressed(weight_of()),
    "compressed int2": lambda: compressed(weight_of(), bits=2),
    "compressed int8": lambda: compressed_int8(weight_of()),
}


def state_of(layer: Quantized, name: str = "model.layers.0.mlp.up_proj") -> dict[str, torch.Tensor]:
    """The layer's tensors under their full names."""
    return {f"{name}.{last}": tensor for last, tensor in layer.tensors.items()}


def write_folder(folder: Path, state: dict[str, torch.Tensor], settings: dict[str, Any] | None, kind: str) -> Path:
    """A checkpoint folder with its configuration."""
    folder.mkdir(exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    (folder / "config.json").write_text(json.dumps({"quantization_config": settings} if settings else {}))
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return folder
