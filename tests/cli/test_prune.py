"""``spectra prune``: what it prints and writes, and what it refuses."""

import json

import pytest
import torch
from safetensors.torch import load_file

import spectra
from spectra.cli.model_and_data import ModelAndData, prepare
from spectra.cli.prune import METHODS
from spectra.policies.dropout_plan import dropout_plan
from spectra.policies.plan import Plan
from spectra.training.pruning import input_norms, prune_checkpoint, uniform_sparsities
from spectra.training.pruning.tasks import PruneMethod
from tests.cli.flags import FLAGS
from tests.fishers import fisher_of, squared_gradients
from tests.pretrained import save_bert, save_gpt2

LAYER = "transformer.h.0.mlp.c_fc"
LINES = ("the film was very good", "it was not good and not bad", "a bad film", "very very good")


@pytest.fixture
def gpt2(tmp_path):
    return save_gpt2(tmp_path / "gpt2")


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(LINES) + "\n")
    return tmp_path / "texts.txt"


def save_plan(path, **changes):
    fields = {
        "policy": "alphapruning",
        "target": "sparsity",
        "values": {"transformer.h.0": 0.25},
        "scores": {"transformer.h.0": 3.0},
        "settings": {},
        "members": {"transformer.h.0": (LAYER, "transformer.h.0.mlp.c_proj")},
        "left_out": {},
    }
    Plan(**{**fields, **changes}).save(path)
    return path


@pytest.fixture
def plan(tmp_path):
    return save_plan(tmp_path / "plan.yaml")


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_plan_is_applied(run, gpt2, plan, tmp_path):
    code, out, err = run(gpt2, "--plan", plan, "-o", tmp_path / "out")
    assert code == 0
    first, _, heading, *rows = [line.rstrip() for line in out.splitlines()]
    assert first == "Pruned 2 layers of 'gpt2' (magnitude): 512 of 2,048 weights are zero, a share of 0.250000"
    assert heading.split() == ["layer", "weights", "asked", "reached"]
    assert rows[0].split() == [LAYER, "1,024", "0.2500", "0.2500"]
    assert "Next: spectra analyze" in err
    assert "\x1b" not in out + err
    old, new = weights(gpt2), weights(tmp_path / "out")
    assert [name for name in old if not torch.equal(old[name], new[name])] == [
        f"{LAYER}.weight",
        "transformer.h.0.mlp.c_proj.weight",
    ]


def test_the_same_share_of_all_blocks_needs_no_plan(run, gpt2, tmp_path):
    code, out, _ = run(gpt2, "--sparsity", 0.5, "-o", tmp_path / "out", "--exclude", "*attn*", "--json")
    assert code == 0
    report = prune_checkpoint(gpt2, tmp_path / "again", uniform_sparsities(gpt2, 0.5, exclude=["*attn*"]))
    assert json.loads(out) == report.to_dict()


def test_wanda_measures_the_inputs_on_the_texts(run, gpt2, texts, tmp_path):
    options = ["--method", "wanda", "--data", texts, "--sparsity", 0.5, "--batch-size", 2]
    assert run(gpt2, *options, "-o", tmp_path / "out")[0] == 0
    prepared = prepare(str(gpt2), ModelAndData(**{**FLAGS, "data": texts, "batch_size": 1}))
    shares = uniform_sparsities(gpt2, 0.5)
    assert json.loads((tmp_path / "out" / "pruning.json").read_text())["notes"] == list(prepared.notes)
    norms = input_norms(prepared.model, prepared.batches, shares)
    prune_checkpoint(gpt2, tmp_path / "again", shares, method="wanda", input_norms=norms)
    for name, value in weights(tmp_path / "out").items():
        assert torch.equal(value, weights(tmp_path / "again")[name]), name


def test_an_encoder_without_a_head_is_pruned_under_its_own_names(run, texts, tmp_path):
    folder = save_bert(tmp_path / "bert", "BertModel")
    options = ["--method", "wanda", "--data", texts, "--task", "masked-lm", "--sparsity", 0.5, "--json"]
    code, out, _ = run(folder, *options, "-o", tmp_path / "out")
    assert code == 0
    assert {layer["layer_name"].split(".")[0] for layer in json.loads(out)["layers"]} == {"encoder"}
    assert json.loads(out)["reached"] == 0.5


