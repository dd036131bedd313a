import numpy as np
import pytest
import torch

from spectra.sources import open_source
from tests.sources.quantized.makers import E2M1, mxfp4, nvfp4, weight_of


def opened(tensors):
    return next(tensor for tensor in open_source(tensors).tensors if tensor.quantized)


def stack(experts=3, outputs=10, groups=2):
    rng = np.random.default_rng(0)
    blocks = torch.tensor(rng.integers(0, 256, (experts, outputs, groups, 16)), dtype=torch.uint8)
    scales = torch.tensor(rng.integers(120, 134, (experts, outputs, groups)), dtype=torch.uint8)
    return {"mlp.experts.gate_up_proj_blocks": blocks, "mlp.experts.gate_up_proj_scales": scales}


def test_stacked_experts_of_gpt_oss_are_in_by_out_as_transformers_keeps_them():
    tensors = stack()
    blocks, scales = (tensor.numpy() for tensor in tensors.values())
    weight = opened(tensors)
    assert (weight.name, weight.shape, weight.quantized) == ("mlp.experts.gate_up_proj", (3, 64, 10), "mxfp4")
    expected = np.zeros((3, 64, 10))
    for expert, output, group, byte in np.ndindex(blocks.shape):
        low, high = blocks[expert, output, group, byte] % 16, blocks[expert, output, group, byte] // 16
        factor = 2.0 ** (int(scales[expert, output, group]) - 127)
        expected[expert, group * 32 + 2 * byte, output] = E2M1[low] * factor
        expected[expert, group * 32 + 2 * byte + 1, output] = E2M1[high] * factor
    np.testing.assert_array_equal(weight.read(0, 3), expected)
    np.testing.assert_array_equal(weight.read(1, 2), expected[1:2])


def test_transformers_makes_the_same_of_the_stack():
    mxfp4_of_transformers = pytest.importorskip("transformers.integrations.mxfp4")
    tensors = stack()
    expected = mxfp4_of_transformers.convert_moe_packed_tensors(*tensors.values(), dtype=torch.float32)
    np.testing.assert_array_equal(opened(tensors).read(0, 3), expected.numpy())


@pytest.mark.parametrize(
    ("last", "value", "reason"),
    [
        ("scales", None, "without its 'mlp.experts.gate_up_proj_scales'"),
        ("scales", torch.zeros(3, 10, 3, dtype=torch.uint8), "which do not fit"),
        ("scales", torch.zeros(3, 10, 2), "with float32 scales"),
        ("blocks", torch.zeros(3, 10, 2, 8, dtype=torch.uint8), "which do not fit"),
    ],
)
def test_a_stack_that_does_not_fit_its_scales_is_refused_alone(last, value, reason):
    tensors = stack() | {f"mlp.experts.gate_up_proj_{last}": value, "mlp.experts.down_proj": torch.ones(3, 5, 6)}
    found = open_source({name: tensor for name, tensor in tensors.items() if tensor is not None}).tensors
    (weight,) = (tensor for tensor in found if tensor.quantized)
    assert reason in weight.unreadable
    assert [(t.part_of, t.unreadable) for t in found if t.name == "mlp.experts.down_proj"] == [(None, None)]


@pytest.mark.parametrize(
    ("layer", "changes", "reason"),
    [
        (nvfp4, {"weight_global_scale": None}, "without its 'fc.weight_global_scale'"),
        (nvfp4, {"weight_global_scale": torch.ones(2)}, "of shape (2,)"),
        (nvfp4, {"weight_scale_2": torch.ones(1)}, "with both"),
        (mxfp4, {"weight_scale": torch.zeros(48, 3, dtype=torch.uint8)}, "not groups of 32"),
        (mxfp4, {"weight_global_scale": torch.ones(1)}, "which is not known"),
        (nvfp4, {"weight_scale": torch.ones(48, 4)}, "with float32 scales"),
    ],
)
def test_ingredients_that_do_not_fit_are_refused(layer, changes, reason):
    tensors = {f"fc.{n}": t for n, t in (layer(weight_of()).tensors | changes).items() if t is not None}
    assert reason in opened(tensors).unreadable
