"""Every format by the same questions: is it the weight, from any container, by any rows, and is the label right?"""

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spectra
from spectra.sources import open_source
from spectra.sources.quantized import dequantized
from spectra.sources.tensors import StoredTensor
from spectra.sources.torch_tensor import dtype_name, row_reader
from tests.sources.quantized.makers import FORMATS, state_of, weight_of, write_folder

LAYER = "model.layers.0.mlp.up_proj"

# The dequantized numbers are float32 products of two or three float32 numbers: 2 * 2^-24 each.
RTOL = 1e-6

# What a mapping, which has no configuration, leaves open: the formats' own tests say how that is refused.
NEEDS_CONFIG = ("gptq", "awq gemv", "compressed int8", "float8 block")


def listed(state, settings):
    tensors = [StoredTensor(n, tuple(t.shape), dtype_name(t), row_reader(lambda t=t: t)) for n, t in state.items()]
    return dequantized(tensors, {"quantization_config": settings})


def the_weight(tensors):
    (weight,) = (tensor for tensor in tensors if tensor.quantized)
    return weight


@pytest.mark.parametrize(
    ("name", "container"),
    [(name, container) for name in FORMATS for container in ("safetensors", "torch")]
    + [(name, "mapping") for name in FORMATS if not name.startswith(NEEDS_CONFIG)],
)
def test_a_weight_comes_back_from_every_container(name, container, tmp_path):
    layer = FORMATS[name]()
    state = state_of(layer)
    model = state if container == "mapping" else write_folder(tmp_path, state, layer.config, container)
    weight = the_weight(open_source(model).tensors)
    assert (weight.name, weight.shape) == (f"{LAYER}.weight", layer.dequantized.shape)
    assert (weight.quantized, weight.dtype, weight.unreadable) == (layer.quantized, layer.dtype, None)
    found = weight.read(0, len(layer.dequantized))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, layer.dequantized, rtol=RTOL, atol=0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_weight_is_within_the_formats_error_of_the_original(name):
    layer = FORMATS[name]()
    weight = the_weight(listed(state_of(layer), layer.config))
    original = weight_of(*layer.dequantized.shape)
    assert (np.abs(weight.read(0, len(original)) - original) <= layer.bound).all()


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_of_rows_are_those_of_the_whole(name):
    layer = FORMATS[name]()
    weight = the_weight(listed(state_of(layer), layer.config))
    rows = len(layer.dequantized)
    whole = weight.read(0, rows)
    for start, stop in [(0, 1), (3, 4), (5, 18), (7, 7), (rows - 3, rows), (0, rows)]:
        np.testing.assert_array_equal(weight.read(start, stop), whole[start:stop])


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith(("gptq", "awq")) or "gemv" in name])
def test_only_the_codes_of_the_rows_asked_for_are_read(name):
    # GPTQ and AWQ for gemm pack across rows: every word is read there, an eighth of the weight.
    layer, read = FORMATS[name](), []
    codes = max(layer.tensors, key=lambda last: layer.tensors[last].numel())

    def spy(tensor):
        def wrapped(start, stop):
            read.append((stop - start) / tensor.shape[0])
            return tensor.read(start, stop)

        return dataclasses.replace(tensor, read=wrapped) if tensor.name.endswith(f".{codes}") else tensor

    tensors = [StoredTensor(n, tuple(t.shape), dtype_name(t), row_reader(lambda t=t: t)) for n, t in state_of(layer).items()]
    weight = the_weight(dequantized([spy(tensor) for tensor in tensors], {"quantization_config": layer.config}))
    weight.read(3, 6)
    assert 0 < sum(read) <= 4 / len(layer.dequantized)


@pytest.mark.parametrize("name", FORMATS)
def test_everything_else_of_the_layer_is_a_part_of_the_weight(name):
    layer = FORMATS[name]()
    others = {f"{LAYER}.bias": torch.zeros(4), "model.norm.weight": torch.ones(4), "lm_head.weight": torch.ones(4, 4)}
    tensors = listed(state_of(layer) | others, layer.config)
    assert len(tensors) == len(layer.tensors) + len(others)
    parts = {tensor.name: tensor.part_of for tensor in tensors if not tensor.quantized}
    assert {name for name, of in parts.items() if of is None} == set(others)
    assert set(parts.values()) == {None, f"{LAYER}.weight"}


