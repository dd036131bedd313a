"""Attention heads: one matrix each where that is asked for, and where the configuration says how many there are."""

import numpy as np
import pytest
import torch
from torch import nn

from spectra.matrices.heads import Heads, head_dim, projection_of
from tests.matrices.rows import matrix, rows_of
from tests.models import bert, llama, tiny


def heads_of(model, prefix):
    return {row.matrix_name: row for row in rows_of(model, split_heads=True) if row.layer_name.startswith(prefix)}


def test_the_heads_of_separately_stored_projections_are_blocks_of_rows():
    model = llama()
    rows = heads_of(model, "model.layers.0.self_attn.")
    attention = model.model.layers[0].self_attn
    for name, count in (("q", 4), ("k", 2), ("v", 2)):
        # As the forward pass views the outputs: (..., heads, head_dim).
        blocks = getattr(attention, f"{name}_proj").weight.detach().view(count, attention.head_dim, 64)
        for number, block in enumerate(blocks):
            row = rows.pop(f"model.layers.0.self_attn.{name}_proj.head{number}")
            assert (row.part, row.kind, row.is_single) == (f"head {number}", "linear", True)
            np.testing.assert_array_equal(matrix(row), block)
    assert set(rows) == {"model.layers.0.self_attn.o_proj"}  # its heads are inputs


@pytest.mark.parametrize(
    ("architecture", "name", "view"),
    [
        ("gpt2", "h.0.attn.c_attn", lambda w: w.T.reshape(3, 4, 8, 32)),
        ("bloom", "h.0.self_attention.query_key_value", lambda w: w.reshape(4, 3, 8, 32).transpose(1, 0, 2, 3)),
        ("codegen", "h.0.attn.qkv_proj", lambda w: w.reshape(4, 3, 8, 32).transpose(1, 0, 2, 3)[[0, 2, 1]]),
    ],
)
def test_the_heads_of_fused_projections_are_cut_out_of_their_parts(architecture, name, view):
    model = tiny(architecture)
    rows = heads_of(model, name)
    assert len(rows) == 12
    expected = view(model.get_submodule(name).weight.detach().numpy())
    for part, heads in zip("qkv", expected, strict=True):
        for number, head in enumerate(heads):
            row = rows[f"{name}.{part}.head{number}"]
            assert row.part == f"{part} head {number}"
            np.testing.assert_array_equal(matrix(row).T if row.is_transposed else matrix(row), head)


def test_grouped_queries_have_more_heads_than_keys():
    model = tiny("falcon, grouped")
    name = "h.0.self_attention.query_key_value"
    rows = heads_of(model, name)
    weight = model.get_submodule(name).weight.detach().view(2, 4, 8, 32)  # groups of two queries, a key and a value
    assert len(rows) == 4 + 2 + 2
    for number in range(4):
        np.testing.assert_array_equal(matrix(rows[f"{name}.q.head{number}"]), weight[number // 2, number % 2])
    np.testing.assert_array_equal(matrix(rows[f"{name}.v.head1"]), weight[1, 3])


def test_multi_query_attention_has_one_head_of_keys():
    names = {row.part for row in heads_of(tiny("gpt_bigcode, multi-query"), "h.0.attn.c_attn").values()}
    assert names == {"q head 0", "q head 1", "q head 2", "q head 3", "k head 0", "v head 0"}


def test_torchs_attention_knows_its_heads():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(24, 4)
    rows = heads_of(attention, "in_proj")
    blocks = attention.in_proj_weight.detach().view(3, 4, 6, 24)
    assert len(rows) == 12
    np.testing.assert_array_equal(matrix(rows["in_proj_weight.k.head2"]), blocks[1, 2])


def test_berts_projections_have_heads():
    rows = heads_of(bert(), "encoder.layer.0.attention.self.")
    assert len(rows) == 3 * 4
    assert {(row.num_rows, row.num_cols) for row in rows.values()} == {(16, 64)}


def test_heads_that_no_configuration_knows_leave_the_weight_whole_and_say_so():
    (row,) = rows_of({"layers.0.q_proj.weight": np.zeros((32, 32), np.float32)}, split_heads=True)
    assert (row.part, row.matrix_name) == ("", "layers.0.q_proj")
    assert row.note == "heads asked for, and no configuration says how many this projection has: analysed whole"


def test_other_layers_stay_as_they_are():
    model = llama()
    plain, by_head = rows_of(model), rows_of(model, split_heads=True)
    others = [row.matrix_name for row in plain if "self_attn" not in row.layer_name or "o_proj" in row.layer_name]
    assert [row.matrix_name for row in by_head if "head" not in row.part] == others


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 4, "hidden_size": 32}, Heads(4, 4, 8)),
        ({"n_head": 4, "n_embd": 32}, Heads(4, 4, 8)),
        ({"n_heads": 4, "d_model": 32, "attn_config": {"kv_n_heads": 2}}, Heads(4, 2, 8)),
        ({"num_heads": 4, "embed_dim": 32, "num_kv_heads": None}, Heads(4, 4, 8)),
        ({"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 30, "head_dim": 16}, Heads(4, 2, 16)),
        ({"num_heads": [1, 2, 4], "embed_dim": 32}, None),
        ({"hidden_size": 32}, None),
        ({}, None),
    ],
)
def test_heads_are_read_under_every_architectures_names(config, expected):
    assert Heads.of(config) == expected


def test_the_candidate_that_makes_up_the_length_is_taken():
    known = [Heads(2, 2, 5), Heads(4, 2, 8)]
    assert (head_dim("q", 32, known), head_dim("kv", 16, known), head_dim("kv", 8, known), head_dim("q", 33, known)) == (
        8,
        8,
        8,
        None,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layers.0.self_attn.q_proj", "q"),
        ("attention.self.query", "q"),
        ("attention.self.value", "kv"),
        ("SelfAttention.k", "kv"),
        ("attention.q_lin", "q"),
        ("attn.to_v", "kv"),
        ("self_attn.o_proj", None),
        ("mlp.fc1", None),
        ("attn.qkv", None),
    ],
)
def test_projections_are_known_by_their_names(name, expected):
    assert projection_of(name) == expected
