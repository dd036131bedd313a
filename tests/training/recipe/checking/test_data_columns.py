"""Columns of data files: the same as reading the whole file gives, without doing so."""

import json

import pytest

from spectra.errors import InputError
from spectra.training.data_files import read_records
from spectra.training.recipe.checking.data_columns import columns_of


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'text,"a label"\nthe film,1\n'),
        ("a.tsv", "text\tlabel\nthe film\t1\n"),
        ("a.jsonl", '\n{"text": "the film", "label": 1}\n'),
        ("a.json", '[{"text": "the film", "label": 1}]'),
        ("a.txt", "the film\n"),
        ("bom.csv", "\ufefftext,label\na,b\n"),
    ],
)
def test_columns_are_those_of_the_first_record(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert columns_of(tmp_path / name) == tuple(read_records(tmp_path / name)[0])


def test_columns_of_parquet_are_those_of_its_schema(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"text": ["a"], "label": [1]}).to_parquet(tmp_path / "a.parquet")
    assert columns_of(tmp_path / "a.parquet") == ("text", "label")


def test_a_header_is_enough_where_a_later_line_is_torn(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nthe film,1,2\n")
    assert columns_of(tmp_path / "a.csv") == ("text", "label")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "holds no examples"),
        ("a.jsonl", "[1]\n", "expected an object"),
        ("a.jsonl", "{\n", "not readable JSON"),
        ("a.docx", "text", "is not a kind of data file"),
        ("a.parquet", "text", "is no Parquet file"),
        ("gone.csv", None, "cannot read"),
        ("gone.txt", None, "cannot read"),
    ],
)
def test_a_file_without_columns_is_refused_in_the_words_of_reading(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        columns_of(tmp_path / name)


def test_json_lines_are_not_read_beyond_the_first(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}) + "\n{torn\n")
    assert columns_of(tmp_path / "a.jsonl") == ("text",)
