"""The keys that real files have are those that the page on file formats lists."""

import json
import re

import numpy as np
import pytest

import spectra
from spectra.results.settings import AnalysisSettings
from spectra.results.store import Run, run_header
from spectra.results.writing import LAYERS, REPORT, SPECTRA
from tests.docs.blocks import ROOT
from tests.models import write_small

PAGE = (ROOT / "docs" / "reference" / "file-formats.md").read_text(encoding="utf-8")


def keys(table):
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def table(name):
    return keys(re.search(rf"<!-- table {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)[1])


@pytest.fixture(scope="module")
def report():
    weight = np.random.default_rng(0).standard_normal((20, 12))
    return spectra.analyze({"a.weight": weight, "b.weight": np.ones((2, 3, 4, 5, 6, 7))})


@pytest.fixture
def folder(report, tmp_path):
    report.save(tmp_path / "report")
    return tmp_path / "report"


def test_a_result_folder_has_the_files_and_keys_of_the_page(folder):
    assert {path.name for path in folder.iterdir()} == {REPORT, LAYERS, SPECTRA}
    content = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    section = PAGE.split("`report.json`:\n")[1].split("\n`model`:")[0]
    assert list(content) == keys(section)
    assert list(content["model"]) == table("model")
    assert list(content["summary"]) == table("summary")
    assert list(content["summary"]["metrics"]["alpha"]) == table("metric")
    assert list(content["settings"]) == table("settings")
    assert list(content["skipped"][0]) == table("skipped")
    environment = re.search(r"^\| `environment` \| (.*?); in a training run", section, re.MULTILINE)[1]
    assert list(content["environment"]) == re.findall(r"`(\w+)`", environment)


def test_a_run_under_way_has_the_lines_of_the_page(report, tmp_path):
    run = Run(tmp_path / "run", run_header(report.model, AnalysisSettings(), version="1"))
    (layer,) = report.layers
    run.add(layer, report.eigenvalues(layer.matrix_name))
    run.close()
    header, line = map(json.loads, (tmp_path / "run" / "progress.jsonl").read_text(encoding="utf-8").splitlines())
    assert (list(header), list(line)) == (["header"], ["layer", "spectrum"])


def test_a_shard_has_the_keys_of_the_page(tmp_path):
    spectra.analyze({"a.weight": np.eye(20)}, output=tmp_path, shard="0/1")
    content = json.loads((tmp_path / "shards" / "0-of-1" / "shard.json").read_text(encoding="utf-8"))
    assert list(content) == ["schema_version", *table("shard")]


def test_a_fleet_has_the_keys_of_the_page(tmp_path):
    write_small(tmp_path / "tiny.safetensors")
    fleet = spectra.analyze_fleet([tmp_path / "tiny.safetensors"], output=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "fleet.json").read_text(encoding="utf-8"))
    assert list(content) == ["schema_version", "models"]
    assert list(fleet.to_dict()["models"][0]) == list(table("fleet"))
    assert [*content["models"][0], "summary"] == list(table("fleet"))


def test_a_plan_has_the_keys_of_the_page(tmp_path):
    weights = {f"layers.{i}.up.weight": np.random.default_rng(i).standard_normal((64, 64)) for i in range(2)}
    spectra.plan(spectra.analyze(weights, xmin="median")).save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert set(content) == {"schema_version", *table("plan")}
