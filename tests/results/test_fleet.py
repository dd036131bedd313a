import csv
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectra.diagnose.fleet import analyze_fleet
from spectra.errors import InputError, ResultsError
from spectra.results.fleet import begin_fleet, load_fleet, write_fleet
from spectra.results.store import load
from tests.models import write_small


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two models and a file that is none."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "notes.txt").write_text("no model")
    models = [write_small(folder / "first.safetensors"), folder / "notes.txt", write_small(folder / "second.safetensors")]
    return analyze_fleet(models, output=folder / "out", workers=1, include="layers.*")


def test_a_saved_fleet_reads_back_as_it_was(fleet):
    assert load_fleet(fleet.folder) == fleet
    assert load_fleet(str(fleet.folder)).report("second").layers == load(fleet.folder / "second").layers


def test_its_table_has_the_layers_of_all_models_under_their_names(fleet):
    rows = list(csv.DictReader(io.StringIO(fleet.to_csv())))
    assert [row.pop("model") for row in rows] == ["first"] * 4 + ["second"] * 4
    assert rows[4:] == list(csv.DictReader(io.StringIO(load(fleet.folder / "second").to_csv())))


def test_its_dictionary_has_a_summary_or_a_reason_for_each_model(fleet):
    first, notes, second = json.loads(json.dumps(fleet.to_dict(), allow_nan=False))["models"]
    assert first["summary"] == load(fleet.folder / "first").to_dict()["summary"]
    assert (notes["summary"], notes["name"], second["error"]) == (None, "notes.txt", "")
    assert notes["error"]
    assert fleet.num_failed == 1


def test_its_words_are_a_line_for_each_model(fleet):
    first, notes, second = str(fleet).splitlines()
    assert first.startswith("first: 4 layers, alpha: mean ")
    assert notes.startswith("notes.txt: ")
    assert second.startswith("second: 4 layers")


def test_reports_that_are_not_there_are_refused_in_words(fleet):
    with pytest.raises(InputError, match="no model 'secnd' in the fleet. Did you mean 'second'\\? See fleet.models"):
        fleet.report("secnd")
    with pytest.raises(InputError, match="model 'notes.txt' has no report: "):
        fleet.report("notes.txt")


def test_models_that_are_begun_are_recorded_before_they_are_finished(tmp_path):
    begin_fleet(tmp_path / "out", ["/a/x"], force=False)
    (waiting,) = load_fleet(tmp_path / "out").models
    assert (waiting.name, waiting.location, waiting.summary, waiting.error) == ("x", "/a/x", None, "")
    assert str(waiting) == "x: not analysed yet"
    begin_fleet(tmp_path / "out", ["/b/x"], force=False)
    assert [model.name for model in load_fleet(tmp_path / "out").models] == ["x", "b-x"]


def test_jobs_that_share_a_folder_lose_no_model_and_share_no_name(tmp_path):
    locations = [f"/{number}/x" for number in range(8)]

    def work(location):
        fleet = begin_fleet(tmp_path / "out", [location], force=False)
        write_fleet(fleet)
        return fleet.models[0].name

    with ThreadPoolExecutor(len(locations)) as jobs:
        names = list(jobs.map(work, locations))
    assert len(set(names)) == len(locations)
    found = load_fleet(tmp_path / "out").models
    assert {model.location: model.name for model in found} == dict(zip(locations, names, strict=True))
    assert os.listdir(tmp_path / "out") == ["fleet.json"]


def test_folders_of_others_are_left_alone(fleet, tmp_path):
    with pytest.raises(ResultsError, match="holds the result of one model. Choose another folder for several"):
        begin_fleet(fleet.folder / "first", ["/a/x"], force=False)
    (tmp_path / "mine").write_text("")
    with pytest.raises(ResultsError, match="holds other files \\('mine'\\)"):
        begin_fleet(tmp_path, ["/a/x"], force=False)
    begin_fleet(tmp_path, ["/a/x"], force=True)
    assert (tmp_path / "mine").exists()


def test_what_is_no_fleet_is_refused(tmp_path):
    with pytest.raises(
        ResultsError, match="there is no record of a fleet at .*fleet.json'. Make one: spectra analyze MODEL MODEL"
    ):
        load_fleet(tmp_path)
