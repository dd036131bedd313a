"""Freeze answers of the quantization libraries for tests/sources/quantized/test_every_format.py.

    python -m venv /tmp/quantized && /tmp/quantized/bin/pip install torch numpy bitsandbytes compressed-tensors
    pip download --no-deps auto-gptq==0.7.1 autoawq==0.2.9   # unpacked into the folder that is given as argument
    /tmp/quantized/bin/python tests/data/make_quantized.py FOLDER > tests/data/quantized.json

Made with bitsandbytes 0.50.2, compressed-tensors 0.20.0, AutoGPTQ 0.7.1 and AutoAWQ 0.2.9. Each case holds the tensors
that the library stores (base64 of little-endian bytes), the settings of its config.json and the weight that the library
makes of them again. Of AutoGPTQ and AutoAWQ single modules are loaded: as a whole they need versions of other packages.
"""

import base64
import importlib.util
import json
import sys
import types
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

cases = {}


def stored(tensor):
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    name = str(tensor.dtype).removeprefix("torch.")
    return {"dtype": name, "shape": list(tensor.shape), "data": base64.b64encode(flat).decode()}


def keep(name, tensors, settings, expected):
    tensors = {last: stored(tensor) for last, tensor in tensors.items()}
    cases[name] = {"settings": settings, "tensors": tensors, "expected": stored(expected.float())}


def compress(name, compressor, layer, **arguments):
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))
    tensors = compressor.compress(dict(layer), scheme)
    weight = compressor.decompress({last: tensor.clone() for last, tensor in tensors.items()}, scheme)["weight"]
    groups = {"group_0": {"weights": json.loads(scheme.weights.model_dump_json())}}
    keep(name, tensors, {"quant_method": "compressed-tensors", "config_groups": groups}, weight)


def module_at(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scales_and_zeros(weight, bits, lowest):
    low, high = (bound(weight.reshape(len(weight), 2, 32), -1) for bound in (torch.amin, torch.amax))
    scales = ((high - low) / (2**bits - 1)).half().float()
    return scales, torch.round(-low / scales).clamp(lowest, 2**bits - 1)


torch.manual_seed(0)
for kind in ("nf4", "fp4"):
    for nested in (False, True):
        codes, state = bnb.quantize_4bit(
            torch.randn(9, 44) * torch.rand(9, 1), blocksize=64, compress_statistics=nested, quant_type=kind
        )
        parts = {f"weight.{last}": tensor for last, tensor in state.as_dict(packed=True).items()}
        name = f"bitsandbytes {kind}{' nested' if nested else ''}"
        keep(name, {"weight": codes, **parts}, {}, bnb.dequantize_4bit(codes, state))
codes, largest, _ = bnb.int8_vectorwise_quant(torch.randn(12, 40).half())
layer = {"weight": codes, "SCB": largest, "weight_format": torch.tensor(0, dtype=torch.uint8)}
keep("bitsandbytes int8", layer, {}, bnb.int8_vectorwise_dequant(codes, largest))

for bits in (2, 4, 8):
    weight, top = torch.randn(10, 96), 2 ** (bits - 1)
    groups = weight.reshape(10, 3, 32)
    scale = (groups.amax(-1) - groups.amin(-1)) / (2 * top - 1)
    zero = (-top - torch.round(groups.amin(-1) / scale)).clamp(-top, top - 1).to(torch.int8)
    layer = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    arguments = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": 32, "symmetric": False}
    compress(f"packed int{bits}", PackedQuantizationCompressor, layer, **arguments)
weight = torch.randn(10, 44)
layer = {"weight": weight, "weight_scale": weight.abs().amax(1, keepdim=True) / 7.5}
compress("packed int4 channel", PackedQuantizationCompressor, layer, num_bits=4, type="int", strategy="channel")
layer = {"weight": weight, "weight_scale": weight.abs().amax(1, keepdim=True) / 127}
compress("int8 channel", NaiveQuantizationCompressor, layer, num_bits=8, type="int", strategy="channel")
layer = {"weight": torch.randn(40, 72), "weight_scale": torch.rand(3, 3) * 0.01 + 0.005}
arguments = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 32]}
compress("float8 block", NaiveQuantizationCompressor, layer, **arguments)
weight = torch.randn(6, 64)
outer = torch.tensor([448 * 6 / weight.abs().max()])
scale = (outer * weight.reshape(6, 4, 16).abs().amax(-1) / 6).to(torch.float8_e4m3fn).float()
layer = {"weight": weight, "weight_scale": scale, "weight_global_scale": outer}
arguments = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "scale_dtype": "float8_e4m3fn"}
compress("nvfp4", NVFP4PackedCompressor, layer, **arguments)
layer = {"weight": weight, "weight_scale": 2.0 ** torch.ceil(torch.log2(weight.reshape(6, 2, 32).abs().amax(-1) / 6))}
arguments = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "uint8"}
compress("mxfp4", MXFP4PackedCompressor, layer, **arguments)

folder = Path(sys.argv[1])
sys.modules["transformers"] = types.ModuleType("transformers")
sys.modules["transformers"].pytorch_utils = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
linear = torch.nn.Linear(64, 32, bias=False)
auto_gptq = module_at(folder / "auto_gptq" / "nn_modules" / "qlinear" / "qlinear_cuda_old.py")
for bits in (2, 3, 4, 8):
    packed = auto_gptq.QuantLinear(bits, 32, 64, 32, False, weight_dtype=torch.float32)
    packed.pack(linear, *scales_and_zeros(linear.weight.data, bits, lowest=1), None)
    settings = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": False}
    with torch.no_grad():
        keep(f"gptq int{bits}", packed.state_dict(), settings, packed(torch.eye(64)).T)
# The class alone: its file imports kernels.
source = (folder / "autoawq-0.2.9" / "awq" / "modules" / "linear" / "gemm.py").read_text()
names = {"torch": torch, "nn": torch.nn, "get_best_device": lambda: "cpu"}
exec(source[source.index("class WQLinear_GEMM") :], names)
scale, zero = (tensor.T.contiguous() for tensor in scales_and_zeros(linear.weight.data, 4, lowest=0))
packed = names["WQLinear_GEMM"].from_linear(linear, 4, 32, False, scale, zero)
unpack = module_at(folder / "autoawq-0.2.9" / "awq" / "utils" / "packing_utils.py").dequantize_gemm
settings = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
keep("awq gemm", packed.state_dict(), settings, unpack(packed.qweight, packed.qzeros, packed.scales.float(), 4, 32).T)

source = "bitsandbytes 0.50.2, compressed-tensors 0.20.0, AutoGPTQ 0.7.1, AutoAWQ 0.2.9; made by make_quantized.py"
print(json.dumps({"source": source, "cases": cases}, indent=1))
