"""Every rule for fused projections, held against the model: its own code for the split, and what its forward pass computes."""

import numpy as np
import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.matrices import ModelContext, matrices_of
from spectra.matrices.fused import RULES, UNKNOWN_HEADS, UNKNOWN_LAYOUT, split_fused
from spectra.matrices.stripes import Stripes
from spectra.results.records import SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources import open_source
from tests.matrices.rows import matrix, rows_of
from tests.models import FUSED, tiny


def thirds(attention, outputs):
    return outputs.chunk(3, dim=-1)


def by_head(attention, outputs):
    return outputs.view(*outputs.shape[:2], 4, 3 * 8).chunk(3, dim=-1)


def multi_query(attention, outputs):
    return outputs.split((32, 8, 8), dim=-1)


def codegen(attention, outputs):
    query, value, key = torch.split(outputs.reshape(*outputs.shape[:2], 4, -1), 8 * 4 // 4, dim=-1)
    return query, key, value


def modernbert(attention, outputs):
    return outputs.view(*outputs.shape[:2], 3, -1, 8).unbind(dim=-3)


def phi3(attention, outputs):
    return outputs[..., :32], outputs[..., 32:48], outputs[..., 48:]


def dbrx(attention, outputs):
    return outputs.split([32, 16, 16], dim=2)


def falcon(attention, outputs):
    query, key, value = attention._split_heads(outputs)
    if attention.new_decoder_architecture:  # keys and values are repeated for the queries that share them
        key, value = (x.view(*x.shape[:2], 2, 2, 8)[:, :, :, 0] for x in (key, value))
    return query, key, value


def bloom(attention, outputs):
    return [x.transpose(1, 2) for x in attention._reshape(outputs)]


def persimmon(attention, outputs):
    return attention._split_heads(outputs)


def deberta(attention, outputs):
    return [x.transpose(1, 2) for x in attention.transpose_for_scores(outputs).chunk(3, dim=-1)]


# Architecture → the fused layer, and how the model's attention takes its outputs apart, in the model's own words.
ATTENTION = {
    "gpt2": ("h.0.attn.c_attn", thirds),
    "openai-gpt": ("h.0.attn.c_attn", thirds),
    "gpt_bigcode, multi-query": ("h.0.attn.c_attn", multi_query),
    "gpt_bigcode, multi-head": ("h.0.attn.c_attn", by_head),
    "codegen": ("h.0.attn.qkv_proj", codegen),
    "mpt": ("blocks.0.attn.Wqkv", thirds),
    "gpt_neox": ("layers.0.attention.query_key_value", by_head),
    "gpt_neox_japanese": ("layers.0.attention.query_key_value", by_head),
    "bloom": ("h.0.self_attention.query_key_value", bloom),
    "persimmon": ("layers.0.self_attn.query_key_value", persimmon),
    "falcon, multi-query": ("h.0.self_attention.query_key_value", falcon),
    "falcon, multi-head": ("h.0.self_attention.query_key_value", falcon),
    "falcon, grouped": ("h.0.self_attention.query_key_value", falcon),
    "phi3": ("layers.0.self_attn.qkv_proj", phi3),
    "modernbert": ("layers.0.attn.Wqkv", modernbert),
    "deberta": ("encoder.layer.0.attention.self.in_proj", deberta),
    "dbrx": ("blocks.0.norm_attn_norm.attn.Wqkv", dbrx),
}

# The weights that take in what the values give out.
AFTER_VALUE = {"c_attn": "c_proj", "Wqkv": "out_proj", "qkv_proj": "o_proj", "query_key_value": "dense"}
AFTER = {"modernbert": "Wo", "codegen": "out_proj", "deberta": "../output.dense"}


@pytest.mark.parametrize("architecture", ATTENTION)
def test_the_parts_are_what_the_models_own_code_makes_of_the_unit_vectors(architecture):
    model = tiny(architecture)
    name, split = ATTENTION[architecture]
    layer = model.get_submodule(name)
    attention = model.get_submodule(name.rpartition(".")[0])
    with torch.no_grad():
        outputs = layer(torch.eye(32)[None]) - (0.0 if layer.bias is None else layer.bias)
        parts = dict(zip("qkv", split(attention, outputs), strict=True))
    rows = {row.part: row for row in rows_of(model) if row.layer_name == name}
    assert set(rows) == set("qkv")
    for part, row in rows.items():
        assert (row.kind, row.matrix_name, row.layer_name) == ("linear", f"{name}.{part}", name)
        images = parts[part].reshape(32, -1).numpy()  # of the unit vectors: in x out
        found = matrix(row) if row.is_transposed else matrix(row).T
        assert found.shape == images.shape == ((row.num_rows, row.num_cols) if row.is_transposed else images.shape)
        # float32 sums of 32 terms, all but one of them zero, and a bias added and taken off.
        np.testing.assert_allclose(found, images, rtol=0, atol=1e-7)
        np.testing.assert_allclose(eigenvalues(found), eigenvalues(images), rtol=1e-5, atol=1e-6)


def eigenvalues(array):
    return np.linalg.svd(array.astype(np.float64), compute_uv=False) ** 2


def scale(model, row, factor):
    """Multiply a part of a parameter, and of its bias, where they stand in the model."""
    parameter = model.get_parameter(row.tensor.name)
    stripes = row.cut.cols if row.is_transposed else row.cut.rows
    chosen = stripes.of(np.arange(parameter.shape[1 if row.is_transposed else 0]), 0)
    with torch.no_grad():
        parameter[(slice(None), chosen) if row.is_transposed else chosen] *= factor
        bias = dict(model.named_parameters()).get(row.tensor.name.removesuffix("weight") + "bias")
        if bias is not None:
            bias[chosen] *= factor


def forward(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None] % 60 + 3).last_hidden_state


