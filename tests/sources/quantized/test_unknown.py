import pytest
import torch

import spectra
from spectra.sources import open_source
from tests.sources.quantized.makers import gptq, weight_of, write_folder


@pytest.mark.parametrize("method", ["aqlm", "hqq", "eetq", "auto-round", "bitnet"])
def test_codes_of_an_unknown_format_are_refused_with_all_that_belongs_to_them(method, tmp_path):
    state = {
        "a.codes": torch.zeros(20, 20, dtype=torch.int16),
        "a.codebook": torch.ones(20, 20),
        "a.bias": torch.ones(20),
        "norm.weight": torch.ones(20),
        "embed.weight": torch.tensor(weight_of(40, 20)),
    }
    report = spectra.analyze(write_folder(tmp_path, state, {"quant_method": method}, "safetensors"))
    assert [row.layer_name for row in report.layers] == ["embed"]
    reasons = {tensor.name: tensor.reason for tensor in report.skipped}
    assert set(reasons) == {"a.codes", "a.codebook"}
    assert reasons["a.codes"].startswith(f"{method} storage of a kind that is not read")
    assert reasons["a.codebook"].startswith("stored with 'a.codes'")


def test_hqqs_codes_are_known_by_their_name():
    tensors = open_source({"a.W_q": torch.zeros(8, 8, dtype=torch.uint8), "a.zero": torch.ones(8, 8)}).tensors
    assert [(tensor.quantized, tensor.part_of) for tensor in tensors] == [("hqq", None), ("", "a.W_q")]


def test_gptq_names_under_another_method_are_not_read_as_gptq(tmp_path):
    state = {"a.qweight": torch.zeros(8, 32, dtype=torch.int32), "a.scales": torch.ones(2, 32)}
    tensors = open_source(write_folder(tmp_path, state, {"quant_method": "auto-round"}, "safetensors")).tensors
    assert [(tensor.quantized, tensor.part_of) for tensor in tensors] == [("auto-round", None), ("", "a.qweight")]


def test_a_mask_in_a_quantized_model_takes_no_layer_with_it(tmp_path):
    layer = gptq(weight_of())
    state = {f"h.0.attn.q_proj.{name}": tensor for name, tensor in layer.tensors.items()}
    state |= {"h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8), "h.0.attn.words": torch.ones(8, 8, dtype=torch.int32)}
    tensors = {t.name: t for t in open_source(write_folder(tmp_path, state, layer.config, "safetensors")).tensors}
    assert tensors["h.0.attn.q_proj.weight"].part_of is None
    assert tensors["h.0.attn.q_proj.weight"].unreadable is None
    assert (tensors["h.0.attn.bias"].quantized, tensors["h.0.attn.words"].quantized) == ("", "gptq")


def test_tables_below_a_layer_of_an_unknown_method_are_no_weights(tmp_path):
    state = {"a.indices": torch.zeros(8, 8, dtype=torch.int32), "a.centroids.weight": torch.ones(8, 8)}
    tensors = open_source(write_folder(tmp_path, state, {"quant_method": "vptq"}, "safetensors")).tensors
    assert {t.name: t.part_of for t in tensors} == {"a.indices": None, "a.centroids.weight": "a.indices"}


def test_masks_and_positions_without_a_quantization_config_stay_what_they_are():
    tensors = open_source({"attn.bias": torch.ones(8, 8, dtype=torch.uint8), "ids": torch.arange(8).reshape(1, 8)}).tensors
    assert [(tensor.quantized, tensor.part_of, tensor.unreadable) for tensor in tensors] == [("", None, None)] * 2
