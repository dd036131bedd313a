"""Each rule by which a tensor becomes matrices, with an answer worked out by hand or by NumPy, slice by slice."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import spectra
from spectra.matrices import ModelContext, WeightMatrices, matrices_of
from spectra.results.records import SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources import Layout, StoredTensor, open_source
from tests.models import gpt2, mixtral


def stored(name, shape, dtype="float32", layout=None, unreadable=None):
    return StoredTensor(name, shape, dtype, lambda start, stop: np.zeros((stop - start, *shape[1:])), layout, None, unreadable)


def found_for(tensor, config=None, **settings):
    return matrices_of(tensor, ModelContext(config or {}, {tensor.name: tensor.shape}), AnalysisSettings(**settings))


def decided(name, shape, dtype="float32", config=None, layout=None, **settings):
    """The one row of a tensor; or why there is none."""
    found = found_for(stored(name, shape, dtype, layout), config, **settings)
    if isinstance(found, tuple):
        (found,) = found
    return found


def reason(name, shape, dtype="float32", layout=None, config=None):
    skipped = found_for(stored(name, shape, dtype, layout), config)
    assert isinstance(skipped, SkippedTensor)
    assert (skipped.name, skipped.shape, skipped.dtype) == (name, shape, dtype)
    return skipped.reason


def squared_singular_values(slices):
    """Eigenvalues of the matrices of a list, pooled, ascending; by NumPy's SVD, without any code of ours."""
    return np.sort(np.concatenate([np.linalg.svd(matrix, compute_uv=False) ** 2 for matrix in slices]))


def assert_eigenvalues(module, slices, rows, cols):
    """The module's one weight is these matrices, and their eigenvalues are what the analysis finds."""
    report = spectra.analyze(nn.ModuleDict({"layer": module}))
    (row,) = report.layers
    assert (row.layer_name, row.num_rows, row.num_cols, row.num_matrices) == ("layer", rows, cols, len(slices))
    assert {matrix.shape for matrix in slices} == {(rows, cols)}
    assert row.num_eigenvalues == len(slices) * min(rows, cols)
    np.testing.assert_allclose(report.eigenvalues("layer"), squared_singular_values(slices), rtol=1e-9)
    return row


def weight_of(module):
    return module.weight.detach().double().numpy()


# Dense weights


def test_a_linear_weight_is_its_own_matrix():
    torch.manual_seed(0)
    layer = nn.Linear(30, 20)
    row = assert_eigenvalues(layer, [weight_of(layer)], 20, 30)
    assert (row.kind, row.is_transposed, row.aspect_ratio, row.num_params) == ("linear", False, 1.5, 600)


def test_eigenvalues_of_a_diagonal_weight_are_its_squares():
    report = spectra.analyze({"a.weight": np.diag(np.arange(1.0, 11.0))})
    np.testing.assert_allclose(report.eigenvalues("a"), np.arange(1.0, 11.0) ** 2, rtol=1e-14)


def test_gpt2s_conv1d_is_a_dense_weight_stored_in_by_out():
    model = gpt2()
    report = spectra.analyze(model)
    row = next(row for row in report.layers if row.layer_name == "transformer.h.0.mlp.c_fc")
    assert (row.kind, row.is_transposed, row.num_rows, row.num_cols, row.num_matrices) == ("linear", True, 64, 256, 1)
    expected = squared_singular_values([weight_of(model.transformer.h[0].mlp.c_fc)])
    np.testing.assert_allclose(report.eigenvalues(row.layer_name), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "model_type", "is_transposed"),
    [
        ("h.0.attn.c_proj.weight", "gpt2", True),
        ("transformer.h.0.mlp.c_fc.weight", "gpt2", True),
        ("h.0.attn.c_proj.weight", "llama", False),
        ("h.0.attn.c_proj.weight", None, False),
        ("lm_head.weight", "gpt2", False),
    ],
)
def test_in_a_file_the_config_and_the_name_tell_gpt2s_layout(name, model_type, is_transposed):
    assert decided(name, (64, 192), config={"model_type": model_type}).is_transposed == is_transposed


