import json

import numpy as np
import pytest
import torch

from spectra.sources import open_source
from tests.sources.quantized.makers import bitsandbytes_int8, bitsandbytes_nf4, weight_of

STATE = "weight.quant_state.bitsandbytes__nf4"


def opened(layer, **changes):
    tensors = {name: tensor for name, tensor in (layer.tensors | changes).items() if tensor is not None}
    return next(t for t in open_source({f"fc.{n}": t for n, t in tensors.items()}).tensors if t.quantized)


def as_bytes(text):
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def with_state(layer, **changes):
    state = json.loads(layer.tensors[STATE].numpy().tobytes()) | changes
    return opened(layer, **{STATE: as_bytes(json.dumps(state))})


def test_rows_of_int8_codes_are_a_127th_of_the_largest_magnitude():
    codes = torch.tensor([[127, -127, 0], [1, 2, -64]], dtype=torch.int8)
    source = open_source({"fc.weight": codes, "fc.SCB": torch.tensor([2.0, 127.0])})
    np.testing.assert_allclose(source.tensors[0].read(0, 2), [[2.0, -2.0, 0.0], [1.0, 2.0, -64.0]], rtol=1e-6)


def test_a_weight_of_more_dimensions_keeps_its_shape():
    layer = bitsandbytes_nf4(weight_of(6, 40).reshape(6, 8, 5))
    weight = opened(layer)
    assert weight.shape == (6, 8, 5)
    np.testing.assert_allclose(weight.read(1, 4), layer.dequantized[1:4], rtol=1e-6)


def test_stacked_experts_are_recognised_whatever_they_are_called():
    layer = bitsandbytes_nf4(weight_of(6, 40).reshape(2, 3, 40))
    tensors = {f"experts.{name.replace('weight', 'gate_up_proj', 1)}": tensor for name, tensor in layer.tensors.items()}
    weight = next(tensor for tensor in open_source(tensors).tensors if tensor.quantized)
    assert (weight.name, weight.shape) == ("experts.gate_up_proj", (2, 3, 40))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weight": torch.zeros(768, 1, dtype=torch.bfloat16)}, "store codes as uint8"),
        ({"weight": torch.zeros(1, 1536, dtype=torch.uint8)}, "does not hold a weight (48, 64)"),
        ({"weight": torch.zeros(1535, 1, dtype=torch.uint8)}, "does not hold a weight (48, 64)"),
        ({"weight.absmax": torch.zeros(47)}, "with 47 scales"),
        ({"weight.absmax": torch.zeros(48, dtype=torch.uint8)}, "without its 'fc.weight.nested_absmax'"),
        ({"weight.quant_map": torch.zeros(15)}, "does not hold a weight"),
        ({"weight.absmax": None}, "without its 'fc.weight.absmax'"),
        ({STATE: None}, "without its 'fc.weight.quant_state.bitsandbytes__nf4'"),
        ({STATE: as_bytes("nonsense")}, "is no JSON object"),
        ({STATE: as_bytes("[1]")}, "is no JSON object"),
        ({STATE: as_bytes("{}")}, "does not say shape, blocksize"),
    ],
)
def test_four_bits_that_do_not_fit_together_are_refused(changes, reason):
    weight = opened(bitsandbytes_nf4(weight_of()), **changes)
    assert weight.unreadable.startswith("bitsandbytes storage ")
    assert reason in weight.unreadable


def test_a_quantization_state_of_another_weight_is_refused():
    layer = bitsandbytes_nf4(weight_of(), is_nested=True)
    assert "does not hold a weight (48, 65)" in with_state(layer, shape=[48, 65]).unreadable
    assert "does not hold a weight" in with_state(layer, blocksize=128).unreadable
    assert "does not hold a weight" in with_state(layer, nested_blocksize=100).unreadable
    assert "does not say nested_offset" in with_state(layer, nested_offset=None).unreadable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SCB": None}, "without its 'fc.SCB'"),
        ({"SCB": torch.ones(47)}, "one scale a row"),
        ({"weight_format": torch.tensor(2, dtype=torch.uint8)}, "with weight_format 2: only 0"),
        ({"weight": torch.zeros(48, 64, dtype=torch.uint8)}, "of uint8 codes"),
    ],
)
def test_eight_bits_that_do_not_fit_together_are_refused(changes, reason):
    assert reason in opened(bitsandbytes_int8(weight_of()), **changes).unreadable


def test_all_zeros_come_back_as_zeros():
    layer = bitsandbytes_int8(weight_of())
    zeros = {"weight": torch.zeros(48, 64, dtype=torch.int8), "SCB": torch.zeros(48)}
    np.testing.assert_array_equal(opened(layer, **zeros).read(0, 48), np.zeros((48, 64)))