@pytest.mark.parametrize("architecture", ATTENTION)
def test_doubled_queries_and_halved_keys_leave_what_the_model_computes(architecture):
    # Attention sees the product of both alone. No norm stands between: the tiny models have none on queries and keys.
    model = tiny(architecture)
    before = forward(model)
    rows = {row.part: row for row in rows_of(model) if row.layer_name == ATTENTION[architecture][0]}
    scale(model, rows["q"], 2.0)
    assert not torch.allclose(forward(model), before, atol=1e-4)
    scale(model, rows["k"], 0.5)
    torch.testing.assert_close(forward(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ATTENTION)
def test_doubled_values_and_a_halved_output_leave_what_the_model_computes(architecture):
    model = tiny(architecture)
    before = forward(model)
    name = ATTENTION[architecture][0]
    row = next(row for row in rows_of(model) if (row.layer_name, row.part) == (name, "v"))
    head, _, last = name.rpartition(".")
    after = AFTER.get(architecture.split(",")[0], AFTER_VALUE.get(last, ""))
    if after.startswith("../"):
        head, after = head.rpartition(".")[0], after[3:]
    scale(model, row, 2.0)
    assert not torch.allclose(forward(model), before, atol=1e-4)
    with torch.no_grad():
        model.get_parameter(f"{head}.{after}.weight").mul_(0.5)
    torch.testing.assert_close(forward(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "name", "linear", "after"),
    [
        ("phi3", "layers.0.mlp.gate_up_proj", "up", "down_proj"),
        ("glm", "layers.0.mlp.gate_up_proj", "up", "down_proj"),
        ("modernbert", "layers.0.mlp.Wi", "gate", "Wo"),  # 'gate' is what its own code calls the half without activation
        ("mamba", "layers.0.mixer.in_proj", None, None),
    ],
)
def test_the_halves_of_a_gated_unit_are_told_apart(architecture, name, linear, after):
    model = tiny(architecture)
    rows = {row.part: row for row in rows_of(model) if row.layer_name == name}
    whole = model.get_submodule(name).weight.detach()
    halves = whole.chunk(2, dim=0)
    for row, half in zip(rows.values(), halves, strict=True):
        np.testing.assert_array_equal(matrix(row), half)
    if linear:  # the half that the activation does not touch can be doubled, and what follows halved
        before = forward(model)
        scale(model, rows[linear], 2.0)
        assert not torch.allclose(forward(model), before, atol=1e-4)
        with torch.no_grad():
            model.get_parameter(f"{name.rpartition('.')[0]}.{after}.weight").mul_(0.5)
        torch.testing.assert_close(forward(model), before, rtol=1e-5, atol=1e-5)


def test_separately_stored_projections_are_left_alone():
    rows = [row for row in rows_of(tiny("starcoder2")) if "self_attn" in row.layer_name]
    assert {row.layer_name.rsplit(".", 1)[-1] for row in rows} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {(row.part, row.note) for row in rows} == {("", "")}


def test_cross_attention_of_gpt2_holds_key_and_value_only():
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2Model(GPT2Config(**sizes, add_cross_attention=True))
    rows = {row.matrix_name: row for row in rows_of(model) if "crossattention" in row.layer_name}
    weight = model.h[0].crossattention.c_attn.weight.detach()
    key, value = weight.split(model.h[0].crossattention.split_size, dim=1)
    assert set(rows) == {f"h.0.crossattention.{name}" for name in ("c_attn.k", "c_attn.v", "q_attn", "c_proj")}
    np.testing.assert_array_equal(matrix(rows["h.0.crossattention.c_attn.k"]), key)
    np.testing.assert_array_equal(matrix(rows["h.0.crossattention.c_attn.v"]), value)


@pytest.mark.parametrize("kept", ["module", "state dict"])
def test_the_projection_of_torchs_attention_is_query_key_and_value(kept):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(24, 4)
    rows = {row.matrix_name: row for row in rows_of(attention if kept == "module" else attention.state_dict())}
    assert set(rows) == {"in_proj_weight.q", "in_proj_weight.k", "in_proj_weight.v", "out_proj"}
    # torch.nn.functional._in_projection_packed
    for part, chunk in zip("qkv", attention.in_proj_weight.detach().chunk(3), strict=True):
        np.testing.assert_array_equal(matrix(rows[f"in_proj_weight.{part}"]), chunk)


def test_a_vision_towers_qkv_is_split_without_a_configuration():
    from transformers import Qwen2VLConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import VisionAttention

    vision = Qwen2VLConfig(vision_config={"embed_dim": 32, "num_heads": 4}).vision_config
    torch.manual_seed(0)
    attention = VisionAttention(vision)
    rows = {row.matrix_name: row for row in rows_of({f"attn.{k}": v for k, v in attention.state_dict().items()})}
    with torch.no_grad():
        outputs = attention.qkv(torch.eye(32)) - attention.qkv.bias
        parts = outputs.reshape(32, 3, attention.num_heads, -1).permute(1, 0, 2, 3).unbind(0)
    for part, images in zip("qkv", parts, strict=True):
        np.testing.assert_allclose(matrix(rows[f"attn.qkv.{part}"]).T, images.reshape(32, -1), rtol=0, atol=1e-7)


def test_hieras_qkv_widens_and_is_still_thirds():
    from transformers import HieraConfig, HieraModel

    torch.manual_seed(0)
    model = HieraModel(
        HieraConfig(embed_dim=16, depths=[1, 1], num_heads=[1, 2], image_size=[32, 32], patch_stride=[4, 4], num_query_pool=1)
    )
    fused = [row for row in rows_of(model) if row.layer_name.endswith(".qkv")]
    assert {(row.num_rows, row.num_cols) for row in fused} == {(16, 16), (32, 16)}
    assert [row.part for row in fused] == ["q", "k", "v"] * 2


# What the table does with shapes, by numbers


def parts(name, length, width=32, **config):
    return split_fused(name, length, width, ModelContext(config, {}))


QWEN, BAICHUAN = {"model_type": "qwen"}, {"model_type": "baichuan"}
HEADS = {"hidden_size": 32, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("name", "length", "config", "expected"),
    [
        ("h.0.attn.c_attn", 96, QWEN, {"q": (0, 32, 96, 1), "k": (32, 32, 96, 1), "v": (64, 32, 96, 1)}),
        ("layers.0.self_attn.W_pack", 96, BAICHUAN, {"q": (0, 32, 96, 1), "k": (32, 32, 96, 1), "v": (64, 32, 96, 1)}),
        (
            "attention.query_key_value",
            48,
            {**HEADS, "model_type": "chatglm", "multi_query_attention": True, "multi_query_group_num": 1, "kv_channels": 8},
            {"q": (0, 32, 48, 1), "k": (32, 8, 48, 1), "v": (40, 8, 48, 1)},
        ),
        (
            "attention.query_key_value",
            96,
            {**HEADS, "model_type": "chatglm"},
            {"q": (0, 8, 24, 4), "k": (8, 8, 24, 4), "v": (16, 8, 24, 4)},
        ),
        (
            "attention.wqkv",
            64,
            {**HEADS, "model_type": "internlm2", "num_key_value_heads": 2},
            {"q": (0, 16, 32, 2), "k": (16, 8, 32, 2), "v": (24, 8, 32, 2)},
        ),
        (
            "self_attention.query_key_value",
            64,
            {"hidden_size": 32, "n_head": 4, "n_head_kv": 2, "model_type": "RefinedWeb"},
            {"q": (0, 16, 32, 2), "k": (16, 8, 32, 2), "v": (24, 8, 32, 2)},
        ),
        (
            "blocks.0.attn.Wqkv",
            64,
            {"d_model": 32, "n_heads": 4, "attn_config": {"kv_n_heads": 2}, "model_type": "mpt"},
            {"q": (0, 32, 64, 1), "k": (32, 16, 64, 1), "v": (48, 16, 64, 1)},
        ),
        (
            "blocks.0.attn.qkv",
            64,
            {"hidden_size": 32, "num_heads": 4, "num_key_value_heads": 2, "model_type": "exaone4_5_vision"},
            {"q": (0, 32, 64, 1), "k": (32, 16, 64, 1), "v": (48, 16, 64, 1)},
        ),
        ("blocks.0.qkv_proj", 96, {**HEADS, "model_type": "minimax"}, {n: (8 * i, 8, 24, 4) for i, n in enumerate("qkv")}),
        (
            "audio.feed_forward_in.gate_up_proj",
            96,
            {"model_type": "phi4_multimodal"},
            {"up": (0, 48, 96, 1), "gate": (48, 48, 96, 1)},
        ),
    ],
    ids=[
        "qwen",
        "baichuan",
        "chatglm2",
        "chatglm",
        "internlm2",
        "RefinedWeb",
        "mpt-grouped",
        "exaone",
        "minimax",
        "phi4-audio",
    ],
)
def test_architectures_outside_transformers_are_split_as_their_own_code_does(name, length, config, expected):
    assert parts(name, length, **config) == {part: Stripes(*numbers) for part, numbers in expected.items()}


def test_a_nested_configuration_decides_for_its_own_weights():
    config = {"model_type": "vision-encoder-decoder", "decoder": {"model_type": "gpt2"}, "encoder": {"model_type": "vit"}}
    assert list(parts("decoder.transformer.h.0.attn.c_attn", 96, **config)) == ["q", "k", "v"]


def test_of_two_nested_configurations_the_one_that_fits_decides():
    small = {"model_type": "bloom", "hidden_size": 16, "n_head": 2}
    large = {"model_type": "bloom", "hidden_size": 32, "n_head": 4}
    assert parts("a.query_key_value", 96, text_config=small, other_config=large)["q"].count == 4


@pytest.mark.parametrize(
    ("name", "length", "config", "message"),
    [
        ("attn.in_proj_weight", 97, {}, "97 outputs are not 3 equal parts (q, k, v)"),
        ("mlp.gate_up_proj", 95, {}, "95 outputs are not 2 equal parts (gate, up)"),
        ("a.query_key_value", 95, {**HEADS, "model_type": "bloom"}, "95 outputs are not 3 x 4 heads of 8"),
        (
            "a.qkv_proj",
            95,
            {**HEADS, "model_type": "phi3", "num_key_value_heads": 2},
            "95 outputs are not 4 + 2 x 2 heads of 8",
        ),
        ("a.qkv_proj", 95, {"model_type": "codegen"}, "95 outputs are not 4 x (query, value, key)"),
        (
            "a.wqkv",
            64,
            {**HEADS, "model_type": "internlm2", "num_key_value_heads": 3},
            "64 outputs are not 3 groups of 4/3 + 2 heads of 8",
        ),
    ],
)
def test_a_layout_that_does_not_divide_is_refused(name, length, config, message):
    with pytest.raises(InputError) as refused:
        parts(name, length, **config)
    assert str(refused.value) == message


def test_a_layout_that_does_not_divide_is_skipped_with_the_reason():
    config = {**HEADS, "model_type": "bloom"}
    (found,) = [
        matrices_of(tensor, ModelContext(config, {}), AnalysisSettings())
        for tensor in open_source({"h.0.query_key_value.weight": np.zeros((95, 32), np.float32)}).tensors
    ]
    assert isinstance(found, SkippedTensor)
    assert found.reason == (
        "95 outputs are not 3 x 4 heads of 8: the shape does not fit the architecture's layout; "
        "split_fused 'none' analyses it whole"
    )


@pytest.mark.parametrize("name", ["a.query_key_value", "a.c_attn", "a.Wqkv", "a.qkv_proj", "a.W_pack", "a.w13"])
def test_a_fused_weight_of_an_unknown_architecture_is_analysed_whole_and_says_so(name):
    assert parts(name, 96) == UNKNOWN_LAYOUT
    assert parts(name, 96, model_type="unheard-of") == UNKNOWN_LAYOUT
    (row,) = rows_of({f"{name}.weight": np.zeros((96, 32), np.float32)})
    assert (row.part, row.matrix_name, row.num_rows, row.note) == ("", name, 96, UNKNOWN_LAYOUT)


def test_gpt2s_projection_is_known_without_a_configuration_by_its_columns():
    weights = {"h.0.attn.c_attn.weight": np.random.default_rng(0).standard_normal((32, 96)).astype(np.float32)}
    rows = rows_of(weights)
    assert [(row.part, row.is_transposed, row.note) for row in rows] == [(part, True, "") for part in "qkv"]
    np.testing.assert_array_equal(matrix(rows[1]), weights["h.0.attn.c_attn.weight"][:, 32:64])


def test_a_qkv_that_is_not_three_squares_is_not_guessed_at():
    assert parts("attn.qkv", 64) == UNKNOWN_LAYOUT


def test_a_configuration_without_heads_leaves_the_weight_whole_and_says_so():
    assert parts("a.query_key_value", 96, model_type="bloom") == UNKNOWN_HEADS


@pytest.mark.parametrize("name", ["mlp.fc1", "attn.out_proj", "lm_head", "attn.q_proj", "mlp.down_proj", "kv_a_proj_with_mqa"])
def test_other_weights_are_one_projection_without_a_note(name):
    assert parts(name, 96) == {}


@pytest.mark.parametrize("architecture", FUSED)
def test_nothing_is_split_where_that_is_asked_for(architecture):
    rows = rows_of(tiny(architecture), split_fused="none")
    assert {(row.part, row.note) for row in rows} == {("", "")}
    assert all(row.num_params == row.tensor.size for row in rows)


@pytest.mark.parametrize("architecture", FUSED)
def test_the_parts_of_a_weight_are_all_of_it(architecture):
    model = tiny(architecture)
    rows = rows_of(model)
    for name in {row.tensor.name for row in rows}:
        assert sum(row.num_params for row in rows if row.tensor.name == name) == model.get_parameter(name).numel()
    assert len({row.matrix_name for row in rows}) == len(rows)


def test_every_rule_names_its_source():
    assert all(rule.source for rule in RULES)
