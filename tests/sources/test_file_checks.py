"""Files that are none, links that lead elsewhere, and JSON without end."""

import json
import os

import pytest
from safetensors.numpy import save_file

from spectra import SourceError
from spectra.sources import open_source
from spectra.sources.file_checks import LONGEST_JSON, check_inside, file_size, is_plain_name, read_json, unique_pairs
from tests.models import small_weights


def test_a_file_has_a_size(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert file_size(tmp_path / "a") == 5


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(SourceError, match="a' is a pipe, and weights are read from files. Give the file"):
        file_size(tmp_path / "a")


def test_a_device_is_not_read():
    with pytest.raises(SourceError, match="'/dev/zero' is a device"):
        open_source("/dev/zero")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SourceError, match="is a folder, and weights are read from files"):
        file_size(tmp_path)


@pytest.mark.parametrize("name", ["a.safetensors", "model-00001-of-00002.safetensors", "größe", "a..b", "..a"])
def test_a_name_is_plain(name):
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", "C:a", "C:\\a", "\\\\server\\a", "a\0", "a" * 256, "ä" * 128, "a/"]
)
def test_a_name_with_a_place_in_it_is_not(name):
    assert not is_plain_name(name)


def test_a_snapshot_of_the_hub_cache_is_made_of_links_and_is_read(tmp_path):
    model = tmp_path / "models--org--name"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots" / "abc").mkdir(parents=True)
    save_file(small_weights(), model / "blobs" / "1234")
    (model / "blobs" / "5678").write_text('{"model_type": "small"}')
    (model / "snapshots" / "abc" / "model.safetensors").symlink_to("../../blobs/1234")
    (model / "snapshots" / "abc" / "config.json").symlink_to("../../blobs/5678")
    (model / "snapshots" / "abc" / "unet").mkdir()
    (model / "snapshots" / "abc" / "unet" / "diffusion_pytorch_model.safetensors").symlink_to("../../../blobs/1234")
    (model / "snapshots" / "abc" / "unet" / "config.json").symlink_to("../../../blobs/5678")
    (tmp_path / "short").symlink_to(model / "snapshots" / "abc")
    for folder in (model / "snapshots" / "abc", model / "snapshots" / "abc" / "unet", tmp_path / "short"):
        source = open_source(folder)
        assert len(source.tensors) == len(small_weights())
        assert source.config == {"model_type": "small"}


def test_a_folder_of_links_into_the_hub_cache_is_read(tmp_path):
    blobs = tmp_path / "hub" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    save_file(small_weights(), blobs / "1234")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model.safetensors").symlink_to(blobs / "1234")
    assert len(open_source(tmp_path / "local").tensors) == len(small_weights())


def test_links_within_the_folder_and_a_link_that_the_user_gives_are_followed(tmp_path):
    (tmp_path / "inner").mkdir()
    save_file(small_weights(), tmp_path / "inner" / "a.safetensors")
    (tmp_path / "model.safetensors").symlink_to("inner/a.safetensors")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.safetensors").symlink_to(tmp_path / "inner" / "a.safetensors")
    assert open_source(tmp_path).tensors
    assert open_source(tmp_path / "elsewhere" / "mine.safetensors").tensors


@pytest.mark.parametrize("blobs", ["../blobs", "../../other/blobs"])
def test_a_link_out_of_the_folder_is_refused(blobs, tmp_path):
    folder = tmp_path / "snapshots" / "abc"
    folder.mkdir(parents=True)
    target = (folder / blobs).resolve()
    target.mkdir(parents=True)
    save_file(small_weights(), target / "1234")
    (folder / "model.safetensors").symlink_to(f"{blobs}/1234")
    with pytest.raises(
        SourceError, match=r"is a link to a file outside its folder, '.*1234', .*Copy that file into the folder"
    ):
        open_source(folder)


def test_a_link_to_itself_is_one_line(tmp_path):
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(SourceError, match="cannot read '.*a': Too many levels of symbolic links"):
        check_inside(tmp_path, tmp_path / "a")


def test_json_that_is_not_there_is_empty(tmp_path):
    assert read_json(tmp_path / "config.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds no JSON object"),
        ("{", "is not readable JSON"),
        ('{"a":' * 100 + "1" + "}" * 100, "nests more than 64 deep"),
        ('{"a":' * 100_000, "is not readable JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not readable JSON"),
        (b"\xff\xfe{}", "is not readable JSON"),
        (b" " * (LONGEST_JSON + 1), f"has {LONGEST_JSON + 1} bytes, and at most {LONGEST_JSON} are read as JSON"),
    ],
    ids=["list", "cut", "deep", "deeper", "long number", "no text", "too long"],
)
def test_json_that_cannot_be_used_is_refused(content, message, tmp_path):
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=f"config.json' {message}"):
        read_json(tmp_path / "config.json")


def test_numbers_that_real_configurations_hold_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity], "a": 1, "a": 2}')
    assert read_json(tmp_path / "config.json") == {"time_step_limit": [0.0, float("inf")], "a": 2}


def test_a_key_that_is_there_twice_is_refused_where_it_may_be_there_once(tmp_path):
    (tmp_path / "index.json").write_text('{"weight_map": {"a": "1", "b": "2", "a": "3"}}')
    with pytest.raises(SourceError, match=r"not readable JSON \('a' is there twice\)"):
        read_json(tmp_path / "index.json", unique=True)
    assert json.loads('{"a": 1, "b": 2}', object_pairs_hook=unique_pairs) == {"a": 1, "b": 2}
