"""Pruning of checkpoints: what is written, bit by bit, and what is refused."""

import json
import os
import shutil
import stat
import tracemalloc

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spectra.errors import InputError, NonFiniteWeightsError, ResultsError, SourceError
from spectra.policies.plan import plan
from spectra.sources import open_source
from spectra.training.libraries import quiet
from spectra.training.pruning import (
    input_norms,
    magnitude_mask,
    preview_pruning,
    prune_checkpoint,
    prune_module,
    uniform_sparsities,
)
from tests.models import llama
from tests.pretrained import save_adapter, save_bert, save_gpt2, save_t5

LAYER = "bert.encoder.layer.0.intermediate.dense"


@pytest.fixture
def bert(tmp_path):
    return save_bert(tmp_path / "bert")


@pytest.fixture
def sharded(tmp_path):
    """A Llama in bfloat16 in several files, with an index."""
    with quiet():
        llama().to(torch.bfloat16).save_pretrained(tmp_path / "llama", max_shard_size="60KB")
    assert len(list((tmp_path / "llama").glob("*.safetensors"))) > 2
    return tmp_path / "llama"


def content(folder):
    """Every file of a folder, byte by byte."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors(folder):
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


# What is written


def test_only_the_weights_that_go_differ_from_the_model_and_only_the_record_is_new(bert, tmp_path):
    before = content(bert)
    prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.3})
    after = content(tmp_path / "out")
    assert content(bert) == before
    assert after.keys() - before.keys() == {"pruning.json"}
    assert [name for name in before if before[name] != after[name]] == ["model.safetensors"]
    old, new = tensors(bert), tensors(tmp_path / "out")
    assert list(new) == list(old)
    for name, value in new.items():
        expected = old[name] * magnitude_mask(old[name], 0.3) if name == f"{LAYER}.weight" else old[name]
        assert torch.equal(value, expected), name


def test_it_loads_as_the_model_did(bert, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    prune_checkpoint(bert, tmp_path / "out", uniform_sparsities(bert, 0.5))
    with quiet():
        model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
        dense = AutoModelForMaskedLM.from_pretrained(bert)
    prune_module(dense, uniform_sparsities(dense, 0.5))
    for name, value in model.state_dict().items():
        assert torch.equal(value, dense.state_dict()[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("the film")["input_ids"]


def test_shards_stay_shards_and_dtypes_stay(sharded, tmp_path):
    from transformers import LlamaForCausalLM

    report = prune_checkpoint(sharded, tmp_path / "out", uniform_sparsities(sharded, 0.7))
    old, new = content(sharded), content(tmp_path / "out")
    assert {name: len(data) for name, data in new.items() if name != "pruning.json"} == {n: len(d) for n, d in old.items()}
    assert new["model.safetensors.index.json"] == old["model.safetensors.index.json"]
    with quiet():
        model = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16
    weights = [model.get_parameter(f"{layer.layer_name}.weight") for layer in report.layers]
    zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    assert (zeros, total) == (report.num_zeros, report.num_params)
    assert abs(zeros - 0.7 * total) <= 0.5


def test_what_survives_keeps_its_bits(sharded, tmp_path):
    prune_checkpoint(sharded, tmp_path / "out", uniform_sparsities(sharded, 0.5))
    old, new = tensors(sharded), tensors(tmp_path / "out")
    for name, value in new.items():
        bits, before = value.view(torch.int16), old[name].view(torch.int16)
        assert torch.equal(bits, torch.where(bits == 0, 0, before)), name


def test_metadata_of_the_file_stay(bert, tmp_path):
    prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.3})
    found = []
    for folder in (bert, tmp_path / "out"):
        with safe_open(folder / "model.safetensors", "pt") as file:
            found.append((file.metadata(), list(file.keys())))
    assert found[0] == found[1]
    assert found[0][0]


def test_layouts_and_methods_give_what_they_give_in_memory(tmp_path):
    from transformers import GPT2LMHeadModel

    folder = save_gpt2(tmp_path / "gpt2")
    with quiet():
        model = GPT2LMHeadModel.from_pretrained(folder)
    sparsities = uniform_sparsities(folder, 0.6)
    assert set(sparsities) == {f"transformer.h.0.{n}" for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    norms = input_norms(model, [{"input_ids": torch.arange(12).reshape(2, 6)}], sparsities)
    written = prune_checkpoint(folder, tmp_path / "out", sparsities, method="wanda", input_norms=norms)
    live = prune_module(model, sparsities, method="wanda", input_norms=norms)
    assert written.layers == live.layers
    for name, value in tensors(tmp_path / "out").items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_tied_weight_that_is_stored_twice_changes_in_both_places(tmp_path):
    folder = save_gpt2(tmp_path / "gpt2")
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"] = state["transformer.wte.weight"].clone()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    report = prune_checkpoint(folder, tmp_path / "out", {"transformer.wte": 0.5})
    assert len(report.layers) == 1
    new = tensors(tmp_path / "out")
    assert torch.equal(new["lm_head.weight"], new["transformer.wte.weight"])
    assert int((new["lm_head.weight"] == 0).sum()) == state["lm_head.weight"].numel() // 2


def test_names_of_a_wrapped_model_are_found_without_the_wrapper(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    state = {"module.fc.weight": torch.randn(4, 5), "module.fc.bias": torch.randn(4)}
    save_file(state, tmp_path / "model" / "model.safetensors")
    prune_checkpoint(tmp_path / "model", tmp_path / "out", {"fc": 0.5})
    new = tensors(tmp_path / "out")
    assert torch.equal(new["module.fc.weight"], state["module.fc.weight"] * magnitude_mask(state["module.fc.weight"], 0.5))
    assert torch.equal(new["module.fc.bias"], state["module.fc.bias"])


def test_pruning_again_counts_the_zeros_that_are_there(bert, tmp_path):
    prune_checkpoint(bert, tmp_path / "half", {LAYER: 0.5})
    report = prune_checkpoint(tmp_path / "half", tmp_path / "more", {LAYER: 0.75})
    assert report.reached == 0.75
    direct = prune_checkpoint(bert, tmp_path / "direct", {LAYER: 0.75})
    assert direct.layers == report.layers
    assert tensors(tmp_path / "direct").keys() == tensors(tmp_path / "more").keys()
    for name, value in tensors(tmp_path / "more").items():
        assert torch.equal(value, tensors(tmp_path / "direct")[name])


def test_what_was_done_lies_beside_the_weights(bert, tmp_path):
    report = prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.3}, notes=["a trial"])
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert record.pop("source") == str(bert)
    assert record.pop("version")
    assert record.pop("plan") is None
    assert record == report.to_dict()
    assert report.notes == ("a trial",)


def test_a_plan_lies_beside_the_weights_that_it_made(bert, tmp_path):
    made = plan(bert, policy="alphapruning", sparsity=0.5, unit="layer", metric="stable_rank")
    report = prune_checkpoint(bert, tmp_path / "out", made)
    assert json.loads((tmp_path / "out" / "pruning.json").read_text())["plan"] == json.loads(json.dumps(made.to_dict()))
    assert {layer.layer_name: layer.asked for layer in report.layers} == made.by_layer()
    assert abs(report.num_zeros - 0.5 * report.num_params) <= 0.5


def test_other_weights_stay_behind_and_are_named(bert, tmp_path):
    (bert / "pytorch_model.bin").write_bytes(b"dense")
    (bert / "onnx").mkdir()
    (bert / "onnx" / "model.onnx").write_bytes(b"dense")
    (bert / "1_Pooling").mkdir()
    (bert / "1_Pooling" / "config.json").write_text("{}")
    (bert / ".cache").mkdir()
    (bert / ".cache" / "notes").write_text("")
    report = prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.3})
    assert report.notes == ("other weights, not pruned and not copied: onnx/model.onnx, pytorch_model.bin",)
    assert (tmp_path / "out" / "1_Pooling" / "config.json").is_file()
    assert not {".cache/notes", "onnx/model.onnx", "pytorch_model.bin"} & content(tmp_path / "out").keys()


def test_links_of_a_cache_are_followed(bert, tmp_path):
    blobs, snapshot = tmp_path / "models--tiny" / "blobs", tmp_path / "models--tiny" / "snapshots" / "1"
    shutil.copytree(bert, blobs)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    prune_checkpoint(snapshot, tmp_path / "out", {LAYER: 0.3})
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert float((tensors(bert)[f"{LAYER}.weight"] == 0).sum()) == 0


def test_a_read_only_model_gives_a_folder_that_can_be_written_to(bert, tmp_path):
    for file in bert.iterdir():
        file.chmod(0o444)
    prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.3})
    assert all(path.stat().st_mode & stat.S_IWUSR for path in (tmp_path / "out").iterdir())


def test_layers_done_are_told(bert, tmp_path):
    told = []
    prune_checkpoint(bert, tmp_path / "out", uniform_sparsities(bert, 0.5), progress=lambda *done: told.append(done))
    assert told == [(number, 6) for number in range(1, 7)]


def test_the_model_is_never_whole_in_memory(tmp_path):
    """Arrays read from files, at their highest, against all weights; torch's own memory is not seen here."""
    (tmp_path / "model").mkdir()
    size, count = 256 * 256 * 4, 16
    state = {f"layers.{number}.fc.weight": torch.randn(256, 256) for number in range(count)}
    save_file(state, tmp_path / "model" / "model.safetensors")
    shares = uniform_sparsities(tmp_path / "model", 0.5)
    prune_checkpoint(tmp_path / "model", tmp_path / "first", shares)  # what is imported on the way is no part of it
    tracemalloc.start()
    prune_checkpoint(tmp_path / "model", tmp_path / "out", shares)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < most < 4 * size < count * size


