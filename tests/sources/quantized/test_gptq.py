import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spectra
from spectra import SourceError
from spectra.sources import open_source
from spectra.sources.quantized.arithmetic import unpacked
from tests.sources.quantized.makers import gptq, packed_columns, state_of, weight_of, write_folder


def opened(tmp_path, layer, config=None, **changes):
    """The first tensor that is quantized, of a folder with these tensors and settings changed or, with ``None``, removed."""
    tensors = {name: tensor for name, tensor in (layer.tensors | changes).items() if tensor is not None}
    settings = layer.config if config is None else {k: v for k, v in (layer.config | config).items() if v is not None}
    state = {f"fc.{name}": tensor for name, tensor in tensors.items()}
    source = open_source(write_folder(tmp_path, state, settings, "safetensors"))
    return next(tensor for tensor in source.tensors if tensor.quantized)


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(1, 70), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_numbers_of_any_width_come_out_of_their_words(bits, count, columns, seed):
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (count, columns))
    np.testing.assert_array_equal(unpacked(packed_columns(numbers, bits).numpy(), bits, count), numbers)


def test_zero_points_are_one_more_than_stored_in_the_first_version_only(tmp_path):
    layer = gptq(weight_of())
    first = opened(tmp_path, layer).read(0, 48)
    second = opened(tmp_path, layer, {"checkpoint_format": "gptq_v2"}).read(0, 48)
    steps = layer.tensors["scales"].T.float().repeat_interleave(32, dim=1).numpy()
    np.testing.assert_allclose(second - first, steps, rtol=1e-5)


def test_a_configuration_that_is_silent_means_the_first_version(tmp_path):
    layer = gptq(weight_of())
    found = opened(tmp_path, layer, {"checkpoint_format": None})
    np.testing.assert_allclose(found.read(0, 48), layer.dequantized, rtol=1e-6)


def test_the_groups_of_inputs_are_those_of_g_idx(tmp_path):
    layer = gptq(weight_of(), order=np.random.default_rng(3).permutation(64))
    in_order = torch.arange(64, dtype=torch.int32) // 32
    assert not torch.equal(layer.tensors["g_idx"], in_order)
    right, wrong = opened(tmp_path, layer).read(0, 48), opened(tmp_path, layer, g_idx=in_order).read(0, 48)
    np.testing.assert_allclose(right, layer.dequantized, rtol=1e-6)
    assert not np.allclose(wrong, right)


def test_without_g_idx_groups_are_in_order(tmp_path):
    layer = gptq(weight_of(48, 80), group_size=32)
    np.testing.assert_allclose(opened(tmp_path, layer, g_idx=None).read(0, 48), layer.dequantized, rtol=1e-6)


def test_one_group_for_all_inputs(tmp_path):
    layer = gptq(weight_of(), group_size=64)
    found = opened(tmp_path, layer, {"group_size": -1}, g_idx=None)
    np.testing.assert_allclose(found.read(0, 48), layer.dequantized, rtol=1e-6)


def test_a_layer_with_bits_of_its_own_is_read_where_the_configuration_allows_it(tmp_path):
    layer = gptq(weight_of(), bits=8)
    assert "are expected" in opened(tmp_path, layer, {"bits": 4}).unreadable
    found = opened(tmp_path, layer, {"bits": 4, "dynamic": {"fc": {"bits": 8}}})
    np.testing.assert_allclose(found.read(0, 48), layer.dequantized, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"checkpoint_format": "gptq_p"}, "of checkpoint_format 'gptq_p', which is not known; convert it"),
        ({"checkpoint_format": "marlin"}, "of checkpoint_format 'marlin', which is not known"),
        ({"pack_dtype": "int64"}, "which is not known"),
        ({"is_marlin_format": True}, "which is not known"),
        ({"bits": 3}, "whose zero points take 4 bits where 3 are expected; check the files"),
    ],
)
def test_a_variant_that_is_not_known_is_refused(config, reason, tmp_path):
    weight = opened(tmp_path, gptq(weight_of()), config)
    assert weight.unreadable.startswith("gptq storage ")
    assert reason in weight.unreadable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qweight": torch.zeros(7, 48, dtype=torch.int32)}, "'fc.g_idx' has shape (64,) for 56 inputs"),
        ({"qweight": torch.zeros(8, 40, dtype=torch.int32)}, "do not fit together at 4 bits"),
        ({"qzeros": torch.zeros(3, 6, dtype=torch.int32)}, "do not fit together at 4 bits"),
        ({"qzeros": torch.zeros(2, 5, dtype=torch.int32)}, "zero points take 3.33333 bits"),
        ({"scales": torch.zeros(2, 47)}, "zero points take 4.08511 bits"),
        ({"qweight": torch.zeros(8, 48, dtype=torch.int64)}, "of int64 words"),
        ({"qweight": torch.zeros(8, 48, 1, dtype=torch.int32)}, "two dimensions are known"),
        ({"g_idx": torch.zeros(63, dtype=torch.int32)}, "has shape (63,) for 64 inputs"),
    ],
    ids=["inputs", "outputs", "groups", "bits", "scales", "dtype", "rank", "order"],
)
def test_shapes_that_do_not_fit_are_refused(changes, reason, tmp_path):
    assert reason in opened(tmp_path, gptq(weight_of()), **changes).unreadable


