"""Rows written to files that are read back as they were."""

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError, ResultsError
from spectra.training.data_files import read_records
from spectra.training.sdft.row_files import encoded_rows, write_rows

ANY_TEXT = st.text(st.characters(), max_size=5)  # halves of surrogate pairs, too
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), min_size=1, max_size=4)
FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(deadline=None, max_examples=50)
@given(rows=ROWS, suffix=st.sampled_from([".jsonl", ".json"]))
def test_rows_are_read_back_as_they_were_written(rows, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / f"a{suffix}"
    write_rows(path, rows)
    assert json.dumps(read_records(path)) == json.dumps(rows)
    path.read_bytes().decode("utf-8")


@settings(deadline=None, max_examples=50)
@given(fields=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=4))
def test_texts_are_read_back_from_csv(fields, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "a.csv"
    rows = [dict(zip(("question", "answer"), field, strict=True)) for field in fields]
    write_rows(path, rows)
    assert read_records(path) == rows


def test_letters_are_not_escaped_and_a_row_is_a_line(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"a": "ä\n\u2028"}, {"a": "字"}])
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"a": "ä\\n\u2028"}\n{"a": "字"}\n'


def test_rows_of_different_columns_are_filled_up_in_csv(tmp_path):
    write_rows(tmp_path / "a.csv", [{"a": "x", "n": 1}, {"b": "y", "a": None}])
    assert read_records(tmp_path / "a.csv") == [{"a": "x", "n": "1", "b": ""}, {"a": "", "n": "", "b": "y"}]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.csv", [{"role": "user"}], "row 2, column 'x': it holds a list, which cannot be written as CSV. Choose .*.jsonl"),
        ("a.csv", "\ud800", "row 2, column 'x': it holds a str, which cannot be written as CSV"),
        ("a.jsonl", float("nan"), "row 2, column 'x': it holds nan, which cannot be written as JSON. Convert it"),
        ("a.json", datetime.date.min, "row 2, column 'x': it holds a date, which cannot be written as JSON"),
        ("a.josn", "x", "'a.josn' is not a kind of file that rows are written to. Did you mean '.json"),
        ("a.parquet", "x", "Known: .jsonl, .json, .csv"),
    ],
    ids=["nested", "half a pair", "nan", "date", "typo", "other kind"],
)
def test_what_cannot_be_written_is_refused_in_words(name, value, message):
    with pytest.raises(InputError, match=message):
        encoded_rows(Path(name), [{"x": "fine"}, {"x": value}])


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ResultsError, match="cannot write to"):
        write_rows(tmp_path / "none" / "a.jsonl", [{"a": "b"}])