def test_a_preview_reads_no_weights_and_tells_what_will_be(bert, tmp_path):
    shares = uniform_sparsities(bert, 0.5)
    preview = preview_pruning(bert, shares)
    assert preview == prune_checkpoint(bert, tmp_path / "out", shares)
    assert preview_pruning(bert, shares, method="wanda").method == "wanda"


# What is left after a failure


def test_nothing_is_left_after_a_failure(bert, tmp_path):
    state = load_file(bert / "model.safetensors")
    state["bert.encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(state, bert / "model.safetensors", {"format": "pt"})
    with pytest.raises(NonFiniteWeightsError, match="layer 'bert.encoder.layer.0.output.dense': 1 of 384 weights are NaN"):
        prune_checkpoint(bert, tmp_path / "out", uniform_sparsities(bert, 0.5))
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_a_full_disk_is_told_in_one_line(bert, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)  # no disk can be filled here
    with pytest.raises(ResultsError, match="cannot write to '.*out': No space left on device. Free space or choose another"):
        prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.5})
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


# Where it may be written


def test_an_existing_folder_is_replaced_only_by_force_and_only_if_it_was_written_here(bert, tmp_path):
    prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.5})
    (tmp_path / "out" / "stale").write_text("")
    with pytest.raises(ResultsError, match=r"'.*out' exists\. Choose another folder, or replace it with --force"):
        prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.25})
    prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.25}, force=True)
    assert float((tensors(tmp_path / "out")[f"{LAYER}.weight"] == 0).float().mean()) == 0.25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "out"]
    assert not (tmp_path / "out" / "stale").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ResultsError, match=r"'.*mine' was not written by pruning: it holds no pruning\.json"):
        prune_checkpoint(bert, tmp_path / "mine", {LAYER: 0.25}, force=True)


