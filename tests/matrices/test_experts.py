"""Experts: every one of a stack is a row, cut as the model's forward pass uses it; files and live modules agree."""

import numpy as np
import pytest
import torch

from spectra.errors import InputError
from spectra.matrices import ModelContext
from spectra.matrices.experts import UNKNOWN_GATE, Stack, expert_of, stack_of
from spectra.matrices.stripes import Stripes
from tests.matrices.rows import matrices, matrix, rows_of, skipped_of
from tests.models import EXPERTS, tiny

# Architecture → first and second projections of the experts of its first mixture, by their paths.
STACKS = {
    "mixtral": ("layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"),
    "qwen2_moe": ("layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"),
    "qwen3_moe": ("layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"),
    "olmoe": ("layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"),
    "deepseek_v2": ("layers.1.mlp.experts.gate_up_proj", "layers.1.mlp.experts.down_proj"),
    "deepseek_v3": ("layers.1.mlp.experts.gate_up_proj", "layers.1.mlp.experts.down_proj"),
    "llama4_text": ("layers.0.feed_forward.experts.gate_up_proj", "layers.0.feed_forward.experts.down_proj"),
    "granitemoe": ("layers.0.block_sparse_moe.experts.gate_up_proj", "layers.0.block_sparse_moe.experts.down_proj"),
    "jetmoe": ("layers.0.mlp.input_linear", "layers.0.mlp.output_linear"),
}


def scale(model, row, factor):
    """Multiply the one matrix of an expert where it stands in the model."""
    parameter = model.get_parameter(row.tensor.name)
    entry = parameter[row.cut.numbers.start]
    region = tuple(slice(None) if s is None else list(range(s.start, s.start + s.length)) for s in (row.cut.rows, row.cut.cols))
    with torch.no_grad():
        entry[region] *= factor


def forward(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None] % 60 + 3).last_hidden_state


@pytest.mark.parametrize("architecture", STACKS)
def test_a_doubled_up_projection_and_a_halved_second_one_leave_what_an_expert_computes(architecture):
    # The activation takes the gate alone, so that an expert is linear in 'up': this tells the halves apart, and the experts.
    model = tiny(architecture)
    first, second = STACKS[architecture]
    before = forward(model)
    rows = {row.matrix_name: row for row in rows_of(model)}
    changed = 0
    for expert in range(4):
        up, down = rows[f"{first}[{expert}].up"], rows[f"{second}[{expert}]"]
        assert (up.expert, up.part, up.stack, up.kind) == (expert, "up", f"{first}.up", "expert")
        assert (down.expert, down.part, down.stack, down.layer_name) == (expert, "", second, second)
        scale(model, up, 2.0)
        changed += not torch.allclose(forward(model), before, atol=1e-5)
        scale(model, down, 0.5)
        torch.testing.assert_close(forward(model), before, rtol=1e-4, atol=1e-5)
    assert changed >= 2  # as many experts as a token has were used


@pytest.mark.parametrize("architecture", STACKS)
def test_gate_and_up_of_every_expert_are_the_halves_that_the_model_computes(architecture):
    model = tiny(architecture)
    first, _ = STACKS[architecture]
    rows = {row.matrix_name: row for row in rows_of(model)}
    weight = next(p for name, p in model.named_parameters() if name.removesuffix(".weight") == first).detach()
    for expert in range(4):
        entry = weight[expert] if rows[f"{first}[0].up"].is_transposed else weight[expert].T  # in x out
        gate, up = (torch.eye(32) @ entry).chunk(2, dim=-1)
        for part, images in (("gate", gate), ("up", up)):
            row = rows[f"{first}[{expert}].{part}"]
            found = matrix(row) if row.is_transposed else matrix(row).T
            np.testing.assert_array_equal(found, images)
            np.testing.assert_allclose(
                np.linalg.svd(found, compute_uv=False), np.linalg.svd(images.numpy(), compute_uv=False), rtol=1e-5, atol=1e-6
            )


def test_gpt_oss_takes_gate_and_up_in_turn():
    model = tiny("gpt_oss")
    experts = model.layers[0].mlp.experts
    rows = {row.matrix_name: row for row in rows_of(model)}
    name = "layers.0.mlp.experts.gate_up_proj"
    for expert in range(4):
        gate_up = (torch.eye(32) @ experts.gate_up_proj[expert]).detach()
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]  # GptOssExperts._apply_gate
        np.testing.assert_array_equal(matrix(rows[f"{name}[{expert}].gate"]), gate)
        np.testing.assert_array_equal(matrix(rows[f"{name}[{expert}].up"]), up)
        assert rows[f"{name}[{expert}].up"].is_transposed
        np.testing.assert_array_equal(
            matrix(rows[f"layers.0.mlp.experts.down_proj[{expert}]"]), experts.down_proj[expert].detach()
        )
    biases = {"layers.0.mlp.experts.gate_up_proj_bias", "layers.0.mlp.experts.down_proj_bias"}
    reasons = {name: reason for name, reason in skipped_of(model).items() if name in biases}
    assert reasons == dict.fromkeys(biases, "biases, one vector per expert or position: no weight matrix")


