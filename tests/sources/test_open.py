import os

import numpy as np
import pytest
import torch

from spectra import InputError, SourceError
from spectra.sources import open_source
from tests.models import write_small


def test_a_path_may_be_text_or_a_path_object(tmp_path):
    path = write_small(tmp_path / "a.safetensors")
    assert [t.name for t in open_source(path).tensors] == [t.name for t in open_source(str(path)).tensors]


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    write_small(tmp_path / "a.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("~/a.safetensors").name == "a"


def test_a_relative_folder_has_the_name_of_its_place(tmp_path, monkeypatch):
    (tmp_path / "my-model").mkdir()
    write_small(tmp_path / "my-model" / "model.safetensors")
    monkeypatch.chdir(tmp_path / "my-model")
    assert (open_source(".").name, open_source(".").location) == ("my-model", ".")
    assert open_source(os.path.join("..", "my-model", "model.safetensors")).name == "model.safetensors"


def test_a_local_folder_wins_over_a_hub_id_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    write_small(tmp_path / "org" / "name" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    assert open_source("org/name").format == "safetensors"


def test_each_kind_of_model_has_its_door(tmp_path):
    formats = [
        open_source(model).format
        for model in (
            write_small(tmp_path / "a.safetensors"),
            torch.nn.Linear(2, 2),
            {"a": np.zeros((2, 2))},
            torch.nn.Linear(2, 2).state_dict(),
        )
    ]
    assert formats == ["safetensors", "module", "mapping", "mapping"]


@pytest.mark.parametrize("path", ["./missing", "/nowhere/model", "missing.safetensors", "a/b/c", "../missing", "~/missing.bin"])
def test_a_missing_path_is_named(path):
    with pytest.raises(SourceError, match=f"no file or folder '{path}'. Check the path, or give a hub id"):
        open_source(path)


@pytest.mark.parametrize("model", [3, None, [np.zeros((2, 2))], torch.zeros(2, 2)], ids=["int", "None", "list", "tensor"])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(InputError, match="expected a path, a hub id, an nn.Module or a mapping of tensors, got"):
        open_source(model)
