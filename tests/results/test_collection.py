import json
import shutil

import numpy as np
import pandas as pd
import pytest

import spectra
from spectra import ResultsError
from spectra.errors import SpectraWarning
from spectra.results.collection import CollectedRun, collect, result_folders
from tests.models import small_weights, uneven_weights, write_small

RUN = list(CollectedRun.__annotations__)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Three models: one plain, one whose analysis asked for more, one that has NaN weights and no fit at all."""
    folder = tmp_path_factory.mktemp("zoo")
    spectra.analyze(small_weights()).save(folder / "first")
    spectra.analyze(uneven_weights(), profile="weightwatcher", mp_fit=True, truncated=True).save(folder / "second")
    spectra.analyze({"nan.weight": np.full((30, 20), np.nan, np.float32)}).save(folder / "third")
    return folder


@pytest.fixture
def copied(zoo, tmp_path):
    return shutil.copytree(zoo, tmp_path / "zoo")


def test_a_row_for_each_layer_after_columns_of_its_run(zoo):
    table = collect(zoo)
    reports = {name: spectra.load(zoo / name) for name in ("first", "second", "third")}
    assert list(table.columns[: len(RUN)]) == RUN
    assert list(table.columns[len(RUN) :]) == reports["second"].columns  # a superset of the others
    assert list(table["run"]) == [name for name, report in reports.items() for _ in report.layers]
    assert list(table["layer_name"]) == [layer.layer_name for report in reports.values() for layer in report.layers]
    for name, report in reports.items():
        rows = table[table["run"] == name]
        np.testing.assert_array_equal(rows["alpha"], [layer.alpha for layer in report.layers])
        assert set(rows["fingerprint"]) == {report.model.fingerprint}
        assert set(rows["folder"]) == {str(zoo / name)}
    assert set(table["spectra_version"]) == {spectra.__version__}
    assert set(table["profile"]) == {"default", "weightwatcher"}


def test_settings_say_what_differs_from_the_defaults(zoo):
    settings = collect(zoo).groupby("run")["settings"].first()
    assert (settings["first"], settings["third"]) == ("", "")
    assert json.loads(settings["second"]).items() >= {"mp_fit": True, "truncated": True}.items()


@pytest.mark.parametrize("summary", [False, True])
def test_types_do_not_depend_on_what_is_missing(zoo, summary):
    whole = collect(zoo, summary=summary)
    for name in ("first", "second", "third"):
        part = collect(zoo / name, summary=summary)
        assert dict(part.dtypes) == {column: whole.dtypes[column] for column in part.columns}
    if summary:
        assert (whole["num_layers"].dtype, whole["alpha_count"].dtype, whole["alpha_mean"].dtype) == (
            "Int64",
            "Int64",
            "float64",
        )
    else:
        assert (whole["num_tail"].dtype, whole["num_rows"].dtype, whole["alpha"].dtype) == ("Int64", "int64", "float64")
        assert (whole["notes"].dtype, whole["tpl_quality"].dtype, whole["is_transposed"].dtype) == ("string", "string", "bool")
        assert whole.loc[whole["run"] == "first", ["num_spikes", "tpl_quality", "tpl_alpha"]].isna().all(axis=None)


def test_the_summary_has_a_row_for_each_model(zoo):
    table = collect(zoo, summary=True).set_index("run")
    for name in ("first", "second", "third"):
        report = spectra.load(zoo / name)
        found = table.loc[name]
        assert (found["num_layers"], found["num_failed"]) == (report.summary.num_layers, report.summary.num_failed)
        assert found["num_under_trained"] == report.summary.labels.get("under-trained", 0)
        assert found["num_params"] == sum(layer.num_params for layer in report.layers)
        for metric, distribution in report.summary.metrics.items():
            assert found[f"{metric}_mean"] == distribution.mean
            assert found[f"{metric}_median"] == distribution.median
    assert table.loc["third", ["alpha_mean", "alpha_count"]].isna().all()


def test_parameters_of_experts_without_rows_are_not_counted(tmp_path):
    experts = {f"model.layers.0.mlp.experts.{i}.up_proj.weight": small_weights()["head.weight"] for i in range(3)}
    spectra.analyze({**experts, **small_weights()}, moe="summary").save(tmp_path / "out")
    assert collect(tmp_path / "out", summary=True)["num_params"].isna().all()


def test_folders_of_folders_and_repeated_ones_are_found_once(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(zoo)
    assert [folder.name for folder in result_folders([zoo / "second", zoo, "first", zoo / "third"])] == [
        "second",
        "first",
        "third",
    ]
    assert len(collect([zoo, "first"])) == len(collect(zoo))
    (tmp_path / "empty").mkdir()
    assert result_folders([tmp_path / "empty"]) == {tmp_path / "empty": ""}


def test_the_models_of_a_fleet_come_in_its_order_and_those_it_could_not_analyse_are_told(tmp_path):
    paths = [write_small(tmp_path / "z.safetensors"), tmp_path / "gone.safetensors", write_small(tmp_path / "a.safetensors")]
    spectra.analyze_fleet([str(path) for path in paths], output=tmp_path / "fleet")
    found = []
    table = collect(tmp_path / "fleet", left_out=lambda folder, error: found.append((folder.name, str(error))))
    assert list(table["run"].drop_duplicates()) == ["z", "a"]
    ((name, reason),) = found
    assert name == "gone"
    assert reason.startswith(f"'{tmp_path / 'fleet' / 'gone'}' has no result: ")
    assert "gone.safetensors" in reason
    (tmp_path / "fleet" / "fleet.json").write_text("{")
    with pytest.raises(ResultsError, match="is no record of a fleet, or a damaged one"):
        collect(tmp_path / "fleet")


def test_what_cannot_be_read_is_named_and_left_out(copied):
    report = json.loads((copied / "second" / "report.json").read_text())
    report["layers"][0]["alpha"] = "high"
    (copied / "second" / "report.json").write_text(json.dumps(report))
    (copied / "third" / "report.json").write_text("{")
    spectra.analyze(uneven_weights(), output=copied / "unmerged", shard="0/2")
    (copied / "unfinished").mkdir()
    (copied / "unfinished" / "progress.jsonl").write_text("{}")
    (copied / "notes").mkdir()  # of no interest
    found = {}
    table = collect(copied, left_out=lambda folder, error: found.update({folder.name: str(error)}))
    assert set(table["run"]) == {"first"}
    assert set(found) == {"second", "third", "unfinished", "unmerged"}
    assert "is damaged" in found["second"]
    assert "cannot be read" in found["third"]
    assert "holds an unfinished run" in found["unfinished"]
    assert "holds shards that are not merged yet" in found["unmerged"]


def test_without_a_listener_it_is_a_warning(copied):
    (copied / "third" / "report.json").write_text("{")
    with pytest.warns(SpectraWarning, match="left out: '.*third/report.json' cannot be read") as caught:
        collect(copied)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_shard_is_no_model(tmp_path):
    spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="0/1")
    found = []
    with pytest.raises(ResultsError, match="no finished result in 1 folder"):
        collect(tmp_path / "out" / "shards", left_out=lambda folder, error: found.append(str(error)))
    assert "is a shard, and no whole result. Merge it with the others" in found[0]


def test_nothing_to_collect_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="expected at least one result folder"):
        collect([])
    with pytest.raises(ResultsError, match="no finished result in 1 folder"):
        collect(tmp_path / "nowhere", left_out=lambda folder, error: None)


def test_results_of_older_schemas_are_read(tmp_path):
    from tests.results.test_store import SCHEMA_1_FOLDER

    table = collect(SCHEMA_1_FOLDER)
    assert list(table["layer_name"]) == [layer.layer_name for layer in spectra.load(SCHEMA_1_FOLDER).layers]
    assert isinstance(table, pd.DataFrame)