def test_inputs_ordered_by_activation_without_their_groups_are_refused(tmp_path):
    layer = gptq(weight_of(), order=np.random.default_rng(3).permutation(64))
    assert "with desc_act and without its g_idx" in opened(tmp_path, layer, g_idx=None).unreadable
    assert "with 2 groups of 16 for 64 inputs" in opened(tmp_path, gptq(weight_of()), {"group_size": 16}, g_idx=None).unreadable


def test_a_mapping_does_not_say_how_zero_points_are_stored_and_is_refused():
    weight = next(tensor for tensor in open_source(state_of(gptq(weight_of()))).tensors if tensor.quantized)
    assert "without a configuration, which says whether zero points are stored less one" in weight.unreadable


def test_the_settings_may_stand_in_the_file_of_old_checkpoints(tmp_path):
    layer = gptq(weight_of())
    folder = write_folder(tmp_path, state_of(layer), None, "safetensors")
    (folder / "quantize_config.json").write_text('{"bits": 4, "group_size": 32, "desc_act": false, "sym": false}')
    weight = next(tensor for tensor in open_source(folder).tensors if tensor.quantized)
    np.testing.assert_allclose(weight.read(0, 48), layer.dequantized, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g_idx": torch.full((64,), 2, dtype=torch.int32)}, "'fc.g_idx' names groups that have no scale"),
        ({"g_idx": torch.full((64,), -1, dtype=torch.int32)}, "'fc.g_idx' names groups that have no scale"),
        # 0 less one: programs differ in what they make of it, so that no reading is right.
        ({"qzeros": torch.full((2, 6), -1, dtype=torch.int32)}, "zero points that checkpoint_format 'gptq' cannot hold"),
    ],
    ids=["group too large", "group negative", "zero point"],
)
def test_numbers_that_contradict_the_format_are_an_error_when_they_are_read(changes, message, tmp_path):
    weight = opened(tmp_path, gptq(weight_of()), **changes)
    with pytest.raises(SourceError, match=message):
        weight.read(0, 48)


def test_a_plain_weight_beside_the_codes_is_not_replaced(tmp_path):
    layer = gptq(weight_of())
    weight = opened(tmp_path, layer, weight=torch.ones(48, 64))
    assert (weight.name, "beside a plain 'fc.weight'" in weight.unreadable) == ("fc.qweight", True)


def test_a_model_of_which_nothing_can_be_read_says_why_and_one_row_is_skipped_otherwise(tmp_path):
    broken = {name: tensor for name, tensor in gptq(weight_of()).tensors.items() if name != "scales"}
    config = gptq(weight_of()).config
    folder = write_folder(tmp_path, {f"a.{name}": tensor for name, tensor in broken.items()}, config, "safetensors")
    with pytest.raises(SourceError, match="no weight to analyse"):
        spectra.analyze(folder)
    state = {f"a.{name}": tensor for name, tensor in broken.items()} | {"b.weight": torch.tensor(weight_of())}
    report = spectra.analyze(write_folder(tmp_path, state, config, "safetensors"))
    assert [row.layer_name for row in report.layers] == ["b"]
    reasons = {tensor.name: tensor.reason for tensor in report.skipped}
    assert reasons["a.qweight"].startswith("gptq storage without its 'a.scales'; codes alone are not weights")
    assert reasons["a.qzeros"].startswith("stored with 'a.qweight'")