@pytest.mark.parametrize("name", FORMATS)
def test_the_spectrum_is_that_of_the_dequantized_matrix_and_near_the_originals(name, tmp_path):
    layer = FORMATS[name]()
    report = spectra.analyze(write_folder(tmp_path, state_of(layer), layer.config, "safetensors"))
    (row,) = report.layers
    assert (row.quantized, row.dtype) == (layer.quantized, layer.dtype)
    assert (row.num_rows, row.num_cols) == layer.dequantized.shape
    found = report.eigenvalues(LAYER)
    expected = np.sort(np.linalg.svd(layer.dequantized, compute_uv=False)) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * expected[-1])
    original = np.sort(np.linalg.svd(weight_of(*layer.dequantized.shape).astype(np.float64), compute_uv=False))
    # Weyl: no singular value moves by more than the norm of the difference.
    assert (np.abs(np.sqrt(found) - original) <= np.linalg.norm(layer.bound) * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_ingredient_is_named_and_nothing_of_the_layer_passes_for_a_weight(name):
    layer = FORMATS[name]()
    needed = {"scales", "qzeros", "weight_scale", "weight_scale_inv", "SCB", "weight.absmax", "weight.quant_map"}
    for last in needed & set(layer.tensors):
        rest = {key: tensor for key, tensor in layer.tensors.items() if key != last}
        tensors = listed({f"{LAYER}.{key}": tensor for key, tensor in rest.items()}, layer.config)
        weight = the_weight(tensors)
        # One name stands for both of float8's.
        assert "without its '" in weight.unreadable
        assert last.removesuffix("_inv") in weight.unreadable
        assert "get the complete checkpoint" in weight.unreadable
        assert all(tensor.part_of for tensor in tensors if tensor is not weight)


@pytest.mark.parametrize("name", FORMATS)
def test_a_scale_of_another_shape_is_refused(name):
    layer = FORMATS[name]()
    for last in {"scales", "weight_scale", "weight_scale_inv", "SCB", "weight.absmax"} & set(layer.tensors):
        tensor = layer.tensors[last]
        longer = torch.cat([tensor.reshape(-1, 1) if tensor.dim() < 2 else tensor] * 3).to(tensor.dtype)
        weight = the_weight(listed(state_of(layer) | {f"{LAYER}.{last}": longer}, layer.config))
        assert weight.unreadable is not None
        assert "check the files" in weight.unreadable


@pytest.mark.parametrize("name", FORMATS)
def test_a_weight_on_the_meta_device_stays_a_row_without_numbers_or_is_refused(name):
    layer = FORMATS[name]()
    state = {key: tensor.to("meta") for key, tensor in state_of(layer).items()}
    tensors = [
        StoredTensor(n, tuple(t.shape), dtype_name(t), row_reader(lambda t=t: t), unreadable="meta") for n, t in state.items()
    ]
    weight = the_weight(dequantized(tensors, {"quantization_config": layer.config}))
    assert weight.unreadable == "meta" or "load the model with its weights" in weight.unreadable


@settings(max_examples=20)
@given(st.sampled_from([name for name in FORMATS if "float8" not in name]), st.integers(-10, 6))
def test_scaling_the_scales_scales_the_weight(name, exponent):
    layer = FORMATS[name]()
    outer = {"weight.nested_absmax", "weight_global_scale", "weight_scale_2"} & set(layer.tensors)
    inner = {"scales", "weight_scale", "SCB", "weight.absmax"} & set(layer.tensors)
    if name == "mxfp4" or "nested" in name:
        return  # powers of two, and an offset in JSON
    (last,) = outer or inner
    factor = 2.0 ** (-exponent if last == "weight_global_scale" else exponent)
    scaled = layer.tensors[last].float() * factor
    before = the_weight(listed(state_of(layer), layer.config)).read(0, 5)
    after = the_weight(listed(state_of(layer) | {f"{LAYER}.{last}": scaled}, layer.config)).read(0, 5)
    # Powers of two: exact, but for products with 1/127 that are rounded on their own.
    np.testing.assert_allclose(after, before * np.float32(2.0**exponent), rtol=3e-7)


REFERENCES = json.loads((Path(__file__).parents[2] / "data" / "quantized.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REFERENCES["cases"])
def test_the_libraries_own_answers_are_met(name):
    case = REFERENCES["cases"][name]
    state = {
        last: torch.frombuffer(bytearray(base64.b64decode(t["data"])), dtype=torch.uint8)
        .view(getattr(torch, t["dtype"]))
        .reshape(t["shape"])
        for last, t in case["tensors"].items()
    }
    expected = np.frombuffer(base64.b64decode(case["expected"]["data"]), "<f4").reshape(case["expected"]["shape"])
    weight = the_weight(listed({f"{LAYER}.{last}": tensor for last, tensor in state.items()}, case["settings"]))
    # float32, but for the library that answers in bfloat16: half a unit in its last place.
    np.testing.assert_allclose(weight.read(0, len(expected)), expected, rtol=2.0**-8 if name == "nvfp4" else 3e-7)
