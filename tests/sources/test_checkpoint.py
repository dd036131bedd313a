import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import spectra
from spectra import SourceError
from spectra.sources import open_source
from tests.models import gpt2, small_weights


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((20, 10 + i)).astype(np.float32) for i, name in enumerate(NAMES)}


NAMES = ["embed.weight", "layers.2.fc.weight", "layers.10.fc.weight", "head.weight"]


def in_shards(folder, state, pattern="model-{}-of-2.safetensors", index="model.safetensors.index.json", save=save_file):
    """Write two shards, every second tensor in each, and their index; return the index's path."""
    folder.mkdir(exist_ok=True)
    weight_map = {name: pattern.format(1 + i % 2) for i, name in enumerate(state)}
    for file in set(weight_map.values()):
        save({name: value for name, value in state.items() if weight_map[name] == file}, folder / file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / index


def rewrite(index, **changes):
    content = json.loads(index.read_text())
    content["weight_map"] |= changes
    index.write_text(json.dumps(content))


def names(path):
    return [tensor.name for tensor in open_source(path).tensors]


def test_names_formats_and_places_are_told(tmp_path):
    save_file(weights(), tmp_path / "model.safetensors")
    save_file(weights(), tmp_path / "mine.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "tiny"}')
    folder, single, other = (open_source(tmp_path / part) for part in ("", "model.safetensors", "mine.safetensors"))
    assert (folder.name, folder.format, folder.location) == (tmp_path.name, "safetensors", str(tmp_path))
    assert (other.name, other.location) == ("mine", str(tmp_path / "mine.safetensors"))
    assert folder.config == single.config == {"model_type": "tiny"}
    assert other.config == {}  # a config belongs to the weights of the usual name only


def test_safetensors_win_over_pickles_and_one_file_over_shards(tmp_path):
    torch.save({"from_torch.weight": torch.zeros(3, 3)}, tmp_path / "pytorch_model.bin")
    assert names(tmp_path) == ["from_torch.weight"]
    in_shards(tmp_path, {"from_a_shard.weight": np.zeros((3, 3)), "b.weight": np.zeros((3, 3))})
    assert names(tmp_path) == ["b.weight", "from_a_shard.weight"]
    save_file({"from_one_file.weight": np.zeros((3, 3))}, tmp_path / "model.safetensors")
    assert names(tmp_path) == ["from_one_file.weight"]


def test_a_file_of_another_name_is_found_where_it_is_the_only_one(tmp_path):
    save_file({"a.weight": np.zeros((3, 3))}, tmp_path / "diffusion_pytorch_model.safetensors")
    torch.save({"b.weight": torch.zeros(3, 3)}, tmp_path / "optimizer.pt")  # safetensors first
    assert names(tmp_path) == ["a.weight"]
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    assert names(tmp_path) == ["b.weight"]


def test_several_files_without_an_index_are_refused(tmp_path):
    for i in range(8):
        save_file({f"a{i}.weight": np.zeros((3, 3))}, tmp_path / f"part-{i}.safetensors")
    with pytest.raises(SourceError, match=r"holds 8 weight files and no index .*'part-0.safetensors', .*, …. Give one of them"):
        open_source(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SourceError, match="holds no weights: looked for model.safetensors, pytorch_model.bin"):
        open_source(tmp_path)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(SourceError, match=r"model.gguf' is not a kind of file that is read. Known: .safetensors, .pt"):
        open_source(tmp_path / "model.gguf")


def test_shards_are_one_model_in_model_order(tmp_path):
    state = weights()
    in_shards(tmp_path, state)
    source = open_source(tmp_path)
    assert [tensor.name for tensor in source.tensors] == NAMES
    for tensor in source.tensors:
        np.testing.assert_array_equal(tensor.read(3, 9), state[tensor.name][3:9])


def test_torch_shards_are_one_model(tmp_path):
    state = {name: torch.from_numpy(value) for name, value in weights().items()}
    in_shards(tmp_path, state, "pytorch_model-{}-of-2.bin", "pytorch_model.bin.index.json", torch.save)
    source = open_source(tmp_path)
    assert (sorted(tensor.name for tensor in source.tensors), source.format) == (sorted(NAMES), "torch")


def wrapped(folder):
    state = {f"module._orig_mod.{name}": value for name, value in weights().items()}
    save_file(state, folder / "a.safetensors")
    in_shards(folder / "shards", state)
    return names(folder / "a.safetensors"), names(folder / "shards")


def test_wrappers_prefixes_go_from_files_and_from_shards(tmp_path):
    assert [sorted(found) for found in wrapped(tmp_path)] == [sorted(NAMES)] * 2


def test_wrapped_models_come_in_model_order_too(tmp_path):
    assert wrapped(tmp_path) == (NAMES, NAMES)


def test_a_missing_shard_is_named(tmp_path):
    in_shards(tmp_path, weights())
    (tmp_path / "model-2-of-2.safetensors").unlink()
    with pytest.raises(SourceError, match=r"names 1 of 2 shards that are not there: model-2-of-2.safetensors. Download"):
        open_source(tmp_path)


def test_a_tensor_that_no_shard_holds_is_named(tmp_path):
    index = in_shards(tmp_path, weights())
    rewrite(index, **{"lost.weight": "model-1-of-2.safetensors"})
    with pytest.raises(SourceError, match="lists 1 tensors that its shards do not hold, 'lost.weight' among them"):
        open_source(tmp_path)


@pytest.mark.parametrize("file", ["../elsewhere.safetensors", "/etc/passwd", "sub/model.safetensors", "."])
def test_an_index_reaches_no_files_outside_its_folder(file, tmp_path):
    rewrite(in_shards(tmp_path, weights()), **{"a.weight": file})
    with pytest.raises(SourceError, match="names files outside its folder"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
def test_an_index_without_a_map_is_refused(content, tmp_path):
    in_shards(tmp_path, weights()).write_text(content)
    with pytest.raises(SourceError, match="has no 'weight_map'"):
        open_source(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not readable JSON"), (b"[1]", "holds no JSON object"), (b"\xff\xfe", "is not readable JSON")],
)
def test_damaged_json_beside_the_weights_is_named(content, message, file, tmp_path):
    in_shards(tmp_path, weights())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(SourceError, match=f"{file}' {message}"):
        open_source(tmp_path)


def test_a_tensor_in_two_shards_is_taken_from_the_one_the_index_names(tmp_path):
    state = weights()
    in_shards(tmp_path, state)
    save_file(
        {"embed.weight": state["embed.weight"], **{n: state[n] for n in NAMES[1::2]}}, tmp_path / "model-2-of-2.safetensors"
    )
    assert names(tmp_path) == NAMES


def tied(tmp_path, config, head_shape=(20, 10), name="embed_tokens.weight"):
    """Write a file that holds an output layer beside the embedding, and return what the output layer is tied to."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((20, 10)).astype(np.float32)
    head = embedding if head_shape == (20, 10) else rng.standard_normal(head_shape).astype(np.float32)
    save_file({f"model.{name}": embedding, "lm_head.weight": head}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return {tensor.name: tensor.tied_to for tensor in open_source(tmp_path).tensors}["lm_head.weight"]


@pytest.mark.parametrize("name", ["embed_tokens.weight", "wte.weight", "word_embeddings.weight"])
def test_a_copied_head_is_tied_where_the_config_says_so(name, tmp_path):
    assert tied(tmp_path, {"tie_word_embeddings": True}, name=name) == f"model.{name}"


@pytest.mark.parametrize("config", [{"tie_word_embeddings": False}, {}, {"tie_word_embeddings": None}])
def test_a_head_is_its_own_where_the_config_does_not_tie_it(config, tmp_path):
    assert tied(tmp_path, config) is None


def test_a_head_of_another_shape_is_its_own(tmp_path):
    assert tied(tmp_path, {"tie_word_embeddings": True}, head_shape=(24, 10)) is None


def test_a_file_that_holds_both_tied_tensors_of_gpt2_gives_one_row(tmp_path):
    from safetensors.torch import save_file as save_tensors

    model = gpt2()
    save_tensors({name: tensor.clone() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    report = spectra.analyze(tmp_path)
    assert [(t.name, t.reason) for t in report.skipped] == [("lm_head.weight", "tied to 'transformer.wte.weight'")]
    assert [row.tied_to for row in report.layers if row.tied_to] == ["lm_head.weight"]


def test_one_damaged_shard_is_named(tmp_path):
    in_shards(tmp_path, small_weights())
    shard = tmp_path / "model-2-of-2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(SourceError, match="model-2-of-2.safetensors' is truncated"):
        open_source(tmp_path)