def test_the_packed_experts_of_dbrx_are_taken_apart():
    model = tiny("dbrx")
    experts = model.blocks[0].ffn.experts
    rows = {row.matrix_name: row for row in rows_of(model)}
    for name in ("w1", "v1", "w2"):
        weight = getattr(experts.mlp, name).view(-1, experts.ffn_hidden_size, experts.hidden_size).detach()
        for expert in range(4):
            row = rows[f"blocks.0.ffn.experts.mlp.{name}[{expert}]"]
            assert (row.expert, row.stack, row.num_rows, row.is_single) == (
                expert,
                f"blocks.0.ffn.experts.mlp.{name}",
                24,
                True,
            )
            np.testing.assert_array_equal(matrix(row), weight[expert])


def test_the_experts_of_jetmoes_attention_have_no_gate():
    model = tiny("jetmoe")
    rows = [row for row in rows_of(model) if row.layer_name == "layers.0.self_attention.experts.input_linear"]
    assert [row.part for row in rows] == [""] * 4
    for expert, row in enumerate(rows):
        np.testing.assert_array_equal(matrix(row), model.layers[0].self_attention.experts.input_linear.weight[expert].detach())


def test_shared_experts_and_latent_projections_of_deepseek_are_plain():
    kinds = {row.layer_name: row.kind for row in rows_of(tiny("deepseek_v3"))}
    plain = ["mlp.shared_experts.gate_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj", "mlp.gate"]
    assert {kinds[f"layers.1.{name}"] for name in plain} == {"linear"}


@pytest.mark.parametrize("architecture", EXPERTS)
def test_pooled_experts_are_one_row_per_part_with_the_matrices_of_all(architecture):
    model = tiny(architecture)
    single, pooled = rows_of(model), rows_of(model, moe="pool")
    stacks = {row.stack for row in single if row.stack}
    rows = {row.matrix_name: row for row in pooled if row.stack}
    assert set(rows) == stacks
    for name, row in rows.items():
        assert (row.num_matrices, row.expert, row.is_single, row.stack) == (4, None, False, name)
        members = [matrix(member) for member in single if member.stack == name]
        np.testing.assert_array_equal(matrices(row), members)
        assert row.num_params == sum(member.size for member in members)


@pytest.mark.parametrize("architecture", EXPERTS)
def test_a_summary_has_the_rows_of_the_experts(architecture):
    model = tiny(architecture)
    names = [[row.matrix_name for row in rows_of(model, moe=mode)] for mode in ("per_expert", "summary")]
    assert names[0] == names[1]


@pytest.mark.parametrize("architecture", EXPERTS)
def test_experts_stay_whole_where_nothing_is_to_be_split(architecture):
    rows = [row for row in rows_of(tiny(architecture), split_fused="none") if row.kind == "expert"]
    assert {row.part for row in rows} == {""}
    assert {row.note for row in rows} == {""}
    assert len({row.matrix_name for row in rows}) == len(rows)


@pytest.mark.parametrize("architecture", EXPERTS)
def test_the_saved_model_holds_the_same_matrices_as_the_live_one(architecture, tmp_path):
    # transformers 5 writes the names of the hub's files: experts one by one, or other paths. The matrices are the same.
    model = tiny(architecture)
    model.save_pretrained(tmp_path)

    def spectra_of(rows):
        return sorted(tuple(np.sort(np.linalg.svd(matrix(row), compute_uv=False))) for row in rows if row.kind == "expert")

    live, stored = rows_of(model), rows_of(tmp_path)
    assert {row.note for row in stored} == {""}
    np.testing.assert_allclose(np.concatenate(spectra_of(stored)), np.concatenate(spectra_of(live)), rtol=0, atol=1e-6)
    for kind in {row.kind for row in live}:
        count = [sum(row.num_params for row in rows if row.kind == kind) for rows in (live, stored)]
        assert count[0] == count[1], kind


