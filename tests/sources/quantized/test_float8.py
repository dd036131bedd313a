import numpy as np
import pytest
import torch

from spectra.sources import open_source
from tests.sources.quantized.makers import float8, weight_of, write_folder

E4M3 = torch.float8_e4m3fn


def codes_of(rows=48, cols=64):
    return torch.tensor(weight_of(rows, cols)).to(E4M3)


def only(source):
    return next(tensor for tensor in source.tensors if tensor.dtype.startswith("float8") and tensor.part_of is None)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("container", ["mapping", "safetensors", "torch"])
def test_a_weight_that_was_only_cast_is_its_codes_values(dtype, container, tmp_path):
    codes = torch.tensor(weight_of()).to(dtype)
    state = {"fc.weight": codes, "norm.scale": torch.ones(64)}
    source = open_source(state if container == "mapping" else write_folder(tmp_path, state, None, container))
    weight = only(source)
    assert (weight.quantized, weight.unreadable) == ("", None)
    np.testing.assert_array_equal(weight.read(3, 9), codes[3:9].float().numpy())


@pytest.mark.parametrize(
    ("others", "settings", "reason"),
    [
        ({}, {"quant_method": "fp8"}, "without its 'fc.weight_scale_inv'; codes alone are not weights"),
        ({"fc.scale_weight": torch.ones(1)}, None, "beside 'fc.scale_weight', whose meaning is not known"),
        ({"fc.weight_amax_scale": torch.ones(1)}, None, "beside 'fc.weight_amax_scale', whose meaning is not known"),
        ({"scaled_fp8": torch.ones(1)}, None, "without its 'fc.weight_scale_inv'"),
        ({"other.weight_scale": torch.ones(1)}, None, "without its 'fc.weight_scale_inv'"),
        ({"fc.weight_scale": torch.ones(1), "fc.weight_scale_inv": torch.ones(1)}, None, "with both"),
        ({"fc.weight_scale_inv": torch.ones(2, 1)}, None, "do not divide the weight (48, 64) into blocks of 128x128"),
        ({"fc.weight_scale": torch.ones(1, 2)}, None, "into blocks that the configuration names"),
        ({"fc.weight_scale": torch.ones(64)}, None, "do not divide the weight"),
        ({"fc.weight_scale_inv": torch.ones(3, 3)}, {"weight_block_size": [16, 16]}, "into blocks of 16x16"),
    ],
)
def test_what_is_not_certain_is_refused(others, settings, reason, tmp_path):
    weight = only(open_source(write_folder(tmp_path, {"fc.weight": codes_of()} | others, settings, "safetensors")))
    assert (weight.quantized, weight.unreadable.startswith("float8 storage ")) == ("float8", True)
    assert reason in weight.unreadable


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (48,), (48, 1), (1, 64), (48, 64)])
def test_scales_of_the_tensor_its_rows_its_columns_or_its_entries(shape):
    codes, scales = codes_of(), torch.tensor(np.random.default_rng(0).random(shape, dtype=np.float32))
    weight = only(open_source({"fc.weight": codes, "fc.weight_scale": scales}))
    factors = scales.reshape(48, 1) if shape == (48,) else scales
    np.testing.assert_array_equal(weight.read(5, 40), (codes.float() * factors)[5:40].numpy())


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (127, 128), (128, 129), (257, 300)])
def test_blocks_of_128_may_be_shorter_at_the_end(rows, cols):
    layer = float8(weight_of(rows, cols))
    weight = only(open_source({f"fc.{name}": tensor for name, tensor in layer.tensors.items()}))
    np.testing.assert_allclose(weight.read(0, rows), layer.dequantized, rtol=1e-6)


def test_stacked_experts_have_blocks_in_their_last_two_axes(tmp_path):
    torch.manual_seed(0)
    codes, scales = torch.randn(3, 20, 30).to(E4M3), torch.rand(3, 2, 3)
    state = {"mlp.experts.gate_up_proj": codes, "mlp.experts.gate_up_proj_scale_inv": scales}
    weight = only(open_source(write_folder(tmp_path, state, {"weight_block_size": [10, 10]}, "safetensors")))
    expected = codes.float() * scales.repeat_interleave(10, dim=1).repeat_interleave(10, dim=2)
    assert (weight.name, weight.shape) == ("mlp.experts.gate_up_proj", (3, 20, 30))
    np.testing.assert_array_equal(weight.read(1, 3), expected[1:].numpy())


@pytest.mark.parametrize("dtype", [torch.float8_e8m0fnu, torch.uint8], ids=str)
def test_scales_that_are_powers_of_two_may_be_kept_as_exponents(dtype, tmp_path):
    codes, exponents = codes_of(), torch.randint(120, 134, (48, 2), dtype=torch.uint8)
    state = {"fc.weight": codes, "fc.weight_scale_inv": exponents.view(dtype)}
    weight = only(open_source(write_folder(tmp_path, state, {"weight_block_size": [1, 32]}, "safetensors")))
    expected = codes.float() * (2.0 ** (exponents.float() - 127)).repeat_interleave(32, dim=1)
    np.testing.assert_array_equal(weight.read(0, 48), expected.numpy())


def test_a_shard_by_itself_is_read_with_the_models_configuration(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "fp8"}}')
    save_file({"fc.weight": codes_of()}, tmp_path / "model-00001-of-00002.safetensors")
    weight = only(open_source(tmp_path / "model-00001-of-00002.safetensors"))
    assert "without its 'fc.weight_scale_inv'" in weight.unreadable


def test_the_settings_of_a_multimodal_model_may_be_those_of_its_text_model(tmp_path):
    layer = float8(weight_of(), block=(16, 16))
    folder = write_folder(tmp_path, {f"fc.{n}": t for n, t in layer.tensors.items()}, None, "safetensors")
    (folder / "config.json").write_text('{"text_config": {"quantization_config": {"weight_block_size": [16, 16]}}}')
    np.testing.assert_allclose(only(open_source(folder)).read(0, 48), layer.dequantized, rtol=1e-6)