def test_an_embedding_is_its_own_matrix():
    torch.manual_seed(0)
    layer = nn.Embedding(50, 16)
    assert assert_eigenvalues(layer, [weight_of(layer)], 50, 16).kind == "embedding"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("embeddings.word_embeddings.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("wpe.weight", "embedding"),
        ("shared.weight", "embedding"),
        ("embeddings.position_embeddings", "embedding"),
        ("lm_head.weight", "linear"),
        ("layers.0.shared_expert.up_proj.weight", "linear"),
        ("layers.0.wpe_proj.weight", "linear"),
    ],
)
def test_in_a_file_the_name_tells_an_embedding(name, kind):
    assert decided(name, (50, 16)).kind == kind


def test_a_module_knows_better_than_the_name():
    assert decided("embed.weight", (8, 8), layout=Layout("linear")).kind == "linear"
    assert decided("tokens.weight", (8, 8), layout=Layout("embedding")).kind == "embedding"
    assert not decided("c_proj.weight", (8, 8), layout=Layout("linear"), config={"model_type": "gpt2"}).is_transposed


@pytest.mark.parametrize(
    ("name", "layer_name"),
    [("a.b.weight", "a.b"), ("a.b.lora_A", "a.b.lora_A"), ("weight", "weight"), ("a.weight.b", "a.weight.b")],
)
def test_a_layer_has_the_name_of_its_module(name, layer_name):
    found = decided(name, (8, 8))
    assert (found.layer_name, found.matrix_name) == (layer_name, layer_name)


@pytest.mark.parametrize("shape", [(), (7,), (0,)])
def test_fewer_than_two_dimensions_are_never_matrices(shape):
    assert decided("a.weight", shape) is None
    assert decided("a.running_mean", shape, "int64") is None


# Convolutions


def test_a_one_dimensional_convolution_is_one_matrix_per_kernel_position():
    torch.manual_seed(0)
    layer = nn.Conv1d(10, 14, 5)
    w = weight_of(layer)
    assert assert_eigenvalues(layer, [w[:, :, k] for k in range(5)], 14, 10).kind == "conv1d"


def test_a_two_dimensional_convolution_is_one_matrix_per_kernel_position():
    torch.manual_seed(0)
    layer = nn.Conv2d(10, 14, (2, 3))
    w = weight_of(layer)
    slices = [w[:, :, i, j] for i in range(2) for j in range(3)]
    row = assert_eigenvalues(layer, slices, 14, 10)
    assert (row.kind, row.num_params, row.status) == ("conv2d", 14 * 10 * 6, "ok")


def test_a_three_dimensional_convolution_is_one_matrix_per_kernel_position():
    torch.manual_seed(0)
    layer = nn.Conv3d(6, 8, (2, 1, 3))
    w = weight_of(layer)
    assert assert_eigenvalues(layer, [w[:, :, i, 0, j] for i in range(2) for j in range(3)], 8, 6).kind == "conv3d"


def test_groups_of_a_convolution_are_matrices_of_their_own():
    torch.manual_seed(0)
    layer = nn.Conv2d(12, 18, 3, groups=3)  # each group: 4 channels in, 6 out
    w = weight_of(layer)
    assert w.shape == (18, 4, 3, 3)
    slices = [w[6 * g : 6 * g + 6, :, i, j] for g in range(3) for i in range(3) for j in range(3)]
    assert_eigenvalues(layer, slices, 6, 4)