def test_separately_stored_experts_share_the_name_of_their_stack(tmp_path):
    tiny("mixtral").save_pretrained(tmp_path)
    rows = [
        row for row in rows_of(tmp_path) if row.kind == "expert" and ".w1" in row.layer_name and "layers.0" in row.layer_name
    ]
    (stack,) = {row.stack for row in rows}
    assert stack == rows[0].layer_name.replace("experts.0", "experts.*")
    assert [row.expert for row in rows] == [0, 1, 2, 3]
    assert [row.matrix_name for row in rows] == [row.layer_name for row in rows]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.0.mlp.experts.12.gate_proj", (12, "model.layers.0.mlp.experts.*.gate_proj")),
        ("encoder.block.1.layer.1.mlp.experts.expert_3.wi", (3, "encoder.block.1.layer.1.mlp.experts.expert_*.wi")),
        ("experts.0.w1", (0, "experts.*.w1")),
        ("model.layers.3.mlp.shared_experts.gate_proj", None),
        ("model.layers.3.mlp.gate_proj", None),
        ("experts.0", None),
    ],
)
def test_one_expert_among_many_is_known_by_its_name(name, expected):
    assert expert_of(name) == expected


# Shapes at the edge


def stack(first, second=None, name="mlp.experts.gate_up_proj", config=None, split=True):
    shapes = {name: first} | ({name.replace("gate_up_proj", "down_proj"): second} if second else {})
    return stack_of(name, name, first, ModelContext(config or {}, shapes), split=split)


HALVES = {"gate": Stripes(0, 32, 64), "up": Stripes(32, 32, 64)}
IN_TURN = {"gate": Stripes(0, 1, 2, 32), "up": Stripes(1, 1, 2, 32)}


@pytest.mark.parametrize(
    ("first", "second", "config", "expected"),
    [
        ((4, 96, 32), (4, 32, 48), {}, Stack(False, {"gate": Stripes(0, 48, 96), "up": Stripes(48, 48, 96)})),
        ((4, 64, 64), (4, 64, 32), {}, Stack(False, HALVES)),
        ((4, 64, 64), (4, 32, 64), {"model_type": "llama4"}, Stack(True, HALVES)),
        ((4, 64, 64), (4, 32, 64), {"model_type": "gpt_oss"}, Stack(True, IN_TURN)),
        ((4, 64, 64), (4, 32, 64), {}, Stack(True, note=UNKNOWN_GATE)),
        ((4, 96, 32), None, {}, Stack(note=UNKNOWN_GATE)),
    ],
    ids=["rows", "square, rows", "columns", "in turn", "columns, no configuration", "alone"],
)
def test_the_second_projection_tells_where_the_outputs_of_the_first_are(first, second, config, expected):
    assert stack(first, second, config=config) == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [((4, 96), "2-dimensional parameter of experts"), ((4, 2, 48, 32), "4-dimensional parameter of experts")],
)
def test_an_expert_tensor_of_unexpected_rank_is_skipped_with_the_reason(shape, message):
    found = skipped_of({"mlp.experts.gate_up_proj": np.zeros(shape, np.float32), "fc.weight": np.eye(9)})
    assert found == {"mlp.experts.gate_up_proj": f"{message}: expected (experts, rows, columns)"}


def test_experts_that_fit_no_layout_are_refused():
    with pytest.raises(InputError, match=r"experts of shape \(4, 95, 32\) beside .* \(4, 32, 48\) fit no known layout"):
        stack((4, 95, 32), (4, 32, 48))


@pytest.mark.parametrize(("rows", "experts"), [(95, 4), (96, None), (96, 0)])
def test_packed_experts_that_do_not_divide_are_refused(rows, experts):
    config = {"model_type": "dbrx", "ffn_config": {"moe_num_experts": experts}}
    with pytest.raises(InputError, match=f"packed experts of shape \\({rows}, 32\\) are not {experts} experts"):
        stack((rows, 32), name="ffn.experts.mlp.w1", config=config)


def test_a_stack_without_experts_is_a_row_without_numbers():
    (row, *_) = rows_of({"mlp.experts.up_proj": np.zeros((0, 8, 8), np.float32), "fc.weight": np.eye(9)})
    assert (row.kind, row.num_matrices, row.num_eigenvalues, list(row.readers())) == ("expert", 0, 0, [])


def test_experts_without_a_gate_are_whole():
    rows = rows_of({name: np.ones((3, 8, 16), np.float32) for name in ("mlp.experts.up_proj",)})
    assert [(row.matrix_name, row.part, row.note) for row in rows] == [(f"mlp.experts.up_proj[{e}]", "", "") for e in range(3)]
