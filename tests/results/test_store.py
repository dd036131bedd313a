import csv
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra import InputError, ResultsError
from spectra.results.records import column_meanings, columns, layer_from_dict


def weights(num_layers=5, seed=0, side=60):
    rng = np.random.default_rng(seed)
    model = {f"block.{i}.fc.weight": rng.standard_normal((side + i, 40)).astype(np.float32) for i in range(num_layers)}
    return {**model, "zero.weight": np.zeros((30, 20), np.float32), "ids": np.arange(6).reshape(2, 3)}


def same(a, b):
    return repr(a) == repr(b)  # NaN equals NaN here


def test_saving_and_loading_is_the_identity(tmp_path):
    report = spectra.analyze(weights())
    report.save(tmp_path / "out")
    loaded = spectra.load(tmp_path / "out")
    assert same(loaded.layers, report.layers)
    assert loaded.skipped == report.skipped
    assert same(loaded.summary, report.summary)
    assert loaded.settings == report.settings
    assert loaded.model == report.model
    for name in report.spectra:
        np.testing.assert_array_equal(loaded.eigenvalues(name), report.eigenvalues(name))
    assert len(loaded.spectra) == len(report.spectra)
    assert set(loaded.spectra) == set(report.spectra)


def test_spectra_of_a_loaded_report_are_read_when_asked_for(tmp_path):
    spectra.analyze(weights()).save(tmp_path / "out")
    loaded = spectra.load(tmp_path / "out")
    (tmp_path / "out" / "spectra.safetensors").unlink()
    assert len(loaded.layers) == 6
    with pytest.raises(ResultsError, match="cannot be read"):
        loaded.eigenvalues("block.0.fc")


