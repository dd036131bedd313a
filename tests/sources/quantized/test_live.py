import warnings

import numpy as np
import pytest
import torch
from torch import nn

import spectra
from spectra.sources import open_source
from tests.sources.quantized.makers import bitsandbytes_int8, bitsandbytes_nf4, float8, gptq, weight_of


class KeptBeside:
    """What bitsandbytes keeps on a four-bit weight, by the interface of its ``QuantState``."""

    def __init__(self, parts):
        self.parts = parts

    def as_dict(self, *, packed):
        assert packed
        return self.parts


def parameter(tensor):
    return nn.Parameter(tensor, requires_grad=False)


def the_weight(model):
    (weight,) = (tensor for tensor in open_source(model).tensors if tensor.quantized)
    return weight


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_live_four_bit_layer_of_bitsandbytes(is_nested):
    layer = bitsandbytes_nf4(weight_of(), is_nested=is_nested)
    module = nn.Linear(64, 48, bias=False)
    module.weight = parameter(layer.tensors["weight"])
    module.weight.quant_state = KeptBeside({n.removeprefix("weight."): t for n, t in layer.tensors.items() if "." in n})
    weight = the_weight(nn.Sequential(module))
    assert (weight.name, weight.shape, weight.quantized) == ("0.weight", (48, 64), "bitsandbytes_nf4")
    np.testing.assert_allclose(weight.read(0, 48), layer.dequantized, rtol=1e-6)


@pytest.mark.parametrize("has_run", [False, True])
def test_a_live_int8_layer_of_bitsandbytes_keeps_its_scales_in_one_of_two_places(has_run):
    layer = bitsandbytes_int8(weight_of())
    module = nn.Linear(64, 48, bias=False)
    module.weight = parameter(layer.tensors["weight"])
    module.weight.SCB = None if has_run else layer.tensors["SCB"]
    module.state = KeptBeside({})
    module.state.SCB = layer.tensors["SCB"] if has_run else None
    weight = the_weight(module)
    assert (weight.name, weight.quantized) == ("weight", "bitsandbytes_int8")
    np.testing.assert_allclose(weight.read(0, 48), layer.dequantized, rtol=1e-6)


def test_bitsandbytes_itself():
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    module = bnb.nn.Linear4bit(64, 48, bias=False, quant_type="nf4")
    module.weight = module.weight._quantize("cpu")
    expected = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
    np.testing.assert_allclose(the_weight(module).read(0, 48), expected.numpy(), rtol=2.0**-8)


def test_torchao_itself():
    quantization = pytest.importorskip("torchao.quantization")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 48, bias=False))
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    np.testing.assert_array_equal(the_weight(model).read(5, 9), model[0].weight.dequantize()[5:9].detach().numpy())


def test_a_live_float8_layer_with_its_scales_among_the_parameters():
    layer = float8(weight_of(150, 140))
    module = nn.Module()
    module.weight, module.weight_scale_inv = (parameter(tensor) for tensor in layer.tensors.values())
    np.testing.assert_allclose(the_weight(module).read(0, 150), layer.dequantized, rtol=1e-6)


def test_a_live_gptq_layer_is_refused_since_kernels_rearrange_codes():
    module = nn.Module()
    for name, tensor in gptq(weight_of()).tensors.items():
        module.register_buffer(name, tensor)
    report = spectra.analyze(nn.Sequential(module, nn.Linear(20, 20)))
    assert [row.layer_name for row in report.layers] == ["1"]
    reasons = {tensor.name: tensor.reason for tensor in report.skipped}
    assert set(reasons) == {"0.qweight", "0.qzeros", "0.scales"}
    assert "kernels may have rearranged the codes; analyse the checkpoint's folder" in reasons["0.qweight"]


class DequantizingLayer(nn.Module):
    """HQQ's layer, by its interface."""

    def __init__(self, weight):
        super().__init__()
        self.W_q = parameter((weight * 10).to(torch.uint8))
        self.meta = {"scale": 0.1}

    def dequantize(self):
        return self.W_q * self.meta["scale"]


def test_a_layer_that_dequantizes_itself_is_asked_to():
    module = DequantizingLayer(torch.tensor(np.abs(weight_of())))
    weight = the_weight(nn.Sequential(module))
    assert (weight.name, weight.quantized, weight.shape) == ("0.weight", "hqq", (48, 64))
    np.testing.assert_array_equal(weight.read(3, 9), module.dequantize()[3:9].numpy())
    assert [tensor.name for tensor in open_source(nn.Sequential(module)).tensors] == ["0.weight"]


class DequantizingTensor(torch.Tensor):
    """A subclass like torchao's: codes and a scale behind the face of a float tensor."""

    @staticmethod
    def __new__(cls, codes, scale):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.bfloat16)

    def __init__(self, codes, scale):
        self.codes, self.scale = codes, scale

    def dequantize(self):
        return self.codes.float() * self.scale

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes, args[0].scale)
        raise NotImplementedError(func)


def test_a_tensor_that_dequantizes_itself_is_asked_to_and_two_of_a_shape_are_not_tied():
    torch.manual_seed(0)
    codes = [torch.randint(-8, 8, (20, 30), dtype=torch.int8) for _ in range(2)]
    state = {f"{i}.weight": DequantizingTensor(code, 0.5 + i) for i, code in enumerate(codes)}
    tensors = open_source(state).tensors
    assert [(tensor.quantized, tensor.tied_to) for tensor in tensors] == [(__name__.partition(".")[0], None)] * 2
    for i, tensor in enumerate(tensors):
        np.testing.assert_array_equal(tensor.read(4, 11), codes[i][4:11].float().numpy() * (0.5 + i))


@pytest.mark.parametrize("container", ["mapping", "torch file"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_torchs_own_quantized_tensors_are_dequantized(axis, container, tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(20, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of torchao; checkpoints remain
        if axis is None:
            quantized = torch.quantize_per_tensor(weight, 0.03, 2, torch.qint8)
        else:
            count = weight.shape[axis]
            quantized = torch.quantize_per_channel(weight, torch.rand(count) / 20 + 0.01, torch.zeros(count), axis, torch.qint8)
        torch.save({"fc.weight": quantized}, tmp_path / "a.pt")
        stored = the_weight({"fc.weight": quantized} if container == "mapping" else tmp_path / "a.pt")
    assert (stored.quantized, stored.dtype) == ("torch", "qint8")
    np.testing.assert_array_equal(stored.read(3, 8), quantized.dequantize()[3:8].numpy())
