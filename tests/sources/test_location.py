from pathlib import Path

import pytest

from spectra import SourceError
from spectra.sources import open_source
from spectra.sources.location import absolute_location
from tests.models import write_small


@pytest.fixture(autouse=True)
def _with_folders_of_all_names(tmp_path, monkeypatch):
    for name in ("demo", "org/name"):
        (tmp_path / name).mkdir(parents=True)
        write_small(tmp_path / name / "model.safetensors")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("model", ["demo", "org/name", "./demo", Path("demo"), "org/name/model.safetensors"], ids=repr)
def test_a_location_opens_the_same_model_from_any_working_folder(model, tmp_path, monkeypatch):
    here = open_source(model)
    location = absolute_location(model)
    monkeypatch.chdir("/")
    there = open_source(location)
    assert [(t.name, t.shape) for t in there.tensors] == [(t.name, t.shape) for t in here.tensors]
    assert there.name == here.name


def test_a_hub_id_stays_and_a_path_that_is_gone_is_no_hub_id(tmp_path):
    assert absolute_location("org/other") == "org/other"
    assert absolute_location(Path("org/other")) == str(tmp_path / "org" / "other")
    with pytest.raises(SourceError, match="no file or folder"):
        open_source(absolute_location(Path("gone")))