def test_a_pointwise_convolution_is_a_dense_layer():
    torch.manual_seed(0)
    layer = nn.Conv2d(12, 20, 1)
    assert_eigenvalues(layer, [weight_of(layer)[:, :, 0, 0]], 20, 12)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_transposed_convolution_is_one_matrix_per_kernel_position_and_group(dimensions):
    torch.manual_seed(0)
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1](12, 10, 2, groups=2)
    w = weight_of(layer)
    assert w.shape == (12, 5, *[2] * dimensions)  # in x out / groups
    positions = np.moveaxis(w.reshape(12, 5, -1), 2, 0)
    slices = [position[6 * g : 6 * g + 6] for g in range(2) for position in positions]
    assert assert_eigenvalues(layer, slices, 6, 5).kind == f"conv{dimensions}d"


def test_a_depthwise_convolution_has_norms_and_no_fit():
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 24, 3, groups=24)
    w = weight_of(layer)
    report = spectra.analyze(nn.ModuleDict({"layer": layer}))
    (row,) = report.layers
    assert (row.status, row.num_rows, row.num_cols, row.num_matrices) == ("depthwise", 24, 1, 9)
    # One column per kernel position; its eigenvalue is its squared length.
    np.testing.assert_allclose(report.eigenvalues("layer"), np.sort((w[:, 0] ** 2).sum(axis=0).ravel()), rtol=1e-12)
    assert row.sum_eigenvalues == pytest.approx((w**2).sum(), rel=1e-12)
    assert np.isnan([row.alpha, row.xmin, row.ks_distance]).all()
    assert "alpha" not in report.summary.metrics


def test_a_depthwise_convolution_with_several_filters_per_channel_is_depthwise():
    (row,) = spectra.analyze(nn.Conv2d(8, 24, 3, groups=8)).layers
    assert (row.status, row.num_rows, row.num_cols) == ("depthwise", 24, 1)


@pytest.mark.parametrize(
    ("shape", "kind", "matrices"),
    [((16, 8, 3), "conv1d", 3), ((16, 8, 3, 5), "conv2d", 15), ((16, 8, 2, 2, 2), "conv3d", 8), ((32, 16, 16), "conv1d", 16)],
)
def test_in_a_file_three_to_five_dimensions_are_a_convolution_of_one_group(shape, kind, matrices):
    found = decided("stem.weight", shape)
    assert (found.kind, found.num_rows, found.num_cols, found.num_matrices, found.groups) == (kind, *shape[:2], matrices, 1)
    assert decided("weight", shape).kind == kind


def test_in_a_file_one_channel_in_is_depthwise():
    assert decided("stem.weight", (24, 1, 3, 3)).is_depthwise
    assert not decided("stem.weight", (24, 2, 3, 3)).is_depthwise


def test_matrices_of_a_convolution_are_yielded_position_by_position_and_group_by_group():
    kernel = np.arange(4 * 3 * 2 * 1, dtype=np.float32).reshape(4, 3, 2, 1)
    tensor = StoredTensor("a.weight", kernel.shape, "float32", lambda start, stop: kernel[start:stop], Layout("convolution", 2))
    (row,) = found_for(tensor)
    slices = [read(0, 2) for read in row.readers()]
    expected = [kernel[g : g + 2, :, k, 0] for k in range(2) for g in (0, 2)]
    assert len(slices) == 4
    for found, matrix in zip(slices, expected, strict=True):
        np.testing.assert_array_equal(found, matrix)


def test_cost_is_counted_by_the_smaller_side():
    matrices = WeightMatrices(stored("a", (20, 10)), "a", "a", "linear", num_rows=20, num_cols=10, num_matrices=3)
    assert matrices.num_eigenvalues == 30
    assert matrices.flops == pytest.approx(3 * (20 * 10**2 + 4 / 3 * 10**3))


# What is left out, and why


@pytest.mark.parametrize("shape", [(4, 192, 64), (8, 64, 17), (64, 64, 128), (32, 10, 12)])
def test_a_long_last_axis_is_no_kernel(shape):
    assert reason("experts.weight", shape) == (
        "three-dimensional with a long last axis: stacked matrices or a long kernel; analyse the live module"
    )


