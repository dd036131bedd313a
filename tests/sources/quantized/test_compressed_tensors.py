import numpy as np
import pytest
import torch

from spectra import SourceError
from spectra.sources import open_source
from tests.sources.quantized.makers import compressed, compressed_int8, packed_columns, weight_of, write_folder


def opened(tmp_path, layer, settings=None, **changes):
    state = {f"fc.{n}": t for n, t in (layer.tensors | changes).items() if t is not None}
    folder = write_folder(tmp_path, state, layer.config if settings is None else settings, "safetensors")
    return next(tensor for tensor in open_source(folder).tensors if tensor.quantized)


def test_inputs_ordered_by_activation_take_the_scales_of_their_groups(tmp_path):
    layer = compressed(weight_of())
    order = torch.tensor(np.random.default_rng(0).permutation(64) // 32, dtype=torch.int32)
    scales = layer.tensors["weight_scale"].float().numpy()
    symmetric = opened(tmp_path, layer, {}, weight_g_idx=order, weight_zero_point=None).read(0, 48)
    in_order = opened(tmp_path, layer, {}, weight_zero_point=None).read(0, 48)
    codes = in_order / np.repeat(scales, 32, axis=1)
    np.testing.assert_allclose(symmetric, codes * scales[:, order.numpy()], rtol=1e-6, atol=1e-6)


def test_an_unset_order_means_in_order(tmp_path):
    layer = compressed(weight_of())
    unset = torch.full((64,), -1, dtype=torch.int32)
    np.testing.assert_allclose(opened(tmp_path, layer, weight_g_idx=unset).read(0, 48), layer.dequantized, rtol=1e-6)


def test_an_order_that_names_no_group_is_an_error_when_it_is_read(tmp_path):
    weight = opened(tmp_path, compressed(weight_of()), weight_g_idx=torch.full((64,), 9, dtype=torch.int32))
    with pytest.raises(SourceError, match="'fc.weight_g_idx' names groups that have no scale"):
        weight.read(0, 48)


@pytest.mark.parametrize("cols", [1, 7, 33, 44])
def test_the_last_word_of_a_row_may_be_filled_in_part(cols, tmp_path):
    codes = np.random.default_rng(0).integers(0, 16, (5, cols))
    tensors = {
        "fc.weight_packed": packed_columns(codes.T, 4).T.contiguous(),
        "fc.weight_scale": torch.full((5, 1), 0.5),
        "fc.weight_shape": torch.tensor([5, cols]),
    }
    settings = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}}
    source = open_source(write_folder(tmp_path, tensors, settings, "safetensors"))
    weight = next(tensor for tensor in source.tensors if tensor.quantized)
    np.testing.assert_array_equal(weight.read(1, 4), (codes[1:4] - 8) * 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weight_shape": None}, "without its 'fc.weight_shape'"),
        ({"weight_shape": torch.tensor([48, 65])}, "not of [4] bits as they are known"),
        ({"weight_shape": torch.tensor([47, 64])}, "one row of words per output"),
        ({"weight_shape": torch.tensor([64])}, "one row of words per output"),
        ({"weight_zero_point": torch.zeros(5, 2, dtype=torch.int32)}, "zero points (5, 2)"),
        ({"weight_zero_point": torch.zeros(6, 2, dtype=torch.int8)}, "int8 zero points"),
        ({"weight_zero_point": None}, "without its 'fc.weight_zero_point'"),
        ({"weight_g_idx": torch.zeros(63, dtype=torch.int32)}, "has shape (63,) for 64 inputs"),
        ({"weight_scale": torch.ones(48, 3)}, "into blocks of 1x32"),
    ],
)
def test_ingredients_that_do_not_fit_are_refused(changes, reason, tmp_path):
    weight = opened(tmp_path, compressed(weight_of()), **changes)
    assert weight.unreadable.startswith("compressed-tensors storage ")
    assert reason in weight.unreadable


def test_three_bits_are_packed_in_two_ways_and_refused(tmp_path):
    settings = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 3}}}}
    assert "not of [3] bits as they are known" in opened(tmp_path, compressed(weight_of()), settings).unreadable


def test_zero_points_of_int8_rows(tmp_path):
    layer = compressed_int8(weight_of())
    zeros = torch.randint(-5, 5, (48, 1), dtype=torch.int8)
    steps = layer.tensors["weight_scale"].numpy()
    expected = layer.dequantized - steps * zeros.numpy()
    found = opened(tmp_path, layer, weight_zero_point=zeros).read(0, 48)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * float(steps.min()))
    assert "with scales (48, 1) and zero points (3, 1)" in opened(tmp_path, layer, weight_zero_point=zeros[:3]).unreadable
