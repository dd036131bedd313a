"""``spectra analyze`` of adapters, differences, quantized storage, experts and fused weights that cannot be used as they are.

A model of which nothing can be used is one line and exit code 2; a weight of an otherwise fine one is skipped or a row
without a fit, with the reason, and exit code 0.
"""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.adapters import adapted, edit, edit_weights
from tests.models import gpt2, heavy_tailed, llama
from tests.sources.quantized.makers import FORMATS, state_of, write_folder

COMMAND = "analyze"
pytestmark = pytest.mark.filterwarnings("ignore")  # of peft, when it makes the adapters
QUERY = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, a base of another architecture, and adapters that name a base that is not there; tests take copies."""
    folder = tmp_path_factory.mktemp("made")
    llama().save_pretrained(folder / "base")
    gpt2().save_pretrained(folder / "other")
    for name, options in {"adapter": {}, "dora": {"use_dora": True}, "with-head": {"modules_to_save": ["lm_head"]}}.items():
        adapted(llama, target_modules=["q_proj"], r=8, **options).save_pretrained(folder / name)
        edit(folder / name, base_model_name_or_path="org/the-base")
    return folder


@pytest.fixture
def copied(made, tmp_path):
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def rows(out):
    return {row["matrix_name"]: row for row in json.loads(out)["layers"]}


def reasons(out):
    return {tensor["name"]: tensor["reason"] for tensor in json.loads(out)["skipped"]}


# Adapters


@pytest.mark.parametrize("mode", ["merged", "base"])
def test_a_missing_base_is_named_with_the_way_to_give_it(refused, made, tmp_path, mode):
    line = refused(made / "adapter", "--lora", mode, "--output", tmp_path / "out")
    assert "'org/the-base'" in line
    assert "Give its folder or id as base (--base), or download it first: hf download org/the-base" in line
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_names_no_base_says_how_to_give_one(refused, copied):
    folder = copied("adapter")
    edit(folder, base_model_name_or_path=None)
    assert refused(folder, "--lora", "merged").endswith("give the base's folder or id as base (--base).")


def test_adapters_that_name_each_other_have_no_base(refused, copied):
    first, second = copied("adapter"), copied("with-head")
    edit(first, base_model_name_or_path=str(second))
    edit(second, base_model_name_or_path=str(first))
    line = refused(first, "--lora", "merged")
    assert f"adapter '{second}' was trained on '{first}', which is no path of another model" in line
    edit(first, base_model_name_or_path=str(first))
    assert f"adapter '{first}' was trained on '{first}', which is no path of another model" in refused(first, "--lora", "base")


def test_the_low_rank_change_needs_no_base(run, made):
    code, out, _ = run(made / "adapter", "--json")
    assert (code, rows(out)[QUERY]["status"]) == (0, "ok")


def test_a_weight_saved_whole_without_its_base_is_a_row_that_names_it(run, made):
    code, out, _ = run(made / "with-head", "--json")
    head = rows(out)["lm_head"]
    assert (code, head["status"], head["alpha"]) == (0, "no_base", None)
    assert head["notes"] == "saved whole, and the base 'org/the-base' is not there: give its folder or id as base (--base)"
    _, table, _ = run(made / "with-head")
    assert "no_base: saved whole, and the base" in table


def test_a_weight_saved_whole_is_compared_with_the_base_that_is_given(run, made):
    _, out, _ = run(made / "with-head", "--base", made / "base", "--json")
    ours, theirs = (load_file(file) for file in (made / "with-head/adapter_model.safetensors", made / "base/model.safetensors"))
    change = ours["base_model.model.lm_head.weight"].astype(float) - theirs["lm_head.weight"]
    assert rows(out)["lm_head"]["sum_eigenvalues"] == pytest.approx((change**2).sum(), rel=1e-12)


@pytest.mark.parametrize("mode", ["delta", "merged", "base"])
def test_a_base_of_another_architecture_is_no_base_of_an_adapter(refused, made, tmp_path, mode):
    line = refused(made / "adapter", "--base", made / "other", "--lora", mode, "--output", tmp_path / "out")
    assert f"'{made / 'other'}' is no base of the adapter '{made / 'adapter'}'" in line
    assert line.endswith("Give the model that the adapter was trained on as base.")
    assert not (tmp_path / "out").exists()


def test_dora_has_no_low_rank_change_and_says_what_to_use(refused, made):
    assert "lora='merged' analyses the result" in refused(made / "dora")


def test_half_of_a_pair_of_factors_is_refused_by_name(refused, copied):
    folder = copied("adapter")
    edit_weights(folder, lambda weights: {n: w for n, w in weights.items() if QUERY not in n or "lora_B" not in n})
    assert refused(folder) == f"'{QUERY}' has no lora_B: half of an adapter. Save or download it again."


BROKEN_CONFIGURATIONS = {
    "cut short": (lambda text: text[: len(text) // 2], "is not readable JSON"),
    "garbage": (lambda _: b"\xff\xfe\x00garbage", "is not readable JSON"),
    "a list": (lambda _: b"[1, 2]", "holds no JSON object"),
    "empty": (lambda _: b"{}", "is of kind None, which is not read"),
}


@pytest.mark.parametrize("case", BROKEN_CONFIGURATIONS)
def test_a_broken_configuration_is_one_line(refused, copied, tmp_path, case):
    folder = copied("adapter")
    broken, message = BROKEN_CONFIGURATIONS[case]
    file = folder / "adapter_config.json"
    file.write_bytes(broken(file.read_bytes()))
    assert message in refused(folder, "--output", tmp_path / "out")
    assert message in refused(folder, "--base", folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": "eight"}, "r of 'model.layers.0.self_attn.q_proj' is 'eight', expected a number"),
        ({"r": 4}, "factors of rank 8 where adapter_config.json says 4"),
        ({"lora_alpha": None}, "lora_alpha of 'model.layers.0.self_attn.q_proj' is None, expected a number"),
        ({"rank_pattern": [8]}, "rank_pattern is [8], expected a dict"),
        ({"rank_pattern": {"(": 8}}, "rank_pattern has '(', which is no regular expression"),
        ({"target_parameters": 5}, "target_parameters is 5, expected a list"),
        ({"peft_type": "IA3"}, "is of kind IA3, which is not read"),
    ],
    ids=str,
)
def test_a_configuration_with_a_wrong_value_is_one_line(refused, copied, changes, message):
    folder = copied("adapter")
    edit(folder, **changes)
    assert message in refused(folder)


def test_truncated_factors_are_one_line(refused, copied):
    folder = copied("adapter")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    assert "adapter_model.safetensors' is truncated" in refused(folder)


def test_a_mode_of_adapters_is_refused_for_other_models(refused, made):
    assert "is for adapters, and" in refused(made / "base", "--lora", "merged")


# Differences


def test_a_base_of_another_architecture_is_refused(refused, made, tmp_path):
    line = refused(made / "base", "--base", made / "other", "--output", tmp_path / "out")
    assert f"'{made / 'other'}' is no base of '{made / 'base'}': 0 of" in line
    assert line.endswith("Give the checkpoint that training started from.")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", ["./nowhere", "org/missing", ""])
def test_a_base_that_does_not_exist_is_refused(refused, made, base):
    assert refused(made / "base", "--base", base)


def test_a_base_equal_to_the_model_gives_unchanged_rows(run, made):
    code, out, _ = run(made / "base", "--base", made / "base", "--json")
    assert code == 0
    assert {row["status"] for row in rows(out).values()} == {"unchanged"}
    assert {row["alpha"] for row in rows(out).values()} == {None}


def test_a_resized_vocabulary_is_compared_on_the_rows_of_both_and_the_table_says_so(run, made, copied):
    folder = copied("base")
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = np.concatenate([weights[name] + 0.01 * heavy_tailed(*weights[name].shape), weights[name][:7]])
    save_file(weights, folder / "model.safetensors")
    _, out, _ = run(folder, "--base", made / "base", "--json")
    head = rows(out)["lm_head"]
    assert (head["status"], head["num_rows"]) == ("ok", 128)
    assert head["notes"].startswith("compared on the first 128 rows of 135, the base has 128")
    save_file(
        {**weights, "lm_head.weight": load_file(made / "base/model.safetensors")["lm_head.weight"][:120]}, folder / "a.st"
    )
    os.replace(folder / "a.st", folder / "model.safetensors")
    _, table, _ = run(folder, "--base", made / "base", "--include", "lm_head")
    assert "unchanged: compared on the first 120 rows of 120" in table


def test_a_weight_that_the_base_lacks_is_a_row_with_the_reason(run, made, copied):
    folder = copied("base")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "new.weight": heavy_tailed(40, 30)}, folder / "model.safetensors")
    code, out, _ = run(folder, "--base", made / "base", "--json")
    assert (code, rows(out)["new"]["status"], rows(out)["new"]["sum_eigenvalues"]) == (0, "no_base", None)
    _, table, _ = run(folder, "--base", made / "base", "--include", "new")
    assert "no_base: '" in table
    assert "has no weight of this name" in " ".join(table.split())


# Quantized storage


def without_scales(name):
    layer = FORMATS[name]()
    missing = ("scale", "SCB", "absmax")
    return {n: t for n, t in state_of(layer).items() if not any(word in n for word in missing)}, layer.config


SCALED = ["gptq", "awq", "bitsandbytes int8", "bitsandbytes nf4", "float8", "compressed int4", "mxfp4"]


@pytest.mark.parametrize("name", SCALED)
def test_codes_without_scales_are_refused_alone(refused, tmp_path, name):
    state, config = without_scales(name)
    line = refused(write_folder(tmp_path / "model", state, config, "safetensors"), "--output", tmp_path / "out")
    assert "storage without its 'model.layers.0.mlp.up_proj." in line
    assert "codes alone are not weights: get the complete checkpoint" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SCALED)
def test_codes_without_scales_are_skipped_where_the_rest_is_fine(run, tmp_path, name):
    state, config = without_scales(name)
    state["model.layers.0.mlp.down_proj.weight"] = torch.tensor(heavy_tailed(48, 64))
    folder = write_folder(tmp_path / "model", state, config, "safetensors")
    code, out, _ = run(folder, "--json")
    assert (code, set(rows(out))) == (0, {"model.layers.0.mlp.down_proj"})
    assert any("storage without its" in reason for reason in reasons(out).values())
    _, table, _ = run(folder)
    assert "storage without its" in table


def test_a_weight_that_shows_its_damage_when_it_is_read_is_a_row_with_the_reason(run, tmp_path):
    layer = FORMATS["gptq by activation"]()
    state = state_of(layer) | {"model.layers.0.mlp.down_proj.weight": torch.tensor(heavy_tailed(48, 64))}
    state["model.layers.0.mlp.up_proj.g_idx"][3] = 99
    folder = write_folder(tmp_path / "model", state, layer.config, "safetensors")
    code, out, _ = run(folder, "--json", "--output", tmp_path / "out")
    damaged = rows(out)["model.layers.0.mlp.up_proj"]
    assert (code, damaged["status"], damaged["alpha"]) == (1, "unreadable", None)
    assert "g_idx' names groups that have no scale: the checkpoint is damaged" in damaged["notes"]
    assert rows(out)["model.layers.0.mlp.down_proj"]["status"] == "ok"


# Experts and fused weights


STACK = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.parametrize("shape", [(2, 2, 16, 8), (64, 32)], ids=str)
def test_experts_of_an_unexpected_rank_are_refused_alone_and_skipped_in_a_fine_model(run, refused, tmp_path, shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    save_file({STACK: values}, tmp_path / "alone.safetensors")
    save_file({STACK: values, "fine.weight": heavy_tailed(40, 30)}, tmp_path / "fine.safetensors")
    reason = f"{len(shape)}-dimensional parameter of experts: expected (experts, rows, columns)"
    assert f"'{STACK}': {reason}" in refused(tmp_path / "alone.safetensors", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    code, out, _ = run(tmp_path / "fine.safetensors", "--json")
    assert (code, reasons(out)) == (0, {STACK: reason})


def fused_folder(folder, rows_of_qkv, **others):
    folder.mkdir()
    config = {"model_type": "gpt_neox", "num_attention_heads": 4, "hidden_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    save_file({name: heavy_tailed(rows_of_qkv, 64), **others}, folder / "model.safetensors")
    return folder, name


def test_a_fused_weight_that_does_not_divide_is_refused_alone_and_skipped_in_a_fine_model(run, refused, tmp_path):
    alone, name = fused_folder(tmp_path / "alone", 191)
    line = refused(alone, "--output", tmp_path / "out")
    assert f"'{name}': 191 outputs are not 3 x 4 heads of 16: the shape does not fit the architecture's layout" in line
    assert "split_fused 'none' analyses it whole" in line
    assert not (tmp_path / "out").exists()
    fine, _ = fused_folder(tmp_path / "fine", 191, **{"gpt_neox.layers.0.attention.dense.weight": heavy_tailed(64, 64)})
    code, out, _ = run(fine, "--json")
    assert (code, list(reasons(out)), len(rows(out))) == (0, [name], 1)
    _, table, _ = run(fine)
    assert f"{name} (191×64): 191 outputs are not" in table
    code, out, _ = run(alone, "--split-fused", "none", "--json")
    assert (code, rows(out)["gpt_neox.layers.0.attention.query_key_value"]["num_rows"]) == (0, 191)


def test_a_pattern_that_matches_only_what_is_skipped_says_why(refused, tmp_path):
    folder, name = fused_folder(tmp_path / "fine", 191, **{"gpt_neox.layers.0.attention.dense.weight": heavy_tailed(64, 64)})
    line = refused(folder, "--include", "*query_key_value")
    assert line.startswith(f"include pattern '*query_key_value' matches only what is skipped: '{name}': 191 outputs are not")


def test_a_kind_that_no_layer_has_is_said_to_leave_nothing(refused, made):
    assert "leave no layer of" in refused(made / "base", "--kind", "conv2d")


def test_a_process_says_one_line_and_no_traceback(made, tmp_path):
    import subprocess
    import sys

    command = [
        sys.executable,
        "-m",
        "spectra",
        "analyze",
        str(made / "adapter"),
        "--lora",
        "merged",
        "--output",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not (tmp_path / "o").exists()