@pytest.mark.parametrize("shape", [(64, 3, 7), (512, 1, 10), (384, 80, 3), (8, 64, 16)])
def test_a_short_last_axis_is_a_kernel(shape):
    assert decided("conv.weight", shape).num_matrices == shape[2]


@pytest.mark.parametrize(
    "build", [lambda: nn.Conv2d(64, 1, 3), lambda: nn.Conv2d(8, 4, 3, groups=4)], ids=["one out", "groups"]
)
def test_one_output_channel_per_group_gives_vectors_too(build):
    torch.manual_seed(0)
    (row,) = spectra.analyze(build()).layers
    assert (row.status, math.isnan(row.alpha)) == ("depthwise", True)


def test_six_dimensions_are_no_convolution():
    assert reason("a.weight", (2, 2, 2, 2, 2, 2)) == "6 dimensions: convolutions have three to five"


@pytest.mark.parametrize("name", ["embeddings.cls_token", "pos_embed"])
def test_a_position_embedding_of_three_dimensions_is_no_convolution(name):
    assert reason(name, (1, 197, 64))


def test_a_position_embedding_of_four_dimensions_is_no_convolution():
    assert reason("pos_embed", (1, 64, 64, 768))


def test_a_bilinear_form_is_one_matrix_per_output_pooled():
    torch.manual_seed(0)
    layer = nn.Bilinear(9, 12, 4)
    assert assert_eigenvalues(layer, list(weight_of(layer)), 9, 12).kind == "bilinear"


def test_the_experts_of_a_live_model_are_rows_beside_their_router():
    report = spectra.analyze(mixtral(), include="model.layers.0.mlp.*")
    assert {row.kind for row in report.layers} == {"expert", "linear"}
    (router,) = [row for row in report.layers if row.kind == "linear"]
    assert (router.layer_name, router.status) == ("model.layers.0.mlp.gate", "too_few_evals")  # four experts


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "bool", "complex64"])
def test_numbers_that_are_not_floating_point_are_no_weights(dtype):
    assert reason("a.weight", (8, 8), dtype) == (
        f"{dtype} numbers, not floating point: codes, positions or masks are not weights"
    )


@pytest.mark.parametrize("dtype", ["float8_e8m0fnu", "f4"])
def test_scales_and_packed_codes_are_no_weights(dtype):
    assert reason("a.weight", (8, 8), dtype).startswith(f"{dtype} numbers, not floating point")


def test_integers_are_listed_and_cast_float8_is_analysed_from_a_live_module_and_a_file(tmp_path):
    from safetensors.torch import save_file

    model = nn.ModuleDict({"a": nn.Linear(60, 60), "b": nn.Linear(60, 60)})
    cast = model["a"].weight.detach().to(torch.float8_e4m3fn)
    model["a"].weight = nn.Parameter(cast, requires_grad=False)
    model["b"].weight = nn.Parameter(torch.zeros(60, 60, dtype=torch.int8), requires_grad=False)
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    expected = np.linalg.svd(cast.double().numpy(), compute_uv=False)[0]
    for kept in (model, model.state_dict(), tmp_path / "a.safetensors"):
        report = spectra.analyze(kept)
        assert [(row.layer_name, row.dtype) for row in report.layers] == [("a", "float8_e4m3fn")]
        assert report.layers[0].spectral_norm == pytest.approx(expected, rel=1e-10)
        assert [(t.name, t.dtype) for t in report.skipped] == [("b.weight", "int8")]


@pytest.mark.parametrize("last", ["weight_g", "weight_v", "weight_orig", "original0", "original1", "original"])
def test_parts_of_a_parametrised_weight_are_no_weights(last):
    assert reason(f"a.{last}", (8, 8)) == "part of a parametrised weight; analyse the live module"