@pytest.mark.parametrize("place", [".", "..", "inside"])
def test_the_model_is_never_written_to(bert, place):
    with pytest.raises(InputError, match="overlaps with the model's folder '.*bert', which is not changed"):
        prune_checkpoint(bert, bert / place, {LAYER: 0.5}, force=True)


# What cannot be pruned


def test_a_layer_that_is_not_there_is_refused_with_the_next_name(bert, tmp_path):
    with pytest.raises(InputError, match=rf"has no layer '{LAYER}s'\. Did you mean '{LAYER}'\?"):
        prune_checkpoint(bert, tmp_path / "out", {f"{LAYER}s": 0.5})


def test_a_file_alone_is_refused(bert, tmp_path):
    with pytest.raises(SourceError, match="is a file. Give the folder that holds it"):
        prune_checkpoint(bert / "model.safetensors", tmp_path / "out", {LAYER: 0.5})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no file or folder"):
        prune_checkpoint(tmp_path / "missing", tmp_path / "out", {LAYER: 0.5})


def test_a_hub_id_is_to_be_downloaded_whole(tmp_path):
    with pytest.raises(SourceError, match="no folder 'org/name'. A hub model has to be here whole: hf download org/name"):
        prune_checkpoint("org/name", tmp_path / "out", {LAYER: 0.5})


def test_an_adapter_is_refused(tmp_path):
    base = save_bert(tmp_path / "base", "BertForSequenceClassification")
    with pytest.raises(SourceError, match="is an adapter. Merge it into its base"):
        prune_checkpoint(save_adapter(tmp_path / "adapter", base), tmp_path / "out", {LAYER: 0.5})


def test_torch_files_are_refused(bert, tmp_path):
    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    os.remove(bert / "model.safetensors")
    with pytest.raises(SourceError, match="is stored in torch's own format, and only safetensors is written"):
        prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.5})


def test_quantized_storage_is_refused(bert, tmp_path):
    state = load_file(bert / "model.safetensors")
    codes = {f"{LAYER}.weight": state[f"{LAYER}.weight"].to(torch.float8_e4m3fn)}
    save_file({**state, **codes, f"{LAYER}.weight_scale_inv": torch.ones(1, 1)}, bert / "model.safetensors")
    config = json.loads((bert / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (bert / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"layer '{LAYER}' is stored as .*: quantized weights are codes"):
        prune_checkpoint(bert, tmp_path / "out", {LAYER: 0.5})


def test_an_encoder_decoder_is_pruned_too(tmp_path):
    folder = save_t5(tmp_path / "t5")
    shares = uniform_sparsities(folder, 0.5, exclude=["*relative_attention_bias"])
    assert prune_checkpoint(folder, tmp_path / "out", shares).reached == 0.5
    assert {tensor.name for tensor in open_source(str(tmp_path / "out")).tensors}