def test_json_has_null_and_csv_is_empty_for_missing_numbers(tmp_path):
    spectra.analyze(weights(), output=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["schema_version"] == 2
    assert content["layers"][-1]["alpha"] is None
    with (tmp_path / "out" / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns(())
    assert rows[-1]["alpha"] == ""
    assert float(rows[0]["alpha"]) == content["layers"][0]["alpha"]


def test_a_finished_folder_is_returned_and_not_computed_again(tmp_path):
    spectra.analyze(weights(), output=tmp_path / "out")
    before = (tmp_path / "out" / "report.json").read_bytes()
    seen = []
    spectra.analyze(weights(), output=tmp_path / "out", progress=seen.append)
    assert seen == []
    assert (tmp_path / "out" / "report.json").read_bytes() == before


def test_other_settings_other_weights_and_other_files_are_refused(tmp_path):
    spectra.analyze(weights(), output=tmp_path / "out")
    with pytest.raises(ResultsError, match=r"another analysis \(xmin 'ks' there, 'median' now\)"):
        spectra.analyze(weights(), xmin="median", output=tmp_path / "out")
    with pytest.raises(ResultsError, match="of other weights"):
        spectra.analyze(weights(seed=1), output=tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ResultsError, match="holds other files"):
        spectra.analyze(weights(), output=tmp_path / "mine")
    with pytest.raises(ResultsError, match="not empty"):
        spectra.analyze(weights()).save(tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="is a file"):
        spectra.analyze(weights(), output=tmp_path / "file")


def test_force_replaces_our_files_and_leaves_others_alone(tmp_path):
    out = tmp_path / "out"
    spectra.analyze(weights(), output=out)
    (out / "thesis.tex").write_text("precious")
    spectra.analyze(weights(), xmin="median", output=out, force=True)
    assert spectra.load(out).settings.xmin == "median"
    assert (out / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no result folder"),
        ("{", "cannot be read"),
        ("[]", "schema version None"),
        ('{"schema_version": 99}', "schema version 99, this Spectra reads 1"),
        ('{"schema_version": 1}', "is damaged"),
    ],
)
def test_a_folder_that_is_no_report_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(ResultsError, match=message):
        spectra.load(tmp_path)


def test_a_layer_without_spectrum_or_name_is_refused():
    model = weights()
    model["nan.weight"] = np.full((30, 20), np.nan, np.float32)
    report = spectra.analyze(model)
    with pytest.raises(InputError, match="has no spectrum: its status is 'nonfinite'"):
        report.eigenvalues("nan")
    with pytest.raises(InputError, match="no layer 'block.0.fk' in the report. Did you mean 'block.0.fc'"):
        report.eigenvalues("block.0.fk")


def test_every_column_has_a_meaning_and_rows_survive_a_dictionary():
    assert all(column_meanings().values())
    row = spectra.analyze(weights()).layers[-1]
    assert same(layer_from_dict(json.loads(json.dumps(row.to_dict()))), row)
    with pytest.raises(KeyError, match="layer_name"):
        layer_from_dict({"alpha": 2.0})


def test_tables_have_the_types_of_the_schema():
    report = spectra.analyze(weights())
    frame = report.to_pandas()
    assert list(frame.columns) == columns(())
    assert frame["num_tail"].dtype == "Int64"
    assert frame["alpha"].dtype == "float64"
    assert math.isnan(frame["alpha"].iloc[-1])
    theirs = report.to_weightwatcher()
    assert list(theirs.columns[:2]) == ["layer_id", "name"]
    assert (theirs["D"].iloc[0], theirs["status"].iloc[-1]) == (report.layers[0].ks_distance, "failed")


def test_an_unfinished_run_of_other_settings_is_refused(tmp_path):
    def stop(progress):
        if progress.num_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(weights(), output=tmp_path / "out", progress=stop)
    assert (tmp_path / "out" / "progress.jsonl").is_file()
    with pytest.raises(ResultsError, match="unfinished run of another analysis"):
        spectra.analyze(weights(), xmin="hill", output=tmp_path / "out")
    report = spectra.analyze(weights(), output=tmp_path / "out")
    assert same(report.layers, spectra.analyze(weights()).layers)
    assert sorted(os.listdir(tmp_path / "out")) == ["layers.csv", "report.json", "spectra.safetensors"]


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to"):
        spectra.analyze(weights(), output=tmp_path / "file" / "out")


def test_dictionary_and_csv_agree_with_the_report():
    report = spectra.analyze(weights())
    content = report.to_dict()
    assert len(content["layers"]) == len(report.to_csv().splitlines()) - 1
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def interrupted(folder, at=3):
    def stop(progress):
        if progress.num_done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(weights(), output=folder, progress=stop)
    return folder / "progress.jsonl"


def test_layers_that_could_not_be_read_are_tried_again(tmp_path):
    progress = interrupted(tmp_path / "unfinished")
    broken = progress.read_text().replace('"status": "ok"', '"status": "unreadable"', 1)
    assert broken != progress.read_text()
    progress.write_text(broken)
    spectra.analyze(weights(), output=tmp_path / "finished")
    report = tmp_path / "finished" / "report.json"
    report.write_text(report.read_text().replace('"status": "ok"', '"status": "unreadable"', 1))
    for folder in ("unfinished", "finished"):
        again = spectra.analyze(weights(), output=tmp_path / folder)
        assert [row.status for row in again.layers] == ["ok"] * 5 + ["zero"]
        assert same(spectra.load(tmp_path / folder).layers, again.layers)


def test_a_run_of_another_version_is_not_continued(tmp_path):
    progress = interrupted(tmp_path / "out")
    progress.write_text(progress.read_text().replace(f'"spectra": "{spectra.__version__}"', '"spectra": "0.0.9"', 1))
    with pytest.raises(ResultsError, match="made by Spectra 0.0.9"):
        spectra.analyze(weights(), output=tmp_path / "out")


@pytest.mark.parametrize("content", ['{"epoch": 1}', "[]", "", "training log"])
def test_a_file_of_progress_that_is_not_ours_is_left_alone(tmp_path, content):
    (tmp_path / "progress.jsonl").write_text(content)
    with pytest.raises(ResultsError, match="of something else"):
        spectra.analyze(weights(), output=tmp_path)
    assert (tmp_path / "progress.jsonl").read_text() == content


@pytest.mark.parametrize("line", ["{}", "[]", '{"layer": {}, "spectrum": null}', '{"layer": {"layer_na', "1"])
def test_a_damaged_line_of_progress_is_computed_again(tmp_path, line):
    progress = interrupted(tmp_path / "out")
    header, *rows = progress.read_text().splitlines()
    progress.write_text("\n".join([header, line, *rows[1:]]) + "\n")
    assert same(spectra.analyze(weights(), output=tmp_path / "out").layers, spectra.analyze(weights()).layers)


def test_force_leaves_nothing_of_the_earlier_result_beside_an_unfinished_one(tmp_path):
    spectra.analyze(weights(), output=tmp_path / "out")

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(weights(), xmin="hill", output=tmp_path / "out", force=True, progress=stop)
    assert os.listdir(tmp_path / "out") == ["progress.jsonl"]


def fused(folder, heads):
    folder.mkdir(exist_ok=True)
    config = {"model_type": "gpt_neox", "num_attention_heads": heads, "hidden_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    if not (folder / "model.safetensors").exists():
        matrix = np.random.default_rng(0).standard_normal((192, 64)).astype(np.float32)
        save_file({"attention.query_key_value.weight": matrix}, folder / "model.safetensors")
    return folder


def test_a_result_is_not_returned_for_a_configuration_that_splits_weights_otherwise(tmp_path):
    spectra.analyze(fused(tmp_path / "model", heads=4), output=tmp_path / "out")
    with pytest.raises(ResultsError, match="files that changed since"):
        spectra.analyze(fused(tmp_path / "model", heads=8), output=tmp_path / "out")


def test_a_result_is_not_returned_for_a_base_in_memory_that_changed_in_the_middle(tmp_path):
    model = {name: value for name, value in weights().items() if name != "ids"}
    save_file(model, tmp_path / "model.safetensors")
    base = {name: value * 0.5 for name, value in model.items()}
    first = spectra.analyze(tmp_path / "model.safetensors", base=base, output=tmp_path / "out")
    assert same(spectra.analyze(tmp_path / "model.safetensors", base=base, output=tmp_path / "out").layers, first.layers)
    base["block.2.fc.weight"][20, 3] += 1.0
    with pytest.raises(ResultsError, match="changed since"):
        spectra.analyze(tmp_path / "model.safetensors", base=base, output=tmp_path / "out")


@pytest.mark.parametrize("settings", [{"moe": "summary"}, {"inverse": True}, {"subsample": "farms"}], ids=str)
def test_a_finished_folder_of_any_mode_is_returned_and_an_interrupted_one_continued(tmp_path, settings):
    model = weights() | {f"experts.{i}.w1.weight": weights()[f"block.{i}.fc.weight"] for i in range(3)}
    whole = spectra.analyze(model, output=tmp_path / "whole", **settings)
    assert same(spectra.analyze(model, output=tmp_path / "whole", **settings).layers, whole.layers)

    def stop(progress):
        if progress.num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(model, output=tmp_path / "part", progress=stop, workers=1, **settings)
    continued = spectra.analyze(model, output=tmp_path / "part", **settings)
    assert same(continued.layers, whole.layers)
    assert same(continued.experts, whole.experts)
    assert same(continued.summary, whole.summary)


# Written by the last commit of schema version 1 (eec325b) from schema_1_model(): never to be made anew.
SCHEMA_1_FOLDER = Path(__file__).parents[1] / "data" / "schema_1"


def schema_1_model():
    matrix = np.random.default_rng(0).standard_normal((60, 20)).astype(np.float32)
    return {"embed.weight": matrix, "zero.weight": np.zeros((12, 9), np.float32), "ids": np.arange(6).reshape(2, 3)}


def test_a_result_of_schema_version_1_is_read():
    old, new = spectra.load(SCHEMA_1_FOLDER), spectra.analyze(schema_1_model())
    assert [(row.matrix_name, row.status) for row in old.layers] == [("embed", "ok"), ("zero", "zero")]
    assert old.layers[0].alpha == pytest.approx(new.layers[0].alpha, rel=1e-12)
    assert (old.layers[0].num_erg, new.layers[0].num_erg is None) == (None, False)  # a column of version 2
    assert old.settings.moe == "per_expert"
    assert list(csv.DictReader(old.to_csv().splitlines()))[1]["status"] == "zero"


def test_a_result_of_schema_version_1_is_not_returned_for_an_analysis_of_today(tmp_path):
    shutil.copytree(SCHEMA_1_FOLDER, tmp_path / "out")
    with pytest.raises(ResultsError, match="another analysis .schema version 1 there, 2 now"):
        spectra.analyze(schema_1_model(), output=tmp_path / "out")