@pytest.mark.parametrize("last", ["scales", "weight_scale", "weight_scale_inv", "absmax", "qzeros", "SCB", "quant_map"])
def test_scales_of_a_quantized_weight_are_no_weights(last):
    assert reason(f"a.{last}", (8, 8)) == "scales of a quantized weight"


def test_a_source_may_say_why_there_is_nothing_to_read():
    found = found_for(stored("a.weight", (8, 8), unreadable="sealed by its owner"))
    assert isinstance(found, SkippedTensor)
    assert found.reason == "sealed by its owner"
    assert isinstance(found_for(stored("a.weight", (8, 8), unreadable="meta")), tuple)


def test_numbers_that_went_into_another_weight_are_skipped_with_its_name():
    found = found_for(dataclasses.replace(stored("a.lora_A.weight", (4, 8)), part_of="a.weight"))
    assert isinstance(found, SkippedTensor)
    assert found.reason == "stored with 'a.weight'"


@pytest.mark.parametrize("dtype", ["int4", "uint8", "float8_e4m3fn", "int32"])
def test_a_quantized_weight_that_its_source_can_read_is_a_weight(dtype):
    (row,) = found_for(dataclasses.replace(stored("fc.weight", (16, 8), dtype), quantized="gptq"))
    assert (row.kind, row.num_rows, row.num_cols) == ("linear", 16, 8)


@pytest.mark.parametrize(
    ("name", "shape", "cols"),
    [("a.query_key_value.weight", (96, 32), 32), ("experts.gate_up_proj", (4, 96, 32), 96 * 32), ("x.y", (2, 3, 4, 5), 60)],
)
def test_a_difference_without_a_base_is_one_row_whatever_its_shape(name, shape, cols):
    (row,) = found_for(dataclasses.replace(stored(name, shape), no_base="no 'a' there"), {"model_type": "bloom"})
    assert (row.num_rows, row.num_cols, row.num_matrices, row.part, row.note) == (shape[0], cols, 1, "", "")
    assert row.matrix_name == name.removesuffix(".weight")


def test_a_convolution_without_a_base_keeps_its_kind():
    tensor = dataclasses.replace(stored("c.weight", (4, 3, 2, 2), layout=Layout("convolution")), no_base="none")
    assert found_for(tensor)[0].kind == "conv2d"


@pytest.mark.parametrize("name", ["attn.bias", "experts.gate_up_proj_bias", "mlp.fc1_bias"])
def test_biases_of_two_dimensions_are_no_weights(name):
    assert reason(name, (8, 8)) == "biases, one vector per expert or position: no weight matrix"


def test_a_table_of_relative_biases_is_an_embedding_and_no_bias():
    assert decided("attn.relative_attention_bias.weight", (32, 8)).kind == "linear"
    assert decided("attn.relative_attention_bias.weight", (32, 8), layout=Layout("embedding")).kind == "embedding"


# Shapes at the edge


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (5, 0, 3, 3), (5, 4, 0)])
def test_a_side_of_length_zero_is_a_row_without_numbers(shape):
    (empty, _) = spectra.analyze({"a.weight": np.zeros(shape), "b.weight": np.eye(9)}).layers
    assert (empty.status, empty.num_eigenvalues, empty.num_params) == ("empty", 0, 0)


def test_half_precision_kernels_are_analysed_as_they_are_stored():
    torch.manual_seed(0)
    layer = nn.Conv2d(10, 14, 2).to(torch.bfloat16)
    w = weight_of(layer)
    row = assert_eigenvalues(layer, [w[:, :, i, j] for i in range(2) for j in range(2)], 14, 10)
    assert row.dtype == "bfloat16"


def test_every_weight_of_a_convolutional_module_is_known_to_the_source():
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 2))
    kinds = [type(found_for(tensor)).__name__ for tensor in open_source(model).tensors]
    assert kinds == ["tuple", "NoneType", "NoneType", "NoneType", "tuple", "NoneType"]
