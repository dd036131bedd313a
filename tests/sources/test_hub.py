import json
import os
import subprocess
import sys

import pytest

from spectra import SourceError
from spectra.sources import open_source
from spectra.sources.hub import is_hub_id
from tests.models import write_small

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("text", ["gpt2", "openai-community/gpt2", "org/model-1.5_b", "Org/x"])
def test_names_with_at_most_one_owner_are_hub_ids(text):
    assert is_hub_id(text)


@pytest.mark.parametrize(
    "text", ["./gpt2", "/gpt2", "a/b/c", "model.safetensors", "org/model.bin", "~/model", "", "a b", ".hidden"]
)
def test_paths_are_no_hub_ids(text):
    assert not is_hub_id(text)


def test_an_id_that_cannot_be_reached_offline_is_one_clear_error():
    with pytest.raises(
        SourceError,
        match=r"'no-such-org/no-such-model' is no local path, .* the hub cannot be reached. "
        r"Check the path, go online, or download it first: hf download no-such-org",
    ) as caught:
        open_source("no-such-org/no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a--b", "two..dots", "ends-", "ends.", "org/-starts", "größe", "x" * 97])
def test_a_name_that_the_hub_does_not_allow_is_one_clear_error(text):
    with pytest.raises(SourceError, match=text[:50]) as caught:
        open_source(text)
    assert "\n" not in str(caught.value)


def analysed_offline(cache, *arguments):
    """Run the command with a hub cache of its own; huggingface_hub reads its place when it is imported."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    command = [sys.executable, "-m", "spectra", "analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def snapshot(cache):
    """Make the folders of a cached model, as huggingface_hub lays them out."""
    (cache / "models--org--tiny" / "refs").mkdir(parents=True)
    (cache / "models--org--tiny" / "refs" / "main").write_text(REVISION)
    folder = cache / "models--org--tiny" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return folder


def test_a_cached_model_is_analysed_offline(tmp_path):
    write_small(snapshot(tmp_path) / "model.safetensors")
    done = analysed_offline(tmp_path, "org/tiny", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    model = json.loads(done.stdout)["model"]
    assert (model["name"], model["location"], model["format"]) == ("tiny", "org/tiny", "safetensors")


def test_a_cached_model_without_safetensors_is_read_from_its_pickle(tmp_path):
    import torch

    torch.save({"a.weight": torch.eye(20)}, snapshot(tmp_path) / "pytorch_model.bin")
    done = analysed_offline(tmp_path, "org/tiny", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["model"]["format"] == "torch"
