import numpy as np
import pytest
import torch

from spectra.sources import open_source
from tests.sources.quantized.makers import awq, gptq, weight_of, write_folder


def opened(folder, layer, **changes):
    settings = {k: v for k, v in (layer.config | changes).items() if v is not None}
    state = {f"fc.{name}": tensor for name, tensor in layer.tensors.items()}
    return next(t for t in open_source(write_folder(folder, state, settings, "safetensors")).tensors if t.quantized)


@pytest.mark.parametrize("version", ["GEMM", "exllama", None])
def test_versions_that_are_stored_alike_are_read_alike(version, tmp_path):
    layer = awq(weight_of())
    np.testing.assert_allclose(opened(tmp_path, layer, version=version).read(0, 48), layer.dequantized, rtol=1e-6)


def test_the_settings_of_old_checkpoints_have_other_names(tmp_path):
    layer = awq(weight_of())
    folder = write_folder(tmp_path, {f"fc.{n}": t for n, t in layer.tensors.items()}, None, "safetensors")
    (folder / "quant_config.json").write_text('{"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}')
    weight = next(tensor for tensor in open_source(folder).tensors if tensor.quantized)
    np.testing.assert_allclose(weight.read(0, 48), layer.dequantized, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "gemv_fast"}, "of version 'gemv_fast' with 4 bits, which is not known; convert it to 'gemm'"),
        ({"version": "llm-awq"}, "which is not known"),
        ({"version": "marlin"}, "which is not known"),
        ({"bits": 8}, "with 8 bits, which is not known"),
        ({"group_size": 16}, "do not fit together in groups of 16 inputs"),
        ({"group_size": 48}, "do not fit together in groups of 48 inputs"),
        ({"version": "gemv"}, "do not fit together"),
    ],
)
def test_a_variant_that_is_not_known_or_does_not_fit_is_refused(changes, reason, tmp_path):
    weight = opened(tmp_path, awq(weight_of()), **changes)
    assert weight.unreadable.startswith("awq storage ")
    assert reason in weight.unreadable


def test_padded_scales_do_not_tell_the_size_of_a_group(tmp_path):
    assert "without a group_size" in opened(tmp_path, awq(weight_of(), version="gemv"), group_size=None).unreadable


def test_awq_and_gptq_are_told_apart_by_shape_where_nothing_else_tells():
    for layer, expected in ((awq(weight_of()), "awq"), (gptq(weight_of()), "gptq")):
        tensors = open_source({f"fc.{name}": tensor for name, tensor in layer.tensors.items()}).tensors
        assert [tensor.quantized for tensor in tensors if tensor.quantized] == [expected]


def test_words_of_another_width_are_refused(tmp_path):
    layer = awq(weight_of())
    layer.tensors["qweight"] = layer.tensors["qweight"].to(torch.int16)
    assert "of int16 words" in opened(tmp_path, layer).unreadable