def test_a_dry_run_tells_and_writes_nothing(run, gpt2, plan, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, _ = run(gpt2, "--plan", plan, "--dry-run")
    assert code == 0
    assert out.startswith("Would prune 2 layers of 'gpt2' (magnitude): 512 of 2,048 weights would be zero")
    assert "would be" in out.splitlines()[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_few_rows_are_shown_and_the_others_counted(run, gpt2):
    out = run(gpt2, "--sparsity", 0.5, "--dry-run", "--rows", 1)[1]
    assert out.splitlines()[-1] == "… 3 more layers (--rows, --json)"


def test_methods_are_those_that_there_are():
    assert list(METHODS) == list(PruneMethod)


def test_an_existing_folder_is_replaced_by_force_only(run, refused, gpt2, plan, tmp_path):
    assert run(gpt2, "--plan", plan, "-o", tmp_path / "out")[0] == 0
    assert "exists. Choose another folder, or replace it with --force" in refused(gpt2, "--plan", plan, "-o", tmp_path / "out")
    assert run(gpt2, "--plan", plan, "-o", tmp_path / "out", "--force")[0] == 0


# What it refuses


def test_a_place_is_needed(refused, gpt2, plan):
    assert refused(gpt2, "--plan", plan).startswith("say where the pruned checkpoint goes: -o FOLDER")


@pytest.mark.parametrize("both", [False, True])
def test_a_plan_or_a_sparsity_is_needed_and_not_both(refused, gpt2, plan, both):
    options = ["--plan", plan, "--sparsity", 0.5] if both else []
    assert refused(gpt2, *options, "--dry-run").startswith("give either a plan (--plan FILE) or the same sparsity")


def test_globs_are_for_a_sparsity(refused, gpt2, plan):
    assert "A plan names its layers: edit it." in refused(gpt2, "--plan", plan, "--exclude", "*", "--dry-run")


def test_texts_are_for_wanda_and_needed_there(refused, gpt2, texts):
    assert "--method wanda needs texts" in refused(gpt2, "--sparsity", 0.5, "--method", "wanda", "--dry-run")
    assert "--data is for --method wanda" in refused(gpt2, "--sparsity", 0.5, "--data", texts, "--dry-run")


def test_a_plan_of_something_else_is_refused(refused, gpt2, tmp_path):
    plan = save_plan(tmp_path / "rates.yaml", policy="tempbalance", target="learning_rate")
    line = refused(gpt2, "--plan", plan, "--dry-run")
    assert (
        "the plan sets the learning_rate of layers, not their sparsity. Make one for pruning: spectra plan MODEL --pol" in line
    )


def test_drop_probabilities_are_refused_with_the_right_command(refused, gpt2, tmp_path):
    dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob").save(tmp_path / "dropout.yaml")
    line = refused(gpt2, "--plan", tmp_path / "dropout.yaml", "--dry-run")
    assert line.endswith("Make one for pruning: spectra plan MODEL --policy alphapruning --sparsity S -o plan.yaml")


def test_a_result_folder_is_no_checkpoint(refused, gpt2, plan, tmp_path):
    spectra.analyze(str(gpt2), output=tmp_path / "report")
    line = refused(tmp_path / "report", "--plan", plan, "--dry-run")
    assert line.endswith("is a result folder of 'spectra analyze', not a checkpoint. Give the model itself.")


def test_a_plan_of_another_model_is_named(refused, gpt2, tmp_path):
    members = {"transformer.h.0": ("encoder.layer.0.output.dense",)}
    plan = save_plan(tmp_path / "other.yaml", model="bert", members=members)
    assert refused(gpt2, "--plan", plan, "--dry-run").endswith(
        "The plan is of 'bert': make one of this model, or correct the names."
    )


@pytest.mark.parametrize("analysis", [{}, {"profile": "tempbalance", "kinds": ["linear"]}, {"profile": "gone"}])
def test_a_plan_of_other_weights_is_noted(run, gpt2, tmp_path, analysis):
    known = {key: value for key, value in analysis.items() if value != "gone"}
    fingerprint = spectra.analyze(str(gpt2), **known).model.fingerprint
    note = "the plan was made of other weights than these, or of other layers of them: of 'gpt2-old'"
    for number, found in enumerate((fingerprint, "00" * 32)):
        plan = save_plan(tmp_path / f"{number}.yaml", model="gpt2-old", fingerprint=found, settings={"analysis": analysis})
        assert (note in run(gpt2, "--plan", plan, "--dry-run")[1].replace("\n", " ")) is bool(number)
        assert run(gpt2, "--plan", plan, "-o", tmp_path / f"out{number}")[0] == 0
        assert (note in json.loads((tmp_path / f"out{number}" / "pruning.json").read_text())["notes"]) is bool(number)


def test_a_layer_that_a_plan_misspells_is_named_with_the_right_one(refused, gpt2, tmp_path):
    plan = save_plan(tmp_path / "edited.yaml", members={"transformer.h.0": ("transformer.h.0.mlp.c_fcc",)})
    line = refused(gpt2, "--plan", plan, "-o", tmp_path / "out")
    assert f"has no layer 'transformer.h.0.mlp.c_fcc'. Did you mean '{LAYER}'?" in line
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_read_is_refused(refused, plan, tmp_path):
    assert "no file or folder" in refused(tmp_path / "nothing", "--plan", plan, "-o", tmp_path / "out")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"broken")
    assert "truncated" in refused(tmp_path / "broken", "--plan", plan, "-o", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused(refused, gpt2, plan, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write to" in refused(gpt2, "--plan", plan, "-o", tmp_path / "file" / "out")
