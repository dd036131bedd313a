import json

import numpy as np
import pytest

from spectra.errors import ResultsError
from spectra.results.comparison_store import ComparisonRun, FinishedMatrix, comparison_header, load_comparison
from tests.comparisons import comparison_of, equal_row_of, row_of


def header(**changes):
    return comparison_header(comparison_of(row_of(), **changes), version="1")


def finished(*rows):
    return FinishedMatrix(rows, comparison_of(*rows).changes)


def test_a_saved_comparison_is_read_back(tmp_path):
    comparison = comparison_of(row_of(), equal_row_of(), over_time=True, base_step=0, notes=("a note",))
    comparison.save(tmp_path / "new")
    again = load_comparison(tmp_path / "new")
    assert again.to_dict() == comparison.to_dict()
    assert again.to_csv() == comparison.to_csv()
    assert str(again) == str(comparison)
    for name in comparison.changes:
        np.testing.assert_array_equal(again.changes[name], comparison.changes[name])
    again.save(tmp_path / "copy")
    for name in ("comparison.json", "comparison.csv", "changes.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()


def test_an_earlier_comparison_is_replaced_when_asked(tmp_path):
    comparison_of(row_of()).save(tmp_path)
    comparison_of(equal_row_of()).save(tmp_path, force=True)
    assert load_comparison(tmp_path).is_identical


def test_what_was_finished_is_taken_over(tmp_path):
    run = ComparisonRun(tmp_path, header())
    run.add("layers.0.fc", finished(row_of()))
    run.close()
    again = ComparisonRun(tmp_path, header())
    again.close()
    assert list(again.finished) == ["layers.0.fc"]
    assert again.finished["layers.0.fc"].rows[0].to_dict() == row_of().to_dict()
    for name, array in finished(row_of()).arrays.items():
        np.testing.assert_array_equal(again.finished["layers.0.fc"].arrays[name], array)


def test_what_could_not_be_read_is_tried_again(tmp_path):
    run = ComparisonRun(tmp_path, header())
    run.add("layers.0.fc", finished(row_of(status="unreadable", norm_change=float("nan"))))
    run.close()
    again = ComparisonRun(tmp_path, header())
    again.close()
    assert again.finished == {}


def test_a_finished_comparison_with_what_could_not_be_read_is_made_again(tmp_path):
    comparison = comparison_of(row_of(status="unreadable", norm_change=float("nan")), environment={"spectra": "1"})
    comparison.save(tmp_path)
    run = ComparisonRun(tmp_path, header())
    run.close()
    assert run.complete is None
    assert not (tmp_path / "comparison.json").exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num_directions": 3}, r"an unfinished run of another comparison \(directions 3 there, 10 now\)"),
        ({"intruder_threshold": 0.3}, "intruder_threshold 0.3 there, 0.5 now"),
        ({"over_time": True}, "over_time True there, False now"),
        ({"models": ()}, "of other models, or of files that changed since"),
    ],
)
def test_a_run_of_something_else_is_not_continued(other, message, tmp_path):
    ComparisonRun(tmp_path, header(**other)).close()
    with pytest.raises(ResultsError, match=message):
        ComparisonRun(tmp_path, header())
    ComparisonRun(tmp_path, header(), force=True).close()


def test_a_run_of_another_version_is_not_continued(tmp_path):
    ComparisonRun(tmp_path, comparison_header(comparison_of(row_of()), version="0")).close()
    with pytest.raises(ResultsError, match=r"\(made by Spectra 0\)"):
        ComparisonRun(tmp_path, header())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("progress.jsonl", '{"header": {}}\n', "'progress.jsonl' of something else"),
        ("progress.jsonl", "", "'progress.jsonl' of something else"),
        ("notes.txt", "mine", r"holds other files \('notes.txt'\)"),
        ("comparison.json", "{", "is no comparison, or a damaged one"),
        ("comparison.json", '{"schema_version": 9}', "has schema version 9, this Spectra reads 1"),
        ("comparison.json", '{"schema_version": 1}', "is no comparison, or a damaged one"),
    ],
)
def test_other_files_are_left_alone(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ResultsError, match=message):
        ComparisonRun(tmp_path, header())
    assert (tmp_path / name).read_text() == text


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResultsError, match="is a file. Choose a folder for the results"):
        ComparisonRun(tmp_path / "file", header())


def test_what_is_no_comparison_is_not_read(tmp_path):
    with pytest.raises(ResultsError, match="there is no comparison at .* Make one: spectra compare BASE MODEL --output DIR"):
        load_comparison(tmp_path / "nowhere")
    ComparisonRun(tmp_path, header()).close()
    with pytest.raises(ResultsError, match="holds an unfinished run"):
        load_comparison(tmp_path)


def test_the_folder_is_plain_json_with_a_version(tmp_path):
    comparison_of(row_of(), equal_row_of()).save(tmp_path)
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["schema_version"] == 1
    assert content["rows"][0]["change"]["alpha"] == pytest.approx(-0.5)
    assert content["rows"][1]["change"]["stable_rank"] == 0.0
    assert content["rows"][1]["change_stable_rank"] is None
